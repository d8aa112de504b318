//! What can go wrong between a client, its copy and the upstream.

use std::time::Duration;

use rreg_client::{ClientError, ErrorClass};
use rreg_oci::{ManifestError, Reference, RepositoryName};
use rreg_storage::StorageError;

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
    /// The upstream has failed too often, or has asked to be left alone.
    #[error("upstream {upstream} is left alone for {} more seconds after: {why}", wait.as_secs().max(1))]
    Open { upstream: String, wait: Duration, why: String },
    /// The upstream's answer, or that there was none.
    #[error("upstream {upstream}: {error}")]
    Upstream { upstream: String, error: Box<ClientError> },
    /// The upstream took too long, retries included.
    #[error("upstream {upstream} did not answer within {} seconds", .within.as_secs())]
    Slow { upstream: String, within: Duration },
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

impl MirrorError {
    /// Whether the upstream itself seems to be unwell, as opposed to this one request.
    pub(crate) fn counts_against_upstream(&self) -> bool {
        match self {
            Self::Upstream { error, .. } => error.class() == ErrorClass::Unreachable,
            Self::Slow { .. } => true,
            _ => false,
        }
    }

    /// Whether the upstream says that there is none: not found, and not for us.
    pub(crate) fn is_unknown(&self) -> bool {
        match self {
            Self::Upstream { error, .. } => {
                matches!(error.class(), ErrorClass::NotFound | ErrorClass::Denied)
            }
            _ => false,
        }
    }

    /// Whether nobody answered at all.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Slow { .. } => true,
            Self::Upstream { error, .. } => {
                error.status().is_none() && error.class() == ErrorClass::Unreachable
            }
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
        let is_gone = matches!(self, Self::Upstream { error, .. } if error.says_unknown());
        self.allows_stale() && !is_gone
    }

    /// Whether an answer to HEAD says nothing: upstreams, and what stands before them, refuse it where they answer GET.
    pub(crate) fn may_be_of_head_alone(&self) -> bool {
        let Self::Upstream { error, .. } = self else { return false };
        error
            .status()
            .is_some_and(|status| matches!(status.as_u16(), 400 | 403 | 404 | 405 | 406 | 500 | 501))
    }

    /// Whether an older list may be served instead. What is wrong here is no reason to.
    pub(crate) fn allows_stale(&self) -> bool {
        matches!(self, Self::Upstream { .. } | Self::Slow { .. } | Self::Open { .. } | Self::Manifest { .. })
    }
}
