//! What can go wrong between a client, its copy and the upstream.

use std::time::Duration;

use rreg_client::{AuthError, ClientError, ErrorClass, ErrorKind};
use rreg_oci::{ManifestError, Reference, RepositoryName};
use rreg_storage::StorageError;

use super::breaker::Extent;
use crate::shares::Refused;

/// Why something could not be had from an upstream. How each becomes HTTP is in `crate::error`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    /// A push to a copy.
    #[error(
        "{repository} is a copy of {host} (upstream {upstream}), so nothing can be pushed to it; push to a repository \
         outside the upstream's prefix, or to the upstream itself"
    )]
    Push { repository: RepositoryName, upstream: String, host: String },
    /// `?ns=` with a name that no upstream has.
    #[error("no upstream is configured for ns={ns:?} (upstreams.ns); this registry asks no other")]
    Namespace { ns: String },
    /// The name that the repository would have here is too long, outside the upstream's `path`, or another upstream's.
    #[error("{repository} of upstream {upstream} has no name here")]
    NotCovered { repository: RepositoryName, upstream: String },
    /// Not allowed by `allow` and `deny`.
    #[error("{repository} is not served: upstream {upstream} is limited by {rule}")]
    Rule { repository: RepositoryName, upstream: String, rule: String },
    /// The upstream, or only its `repository`, has failed too often or has asked to be left alone.
    #[error(
        "upstream {upstream}{} is left alone for {} more seconds after: {why}",
        repository.as_ref().map(|it| format!(" ({it})")).unwrap_or_default(), wait.as_secs().max(1)
    )]
    Open { upstream: String, repository: Option<RepositoryName>, wait: Duration, why: String },
    /// The upstream's answer, or that there was none.
    #[error("upstream {upstream} {}: {error}", said(error))]
    Upstream { upstream: String, error: Box<ClientError> },
    /// The upstream took too long, retries included.
    #[error("upstream {upstream} did not answer within {} seconds", .within.as_secs())]
    Slow { upstream: String, within: Duration },
    /// The upstream did not have it a short while ago, and is not asked again yet.
    #[error(
        "upstream {upstream} did not have {what} when it was asked last, a moment ago (upstreams.absent_ttl)"
    )]
    Absent { upstream: String, what: Missing },
    /// A client has asked for too much that the upstream does not have.
    #[error(
        "too many requests were for what upstreams do not have: upstream {upstream} is not asked for you for {} \
         more seconds (mirror.misses)", .wait.as_secs().max(1)
    )]
    Vain { upstream: String, wait: Duration },
    /// Too many blobs wait to be fetched, those of all or of one client.
    #[error(
        "too many blobs of upstream {upstream} are being waited for{}",
        if *.refused == Refused::Own { " by you: others need a share as well" } else { "" }
    )]
    Crowded { upstream: String, refused: Refused },
    /// Others are being fetched, and none has ended while a client waited.
    #[error(
        "upstream {upstream} was not asked within {} seconds: as many other blobs are being fetched as may be at a time, \
         in all or for you (upstreams.max_fills)", .within.as_secs()
    )]
    Queued { upstream: String, within: Duration },
    /// The upstream is being asked for as much as may be at a time, in all or for one client.
    #[error(
        "upstream {upstream} was not asked: it still has to answer as many requests as may be under way{} \
         (upstreams.max_requests)",
        if *.refused == Refused::Own { " for you; others need a share as well" } else { "" }
    )]
    Full { upstream: String, refused: Refused },
    /// The upstream is silent, and was not waited for: an answer may still come.
    #[error("upstream {upstream} has not answered yet, and is not waited for any longer")]
    Silent { upstream: String },
    /// The upstream's manifest is none that can be kept.
    #[error("upstream {upstream} gave a manifest for {reference} that cannot be kept: {error}")]
    Manifest { upstream: String, reference: Reference, error: ManifestError },
    /// Larger than this registry takes.
    #[error("upstream {upstream} has a blob of {size} bytes, more than uploads.max_blob_size ({limit})")]
    TooLarge { upstream: String, size: u64, limit: u64 },
    /// Database or store failed here.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The growing file failed.
    #[error("the growing copy of the blob: {0}")]
    Spool(#[from] std::io::Error),
    /// The work ended without a result: the server is shutting down.
    #[error("the registry is shutting down")]
    Ended,
}

/// What an upstream does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Manifest,
    Blob,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Manifest => "this manifest",
            Self::Blob => "this blob",
        })
    }
}

/// What a failure says of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The upstream does not have it.
    Absent,
    /// The upstream does not give it to us.
    Refused,
    /// Nothing is known: nobody answered, or nobody who could.
    Unreachable,
    /// There was an answer that cannot be used.
    Odd,
    /// The upstream was not asked: something is wrong here.
    Local,
}

impl Meaning {
    /// In one word, for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Odd => "odd",
            Self::Local => "local",
        }
    }

    fn of(error: &ClientError) -> Self {
        match (&*error.kind, error.class()) {
            // Refused here: what the upstream asks for is not done.
            (ErrorKind::Auth(AuthError::Realm { .. }), _) => Self::Odd,
            (ErrorKind::Auth(AuthError::Unsendable(_)), _) => Self::Local,
            (ErrorKind::Protocol(_), _) => Self::Odd,
            (_, class) => Self::of_class(class),
        }
    }

    fn of_class(class: ErrorClass) -> Self {
        match class {
            ErrorClass::NotFound => Self::Absent,
            ErrorClass::Denied => Self::Refused,
            ErrorClass::Unreachable => Self::Unreachable,
            ErrorClass::Refused => Self::Odd,
            ErrorClass::Local => Self::Local,
        }
    }
}

