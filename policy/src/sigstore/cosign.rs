//! What cosign 2 keeps in a layer and its annotations.
//!
//! A signature is over the layer (simple signing), an attestation is a DSSE envelope. For keyless verification both are
//! put into the form of a bundle 0.1, whose log entries carry a promise instead of a proof, as cosign 2 has them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sigstore_verify::types::Bundle;
use x509_cert::Certificate;

use super::bundle::{hex, within};
use super::errors::Failure;
use super::piece::{Declared, Message, Piece};
use super::{shape, timestamp};
use crate::certificates::{is_root, read_pem};
use crate::evidence::Evidence;
use crate::limits::Limits;
use crate::verdict::Verdict;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

/// The annotation with Rekor's promise.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Promise {
    signed_entry_timestamp: String,
    payload: PromisePayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PromisePayload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryBody {
    api_version: String,
    kind: String,
}

#[derive(Deserialize)]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: String,
}

/// Reads a layer of a `.sig` image.
pub(super) fn read_signature(evidence: &Evidence, limits: &Limits) -> Result<Piece, Failure> {
    sizes(evidence, limits)?;
    shape::check(&evidence.content, limits.max_depth, None)
        .map_err(|error| Failure::shape("subject", &error))?;
    let signature = evidence.annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
    let bytes = decoded("signature", signature)?;
    if bytes.is_empty() {
        let detail = format!("the layer has no annotation {SIGNATURE}");
        return Err(Failure::new("signature", Verdict::Error, detail));
    }
    let payload = evidence.content.to_vec();
    let hash = STANDARD.encode(rreg_oci::Digest::sha256(&payload).hash());
    let content = json!({"messageSignature": {
        "messageDigest": {"algorithm": "SHA2_256", "digest": hash},
        "signature": signature,
    }});
    piece(&evidence.annotations, Message::Payload(payload), vec![bytes], content, limits)
}

/// Reads a layer of an `.att` image.
pub(super) fn read_attestation(evidence: &Evidence, limits: &Limits) -> Result<Piece, Failure> {
    sizes(evidence, limits)?;
    shape::check(&evidence.content, limits.max_depth, None)
        .map_err(|error| Failure::shape("envelope", &error))?;
    let envelope: Envelope = serde_json::from_slice(&evidence.content)
        .map_err(|error| Failure::new("envelope", Verdict::Error, format!("no DSSE envelope: {error}")))?;
    within("signatures", envelope.signatures.len(), limits.max_proofs)?;
    let message =
        Message::statement(&envelope.payload_type, &decoded("envelope", &envelope.payload)?, limits)?;
    let signatures = envelope.signatures.iter().map(|signature| decoded("signature", &signature.sig));
    let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
    if signatures.is_empty() {
        return Err(Failure::new("signature", Verdict::Error, "the envelope has no signature"));
    }
    let listed: Vec<Value> =
        envelope.signatures.iter().map(|signature| json!({"sig": signature.sig})).collect();
    let content = json!({"dsseEnvelope": {
        "payloadType": envelope.payload_type,
        "payload": envelope.payload,
        "signatures": listed,
    }});
    let mut piece = piece(&evidence.annotations, message, signatures, content, limits)?;
    // Cosign 2 has the envelope stamped and not its signature, which is what is asked of a bundle's timestamps. It proves
    // nothing there then; the log's promise does.
    if let Ok(bundle) = &mut piece.bundle {
        let stamps = &mut bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
        stamps.retain(|stamp| !timestamp::is_over(stamp.signed_timestamp.as_bytes(), &evidence.content));
    }
    piece.stamped.push(evidence.content.to_vec());
    Ok(piece)
}

fn piece(
    annotations: &BTreeMap<String, String>,
    message: Message,
    signatures: Vec<Vec<u8>>,
    content: Value,
    limits: &Limits,
) -> Result<Piece, Failure> {
    let entries = usize::from(present(annotations, BUNDLE).is_some());
    let timestamps = match stamp(annotations)? {
        None => Vec::new(),
        Some(token) => vec![decoded("timestamp", &token)?],
    };
    let (declared, bundle) = match present(annotations, CERTIFICATE) {
        None => {
            let missing = Failure::new("certificate", Verdict::Error, "it comes without a certificate");
            (Declared::Key(String::new()), Err(missing))
        }
        Some(pem) => {
            let mut chain = certificates(pem)?;
            chain.extend(present(annotations, CHAIN).map(certificates).transpose()?.unwrap_or_default());
            within("certificates", chain.len(), limits.max_chain)?;
            let bundle = as_bundle(annotations, &chain, content).map(Box::new);
            let mut chain = chain.into_iter().map(|certificate| certificate.1);
            let leaf = chain.next().ok_or_else(|| unreadable("certificate", &"there is none in the PEM"))?;
            (Declared::Certificate { leaf, others: chain.collect(), only: false }, bundle)
        }
    };
    let stamped = signatures.clone();
    Ok(Piece { declared, signatures, message, bundle, entries, timestamps, stamped })
}

