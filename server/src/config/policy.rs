//! `[policy]`: what may be pushed, tagged, pulled and run.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::Findings;
use super::section::section;
use super::units::HumanDuration;

/// Whether the certificates of Notation signatures are looked up with their authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationCheck {
    /// They are not.
    Off,
    /// A signature whose authority does not answer cannot be checked: its verdict is `error`.
    Strict,
    /// A certificate whose authority does not answer counts as not revoked.
    Lenient,
}

impl FromStr for RevocationCheck {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "strict" => Ok(Self::Strict),
            "lenient" => Ok(Self::Lenient),
            _ => Err("is no way to look up revocation"),
        }
    }
}

impl fmt::Display for RevocationCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Strict => "strict",
            Self::Lenient => "lenient",
        })
    }
}

section! {
    /// What may be pushed, tagged, pulled and run. Policies are also set with `rreg policy put`; all of them hold.
    pub struct Policy {
        /// Directory of policies, `*.yaml` and `*.yml`, read again when a file in it changes. Keys and trust roots that
        /// they name are files relative to it.
        directory: Option<PathBuf> = None,
        /// Longest time that a request waits for a decision that nobody has made yet; after it a policy's `onError`
        /// holds. 100ms to 60s.
        timeout: HumanDuration = HumanDuration::seconds(5),
        /// Decisions that this replica makes at the same time in the background. 1 to 64.
        workers: u32 = 4,
        /// Whether the certificates of Notation signatures are looked up (OCSP, then revocation lists): `off`, `strict`
        /// (no answer is an error) or `lenient` (no answer is none against them). The registry then asks the addresses
        /// that trusted certificates name.
        revocation: RevocationCheck = RevocationCheck::Strict,
        /// Answers Kubernetes admission reviews (`/admission/v1/…`) without a login: whoever reaches the server learns
        /// what is decided about images that they can name.
        open_admission: bool = false,
    }
}

impl Policy {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let (low, high) = (HumanDuration::millis(100), HumanDuration::seconds(60));
        findings.within("policy.timeout", self.timeout, low, high);
        findings.within("policy.workers", self.workers, 1, 64);
    }
}
