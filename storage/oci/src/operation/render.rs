//! From an operation to its request line.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Operation, Page, UploadId, UploadStart};
use crate::digest::{Algorithm, Digest};
use crate::name::{Reference, RepositoryName};

/// What may not stand bare in a query value. `+` is escaped because some readers take it for a space.
const QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+').add(b'<').add(b'>');

const TAG_RULES: &str = "/v2/_rreg/tag-rules";
const POLICIES: &str = "/v2/_rreg/policies";
const TRUST: &str = "/v2/_rreg/trust";

impl Operation {
    /// The request line that [`Operation::parse`] reads back to an equal value: method, then path and query.
    pub fn render(&self) -> (&'static str, String) {
        match self {
            Self::Ping => ("GET", "/v2/".into()),
            Self::Catalog { page } => ("GET", with_page("/v2/_catalog".into(), page)),
            Self::TagList { repository, page } => {
                ("GET", with_page(format!("/v2/{repository}/tags/list"), page))
            }
            Self::Referrers { repository, subject, artifact_type, page } => {
                let path = format!("/v2/{repository}/referrers/{subject}");
                ("GET", with_page(with(path, "artifactType", artifact_type.as_deref()), page))
            }
            Self::ManifestGet { repository, reference } => ("GET", manifest_path(repository, reference)),
            Self::ManifestHead { repository, reference } => ("HEAD", manifest_path(repository, reference)),
            Self::ManifestDelete { repository, reference } => {
                ("DELETE", manifest_path(repository, reference))
            }
            Self::ManifestPut { repository, reference, tags } => {
                let path = manifest_path(repository, reference);
                ("PUT", tags.iter().fold(path, |path, tag| with(path, "tag", Some(tag.as_str()))))
            }
            Self::BlobGet { repository, digest } => ("GET", blob_path(repository, digest)),
            Self::BlobHead { repository, digest } => ("HEAD", blob_path(repository, digest)),
            Self::BlobDelete { repository, digest } => ("DELETE", blob_path(repository, digest)),
            Self::UploadStart { repository, start } => ("POST", upload_start_path(repository, start)),
            Self::UploadChunk { repository, upload } => ("PATCH", upload_path(repository, upload)),
            Self::UploadCommit { repository, upload, digest } => {
                ("PUT", with(upload_path(repository, upload), "digest", Some(&digest.to_string())))
            }
            Self::UploadStatus { repository, upload } => ("GET", upload_path(repository, upload)),
            Self::UploadCancel { repository, upload } => ("DELETE", upload_path(repository, upload)),
            Self::TagRuleList => ("GET", TAG_RULES.into()),
            Self::TagRulePut { rule } => ("PUT", format!("{TAG_RULES}/{rule}")),
            Self::TagRuleDelete { rule } => ("DELETE", format!("{TAG_RULES}/{rule}")),
            Self::PolicyList => ("GET", POLICIES.into()),
            Self::PolicyGet { policy } => ("GET", format!("{POLICIES}/{policy}")),
            Self::PolicyPut { policy } => ("PUT", format!("{POLICIES}/{policy}")),
            Self::PolicyDelete { policy } => ("DELETE", format!("{POLICIES}/{policy}")),
            Self::PolicySchema => ("GET", "/v2/_rreg/policy-schema".into()),
            Self::WhatIf => ("POST", "/v2/_rreg/what-if".into()),
            Self::TrustList => ("GET", TRUST.into()),
            Self::TrustPut { trust } => ("PUT", format!("{TRUST}/{trust}")),
            Self::TrustDelete { trust } => ("DELETE", format!("{TRUST}/{trust}")),
            Self::DecisionGet { repository, reference } => {
                ("GET", format!("/v2/{repository}/_rreg/decisions/{reference}"))
            }
        }
    }
}

fn manifest_path(repository: &RepositoryName, reference: &Reference) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

fn blob_path(repository: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

fn upload_path(repository: &RepositoryName, upload: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{upload}")
}

fn upload_start_path(repository: &RepositoryName, start: &UploadStart) -> String {
    let path = format!("/v2/{repository}/blobs/uploads/");
    match start {
        UploadStart::Session { algorithm: Algorithm::Sha256 } => path,
        UploadStart::Session { algorithm } => with(path, "digest-algorithm", Some(algorithm.as_str())),
        UploadStart::Monolithic { digest } => with(path, "digest", Some(&digest.to_string())),
        UploadStart::Mount { digest, from } => {
            let path = with(path, "mount", Some(&digest.to_string()));
            with(path, "from", from.as_ref().map(RepositoryName::as_str))
        }
    }
}

fn with(mut path: String, key: &str, value: Option<&str>) -> String {
    if let Some(value) = value {
        let separator = if path.contains('?') { '&' } else { '?' };
        // Writing into a String cannot fail.
        let _ = write!(path, "{separator}{key}={}", utf8_percent_encode(value, QUERY));
    }
    path
}

fn with_page(path: String, page: &Page) -> String {
    let n = page.n.map(|n| n.to_string());
    with(with(path, "n", n.as_deref()), "last", page.last.as_deref())
}
