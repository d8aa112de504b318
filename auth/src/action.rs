//! What operations do, and which role each of them takes.

use std::fmt;

use rreg_oci::Operation;

use crate::identity::Role;

/// What an operation does to the registry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Learns that the registry is there.
    Ping,
    /// Learns names.
    List,
    /// Reads content.
    Pull,
    /// Adds content, or works on an upload.
    Push,
    /// Removes content.
    Delete,
    /// Reads or changes the registry's own rules.
    Administer,
}

impl Action {
    /// What `operation` does. The match has no wildcard: a new operation has to be decided about here.
    ///
    /// A tag is deleted by the same rule as a manifest (distribution CVE-2026-41888), and a push needs the same
    /// role whether or not the tag is there already and whatever it is called (zot CVE-2026-31801).
    pub fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Ping | Operation::PolicySchema => Self::Ping,
            Operation::Catalog { .. } => Self::List,
            Operation::TagList { .. }
            | Operation::Referrers { .. }
            | Operation::ManifestGet { .. }
            | Operation::ManifestHead { .. }
            | Operation::BlobGet { .. }
            | Operation::BlobHead { .. }
            | Operation::DecisionGet { .. } => Self::Pull,
            Operation::ManifestPut { .. }
            | Operation::UploadStart { .. }
            | Operation::UploadChunk { .. }
            | Operation::UploadCommit { .. }
            | Operation::UploadStatus { .. }
            | Operation::UploadCancel { .. } => Self::Push,
            Operation::ManifestDelete { .. } | Operation::BlobDelete { .. } => Self::Delete,
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
            | Operation::TrustDelete { .. } => Self::Administer,
        }
    }

    /// The action of an operation's name ([`Operation::NAMES`]), or of one of the words pull, push and delete.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ping" | "policy_schema" => Some(Self::Ping),
            "catalog" => Some(Self::List),
            "pull" | "tag_list" | "referrers" | "manifest_get" | "manifest_head" | "blob_get"
            | "blob_head" | "decision_get" => Some(Self::Pull),
            "push" | "manifest_put" | "upload_start" | "upload_chunk" | "upload_commit" | "upload_status"
            | "upload_cancel" => Some(Self::Push),
            "delete" | "manifest_delete" | "blob_delete" => Some(Self::Delete),
            "tag_rule_list" | "tag_rule_put" | "tag_rule_delete" | "policy_list" | "policy_get"
            | "policy_put" | "policy_delete" | "what_if" | "trust_list" | "trust_put" | "trust_delete" => {
                Some(Self::Administer)
            }
            _ => None,
        }
    }

    /// The least role that it needs in the repository's organisation. Ping and list need none: the one tells nothing,
    /// the other is filtered to what the caller may read. No role is enough to administer.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Ping | Self::List | Self::Administer => None,
            Self::Pull => Some(Role::Reader),
            Self::Push => Some(Role::Writer),
            Self::Delete => Some(Role::Maintainer),
        }
    }

    /// Whether content changes: what is refused while the registry is read-only.
    pub(crate) fn changes(self) -> bool {
        match self {
            Self::Ping | Self::List | Self::Pull | Self::Administer => false,
            Self::Push | Self::Delete => true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ping => "ping",
            Self::List => "list",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Administer => "administer",
        })
    }
}
