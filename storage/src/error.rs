//! What can go wrong when keeping bytes and their metadata.

use std::io::ErrorKind;

use rreg_oci::{Digest, DigestError, Reference, RepositoryName, Tag, UploadId};

/// Every failure of this crate. The `Unknown…`, `…Mismatch` and `…InUse` variants are answers about content and
/// are returned before anything is written; the rest are failures of the machinery.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such repository.
    #[error("repository {0} does not exist")]
    UnknownRepository(RepositoryName),
    /// The repository does not hold the blob.
    #[error("blob {digest} is not in repository {repository}")]
    UnknownBlob {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        digest: Digest,
    },
    /// The repository does not hold the manifest or tag.
    #[error("manifest {reference} is not in repository {repository}")]
    UnknownManifest {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        reference: Reference,
    },
    /// No such upload session in this repository: never begun, finished, cancelled or expired.
    #[error("upload {0} is not open in this repository; it may have finished, been cancelled or expired")]
    UnknownUpload(UploadId),
    /// A manifest refers to content that the repository does not hold.
    #[error("the manifest refers to {} not in this repository: {}", plural(.0.len()), join(.0))]
    MissingReferences(Vec<Digest>),
    /// The content is referred to and cannot be deleted.
    #[error("{digest} is still referred to by manifest {by}; delete that first")]
    InUse {
        /// What was to be deleted.
        digest: Digest,
        /// One manifest that needs it.
        by: String,
    },
    /// A rule says that the tag never moves once it is there.
    #[error(
        "tag {tag} of {repository} is {digest} and immutable by rule {rule:?}; it neither moves nor goes; \
         whoever runs this registry can make an exception"
    )]
    ImmutableTag {
        /// Where.
        repository: RepositoryName,
        /// Which tag.
        tag: Tag,
        /// What it points at, and will.
        digest: Digest,
        /// Which rule.
        rule: String,
    },
    /// A rule for immutable tags cannot be taken.
    #[error("{0}")]
    TagRule(String),
    /// The content's digest is not the one that was promised.
    #[error("the content's digest is {found}, not {expected}")]
    DigestMismatch {
        /// What the client said.
        expected: Digest,
        /// What the bytes are.
        found: Digest,
    },
    /// A chunk does not begin where the upload stands.
    #[error("the upload has {at} bytes, so the next chunk begins at {at}, not at {offset}")]
    OffsetMismatch {
        /// Where the upload stands.
        at: u64,
        /// Where the chunk begins.
        offset: u64,
    },
    /// A chunk's body is not as long as announced.
    #[error("the chunk has {found} bytes, but its headers announced {expected}")]
    LengthMismatch {
        /// What the headers said.
        expected: u64,
        /// What arrived.
        found: u64,
    },
    /// The blob is larger than this registry takes.
    #[error("the blob is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// An upload came in too many small chunks. It can be ended with what is missing, in one request.
    #[error(
        "the upload has come in {chunks} chunks, which is too many for its size: send chunks of at least {least} bytes, \
         or the rest in one request"
    )]
    TooManyChunks {
        /// How many have become objects.
        chunks: u64,
        /// How many bytes each should have.
        least: u64,
    },
    /// The client's body ended early or stalled. What arrived is kept in the session.
    #[error("the request body ended early: {0}")]
    Body(String),
    /// Stored bytes are not what was stored. The blob is quarantined.
    #[error("stored content of {digest} is damaged: {what}")]
    Damaged {
        /// Whose bytes.
        digest: Digest,
        /// In which way.
        what: String,
    },
    /// A stored manifest is not what was stored.
    #[error("stored manifest {digest} is damaged; pushing it again heals it")]
    DamagedManifest {
        /// Which one.
        digest: Digest,
    },
    /// Two requests changed the same thing at once and this one lost.
    #[error("another request changed this at the same time; try again")]
    Conflict,
    /// What policies say could not be found out: a failure of ours, in which nobody's `onError` has a say.
    #[error("nothing could be decided: {0}; try again")]
    Undecided(String),
    /// A row does not make sense.
    #[error("the database holds a value that cannot be right: {0}")]
    Corrupt(String),
    /// A saved hash state is unusable.
    #[error(transparent)]
    HashState(#[from] DigestError),
    /// A manifest says another length of a blob than the blob has.
    #[error("the manifest says that {digest} has {stated} bytes, and it has {stored}")]
    SizeMismatch {
        /// Of the blob.
        digest: Digest,
        /// By the manifest, in bytes.
        stated: u64,
        /// Really, in bytes.
        stored: u64,
    },
    /// There is no room for new content. What is there is served, and can be deleted.
    #[error("the registry's disk is full: {0}; delete what is not needed, or give it a larger disk")]
    Full(String),
    /// The object store is not this registry's.
    #[error("object store: {0}")]
    OtherStore(&'static str),
    /// The object store failed.
    #[error("object store: {}", causes(.0))]
    Object(#[from] object_store::Error),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A schema migration failed.
    #[error("database schema: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A file operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// Another process has the embedded database, in this directory.
    #[error("{} is in use by another rreg", .0.display())]
    Held(std::path::PathBuf),
    /// The store is shutting down.
    #[error("the store is shutting down")]
    Closed,
}

impl StorageError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Whether it failed because a disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Database(error) => is_full(error),
            Self::Object(error) => no_room(error),
            Self::Io { source, .. } => no_room(source),
            _ => false,
        }
    }

    /// Whether what is stored here cannot be read as it was stored: a disk, a file, or the bytes. A store or a database that
    /// does not answer is something else: of that nobody knows anything yet.
    pub fn is_of_what_is_stored(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::DamagedManifest { .. }
            | Self::Corrupt(_)
            | Self::HashState(_)
            | Self::SizeMismatch { .. }
            | Self::Io { .. } => true,
            Self::Object(error) => is_of_a_file(error),
            _ => false,
        }
    }

    /// Whether the write may have left something behind in its transaction, which therefore must be rolled back.
    pub(crate) fn taints_transaction(&self) -> bool {
        !matches!(
            self,
            Self::UnknownRepository(_)
                | Self::UnknownBlob { .. }
                | Self::UnknownManifest { .. }
                | Self::UnknownUpload(_)
                | Self::MissingReferences(_)
                | Self::InUse { .. }
                | Self::ImmutableTag { .. }
                | Self::OffsetMismatch { .. }
        )
    }
}

