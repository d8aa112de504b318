//! Signatures in each form that there is, over whatever is given.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rreg_oci::Digest;
use serde_json::{Value, json};
use sigstore_verify::types::dsse::pae;

use super::mint_keys::Pair;
use super::statement_about;
use crate::{Evidence, EvidenceKind, PAYLOAD_TYPE};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// cosign 2's payload about a digest.
pub(super) fn payload(digest: &Digest) -> Vec<u8> {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "registry.test/acme/app"},
            "image": {"docker-manifest-digest": digest.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    payload.to_string().into_bytes()
}

/// Evidence as it is found in a layer.
pub(super) fn evidence(kind: EvidenceKind, subject: &Digest, content: Vec<u8>) -> Evidence {
    Evidence {
        subject: *subject,
        manifest: Digest::sha256(b"the manifest that carries it"),
        kind,
        media_type: String::new(),
        content: content.into(),
        annotations: BTreeMap::new(),
        found: BTreeSet::new(),
    }
}

/// A layer of a `.sig` image with this payload.
pub(super) fn cosign_over(pair: &Pair, subject: &Digest, payload: Vec<u8>) -> Evidence {
    let signature = STANDARD.encode(pair.sign(&payload));
    let mut evidence = evidence(EvidenceKind::CosignSignature, subject, payload);
    evidence.annotations.insert("dev.cosignproject.cosign/signature".into(), signature);
    evidence
}

/// A layer of a `.sig` image.
pub(super) fn cosign_signature(pair: &Pair, subject: &Digest) -> Evidence {
    cosign_over(pair, subject, payload(subject))
}

/// A DSSE envelope about a digest.
pub(super) fn envelope(pair: &Pair, statement: &[u8]) -> Value {
    json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": STANDARD.encode(statement),
        "signatures": [{"sig": STANDARD.encode(pair.sign(&pae(PAYLOAD_TYPE, statement)))}],
    })
}

/// A layer of an `.att` image.
pub(super) fn cosign_attestation(pair: &Pair, subject: &Digest) -> Evidence {
    let envelope = envelope(pair, &statement_about(subject));
    evidence(EvidenceKind::CosignAttestation, subject, envelope.to_string().into_bytes())
}

/// A bundle with a DSSE envelope, as cosign 3 signs.
pub(super) fn bundle(pair: &Pair, subject: &Digest) -> Evidence {
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": STANDARD.encode(pair.public().id().hash())}},
        "dsseEnvelope": envelope(pair, &statement_about(subject)),
    });
    evidence(EvidenceKind::Bundle, subject, bundle.to_string().into_bytes())
}

/// A bundle that signs the artifact itself.
pub(super) fn message_bundle(pair: &Pair, artifact: &[u8]) -> Evidence {
    let digest = Digest::sha256(artifact);
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": STANDARD.encode(pair.public().id().hash())}},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest.hash())},
            "signature": STANDARD.encode(pair.sign(artifact)),
        },
    });
    evidence(EvidenceKind::Bundle, &digest, bundle.to_string().into_bytes())
}
