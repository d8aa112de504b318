//! Every request of the distribution specification as one enum. The URL grammar is spelled here once, for the
//! router ([`Operation::parse`]) and for our own client ([`Operation::render`]).

mod parse;
mod render;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::digest::{Algorithm, Digest};
use crate::error_code::ErrorCode;
use crate::name::{Reference, RepositoryName, Tag};

/// An upload session's identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId(uuid::Uuid);

impl UploadId {
    /// A fresh, unguessable identifier.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::try_parse(s).map(Self)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which part of a sorted list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many entries; `Some(0)` asks for an empty list.
    pub n: Option<u64>,
    /// Only entries sorted after this one.
    pub last: Option<String>,
}

/// The three things that `POST /blobs/uploads/` can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadStart {
    /// Open a session.
    Session {
        /// What the content will be hashed with.
        algorithm: Algorithm,
    },
    /// The whole blob is in this request.
    Monolithic {
        /// Its digest.
        digest: Digest,
    },
    /// Take the blob from another repository, or open a session if that cannot be done.
    Mount {
        /// The blob.
        digest: Digest,
        /// Where from; `None` lets the registry look.
        from: Option<RepositoryName>,
    },
}

/// One request of the API, parsed and valid. Repository names, references and digests are in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are the path and query parameters of the endpoint that the variant names"
)]
pub enum Operation {
    /// end-1 `GET /v2/`
    Ping,
    /// `GET /v2/_catalog`
    Catalog { page: Page },
    /// end-8 `GET /v2/<name>/tags/list`
    TagList { repository: RepositoryName, page: Page },
    /// end-12 `GET /v2/<name>/referrers/<digest>`
    Referrers { repository: RepositoryName, subject: Digest, artifact_type: Option<String>, page: Page },
    /// end-3 `GET /v2/<name>/manifests/<reference>`
    ManifestGet { repository: RepositoryName, reference: Reference },
    /// end-3 `HEAD /v2/<name>/manifests/<reference>`
    ManifestHead { repository: RepositoryName, reference: Reference },
    /// end-7 `PUT /v2/<name>/manifests/<reference>`
    ManifestPut { repository: RepositoryName, reference: Reference, tags: Vec<Tag> },
    /// end-9 `DELETE /v2/<name>/manifests/<reference>`
    ManifestDelete { repository: RepositoryName, reference: Reference },
    /// end-2 `GET /v2/<name>/blobs/<digest>`
    BlobGet { repository: RepositoryName, digest: Digest },
    /// end-2 `HEAD /v2/<name>/blobs/<digest>`
    BlobHead { repository: RepositoryName, digest: Digest },
    /// end-10 `DELETE /v2/<name>/blobs/<digest>`
    BlobDelete { repository: RepositoryName, digest: Digest },
    /// end-4, end-11 `POST /v2/<name>/blobs/uploads/`
    UploadStart { repository: RepositoryName, start: UploadStart },
    /// end-5 `PATCH <location>`
    UploadChunk { repository: RepositoryName, upload: UploadId },
    /// end-6 `PUT <location>?digest=`
    UploadCommit { repository: RepositoryName, upload: UploadId, digest: Digest },
    /// end-13 `GET <location>`
    UploadStatus { repository: RepositoryName, upload: UploadId },
    /// end-14 `DELETE <location>`
    UploadCancel { repository: RepositoryName, upload: UploadId },
    /// `GET /v2/_rreg/tag-rules`: rreg's own, as are the next two. A rule is named like a tag.
    TagRuleList,
    /// `PUT /v2/_rreg/tag-rules/<rule>`
    TagRulePut { rule: Tag },
    /// `DELETE /v2/_rreg/tag-rules/<rule>`
    TagRuleDelete { rule: Tag },
    /// `GET /v2/_rreg/policies`: rreg's own, as is all that follows. Policies and trust are named like tags.
    PolicyList,
    /// `GET /v2/_rreg/policies/<policy>`
    PolicyGet { policy: Tag },
    /// `PUT /v2/_rreg/policies/<policy>`
    PolicyPut { policy: Tag },
    /// `DELETE /v2/_rreg/policies/<policy>`
    PolicyDelete { policy: Tag },
    /// `GET /v2/_rreg/policy-schema`
    PolicySchema,
    /// `POST /v2/_rreg/what-if`
    WhatIf,
    /// `GET /v2/_rreg/trust`
    TrustList,
    /// `PUT /v2/_rreg/trust/<trust>`
    TrustPut { trust: Tag },
    /// `DELETE /v2/_rreg/trust/<trust>`
    TrustDelete { trust: Tag },
    /// `GET /v2/<name>/_rreg/decisions/<reference>`
    DecisionGet { repository: RepositoryName, reference: Reference },
}

/// Why a request is no operation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// No endpoint has this path.
    #[error("no endpoint of the distribution API has this path")]
    NotFound,
    /// The endpoint exists, the method is not for it.
    #[error("this endpoint takes {allow}")]
    Method {
        /// Value of the `Allow` header.
        allow: &'static str,
    },
    /// A part of path or query is invalid.
    #[error("{message}")]
    Invalid {
        /// The specification's code.
        code: ErrorCode,
        /// What is wrong with it.
        message: String,
    },
}

