//! Signatures by key, in each form.

use chrono::Utc;
use rreg_oci::Digest;
use serde_json::{Value, json};

use super::failed;
use super::forms::{
    bundle, cosign_attestation, cosign_over, cosign_signature, evidence, message_bundle, payload,
};
use super::mint_keys::Pair;
use crate::sigstore::{statement, verify};
use crate::{
    COSIGN_SIGN, Evidence, EvidenceKind, Limits, Signer, TrustRoot, Verdict, Verification, VerifyContext,
};

fn judged(evidence: &Evidence, pair: &Pair) -> Verification {
    let limits = Limits::default();
    verify(
        evidence,
        &TrustRoot::Key(pair.public()),
        &VerifyContext {
            now: Utc::now(),
            limits: &limits,
            revocation: &crate::notation::Revocation::check(),
        },
    )
}

fn subject() -> Digest {
    Digest::sha256(b"an image's manifest")
}

/// Each form over the subject; a message signature needs a key that signs digests.
fn forms(pair: &Pair) -> Vec<Evidence> {
    vec![cosign_signature(pair, &subject()), cosign_attestation(pair, &subject()), bundle(pair, &subject())]
}

#[test]
fn each_kind_of_key_signs_each_form() {
    for (name, pair) in Pair::all() {
        for evidence in forms(&pair) {
            let found = judged(&evidence, &pair);
            assert_eq!(found.verdict, Verdict::Valid, "{name} {found:#?}");
            assert_eq!(found.signer, Some(Signer::Key { key: pair.public().id() }));
        }
        let found = judged(&message_bundle(&pair, b"an image's manifest"), &pair);
        // These sign the message itself, or a digest by another algorithm than the one at hand.
        match name {
            "Ed25519" => assert_eq!(failed(&found), ("signature".into(), Verdict::Error)),
            "P-384" | "P-521" => assert_eq!(failed(&found), ("signature".into(), Verdict::Invalid)),
            _ => assert_eq!(found.verdict, Verdict::Valid, "{name} {found:#?}"),
        }
    }
}

#[test]
fn another_key_is_named_with_what_was_expected() {
    let (pair, other) = (Pair::p256(), Pair::p256());
    for evidence in forms(&pair) {
        let found = judged(&evidence, &other);
        assert_eq!(found.verdict, Verdict::Invalid);
        assert_eq!(found.signer, None);
        let failure = found.failure().unwrap();
        assert!(failure.detail.contains(&other.public().id().to_string()), "{failure:?}");
        if evidence.kind == EvidenceKind::Bundle {
            assert!(failure.detail.contains(&pair.public().id().to_string()), "{failure:?}");
        }
    }
}

#[test]
fn a_signature_that_was_moved_is_invalid() {
    let pair = Pair::p256();
    let elsewhere = Digest::sha256(b"another image");
    for mut evidence in forms(&pair).into_iter().chain([message_bundle(&pair, b"an image's manifest")]) {
        evidence.subject = elsewhere;
        let found = judged(&evidence, &pair);
        // A message signature over something else fails as a signature, too.
        let named = found.checks.iter().find(|check| check.name == "subject").unwrap();
        assert_eq!((found.verdict, named.verdict), (Verdict::Invalid, Verdict::Invalid), "{found:#?}");
    }
}

