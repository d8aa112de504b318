//! `[log]` and `[metrics]`: what the server tells about itself.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use super::section::section;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is no log format"),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// A valid filter of log events, in the syntax of `tracing_subscriber::EnvFilter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// The filter; it was parsed once already.
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A bare word that is no level would be taken for the name of a module, and silence all others.
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        for part in text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', ':', '_'])) {
            if !known.contains(&part.to_ascii_lowercase().as_str()) {
                return Err(format!("{part:?} is no level"));
            }
        }
        EnvFilter::try_new(text).map_err(|e| e.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

section! {
    /// What is logged, to standard error.
    pub struct Log {
        /// Level, or directives by module such as `info,rreg_server=debug`.
        level: LogLevel = LogLevel::default(),
        /// Look of log lines; auto is text on a terminal and JSON elsewhere.
        format: LogFormat = LogFormat::Auto,
    }
}

section! {
    /// Prometheus metrics under `/metrics`.
    pub struct Metrics {
        /// Serves them.
        enabled: bool = true,
    }
}
