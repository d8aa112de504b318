//! Statements, bundles, and the manifests that carry them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use rreg_oci::{Descriptor, Digest, media_type};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::key::{SignError, SigningKey};
use crate::statement::{COSIGN_SIGN, PAYLOAD_TYPE};

/// Media type of a Sigstore bundle v0.3, of its layer and of its manifest as an artifact.
pub const BUNDLE_V03: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// in-toto attestation framework, Statement v1.
const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [serde_json::Value; 1],
    predicate_type: &'a str,
    predicate: &'a RawValue,
}

/// An in-toto statement about `subject`. The predicate stays as it was written.
///
/// # Errors
/// [`SignError::Signing`] when it cannot be written.
pub fn statement(subject: &Digest, predicate_type: &str, predicate: &RawValue) -> Result<Vec<u8>, SignError> {
    let digest = json!({ subject.algorithm().as_str(): subject.hex() });
    let subject = [json!({ "digest": digest })];
    serde_json::to_vec(&Wire { kind: STATEMENT_V1, subject, predicate_type, predicate }).map_err(unwritten)
}

/// A signature of `subject` as `cosign sign` makes it: a statement whose predicate is empty.
///
/// # Errors
/// [`SignError::Signing`].
pub fn image_bundle(key: &SigningKey, subject: &Digest) -> Result<Vec<u8>, SignError> {
    let nothing = RawValue::from_string("{}".to_owned()).map_err(unwritten)?;
    attest_bundle(key, subject, COSIGN_SIGN, &nothing)
}

/// A signed attestation about `subject`: a bundle v0.3 whose key is named by its hint.
///
/// # Errors
/// [`SignError::Signing`].
pub fn attest_bundle(
    key: &SigningKey,
    subject: &Digest,
    predicate_type: &str,
    predicate: &RawValue,
) -> Result<Vec<u8>, SignError> {
    let payload = statement(subject, predicate_type, predicate)?;
    let signature = key.sign(&pre_authentication(PAYLOAD_TYPE, &payload))?;
    let bundle = json!({
        "mediaType": BUNDLE_V03,
        "verificationMaterial": { "publicKey": { "hint": key.hint() } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "sig": STANDARD.encode(&signature) }],
        },
    });
    serde_json::to_vec(&bundle).map_err(unwritten)
}

/// What is signed of an envelope (DSSE v1, "PAE").
fn pre_authentication(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}

/// The manifest that attaches a bundle to `subject`. Its config is the empty one ([`media_type::OCI_EMPTY`], `{}`).
///
/// # Errors
/// [`SignError::Signing`] when it cannot be written.
pub fn bundle_manifest(
    bundle: &[u8],
    subject: &Descriptor,
    predicate_type: &str,
    created: DateTime<Utc>,
) -> Result<Vec<u8>, SignError> {
    let mut config = json!(Descriptor::new(media_type::OCI_EMPTY, Digest::sha256(b"{}"), 2));
    // cosign writes it there too, for registries that know no artifact types of manifests.
    if let Some(fields) = config.as_object_mut() {
        fields.insert("artifactType".to_owned(), json!(BUNDLE_V03));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": BUNDLE_V03,
        "config": config,
        "layers": [Descriptor::new(BUNDLE_V03, Digest::sha256(bundle), bundle.len() as u64)],
        "subject": Descriptor::new(&subject.media_type, subject.digest, subject.size),
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": predicate_type,
            "org.opencontainers.image.created": created.to_rfc3339_opts(SecondsFormat::Secs, true),
        },
    });
    serde_json::to_vec(&manifest).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> SignError {
    SignError::Signing(error.to_string())
}
