//! The tags under which cosign 2 keeps what belongs to an image: `sha256-<hex>.sig`, `.att` and `.sbom` (cosign,
//! "Signature Specification", storage). The manifests there have no `subject`; the tag alone says what they are about.

use crate::digest::{Algorithm, Digest};
use crate::name::Tag;

/// What is kept under such a tag, by its ending: signatures, attestations, and a list of packages.
const ENDINGS: [&str; 3] = ["sig", "att", "sbom"];

impl Digest {
    /// The tags where cosign 2 keeps what belongs to this digest. None for SHA-512: cosign has none, and the tag of a
    /// hash cut short would be another digest's.
    pub fn cosign_tags(&self) -> Vec<Tag> {
        match self.algorithm() {
            Algorithm::Sha256 => {
                let tag = |ending| format!("{}.{ending}", self.referrers_tag()).parse().ok();
                ENDINGS.into_iter().filter_map(tag).collect()
            }
            Algorithm::Sha512 => Vec::new(),
        }
    }
}

impl Tag {
    /// What the manifest under this tag is about, if it is one of cosign 2's tags.
    pub fn cosign_subject(&self) -> Option<Digest> {
        let (stem, ending) = self.as_str().split_once('.')?;
        let hex = stem.strip_prefix("sha256-").filter(|_| ENDINGS.contains(&ending))?;
        format!("sha256:{hex}").parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lead_to_their_digest_and_back() {
        let digest = Digest::sha256(b"image");
        let tags = digest.cosign_tags();
        assert_eq!(tags.len(), ENDINGS.len());
        assert_eq!(tags.first().map(Tag::as_str), Some(format!("sha256-{}.sig", digest.hex()).as_str()));
        for tag in tags {
            assert_eq!(tag.cosign_subject(), Some(digest), "{tag}");
        }
        assert!(Digest::of(Algorithm::Sha512, b"image").cosign_tags().is_empty());
        let hex = digest.hex();
        for other in
            [format!("sha256-{hex}"), format!("sha256-{hex}.sigx"), format!("sha256-{}.sig", &hex[1..])]
        {
            let tag: Tag = other.parse().unwrap_or_else(|e| panic!("{other}: {e}"));
            assert_eq!(tag.cosign_subject(), None, "{other}");
        }
    }
}
