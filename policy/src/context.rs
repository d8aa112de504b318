//! What every verification is given besides evidence and trust: the time, the limits, and what is known of revocation.

use chrono::{DateTime, Utc};

use crate::limits::Limits;
use crate::notation::Revocation;

/// The surroundings of a verification. Nothing in this crate reads a clock or a network: both come in here.
#[derive(Clone, Copy, Debug)]
pub struct VerifyContext<'a> {
    /// The time that it is taken to be.
    pub now: DateTime<Utc>,
    /// How much of what strangers attach is looked at.
    pub limits: &'a Limits,
    /// Whether and with which answers certificates are looked up as revoked.
    pub revocation: &'a Revocation,
}
