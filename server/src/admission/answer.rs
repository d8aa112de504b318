//! What becomes of a request that policies are asked about.

use rreg_policy::{Decision, Outcome};

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It goes on.
    Allow,
    /// It goes on, and the client is told why it would be refused.
    Warn(Box<Decision>),
    /// It is refused.
    Deny(Box<Decision>),
}

impl Answer {
    pub(super) fn of(decision: Decision) -> Self {
        match decision.outcome {
            Outcome::Allow => Self::Allow,
            Outcome::Warn => Self::Warn(Box::new(decision)),
            Outcome::Deny => Self::Deny(Box::new(decision)),
        }
    }
}
