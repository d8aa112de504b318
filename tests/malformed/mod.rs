//! What no client should send. Nothing gives a 5xx or a panic, the server goes on serving, and each refusal of the
//! API has the specification's error body.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what is wrong by panicking"
)]

mod heads;
mod mutations;
mod paths;
mod raw;
mod slow;