/// The same as a bundle 0.1, or 0.2 where there is no log entry.
fn as_bundle(
    annotations: &BTreeMap<String, String>,
    chain: &[(Certificate, Vec<u8>)],
    content: Value,
) -> Result<Bundle, Failure> {
    let entries = present(annotations, BUNDLE).map(entry).transpose()?;
    // A root that is sent along proves nothing; the trust root has its own.
    let sent = |(at, (certificate, der)): (usize, &(Certificate, Vec<u8>))| {
        (at == 0 || !is_root(certificate)).then(|| json!({"rawBytes": STANDARD.encode(der)}))
    };
    let sent: Vec<Value> = chain.iter().enumerate().filter_map(sent).collect();
    let timestamps: Vec<Value> =
        stamp(annotations)?.into_iter().map(|token| json!({"signedTimestamp": token})).collect();
    let mut bundle = json!({
        // The first version cannot be without an entry.
        "mediaType": format!(
            "application/vnd.dev.sigstore.bundle+json;version=0.{}",
            if entries.is_some() { 1 } else { 2 }
        ),
        "verificationMaterial": {
            "x509CertificateChain": {"certificates": sent},
            "tlogEntries": entries.into_iter().collect::<Vec<_>>(),
            "timestampVerificationData": {"rfc3161Timestamps": timestamps},
        },
    });
    if let (Some(bundle), Value::Object(content)) = (bundle.as_object_mut(), content) {
        bundle.extend(content);
    }
    Bundle::from_json(&bundle.to_string()).map_err(|error| unreadable("bundle", &error))
}

/// The timestamp, in base64.
fn stamp(annotations: &BTreeMap<String, String>) -> Result<Option<String>, Failure> {
    let read = |text: &str| serde_json::from_str::<Timestamp>(text).map(|timestamp| timestamp.token);
    present(annotations, TIMESTAMP).map(read).transpose().map_err(|error| unreadable("timestamp", &error))
}

/// Rekor's promise as a log entry.
fn entry(promise: &str) -> Result<Value, Failure> {
    let promise: Promise = serde_json::from_str(promise).map_err(|error| unreadable("tlog-entry", &error))?;
    let PromisePayload { body, integrated_time, log_index, log_id } = promise.payload;
    let kind: EntryBody = serde_json::from_slice(&decoded("tlog-entry", &body)?)
        .map_err(|error| unreadable("tlog-entry", &error))?;
    let log = unhex(&log_id).ok_or_else(|| unreadable("tlog-entry", &"its log ID is not hexadecimal"))?;
    Ok(json!({
        "logIndex": log_index.to_string(),
        "logId": {"keyId": STANDARD.encode(log)},
        "kindVersion": {"kind": kind.kind, "version": kind.api_version},
        "integratedTime": integrated_time.to_string(),
        "inclusionPromise": {"signedEntryTimestamp": promise.signed_entry_timestamp},
        "canonicalizedBody": body,
    }))
}

/// Annotations count as much as the content: a limit on one alone would be none.
fn sizes(evidence: &Evidence, limits: &Limits) -> Result<(), Failure> {
    let annotations: usize = evidence.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    within("bytes of content and annotations", evidence.content.len() + annotations, limits.max_evidence)
}

fn present<'a>(annotations: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    annotations.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn certificates(pem: &str) -> Result<Vec<(Certificate, Vec<u8>)>, Failure> {
    read_pem(pem.as_bytes()).map_err(|error| unreadable("certificate", &error))
}

fn decoded(name: &'static str, base64: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(base64).map_err(|error| unreadable(name, &format!("no base64: {error}")))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).filter_map(|pair| Some(pair.first()? * 16 + pair.last()?)).collect();
    (hex(&bytes) == text).then_some(bytes)
}

fn unreadable(name: &'static str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(name, Verdict::Error, format!("it cannot be read: {why}"))
}
