//! Against a small server that does what a test tells it to.

mod documents;
mod harness;
mod reads;
mod rotation;
mod tokens;
mod uploads;
