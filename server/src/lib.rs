//! HTTP in, HTTP out: the registry server.

mod app;
mod body;
pub mod config;
mod error;
mod handlers;
pub mod health;
pub mod listen;
mod mirror;
mod open;
mod run;
pub mod telemetry;
pub mod tls;

pub use config::Config;
pub use open::{Opened, open, open_to_read};
pub use run::{RunError, run};
