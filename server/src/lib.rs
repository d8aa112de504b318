//! HTTP in, HTTP out: the registry server.

pub mod config;
pub mod health;
pub mod listen;
mod run;
pub mod telemetry;
pub mod tls;

pub use config::Config;
pub use run::{RunError, run};
