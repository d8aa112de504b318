//! Past a limit the answer is an error with the name `limits`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use rreg_oci::Digest;
use serde_json::{Value, json};

use super::failed;
use super::forms::{bundle, cosign_attestation, cosign_over, cosign_signature, envelope, evidence, payload};
use super::mint::{Mint, Plan, pem};
use super::mint_keys::Pair;
use crate::sigstore::verify;
use crate::{Evidence, EvidenceKind, Limits, TrustRoot, Verdict, VerifyContext};

fn subject() -> Digest {
    Digest::sha256(b"an image's manifest")
}

fn assert_limited(evidence: &Evidence, pair: &Pair, limits: &Limits) {
    let found = verify(
        evidence,
        &TrustRoot::Key(pair.public()),
        &VerifyContext { now: Utc::now(), limits, revocation: &crate::notation::Revocation::check() },
    );
    assert_eq!(failed(&found), ("limits".into(), Verdict::Error), "{found:#?}");
}

#[test]
fn bytes_are_limited_with_annotations() {
    let pair = Pair::p256();
    for evidence in [
        bundle(&pair, &subject()),
        cosign_attestation(&pair, &subject()),
        cosign_signature(&pair, &subject()),
    ] {
        let limits = Limits { max_evidence: evidence.content.len() - 1, ..Limits::default() };
        assert_limited(&evidence, &pair, &limits);
    }
    let mut evidence = cosign_signature(&pair, &subject());
    evidence.annotations.insert("dev.sigstore.cosign/bundle".into(), "x".repeat(1000));
    let limits = Limits { max_evidence: evidence.content.len() + 500, ..Limits::default() };
    assert_limited(&evidence, &pair, &limits);
}

#[test]
fn nesting_is_limited_outside_and_inside() {
    let pair = Pair::p256();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for kind in [EvidenceKind::Bundle, EvidenceKind::CosignSignature, EvidenceKind::CosignAttestation] {
        assert_limited(&evidence(kind, &subject(), deep.clone().into_bytes()), &pair, &Limits::default());
    }
    let nested = |depth: usize| {
        let inside = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"p","predicate":{inside}}}"#,
            subject().hex()
        );
        let envelope = envelope(&pair, statement.as_bytes());
        evidence(EvidenceKind::CosignAttestation, &subject(), envelope.to_string().into_bytes())
    };
    assert_limited(&nested(64), &pair, &Limits::default());
    let context = Limits::default();
    let found = verify(
        &nested(63),
        &TrustRoot::Key(pair.public()),
        &VerifyContext {
            now: Utc::now(),
            limits: &context,
            revocation: &crate::notation::Revocation::check(),
        },
    );
    assert_eq!(found.verdict, Verdict::Valid);
    let payload = String::from_utf8(payload(&subject())).unwrap();
    let payload = payload.replace("null", &format!("{}{}", "[".repeat(70), "]".repeat(70)));
    assert_limited(&cosign_over(&pair, &subject(), payload.into_bytes()), &pair, &Limits::default());
}

#[test]
fn subjects_and_signatures_are_limited() {
    let pair = Pair::p256();
    let one = json!({"digest": {"sha256": subject().hex()}});
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": vec![one; 1025],
        "predicateType": "p",
    });
    let many = envelope(&pair, statement.to_string().as_bytes());
    let many = evidence(EvidenceKind::CosignAttestation, &subject(), many.to_string().into_bytes());
    assert_limited(&many, &pair, &Limits::default());
    let mut evidence = cosign_attestation(&pair, &subject());
    let mut envelope: Value = serde_json::from_slice(&evidence.content).unwrap();
    envelope["signatures"] = json!(vec![envelope["signatures"][0].clone(); 33]);
    evidence.content = envelope.to_string().into_bytes().into();
    assert_limited(&evidence, &pair, &Limits::default());
}

