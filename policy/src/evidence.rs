//! A signature or attestation as it was found, before anybody judged it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rreg_oci::{Digest, media_type};
use serde::{Deserialize, Serialize};

/// What a piece of evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// A Sigstore bundle (`application/vnd.dev.sigstore.bundle…`): a signature or an attestation.
    Bundle,
    /// A layer of cosign 2's `.sig` image: a simple-signing payload, its signature in annotations.
    CosignSignature,
    /// A layer of cosign 2's `.att` image: a DSSE envelope.
    CosignAttestation,
    /// A Notation envelope, JWS or COSE by its media type.
    Notation,
    /// An in-toto statement that nobody signed, as BuildKit attaches them. Evidence of content, never of identity.
    Statement,
    /// An SBOM document that nobody signed.
    Sbom,
}

/// How it was found. One piece may be found in several ways; it counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Its manifest has the subject.
    Referrer,
    /// An index at the tag `sha256-<hex>` names it (distribution-spec, "Referrers Tag Schema").
    ReferrersTag,
    /// It lies at cosign's tag `sha256-<hex>.sig`, `.att` or `.sbom`.
    CosignTag,
    /// The index that has the image names it (BuildKit's `vnd.docker.reference.digest`).
    Index,
}

/// One signature, attestation or document about a subject.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The digest that it is said to be about. Whether it is, the verification checks.
    pub subject: Digest,
    /// The manifest that carries it.
    pub manifest: Digest,
    /// What it is.
    pub kind: EvidenceKind,
    /// Media type of the content.
    pub media_type: String,
    /// The content: a bundle, payload, envelope or statement. Bounded by [`crate::Limits`].
    pub content: Bytes,
    /// The layer's annotations: cosign 2 keeps signature, certificate, chain and bundle there.
    pub annotations: BTreeMap<String, String>,
    /// How it was found.
    pub found: BTreeSet<Found>,
}

impl Evidence {
    /// Its name: the same content about the same subject has the same one, wherever it was found. Annotations count,
    /// since two signatures by cosign 2 differ in nothing else, and so does the media type: it says how the content is
    /// read, and the same bytes under a wrong one, which anybody can attach, must not stand in for them.
    pub fn id(&self) -> Digest {
        let media_type = media_type::essence(&self.media_type);
        let content = Digest::sha256(&self.content);
        let parts = (self.kind, media_type, &self.subject, content, &self.annotations);
        Digest::sha256(serde_json::to_string(&parts).unwrap_or_default().as_bytes())
    }
}

/// Media types of layers that are evidence. `media` may carry parameters.
pub fn is_evidence_type(media: &str) -> bool {
    let essence = media_type::essence(media);
    essence.starts_with("application/vnd.dev.sigstore.bundle") && essence.ends_with("json")
        || matches!(
            essence,
            "application/vnd.dev.cosign.simplesigning.v1+json"
                | "application/vnd.dsse.envelope.v1+json"
                | "application/vnd.in-toto+json"
                | "application/vnd.cncf.notary.signature"
                | "application/jose+json"
                | "application/cose"
                | "application/spdx+json"
                | "application/vnd.cyclonedx+json"
                | "text/spdx+json"
        )
}