/// The same in words that the failure itself follows.
fn said(error: &ClientError) -> &'static str {
    match Meaning::of(error) {
        Meaning::Absent => "does not have it",
        Meaning::Refused => "refuses it",
        Meaning::Unreachable if error.status().is_some() => "cannot answer now",
        Meaning::Unreachable => "cannot be reached",
        Meaning::Odd => "gave no usable answer",
        Meaning::Local => "cannot be asked",
    }
}

impl MirrorError {
    /// For people who are no clients of this registry, such as those of a cluster that asks it: what is wrong at the upstream,
    /// without where that is and without its words. `None`: the error's own text has none of these.
    pub(crate) fn briefly(&self) -> Option<String> {
        match self {
            Self::Open { upstream, wait, .. } => {
                let seconds = wait.as_secs().max(1);
                Some(format!("upstream {upstream} has failed, and is left alone for {seconds} more seconds"))
            }
            Self::Upstream { upstream, error } => {
                let status = error.status().map(|status| format!(" ({status})")).unwrap_or_default();
                Some(format!("upstream {upstream} {}{status}", said(error)))
            }
            _ => None,
        }
    }

    /// What it says of what was asked for, if it is about that and an upstream.
    pub(crate) fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Upstream { error, .. } => Some(Meaning::of(error)),
            Self::Open { .. } | Self::Slow { .. } | Self::Silent { .. } => Some(Meaning::Unreachable),
            Self::Absent { .. } => Some(Meaning::Absent),
            Self::Manifest { .. } | Self::TooLarge { .. } => Some(Meaning::Odd),
            _ => None,
        }
    }

    /// The upstream that it is about, if it is about one.
    pub(crate) fn upstream(&self) -> Option<&str> {
        match self {
            Self::Upstream { upstream, .. }
            | Self::Open { upstream, .. }
            | Self::Slow { upstream, .. }
            | Self::Silent { upstream }
            | Self::Absent { upstream, .. }
            | Self::Manifest { upstream, .. }
            | Self::TooLarge { upstream, .. } => Some(upstream),
            _ => None,
        }
    }

    /// What is unwell, if this is more than an answer to one request.
    pub(super) fn extent(&self) -> Option<Extent> {
        let error = match self {
            Self::Slow { .. } => return Some(Extent::Silence),
            Self::Upstream { error, .. } if error.class() == ErrorClass::Unreachable => error,
            _ => return None,
        };
        match &*error.kind {
            // Where a redirect leads is one repository's storage, or one blob's.
            _ if error.elsewhere => Some(Extent::Repository),
            ErrorKind::Transport(_) | ErrorKind::Certificate(_) => Some(Extent::Upstream),
            ErrorKind::Timeout(_) => Some(Extent::Silence),
            ErrorKind::Status { status, retry_after: Some(_), .. } if status.as_u16() == 429 => {
                Some(Extent::Account)
            }
            ErrorKind::Auth(AuthError::Refused { status: 429, retry_after: Some(_), .. }) => {
                Some(Extent::Account)
            }
            _ => Some(Extent::Repository),
        }
    }

    /// Whether the upstream says that there is none.
    pub(crate) fn is_absent(&self) -> bool {
        self.meaning() == Some(Meaning::Absent)
    }

    /// Whether the upstream says that there is none for us: it may not tell the two apart.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.meaning(), Some(Meaning::Absent | Meaning::Refused))
    }

    /// Whether nobody answered at all.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Open { repository, .. } => repository.is_none(),
            Self::Slow { .. } | Self::Silent { .. } => true,
            Self::Upstream { error, .. } => {
                Meaning::of(error) == Meaning::Unreachable && error.status().is_none()
            }
            _ => false,
        }
    }

    /// Whether somebody answered, whatever it was.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Upstream { error, .. } => Meaning::of(error) != Meaning::Local && !self.is_out_of_reach(),
            _ => false,
        }
    }

    /// Whether what the upstream has is nothing that can be kept: whoever made it chose that.
    pub(crate) fn is_of_content(&self) -> bool {
        match self {
            Self::Manifest { .. } | Self::TooLarge { .. } | Self::Rule { .. } => true,
            Self::Upstream { error, .. } => error.class() == ErrorClass::Refused,
            _ => false,
        }
    }

    /// Whether an older copy of a tag may be served instead. Where the upstream says that it is gone, it is.
    pub(crate) fn allows_stale_tag(&self) -> bool {
        self.allows_stale() && !self.is_gone()
    }

    /// Whether the upstream says in its own words that there is no such manifest or repository.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Upstream { error, .. } if error.says_unknown())
    }

    /// Whether an older list may be served instead. What is wrong here is no reason to.
    pub(crate) fn allows_stale(&self) -> bool {
        self.is_out_of_reach()
            || matches!(
                self,
                Self::Upstream { .. } | Self::Open { .. } | Self::Full { .. } | Self::Manifest { .. }
            )
    }
}