/// Whether it is about a file of this machine (see `blob::directory`).
fn is_of_a_file(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { store: "directory" | "LocalFileSystem", .. })
}

/// The error with what caused it: a library's first sentence rarely says that a name is unknown, a connection was
/// refused or a certificate is nobody's.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let why = cause.to_string();
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        next = cause.source();
    }
    text
}

fn plural(count: usize) -> String {
    if count == 1 {
        "1 blob or manifest that is".into()
    } else {
        format!("{count} blobs or manifests that are")
    }
}

fn join(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `SQLITE_FULL`, or PostgreSQL's `disk_full` (appendix A, class 53).
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("13" | "53100"))
}

/// Whether a file system said so somewhere below.
fn no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| kinds.contains(&error.kind())) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_here_is_told_from_what_does_not_answer() {
        let generic = |store| object_store::Error::Generic { store, source: "no".into() };
        let digest = Digest::sha256(b"x");
        for broken in [
            StorageError::io("reading")(ErrorKind::PermissionDenied.into()),
            StorageError::Damaged { digest, what: String::new() },
            generic("LocalFileSystem").into(),
            generic("directory").into(),
        ] {
            assert!(broken.is_of_what_is_stored(), "{broken}");
        }
        for away in [generic("S3").into(), StorageError::Closed, sqlx::Error::PoolTimedOut.into()] {
            assert!(!away.is_of_what_is_stored(), "{away}");
        }
    }
}
