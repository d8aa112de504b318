//! Authorities for signing certificates outside Sigstore.

use rreg_oci::Digest;

/// Root certificates.
#[derive(Clone, Debug)]
pub struct CertificateRoots {
    id: Digest,
}

impl CertificateRoots {
    /// Digest of the certificates.
    pub fn id(&self) -> Digest {
        self.id.clone()
    }
}
