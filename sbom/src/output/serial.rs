//! A document's name that follows from its content.

use rreg_oci::{Algorithm, Hasher};

use crate::sbom::Sbom;

/// A version 8 UUID (RFC 9562, 5.8: custom content) of the image's digest, or of the packages of what has none.
pub(super) fn uuid(sbom: &Sbom) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"rreg sbom\0");
    match &sbom.subject.digest {
        Some(digest) => hasher.update(digest.as_bytes()),
        None => {
            for package in &sbom.packages {
                hasher.update(package.purl.as_bytes());
                hasher.update(b"\0");
            }
        }
    }
    let hex = hasher.finish().hex().to_string();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}