impl Operation {
    /// The repository that the operation is about, if it is about one.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Ping
            | Self::Catalog { .. }
            | Self::TagRuleList
            | Self::TagRulePut { .. }
            | Self::TagRuleDelete { .. }
            | Self::PolicyList
            | Self::PolicyGet { .. }
            | Self::PolicyPut { .. }
            | Self::PolicyDelete { .. }
            | Self::PolicySchema
            | Self::WhatIf
            | Self::TrustList
            | Self::TrustPut { .. }
            | Self::TrustDelete { .. } => None,
            Self::TagList { repository, .. }
            | Self::Referrers { repository, .. }
            | Self::ManifestGet { repository, .. }
            | Self::ManifestHead { repository, .. }
            | Self::ManifestPut { repository, .. }
            | Self::ManifestDelete { repository, .. }
            | Self::BlobGet { repository, .. }
            | Self::BlobHead { repository, .. }
            | Self::BlobDelete { repository, .. }
            | Self::UploadStart { repository, .. }
            | Self::UploadChunk { repository, .. }
            | Self::UploadCommit { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadCancel { repository, .. }
            | Self::DecisionGet { repository, .. } => Some(repository),
        }
    }

    /// The same operation on another repository; one about none stays as it is.
    #[must_use]
    pub fn in_repository(mut self, name: RepositoryName) -> Self {
        match &mut self {
            Self::Ping
            | Self::Catalog { .. }
            | Self::TagRuleList
            | Self::TagRulePut { .. }
            | Self::TagRuleDelete { .. }
            | Self::PolicyList
            | Self::PolicyGet { .. }
            | Self::PolicyPut { .. }
            | Self::PolicyDelete { .. }
            | Self::PolicySchema
            | Self::WhatIf
            | Self::TrustList
            | Self::TrustPut { .. }
            | Self::TrustDelete { .. } => {}
            Self::TagList { repository, .. }
            | Self::Referrers { repository, .. }
            | Self::ManifestGet { repository, .. }
            | Self::ManifestHead { repository, .. }
            | Self::ManifestPut { repository, .. }
            | Self::ManifestDelete { repository, .. }
            | Self::BlobGet { repository, .. }
            | Self::BlobHead { repository, .. }
            | Self::BlobDelete { repository, .. }
            | Self::UploadStart { repository, .. }
            | Self::UploadChunk { repository, .. }
            | Self::UploadCommit { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadCancel { repository, .. }
            | Self::DecisionGet { repository, .. } => *repository = name,
        }
        self
    }

    /// All names that [`Operation::name`] gives, in the order of [`Operation::index`].
    pub const NAMES: [&'static str; 29] = [
        "ping",
        "catalog",
        "tag_list",
        "referrers",
        "manifest_get",
        "manifest_head",
        "manifest_put",
        "manifest_delete",
        "blob_get",
        "blob_head",
        "blob_delete",
        "upload_start",
        "upload_chunk",
        "upload_commit",
        "upload_status",
        "upload_cancel",
        "tag_rule_list",
        "tag_rule_put",
        "tag_rule_delete",
        "policy_list",
        "policy_get",
        "policy_put",
        "policy_delete",
        "policy_schema",
        "what_if",
        "trust_list",
        "trust_put",
        "trust_delete",
        "decision_get",
    ];

    /// Place of the variant in [`Operation::NAMES`]: a bounded label for metrics.
    pub fn index(&self) -> usize {
        match self {
            Self::Ping => 0,
            Self::Catalog { .. } => 1,
            Self::TagList { .. } => 2,
            Self::Referrers { .. } => 3,
            Self::ManifestGet { .. } => 4,
            Self::ManifestHead { .. } => 5,
            Self::ManifestPut { .. } => 6,
            Self::ManifestDelete { .. } => 7,
            Self::BlobGet { .. } => 8,
            Self::BlobHead { .. } => 9,
            Self::BlobDelete { .. } => 10,
            Self::UploadStart { .. } => 11,
            Self::UploadChunk { .. } => 12,
            Self::UploadCommit { .. } => 13,
            Self::UploadStatus { .. } => 14,
            Self::UploadCancel { .. } => 15,
            Self::TagRuleList => 16,
            Self::TagRulePut { .. } => 17,
            Self::TagRuleDelete { .. } => 18,
            Self::PolicyList => 19,
            Self::PolicyGet { .. } => 20,
            Self::PolicyPut { .. } => 21,
            Self::PolicyDelete { .. } => 22,
            Self::PolicySchema => 23,
            Self::WhatIf => 24,
            Self::TrustList => 25,
            Self::TrustPut { .. } => 26,
            Self::TrustDelete { .. } => 27,
            Self::DecisionGet { .. } => 28,
        }
    }

    /// The operation's name in logs, metrics and audit.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}
