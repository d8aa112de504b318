//! Notation: signatures of the Notary Project, in JWS and COSE, under trust policies and trust stores as notation writes
//! them.
//!
//! [`TrustPolicyDocument`] and [`TrustStores`] are read into a [`NotationTrust`] for each statement; [`verify`] judges an
//! envelope under one of them. No network is touched: [`wanted`] says which revocation lists and OCSP answers are missing
//! in the [`Revocation`] that came in.
//!
//! Not here: verification plug-ins (an envelope that asks for one is `unverifiable`), trust policies for blobs, name
//! constraints (a chain with critical ones is refused).

mod algorithm;
mod certificate;
mod chain;
mod cose;
mod crl;
mod envelope;
mod identity;
mod jws;
mod levels;
mod ocsp;
mod revocation;
mod timestamp;
mod trust;
mod trust_policy;
mod trust_store;
mod verify;

#[cfg(test)]
mod tests;

pub use identity::{check_subject_pattern, subject_matches};
pub use levels::{Action, Level};
pub use revocation::{Answer, Fetch, MAX_CRL, MAX_OCSP, Revocation, RevocationMode, UnknownRevocation};
pub use trust::NotationTrust;
pub use trust_policy::{TrustPolicyDocument, VerifyTimestamp};
pub use trust_store::{StoreType, TrustStores};

use chrono::{DateTime, Utc};

use crate::context::VerifyContext;
use crate::evidence::Evidence;
use crate::verdict::{Verdict, Verification};

/// Whether the bytes are an envelope with all its parts: algorithm, content type, certificates, and a payload in JSON.
/// `essence` is its media type without parameters.
pub(crate) fn is_envelope(essence: &str, bytes: &[u8]) -> bool {
    let envelope = envelope::Envelope::parse(essence, bytes, &crate::Limits::default());
    envelope.is_ok_and(|envelope| {
        envelope.protected.content_type == envelope::PAYLOAD_TYPE
            && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&envelope.payload).is_ok()
    })
}

/// When a time-stamp token says that `message` was there, the earliest and the latest, where its authority leads to a root
/// among `known` (DER), perhaps through others of these; else what that says of the token, and why.
pub(crate) fn stamped_at(
    token: &[u8],
    message: &[u8],
    known: &[Vec<u8>],
    limits: &crate::Limits,
) -> Result<(DateTime<Utc>, DateTime<Utc>), (Verdict, String)> {
    let read = known.iter().filter_map(|der| certificate::Certificate::from_der(der).ok());
    let (roots, others): (Vec<_>, Vec<_>) = read.partition(certificate::Certificate::is_self_signed);
    match timestamp::verify(token, message, (&roots, &others), limits) {
        Ok(proved) => Ok((proved.earliest, proved.latest)),
        Err(timestamp::TimestampError::Limit(why)) => Err((Verdict::Error, why)),
        Err(timestamp::TimestampError::Wrong(why)) => Err((Verdict::Invalid, why)),
        Err(timestamp::TimestampError::Untrusted(why)) => Err((Verdict::Unverifiable, why)),
    }
}

/// Judges an envelope under one statement of a trust policy. Checks: `integrity`, `subject`, `critical-attributes`,
/// `authenticity`, `identity`, `expiry`, `authentic-timestamp`, `revocation`; or one alone: `level` (the statement
/// skips), `limits`, `envelope` (it cannot be read).
pub fn verify(evidence: &Evidence, trust: &NotationTrust, context: &VerifyContext<'_>) -> Verification {
    verify::Verifier::new(trust, context).run(evidence)
}

/// What [`verify`] would ask for and does not have. Fetch it, put the answers and failures into [`Revocation`] and ask
/// again until it is empty: a responder that does not answer leads to a list, and a list to its delta list, so three
/// rounds are enough. Only addresses in certificates of a trusted chain come out.
pub fn wanted(evidence: &Evidence, trust: &NotationTrust, context: &VerifyContext<'_>) -> Vec<Fetch> {
    let mut verifier = verify::Verifier::new(trust, context);
    verifier.run(evidence);
    verifier.inquiry.wanted.into_iter().collect()
}
