//! What is wrong with a policy, all of it at once, with the place.

use std::fmt;

/// Where in the text, counted from 1. Zero where the place is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// One mistake, or in [`crate::Policy::warnings`] one thing that is allowed and dangerous.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// Where.
    pub place: Place,
    /// The field, such as `require[0].signature`. Empty for the text as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right. Empty where `problem` says it.
    pub fix: String,
}

impl std::error::Error for PolicyError {}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "line {}, column {}: ", self.place.line, self.place.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Every mistake of a text. Never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl std::error::Error for PolicyErrors {}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl PolicyErrors {
    /// One mistake of the whole text.
    pub(crate) fn of_text(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.note(Place::default(), "", problem, fix);
        errors
    }

    /// Notes a mistake.
    pub(crate) fn note(
        &mut self,
        place: Place,
        path: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.0.push(PolicyError { place, path: path.into(), problem: problem.into(), fix: fix.into() });
    }

    /// The value where nothing is wrong.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort();
        self.0.dedup();
        Err(self)
    }
}
