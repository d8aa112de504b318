//! HTTP in, HTTP out: the registry server.

pub mod config;

pub use config::Config;
