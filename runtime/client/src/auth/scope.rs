//! What a token must allow for an operation (the token specification's `scope` grammar).

use rreg_oci::{Operation, UploadStart};

/// The scopes of an operation, in one fixed spelling, so that they are a cache key too. Empty for the ping and the like,
/// which need a login and no right.
pub(crate) fn of(operation: &Operation) -> Vec<String> {
    let actions = match operation {
        Operation::Ping | Operation::PolicySchema => return Vec::new(),
        Operation::TagRuleList
        | Operation::TagRulePut { .. }
        | Operation::TagRuleDelete { .. }
        | Operation::PolicyList
        | Operation::PolicyGet { .. }
        | Operation::PolicyPut { .. }
        | Operation::PolicyDelete { .. }
        | Operation::WhatIf
        | Operation::TrustList
        | Operation::TrustPut { .. }
        | Operation::TrustDelete { .. } => return vec!["registry:admin:*".into()],
        Operation::Catalog { .. } => return vec!["registry:catalog:*".into()],
        Operation::TagList { .. }
        | Operation::Referrers { .. }
        | Operation::ManifestGet { .. }
        | Operation::ManifestHead { .. }
        | Operation::BlobGet { .. }
        | Operation::BlobHead { .. }
        | Operation::DecisionGet { .. } => "pull",
        Operation::ManifestPut { .. }
        | Operation::UploadStart { .. }
        | Operation::UploadChunk { .. }
        | Operation::UploadCommit { .. }
        | Operation::UploadStatus { .. }
        | Operation::UploadCancel { .. } => "pull,push",
        Operation::ManifestDelete { .. } | Operation::BlobDelete { .. } => "delete",
    };
    let mut scopes = Vec::with_capacity(2);
    if let Some(repository) = operation.repository() {
        scopes.push(format!("repository:{repository}:{actions}"));
    }
    if let Operation::UploadStart { start: UploadStart::Mount { from: Some(from), .. }, .. } = operation {
        scopes.push(format!("repository:{from}:pull"));
    }
    scopes
}

/// What the registry asked for on top of our own scopes.
pub(crate) fn merge(own: &[String], challenge: Option<&str>) -> Vec<String> {
    let mut all = own.to_vec();
    for scope in challenge.unwrap_or_default().split_ascii_whitespace() {
        if !all.iter().any(|known| known == scope) {
            all.push(scope.to_owned());
        }
    }
    all
}
