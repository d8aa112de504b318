//! Log lines on standard error.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Something else already receives this process's log events.
#[derive(Debug, thiserror::Error)]
#[error("logging is already set up: {0}")]
pub struct LoggingError(#[from] tracing_subscriber::util::TryInitError);

/// Sends this process's log events to standard error.
///
/// # Errors
/// [`LoggingError`] when called twice.
pub fn init_logging(log: &Log) -> Result<(), LoggingError> {
    let builder = fmt().with_env_filter(log.level.filter()).with_writer(stderr);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .try_init()?;
    } else {
        let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        builder.with_ansi(colours).finish().try_init()?;
    }
    Ok(())
}
