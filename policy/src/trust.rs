//! Whom the operator trusts. A trust root is named by the digest of what it says, so what was verified under it stays
//! true as long as the name stays.

use std::sync::Arc;

use rreg_oci::Digest;

use crate::certificates::CertificateRoots;
use crate::key::PublicKey;
use crate::notation::NotationTrust;
use crate::sigstore::SigstoreRoot;

/// What the public instance of Sigstore is called where trust roots are named.
pub const PUBLIC_GOOD: &str = "public-good";

/// One trust root.
#[derive(Clone, Debug)]
pub enum TrustRoot {
    /// A public key.
    Key(PublicKey),
    /// Authorities for signing certificates outside Sigstore.
    Certificates(CertificateRoots),
    /// A Sigstore instance: a `trusted_root.json`.
    Sigstore(Arc<SigstoreRoot>),
    /// One statement of a Notation trust policy with its trust stores.
    Notation(Arc<NotationTrust>),
}

impl TrustRoot {
    /// Digest of its content; equal content has an equal id.
    pub fn id(&self) -> Digest {
        match self {
            Self::Key(key) => key.id(),
            Self::Certificates(roots) => roots.id(),
            Self::Sigstore(root) => root.id(),
            Self::Notation(trust) => trust.id(),
        }
    }
}

impl TrustRoot {
    /// Whether it says anything about images of a repository. Only a statement of a Notation trust policy is about some
    /// and not others. `registry` is empty for the registry's own repositories.
    pub fn speaks_about(&self, registry: &str, repository: &str) -> bool {
        match self {
            Self::Notation(trust) => trust.speaks_about(registry, repository),
            Self::Key(_) | Self::Certificates(_) | Self::Sigstore(_) => true,
        }
    }
}

/// Why trust material cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct TrustError {
    /// What was read, such as `public key`.
    pub what: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl TrustError {
    /// An error about `what`.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}
