//! Notation.

use rreg_oci::Digest;

/// One statement of a trust policy with its stores.
#[derive(Debug)]
pub struct NotationTrust {
    id: Digest,
}

impl NotationTrust {
    /// Digest of it all.
    pub fn id(&self) -> Digest {
        self.id
    }
}
