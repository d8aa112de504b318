//! The one vocabulary for what a verification found.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::signer::Signer;

/// What is known of a piece of evidence under one trust root. Only `Valid` ever lets anything through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check that the trust root asks for was made and passed.
    Valid,
    /// Needs trust material that is not configured.
    Unverifiable,
    /// Could not be checked now: unreadable, past a limit, or without the data that a check needs.
    Error,
    /// Proved wrong.
    Invalid,
}

/// One check that was made, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable name, such as `signature`, `certificate-chain`, `sct`, `tlog-inclusion`, `timestamp`, `subject`.
    pub name: Cow<'static, str>,
    /// What it found.
    pub verdict: Verdict,
    /// Whether it counts. A failure that a trust policy only logs (Notation's permissive and audit levels) does not.
    pub enforced: bool,
    /// What was compared with what, for people.
    pub detail: String,
}

/// What verifying one piece of evidence under one trust root found. Made only by [`Checks`], so that a verdict is
/// never better than the checks behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The worst verdict among the enforced checks.
    pub verdict: Verdict,
    /// The checks made.
    pub checks: Vec<Check>,
    /// Who signed, as far as it was proved. Present when the verdict is `Valid`; may be present beside `Invalid`
    /// ("signed by another one") and is then only for messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
    /// When it was signed, proved by a log or a timestamp authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<DateTime<Utc>>,
    /// When this verification must be made again: a certificate, signature or revocation answer ends then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_until: Option<DateTime<Utc>>,
}

/// Checks that need more than the evidence.
const ASKED: [&str; 2] = ["revocation", "trust-root"];

/// Collects the checks of a verification.
#[derive(Debug, Default)]
pub struct Checks {
    made: Vec<Check>,
}

impl Checks {
    /// No check made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a check that passed.
    pub fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.note(name, Verdict::Valid, true, detail);
    }

    /// Notes a check that did not pass.
    pub fn fail(&mut self, name: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.note(name, verdict, true, detail);
    }

    /// Notes a check with all that there is to say.
    pub fn note(&mut self, name: &'static str, verdict: Verdict, enforced: bool, detail: impl Into<String>) {
        self.made.push(Check { name: Cow::Borrowed(name), verdict, enforced, detail: detail.into() });
    }

    /// The worst enforced verdict so far; without any check it is `Error`, since nothing was proved.
    pub fn verdict(&self) -> Verdict {
        self.made.iter().filter(|c| c.enforced).map(|c| c.verdict).max().unwrap_or(Verdict::Error)
    }

    /// The verification that these checks make, without a signer.
    pub fn finish(self) -> Verification {
        Verification {
            verdict: self.verdict(),
            checks: self.made,
            signer: None,
            signed_at: None,
            holds_until: None,
        }
    }
}

impl Verification {
    /// A verification of one check that did not pass.
    pub fn failed(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        let mut checks = Checks::new();
        checks.fail(name, verdict, detail);
        checks.finish()
    }

    /// Whether it is valid and says by whom.
    pub fn valid_signer(&self) -> Option<&Signer> {
        self.signer.as_ref().filter(|_| self.verdict == Verdict::Valid)
    }

    /// Whether another look could find something else, because somebody did not answer or a trust root cannot be used.
    /// What cannot be read, or is too much, stays so, and anybody can attach it.
    pub fn may_change(&self) -> bool {
        let mut failed = self.checks.iter().filter(|check| check.enforced && check.verdict != Verdict::Valid);
        self.verdict == Verdict::Error && failed.all(|check| ASKED.contains(&&*check.name))
    }

    /// The first enforced check that did not pass.
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|c| c.enforced && c.verdict != Verdict::Valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_evidence_says_does_not_change() {
        let failed = |names: &[(&'static str, Verdict)]| {
            let mut checks = Checks::new();
            checks.pass("subject", "right");
            names.iter().for_each(|(name, verdict)| checks.fail(name, *verdict, "x"));
            checks.finish().may_change()
        };
        assert!(failed(&[("revocation", Verdict::Error)]));
        assert!(failed(&[("trust-root", Verdict::Error)]));
        for name in ["bundle", "envelope", "limits", "signature", "statement", "certificate"] {
            assert!(!failed(&[(name, Verdict::Error)]), "{name}");
            assert!(!failed(&[(name, Verdict::Error), ("revocation", Verdict::Error)]), "{name}");
        }
        assert!(!failed(&[("revocation", Verdict::Invalid)]));
        assert!(!failed(&[("certificate", Verdict::Unverifiable), ("revocation", Verdict::Error)]));
        assert!(!failed(&[]));
    }
}
