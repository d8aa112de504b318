//! What a gate found, before it is written in one form or another, and the exit code that follows from it.

use std::collections::BTreeMap;

use rreg_oci::Digest;
use rreg_policy::{Decision, Outcome, Outturn, Point, PolicyResult};
use serde::Serialize;

use crate::exit::Exit;

/// One image after another, in the order in which they were named.
pub(crate) struct Report {
    pub(crate) at: Point,
    pub(crate) images: Vec<Judged>,
    /// Where policies come from.
    pub(crate) files: PolicyFiles,
}

/// The file of each policy, by its revision. Forms that point into source code need it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyFiles {
    pub(crate) by_revision: BTreeMap<String, String>,
    /// The argument of `--policy`: what is about no policy is about all of them.
    pub(crate) all: String,
}

impl PolicyFiles {
    /// Where a policy was read.
    pub(super) fn of(&self, policy: &PolicyResult) -> &str {
        self.by_revision.get(&policy.revision.to_string()).unwrap_or(&self.all)
    }
}

/// What came of one image.
pub(crate) struct Judged {
    /// As the user named it.
    pub(crate) image: String,
    pub(crate) result: Result<Found, Unchecked>,
}

/// An image that could be looked at.
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) platforms: Vec<String>,
    pub(crate) decision: Decision,
    /// What was attached and could not be read, or was not looked at.
    pub(crate) incomplete: Vec<String>,
}

/// Why an image could not be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Unchecked {
    pub(crate) why: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

/// What a gate says about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Allowed,
    Warned,
    /// A rule that is enforced does not hold.
    Denied,
    /// It is not known whether all rules hold, and that is a refusal.
    Unchecked,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned => "warned",
            Self::Denied => "denied",
            Self::Unchecked => "unchecked",
        }
    }

    /// The exit code where nothing else was asked.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Allowed | Self::Warned => Exit::Ok,
            Self::Denied => Exit::Refused,
            Self::Unchecked => Exit::Unreachable,
        }
    }

    /// Of a decision. A refusal only because of what could not be decided is none on merits: trying again may help.
    pub(crate) fn of(decision: &Decision) -> Self {
        match decision.outcome {
            Outcome::Allow => Self::Allowed,
            Outcome::Warn => Self::Warned,
            Outcome::Deny => {
                let failed = |policy: &PolicyResult| policy.result == Outturn::Fail;
                if decision.with_outcome(Outcome::Deny).any(failed) { Self::Denied } else { Self::Unchecked }
            }
        }
    }
}

impl Judged {
    pub(crate) fn status(&self) -> Status {
        self.result.as_ref().map_or(Status::Unchecked, |found| Status::of(&found.decision))
    }

    /// The image with its digest, whatever the user named it by.
    pub(super) fn pinned(&self) -> String {
        let Ok(found) = &self.result else { return self.image.clone() };
        let name = self.image.split_once('@').map_or(self.image.as_str(), |(name, _)| name);
        format!("{name}@{}", found.digest)
    }
}

/// An image as JSON: `decision` where it could be looked at, `error` where not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    image: &'a str,
    digest: Option<Digest>,
    platforms: &'a [String],
    status: Status,
    decision: Option<&'a Decision>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    incomplete: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Serialize for Judged {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.result.as_ref().ok();
        let error = self.result.as_ref().err();
        let view = View {
            image: &self.image,
            digest: found.map(|found| found.digest),
            platforms: found.map(|found| found.platforms.as_slice()).unwrap_or_default(),
            status: self.status(),
            decision: found.map(|found| &found.decision),
            incomplete: found.map(|found| found.incomplete.as_slice()).unwrap_or_default(),
            error: error.map(|unchecked| unchecked.why.as_str()),
            hint: error.and_then(|unchecked| unchecked.hint.as_deref()),
        };
        view.serialize(serializer)
    }
}

impl Report {
    /// Denied weighs more than unchecked: it is known.
    pub(crate) fn exit(&self) -> Exit {
        exit_of(self.images.iter().map(Judged::status))
    }

    pub(super) fn count(&self, wanted: Status) -> usize {
        self.images.iter().filter(|image| image.status() == wanted).count()
    }
}

/// The exit code of several.
pub(crate) fn exit_of(all: impl Iterator<Item = Status>) -> Exit {
    let weight = |status: &Status| match status {
        Status::Allowed | Status::Warned => 0,
        Status::Unchecked => 1,
        Status::Denied => 2,
    };
    all.max_by_key(weight).map_or(Exit::Ok, Status::exit)
}
