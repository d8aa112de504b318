//! A manifest is refused, or within all limits, with and without a `Content-Type`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rreg_oci::{Manifest, ManifestKind, ManifestLimits, media_type};

fuzz_target!(|body: &[u8]| {
    let limits = ManifestLimits { max_size: 64 << 10, max_descriptors: 20, max_depth: 16 };
    for content_type in [None, Some(media_type::OCI_MANIFEST), Some(media_type::OCI_INDEX)] {
        let Ok(manifest) = Manifest::parse(content_type, body, &limits) else { continue };
        assert!(body.len() <= limits.max_size);
        assert!(manifest.layers.len() + manifest.manifests.len() <= limits.max_descriptors);
        match manifest.kind {
            ManifestKind::Image => assert!(manifest.config.is_some() && manifest.manifests.is_empty()),
            ManifestKind::Index => assert!(manifest.config.is_none() && manifest.layers.is_empty()),
        }
    }
});
