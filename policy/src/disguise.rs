//! Whether what calls itself evidence is nothing else: programs that run images look at content and not at the types that
//! a manifest gives it.

use coset::{CborSerializable as _, CoseSign1, TaggedCborSerializable as _};
use rreg_oci::media_type;
use serde::de::IgnoredAny;

use crate::evidence::is_evidence_type;

/// Whether `content` can be nothing but what its media type says, one of [`is_evidence_type`]: a whole JSON text, a
/// COSE signature, or a text of tags and values. A layer of files is none of them.
pub fn is_evidence_content(media: &str, content: &[u8]) -> bool {
    if !is_evidence_type(media) {
        return false;
    }
    match media_type::essence(media) {
        "application/cose" => {
            CoseSign1::from_tagged_slice(content).is_ok() || CoseSign1::from_slice(content).is_ok()
        }
        "text/spdx+json" if content.starts_with(b"SPDXVersion:") => {
            std::str::from_utf8(content).is_ok_and(|text| !text.contains('\0'))
        }
        _ => serde_json::from_slice::<IgnoredAny>(content).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_no_evidence() {
        let json = "application/vnd.in-toto+json";
        assert!(is_evidence_content(json, br#"{"_type": "https://in-toto.io/Statement/v1"}"#));
        // gzip, zstd, and a tar whose first file is called "{}".
        let mut tar = b"{}".to_vec();
        tar.resize(1024, 0);
        for content in [&b"\x1f\x8b\x08"[..], b"\x28\xb5\x2f\xfd", &tar, b""] {
            assert!(!is_evidence_content(json, content));
            assert!(!is_evidence_content("application/cose", content));
        }
        assert!(!is_evidence_content("application/vnd.oci.image.layer.v1.tar", b"{}"));
    }
}
