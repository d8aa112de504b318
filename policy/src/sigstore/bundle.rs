//! Reading a bundle.

use std::fmt::Write as _;

use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{Bundle, SignatureContent};

use super::errors::Failure;
use super::piece::{Declared, Message, Piece};
use super::shape;
use crate::limits::Limits;
use crate::verdict::Verdict;

/// Reads a bundle within the limits.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Piece, Failure> {
    within("bytes in the bundle", bytes.len(), limits.max_evidence)?;
    shape::check(bytes, limits.max_depth, Some(shape::BUNDLE_NAMES))
        .map_err(|error| Failure::shape("bundle", &error))?;
    let text = std::str::from_utf8(bytes).map_err(|error| unreadable(&error))?;
    let bundle = Bundle::from_json(text).map_err(|error| unreadable(&error))?;
    piece(bundle, limits)
}

/// What a bundle holds.
fn piece(bundle: Bundle, limits: &Limits) -> Result<Piece, Failure> {
    let material = &bundle.verification_material;
    let (entries, stamps) =
        (material.tlog_entries.len(), &material.timestamp_verification_data.rfc3161_timestamps);
    within("log entries", entries, limits.max_proofs)?;
    within("timestamps", stamps.len(), limits.max_proofs)?;
    let timestamps = stamps.iter().map(|stamp| stamp.signed_timestamp.as_bytes().to_vec()).collect();
    let declared = match &material.content {
        VerificationMaterialContent::PublicKey(key) => Declared::Key(key.hint.clone()),
        VerificationMaterialContent::Certificate(certificate) => Declared::Certificate {
            leaf: certificate.raw_bytes.as_bytes().to_vec(),
            others: Vec::new(),
            only: true,
        },
        VerificationMaterialContent::X509CertificateChain { certificates } => {
            within("certificates", certificates.len(), limits.max_chain)?;
            let mut chain = certificates.iter().map(|certificate| certificate.raw_bytes.as_bytes().to_vec());
            let leaf = chain.next().ok_or_else(|| unreadable(&"its certificate chain is empty"))?;
            Declared::Certificate { leaf, others: chain.collect(), only: true }
        }
        _ => return Err(unreadable(&"its verification material is of an unknown kind")),
    };
    let (message, signature) = match &bundle.content {
        SignatureContent::MessageSignature(signature) => {
            let stated = signature.message_digest.as_ref();
            let stated = stated.map(|digest| (digest.algorithm, digest.digest.as_bytes().to_vec()));
            (Message::Artifact { stated }, &signature.signature)
        }
        SignatureContent::DsseEnvelope(envelope) => {
            let message = Message::statement(&envelope.payload_type, envelope.payload.as_bytes(), limits)?;
            (message, &envelope.signature.sig)
        }
        _ => return Err(unreadable(&"its content is of an unknown kind")),
    };
    let signatures = vec![signature.as_bytes().to_vec()];
    let stamped = signatures.clone();
    Ok(Piece { declared, signatures, message, bundle: Ok(Box::new(bundle)), entries, timestamps, stamped })
}

/// An error where there is more of something than the limit.
pub(super) fn within(what: &str, found: usize, limit: usize) -> Result<(), Failure> {
    if found > limit {
        return Err(Failure::new("limits", Verdict::Error, format!("{found} {what}; {limit} are allowed")));
    }
    Ok(())
}

fn unreadable(why: &dyn std::fmt::Display) -> Failure {
    Failure::new("bundle", Verdict::Error, format!("it is no bundle that can be read: {why}"))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
