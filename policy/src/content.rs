//! How evidence is read, wherever it lies: the registry reads its own store, the gate and the node a registry.

use async_trait::async_trait;
use bytes::Bytes;
use rreg_oci::{Descriptor, Digest, Reference};

/// A manifest as it was read.
#[derive(Clone, Debug)]
pub struct ManifestContent {
    /// Media type as it was served or stored.
    pub media_type: String,
    /// Digest of the body, checked by who read it.
    pub digest: Digest,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// Why content could not be read. That there is none is not an error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what} could not be read: {why}")]
pub struct ReadError {
    /// What was asked for.
    pub what: String,
    /// What went wrong.
    pub why: String,
    /// It is longer than what was to be read: who made it chose that, and it stays so.
    pub is_too_long: bool,
}

impl ReadError {
    /// One that may pass.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), is_too_long: false }
    }

    /// One of content that is longer than what was to be read.
    pub fn too_long(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { is_too_long: true, ..Self::new(what, why) }
    }
}

/// One repository to read from.
#[async_trait]
pub trait Content: Send + Sync {
    /// The manifest at a tag or digest; `None` where there is none.
    async fn manifest(&self, reference: &Reference) -> Result<Option<ManifestContent>, ReadError>;

    /// The descriptors of the manifests with this subject: at most `limit`, and whether there are more. A registry
    /// without a referrers API answers what its fallback tag says.
    async fn referrers(&self, subject: &Digest, limit: usize) -> Result<(Vec<Descriptor>, bool), ReadError>;

    /// A whole blob; an error where it is absent, longer than `limit` ([`ReadError::is_too_long`]), or not of this
    /// digest.
    async fn blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, ReadError>;
}