/// Who signed decides whether it may say something against an image: anybody may attach what cannot be read.
#[test]
fn who_signed_what_cannot_be_read_is_proved() {
    let one = json!({"digest": {"sha256": subject().hex()}});
    let statement = |kind: &str, subjects: usize| {
        let subjects = vec![one.clone(); subjects];
        json!({"_type": kind, "subject": subjects, "predicateType": "p"}).to_string().into_bytes()
    };
    let v1 = "https://in-toto.io/Statement/v1";
    let (mint, pair, other) = (Mint::new("acme signing", Utc::now()), Pair::p256(), Pair::p256());
    let (key, key_of_other) = (TrustRoot::Key(pair.public()), TrustRoot::Key(other.public()));
    let keyless = TrustRoot::Sigstore(mint.root().into());
    let keyless_of_other = TrustRoot::Sigstore(Mint::new("acme signing", Utc::now()).root().into());
    let limits = Limits::default();
    let signer = |piece: &Evidence, root: &TrustRoot| {
        let context = VerifyContext {
            now: Utc::now(),
            limits: &limits,
            revocation: &crate::notation::Revocation::check(),
        };
        let found = verify(piece, root, &context);
        assert_ne!(found.verdict, Verdict::Valid, "{found:#?}");
        found.signer
    };
    for unreadable in
        [statement(v1, 1025), statement("https://in-toto.io/Statement/v9", 1), b"no statement".to_vec()]
    {
        let by_key = envelope(&pair, &unreadable);
        let by_key = evidence(EvidenceKind::CosignAttestation, &subject(), by_key.to_string().into_bytes());
        assert!(matches!(crate::sigstore::statement(&by_key, &limits), Some(Err(_))));
        assert!(matches!(signer(&by_key, &key), Some(crate::Signer::Key { .. })));
        assert_eq!(signer(&by_key, &key_of_other), None);
        let attested = mint.attest(&Plan::at(mint.now), &unreadable);
        let bundle =
            |value: &Value| evidence(EvidenceKind::Bundle, &subject(), value.to_string().into_bytes());
        assert!(matches!(signer(&bundle(&attested), &keyless), Some(crate::Signer::Keyless { .. })));
        assert_eq!(signer(&bundle(&attested), &keyless_of_other), None);
        let mut forged = attested;
        forged["dsseEnvelope"]["payload"] = STANDARD.encode(b"something else").into();
        assert_eq!(signer(&bundle(&forged), &keyless), None);
    }
}

#[test]
fn proofs_and_certificates_are_limited() {
    let (mint, pair) = (Mint::new("acme signing", Utc::now()), Pair::p256());
    let right = mint.attest(&Plan::at(mint.now), &super::statement_about(&subject()));
    let bundle = |bundle: &Value| evidence(EvidenceKind::Bundle, &subject(), bundle.to_string().into_bytes());
    let mut many = right.clone();
    many["verificationMaterial"]["tlogEntries"] =
        json!(vec![right["verificationMaterial"]["tlogEntries"][0].clone(); 33]);
    assert_limited(&bundle(&many), &pair, &Limits::default());
    let stamps = &right["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0];
    let mut many = right.clone();
    many["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] =
        json!(vec![stamps.clone(); 33]);
    assert_limited(&bundle(&many), &pair, &Limits::default());
    let mut many = right.clone();
    let material = many["verificationMaterial"].as_object_mut().unwrap();
    let leaf = material.remove("certificate").unwrap();
    let der = STANDARD.decode(leaf["rawBytes"].as_str().unwrap()).unwrap();
    material.insert("x509CertificateChain".into(), json!({"certificates": vec![leaf; 11]}));
    assert_limited(&bundle(&many), &pair, &Limits::default());
    let mut evidence = cosign_signature(&pair, &subject());
    evidence.annotations.insert("dev.sigstore.cosign/certificate".into(), pem(&der));
    evidence.annotations.insert("dev.sigstore.cosign/chain".into(), pem(&der).repeat(10));
    assert_limited(&evidence, &pair, &Limits::default());
}
