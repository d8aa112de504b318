//! A reason in the making.

use rreg_oci::Digest;

use crate::decision::Outturn;

/// Most things of one kind that a reason names: it is read in one line of a client's error.
const MAX_NAMED: usize = 3;

/// What a rule found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) result: Outturn,
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) evidence: Vec<Digest>,
    pub(super) fix: String,
    pub(super) exempted: Vec<String>,
}

impl Finding {
    fn new(result: Outturn, expected: String, found: String, fix: String) -> Self {
        Self { result, expected, found, evidence: Vec::new(), fix, exempted: Vec::new() }
    }

    pub(super) fn pass(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Outturn::Pass, expected.into(), found.into(), String::new())
    }

    pub(super) fn fail(
        expected: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Outturn::Fail, expected.into(), found.into(), fix.into())
    }

    pub(super) fn error(
        expected: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Outturn::Error, expected.into(), found.into(), fix.into())
    }

    /// Pass or fail.
    pub(super) fn of(
        holds: bool,
        expected: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        if holds { Self::pass(expected, found) } else { Self::fail(expected, found, fix) }
    }

    pub(super) fn with_evidence(mut self, evidence: impl IntoIterator<Item = Digest>) -> Self {
        for digest in evidence {
            if !self.evidence.contains(&digest) {
                self.evidence.push(digest);
            }
        }
        self
    }
}

/// The first few of some things, each once, and how many more there are.
pub(super) fn few(things: impl IntoIterator<Item = String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for thing in things {
        if !once.contains(&thing) {
            once.push(thing);
        }
    }
    let more = once.len().saturating_sub(MAX_NAMED);
    once.truncate(MAX_NAMED);
    let named = once.join("; ");
    if more > 0 { format!("{named}; and {more} more") } else { named }
}
