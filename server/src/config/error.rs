//! What is wrong with a configuration: the field, its value, where it came from and what is allowed.

use std::fmt;
use std::path::PathBuf;

use super::units::HumanDuration;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file, or the file that holds a secret.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Full path of the field, such as `server.tls.cert`.
    pub field: String,
    /// The rejected value; `None` where there is none or it may be a secret.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong, as the end of a sentence about the value.
    pub why: String,
    /// What would be accepted.
    pub allowed: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, " ({}): {}", self.origin, self.why)?;
        match &self.allowed {
            Some(allowed) => write!(f, "; allowed: {allowed}"),
            None => Ok(()),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML. The line itself is not shown: it may hold a secret.
    #[error("configuration file {}, line {line}, column {column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the TOML reader says.
        message: String,
    },
    /// Fields are unknown or have values that are not allowed.
    #[error("{}", Lines(.0))]
    Fields(Vec<Problem>),
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "configuration: {one}"),
            many => {
                write!(f, "configuration: {} problems", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// What `validate()` of a section collects. Paths are full; values are as printed, so secrets are masked.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<(String, String, Option<String>)>);

impl Findings {
    /// `field` is not acceptable because of `why`.
    pub(crate) fn reject(&mut self, field: &str, why: impl Into<String>, allowed: Option<&str>) {
        self.0.push((field.to_owned(), why.into(), allowed.map(str::to_owned)));
    }

    /// Checks how long rows are kept: 0 for ever, at least a day otherwise.
    pub(crate) fn kept(&mut self, field: &'static str, keep: HumanDuration) {
        if keep != HumanDuration::default() {
            let (least, most) = (HumanDuration::seconds(86_400), HumanDuration::seconds(100 * 365 * 86_400));
            self.within(field, keep, least, most);
        }
    }

    /// `value` of `field` has to lie between two bounds, both included.
    pub(crate) fn within<T: PartialOrd + fmt::Display>(&mut self, field: &str, value: T, low: T, high: T) {
        if value < low || value > high {
            self.reject(field, "is out of range", Some(&format!("{low} to {high}")));
        }
    }

    /// `field` must be set for `reason`.
    pub(crate) fn required<T>(&mut self, field: &str, value: Option<&T>, reason: &str) {
        if value.is_none() {
            self.reject(field, format!("is not set, and {reason}"), None);
        }
    }
}
