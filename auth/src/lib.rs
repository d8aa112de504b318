//! Who is calling, and may they?
//!
//! Authorization turns an [`Operation`] into a [`Permit`], and handlers take nothing but permits: a request that
//! nobody has judged cannot reach one. Today every caller is [`Identity::Anonymous`] or holds a client certificate,
//! and may do everything that [`Access`] leaves open; users, tokens and roles are not here yet.

use rreg_oci::{Operation, RepositoryName};

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody has said.
    Anonymous,
}

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
}

impl Action {
    /// What `operation` does. The match has no wildcard: a new operation has to be decided about here.
    pub fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Ping => Self::Ping,
            Operation::Catalog { .. } => Self::List,
            Operation::TagList { .. }
            | Operation::Referrers { .. }
            | Operation::ManifestGet { .. }
            | Operation::ManifestHead { .. }
            | Operation::BlobGet { .. }
            | Operation::BlobHead { .. } => Self::Pull,
            Operation::ManifestPut { .. }
            | Operation::UploadStart { .. }
            | Operation::UploadChunk { .. }
            | Operation::UploadCommit { .. }
            | Operation::UploadStatus { .. }
            | Operation::UploadCancel { .. } => Self::Push,
            Operation::ManifestDelete { .. } | Operation::BlobDelete { .. } => Self::Delete,
        }
    }
}

/// What the registry lets callers do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// Refuses whatever would change content: for maintenance and mirrors.
    pub read_only: bool,
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The registry takes no changes now.
    #[error("this registry is read-only now (server.read_only)")]
    ReadOnly,
}

/// Proof that an operation was allowed. Only [`Access::authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    operation: Operation,
    identity: Identity,
}

impl Access {
    /// Judges whether `identity` may do `operation`.
    ///
    /// # Errors
    /// [`Denied`], with the reason.
    pub fn authorize(&self, identity: Identity, operation: Operation) -> Result<Permit, Denied> {
        match Action::of(&operation) {
            Action::Push | Action::Delete if self.read_only => Err(Denied::ReadOnly),
            Action::Ping | Action::List | Action::Pull | Action::Push | Action::Delete => {
                Ok(Permit { operation, identity })
            }
        }
    }
}

impl Permit {
    /// What was allowed.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// To whom.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the same caller may read `repository` too, which is what mounting a blob from it needs.
    pub fn may_read(&self, _repository: &RepositoryName) -> bool {
        match self.identity {
            Identity::Anonymous => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_refuses_every_change_and_nothing_else() {
        let upload = "00000000-0000-4000-8000-000000000000";
        let digest = format!("sha256:{}", "0".repeat(64));
        let requests = [
            ("GET", "/v2/".to_owned(), Action::Ping),
            ("GET", "/v2/_catalog".to_owned(), Action::List),
            ("GET", "/v2/a/tags/list".to_owned(), Action::Pull),
            ("GET", format!("/v2/a/referrers/{digest}"), Action::Pull),
            ("GET", "/v2/a/manifests/t".to_owned(), Action::Pull),
            ("HEAD", "/v2/a/manifests/t".to_owned(), Action::Pull),
            ("PUT", "/v2/a/manifests/t".to_owned(), Action::Push),
            ("DELETE", "/v2/a/manifests/t".to_owned(), Action::Delete),
            ("GET", format!("/v2/a/blobs/{digest}"), Action::Pull),
            ("HEAD", format!("/v2/a/blobs/{digest}"), Action::Pull),
            ("DELETE", format!("/v2/a/blobs/{digest}"), Action::Delete),
            ("POST", "/v2/a/blobs/uploads/".to_owned(), Action::Push),
            ("PATCH", format!("/v2/a/blobs/uploads/{upload}"), Action::Push),
            ("PUT", format!("/v2/a/blobs/uploads/{upload}?digest={digest}"), Action::Push),
            ("GET", format!("/v2/a/blobs/uploads/{upload}"), Action::Push),
            ("DELETE", format!("/v2/a/blobs/uploads/{upload}"), Action::Push),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (method, target, action) in requests {
            let (path, query) = target.split_once('?').map_or((&*target, None), |(p, q)| (p, Some(q)));
            let operation = Operation::parse(method, path, query).unwrap();
            seen.insert(operation.name());
            assert_eq!(Action::of(&operation), action, "{method} {target}");
            let open = Access::default().authorize(Identity::Anonymous, operation.clone()).unwrap();
            assert_eq!(*open.operation(), operation);
            let judged = Access { read_only: true }.authorize(Identity::Anonymous, operation);
            let changes = matches!(action, Action::Push | Action::Delete);
            assert_eq!(judged.is_err(), changes, "{method} {target}");
        }
        assert_eq!(seen.len(), Operation::NAMES.len(), "every operation is in the table");
    }
}