#[test]
fn a_payload_of_another_kind_is_invalid() {
    let pair = Pair::p256();
    for (from, to) in [
        ("cosign container image signature", "atomic container signature"),
        (&subject().hex()[..8], "00000000"),
    ] {
        let text = String::from_utf8(payload(&subject())).unwrap().replace(from, to);
        let found = judged(&cosign_over(&pair, &subject(), text.into_bytes()), &pair);
        assert_eq!(failed(&found), ("subject".into(), Verdict::Invalid));
    }
    let found = judged(&cosign_over(&pair, &subject(), b"{}".to_vec()), &pair);
    assert_eq!(failed(&found), ("subject".into(), Verdict::Error));
    let twice = format!(r#"{{"critical":{{}},{}"#, &String::from_utf8(payload(&subject())).unwrap()[1..]);
    let found = judged(&cosign_over(&pair, &subject(), twice.into_bytes()), &pair);
    assert_eq!(failed(&found), ("subject".into(), Verdict::Error));
}

#[test]
fn without_a_signature_there_is_nothing_to_check() {
    let pair = Pair::p256();
    let mut evidence = cosign_signature(&pair, &subject());
    evidence.annotations.clear();
    assert_eq!(failed(&judged(&evidence, &pair)), ("signature".into(), Verdict::Error));
    evidence.annotations.insert("dev.cosignproject.cosign/signature".into(), "no base64".into());
    assert_eq!(failed(&judged(&evidence, &pair)), ("signature".into(), Verdict::Error));
}

#[test]
fn one_of_the_signatures_of_an_envelope_suffices() {
    let (pair, other) = (Pair::p256(), Pair::p256());
    let mut evidence = cosign_attestation(&pair, &subject());
    let mut envelope: Value = serde_json::from_slice(&evidence.content).unwrap();
    let second: Value = serde_json::from_slice(&cosign_attestation(&other, &subject()).content).unwrap();
    let added = second["signatures"][0].clone();
    envelope["signatures"].as_array_mut().unwrap().insert(0, added);
    evidence.content = envelope.to_string().into_bytes().into();
    assert_eq!(judged(&evidence, &pair).verdict, Verdict::Valid);
    assert_eq!(judged(&evidence, &other).verdict, Verdict::Valid);
    assert_eq!(judged(&evidence, &Pair::p256()).verdict, Verdict::Invalid);
}

#[test]
fn log_entries_of_a_key_are_said_not_to_be_checked() {
    let pair = Pair::p256();
    let mut evidence = cosign_signature(&pair, &subject());
    evidence.annotations.insert("dev.sigstore.cosign/bundle".into(), "{}".into());
    let found = judged(&evidence, &pair);
    assert_eq!(found.verdict, Verdict::Valid);
    let noted = found.checks.iter().find(|check| check.name == "tlog-entry").unwrap();
    assert!(!noted.enforced && noted.verdict == Verdict::Unverifiable);
}

#[test]
fn a_bundle_with_names_that_do_not_belong_there_is_not_read() {
    let pair = Pair::p256();
    let mut evidence = bundle(&pair, &subject());
    let text = String::from_utf8(evidence.content.to_vec()).unwrap();
    for wrong in [
        text.replacen('{', r#"{"extra":1,"#, 1),
        text.replacen('{', r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","#, 1),
        text.replace("v0.3+json", "v0.9+json"),
        format!("{text}x"),
    ] {
        evidence.content = wrong.into_bytes().into();
        assert_eq!(failed(&judged(&evidence, &pair)), ("bundle".into(), Verdict::Error));
    }
}

#[test]
fn the_statement_is_read_without_being_trusted() {
    let (pair, limits) = (Pair::p256(), Limits::default());
    for evidence in [bundle(&pair, &subject()), cosign_attestation(&pair, &subject())] {
        let statement = statement(&evidence, &limits).unwrap().unwrap();
        assert_eq!(statement.predicate_type, COSIGN_SIGN);
        assert!(statement.covers(&subject()));
    }
    assert_eq!(statement(&cosign_signature(&pair, &subject()), &limits), None);
    assert_eq!(statement(&evidence(EvidenceKind::Bundle, &subject(), b"{}".to_vec()), &limits), None);
}

#[test]
fn other_kinds_are_unverifiable() {
    let pair = Pair::p256();
    for kind in [EvidenceKind::Notation, EvidenceKind::Statement, EvidenceKind::Sbom] {
        let found = judged(&evidence(kind, &subject(), json!({}).to_string().into_bytes()), &pair);
        assert_eq!(failed(&found), ("kind".into(), Verdict::Unverifiable));
    }
}
