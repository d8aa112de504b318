//! What a verification needs besides the evidence and the trust root.

use chrono::{DateTime, Utc};

use crate::limits::Limits;

/// The time and the limits that a verification is made with.
#[derive(Clone, Copy, Debug)]
pub struct VerifyContext<'a> {
    /// The time to judge at. Nothing is signed after it, and what proves no time of its own is judged at it.
    pub now: DateTime<Utc>,
    /// How much is looked at.
    pub limits: &'a Limits,
}
