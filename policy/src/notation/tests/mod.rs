//! Tests of Notation: with certificates, envelopes, time stamps and revocation answers minted here, and with the vectors
//! of the reference implementation where they are at hand.

mod chains;
mod envelopes;
mod identities;
mod levels;
mod mint;
mod mint_answers;
mod policies;
mod revocations;
mod timestamps;
mod vectors;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rreg_oci::Digest;

use crate::context::VerifyContext;
use crate::evidence::{Evidence, EvidenceKind};
use crate::limits::Limits;
use crate::notation::{NotationTrust, Revocation, TrustStores, verify};
use crate::verdict::{Verdict, Verification};

const JWS: &str = "application/jose+json";
const COSE: &str = "application/cose";

fn subject() -> Digest {
    Digest::sha256(b"the image")
}

fn evidence(media: &str, content: &[u8], subject: &Digest) -> Evidence {
    Evidence {
        subject: *subject,
        manifest: Digest::sha256(b"the signature's manifest"),
        kind: EvidenceKind::Notation,
        media_type: media.to_owned(),
        content: Bytes::copy_from_slice(content),
        annotations: Default::default(),
        found: Default::default(),
    }
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// When the tests take it to be; minted certificates hold from 2020 to 2040.
fn now() -> DateTime<Utc> {
    time("2025-06-01T12:00:00Z")
}

fn judge_at(
    media: &str,
    content: &[u8],
    trust: &NotationTrust,
    revocation: &Revocation,
    now: DateTime<Utc>,
) -> Verification {
    let limits = Limits::default();
    let context = VerifyContext { now, limits: &limits, revocation };
    verify(&evidence(media, content, &subject()), trust, &context)
}

fn judge(media: &str, content: &[u8], trust: &NotationTrust) -> Verification {
    judge_at(media, content, trust, &Revocation::check(), now())
}

/// Strict trust in the certificates of `ca:acme`.
fn trusting(der: &[u8]) -> NotationTrust {
    let stores =
        TrustStores::new([("ca", "acme", "root.der", der), ("signingAuthority", "acme", "root.der", der)]);
    NotationTrust::strict("acme", &stores.unwrap()).unwrap()
}

#[track_caller]
fn failed(found: &Verification, check: &str, verdict: Verdict) {
    let failure = found.failure().unwrap_or_else(|| panic!("nothing failed: {found:?}"));
    assert_eq!((failure.name.as_ref(), failure.verdict), (check, verdict), "{found:?}");
    assert_ne!(found.verdict, Verdict::Valid);
}
