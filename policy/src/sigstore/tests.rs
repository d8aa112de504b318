mod cosign;
mod flips;
mod forms;
mod keyless;
mod keys;
mod limits;
mod mint;
mod mint_keys;
mod mint_log;
mod mint_tsa;
mod vectors;

use rreg_oci::Digest;
use serde_json::json;

use crate::{Limits, TrustRoot, Verification, VerifyContext};

/// A statement that says that `digest` is signed.
fn statement_about(digest: &Digest) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": crate::COSIGN_SIGN,
        "predicate": {},
    });
    statement.to_string().into_bytes()
}

/// Judges a bundle now, within the usual limits.
fn judged(bundle: &[u8], artifact: &Digest, trust: &TrustRoot) -> Verification {
    let limits = Limits::default();
    super::verify_blob(
        bundle,
        *artifact,
        trust,
        &VerifyContext {
            now: chrono::Utc::now(),
            limits: &limits,
            revocation: &crate::notation::Revocation::check(),
        },
    )
}

/// The name and verdict of the check that did not pass.
fn failed(found: &Verification) -> (String, crate::Verdict) {
    let failure = found.failure().map(|check| (check.name.to_string(), check.verdict));
    failure.unwrap_or_else(|| ("none".into(), found.verdict))
}
