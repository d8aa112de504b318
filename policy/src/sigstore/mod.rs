//! Sigstore and cosign.

use rreg_oci::Digest;

/// A Sigstore instance.
#[derive(Debug)]
pub struct SigstoreRoot {
    id: Digest,
}

impl SigstoreRoot {
    /// Digest of the trusted root.
    pub fn id(&self) -> Digest {
        self.id.clone()
    }
}
