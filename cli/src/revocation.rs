//! `--revocation`, wherever Notation signatures are judged.

use clap::ValueEnum;
use rreg_server::config::RevocationCheck;

/// What it means that an authority does not say whether a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// No answer: it could not be checked
    Strict,
    /// No answer: it counts as not revoked
    Lenient,
    /// Nobody is asked, for places without a network
    Off,
}

impl From<Check> for RevocationCheck {
    fn from(check: Check) -> Self {
        match check {
            Check::Strict => Self::Strict,
            Check::Lenient => Self::Lenient,
            Check::Off => Self::Off,
        }
    }
}
