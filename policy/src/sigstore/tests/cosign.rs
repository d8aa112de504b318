//! Keyless signatures as cosign 2 keeps them: certificate, chain, promise and timestamp in annotations.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use rreg_oci::Digest;
use serde_json::{Value, json};
use sigstore_verify::types::dsse::pae;

use super::forms::{evidence, payload};
use super::mint::{IDENTITY, Mint, Plan, Sct, pem};
use super::{failed, statement_about};
use crate::certificates::CertificateRoots;
use crate::sigstore::verify;
use crate::{
    Evidence, EvidenceKind, Limits, PAYLOAD_TYPE, Signer, TrustRoot, Verdict, Verification, VerifyContext,
};

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

fn subject() -> Digest {
    Digest::sha256(b"an image's manifest")
}

fn judged(evidence: &Evidence, trust: &TrustRoot) -> Verification {
    let limits = Limits::default();
    verify(
        evidence,
        trust,
        &VerifyContext {
            now: Utc::now(),
            limits: &limits,
            revocation: &crate::notation::Revocation::check(),
        },
    )
}

fn annotate(
    evidence: &mut Evidence,
    mint: &Mint,
    plan: &Plan,
    certificate: &[u8],
    body: &[u8],
    signature: &[u8],
) {
    let annotations = &mut evidence.annotations;
    annotations.insert(CERTIFICATE.into(), pem(certificate));
    annotations.insert(CHAIN.into(), format!("\n{}\n", pem(&mint.ca_der)));
    annotations.insert(BUNDLE.into(), mint.log.annotation(body, plan.logged).to_string());
    if let Some(time) = plan.stamped {
        let token = json!({"SignedRFC3161Timestamp": STANDARD.encode(mint.tsa.stamp(signature, time))});
        annotations.insert(TIMESTAMP.into(), token.to_string());
    }
}

fn signed(mint: &Mint, plan: &Plan) -> Evidence {
    let (minted, payload) = (mint.certificate(plan), payload(&subject()));
    let signature = minted.key.sign(&payload);
    let body = mint.log.hashedrekord(&payload, &signature, &minted.certificate);
    let mut evidence = evidence(EvidenceKind::CosignSignature, &subject(), payload);
    evidence.annotations.insert(SIGNATURE.into(), STANDARD.encode(&signature));
    annotate(&mut evidence, mint, plan, &minted.certificate, &body, &signature);
    evidence
}

fn attested(mint: &Mint, plan: &Plan) -> Evidence {
    let (minted, statement) = (mint.certificate(plan), statement_about(&subject()));
    let signature = minted.key.sign(&pae(PAYLOAD_TYPE, &statement));
    let body = mint.log.dsse(&statement, &signature, &minted.certificate);
    let envelope = json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": STANDARD.encode(&statement),
        "signatures": [{"keyid": "", "sig": STANDARD.encode(&signature)}],
    });
    let mut evidence =
        evidence(EvidenceKind::CosignAttestation, &subject(), envelope.to_string().into_bytes());
    evidence.annotations.insert(SIGNATURE.into(), String::new());
    annotate(&mut evidence, mint, plan, &minted.certificate, &body, &signature);
    evidence
}

fn world() -> (Mint, Plan, TrustRoot) {
    let mint = Mint::new("acme signing", Utc::now());
    let (plan, trust) = (Plan::at(mint.now), TrustRoot::Sigstore(Arc::new(mint.root())));
    (mint, plan, trust)
}

#[test]
fn what_is_right_is_valid() {
    let (mint, plan, trust) = world();
    let unstamped = Plan { stamped: None, ..plan.clone() };
    for plan in [&plan, &unstamped] {
        for evidence in [signed(&mint, plan), attested(&mint, plan)] {
            let found = judged(&evidence, &trust);
            assert_eq!(found.verdict, Verdict::Valid, "{found:#?}");
            let Some(Signer::Keyless { identity, .. }) = found.valid_signer() else { panic!("{found:#?}") };
            assert_eq!(identity, IDENTITY);
            assert_eq!(found.signed_at.unwrap().timestamp(), mint.now.timestamp());
        }
    }
}

/// Cosign 2 has an attestation's envelope stamped, not the signature in it.
#[test]
fn a_stamp_over_the_envelope_does_not_spoil_it() {
    let (mint, plan, trust) = world();
    let stamped = |over: &dyn Fn(&Evidence) -> Vec<u8>| {
        let mut evidence = attested(&mint, &plan);
        let token = STANDARD.encode(mint.tsa.stamp(&over(&evidence), mint.now));
        let token = json!({"SignedRFC3161Timestamp": token}).to_string();
        evidence.annotations.insert(TIMESTAMP.into(), token);
        judged(&evidence, &trust)
    };
    let found = stamped(&|evidence| evidence.content.to_vec());
    assert_eq!(found.verdict, Verdict::Valid, "{found:#?}");
    let other = stamped(&|_| b"another envelope".to_vec());
    assert_eq!(failed(&other), ("timestamp".into(), Verdict::Invalid));
}

#[test]
fn a_signature_that_was_moved_is_invalid() {
    let (mint, plan, trust) = world();
    for mut evidence in [signed(&mint, &plan), attested(&mint, &plan)] {
        evidence.subject = Digest::sha256(b"another image");
        assert_eq!(failed(&judged(&evidence, &trust)), ("subject".into(), Verdict::Invalid));
    }
}

#[test]
fn a_promise_that_is_wrong_is_named() {
    let (mint, plan, trust) = world();
    for right in [signed(&mint, &plan), attested(&mint, &plan)] {
        let promise: Value = serde_json::from_str(&right.annotations[BUNDLE]).unwrap();
        let with = |change: &dyn Fn(&mut Value)| {
            let mut promise = promise.clone();
            change(&mut promise);
            let mut evidence = right.clone();
            evidence.annotations.insert(BUNDLE.into(), promise.to_string());
            failed(&judged(&evidence, &trust))
        };
        let earlier = (mint.now - TimeDelta::seconds(1)).timestamp();
        assert_eq!(with(&|promise| promise["Payload"]["integratedTime"] = json!(earlier)).0, "set");
        assert_eq!(with(&|promise| promise["Payload"]["logIndex"] = json!(1)).0, "set");
        assert_eq!(with(&|promise| promise["SignedEntryTimestamp"] = json!("AAAA")).0, "set");
        assert_eq!(with(&|promise| promise["Payload"]["integratedTime"] = json!(0)).1, Verdict::Invalid);
        let stranger = STANDARD.encode(b"{}");
        assert_eq!(
            with(&|promise| promise["Payload"]["body"] = json!(stranger)),
            ("tlog-entry".into(), Verdict::Error)
        );
        let unknown = with(&|promise| promise["Payload"]["logID"] = json!("00".repeat(32)));
        assert_eq!(unknown, ("tlog-entry".into(), Verdict::Unverifiable));
        let mut without = right.clone();
        without.annotations.remove(BUNDLE);
        assert_eq!(failed(&judged(&without, &trust)), ("tlog-entry".into(), Verdict::Invalid));
    }
}

#[test]
fn an_entry_of_another_signature_is_refused() {
    let (mint, plan, trust) = world();
    for (right, other) in
        [(signed(&mint, &plan), signed(&mint, &plan)), (attested(&mint, &plan), attested(&mint, &plan))]
    {
        for (name, check) in [(BUNDLE, "tlog-entry"), (TIMESTAMP, "timestamp"), (CERTIFICATE, "signature")] {
            let mut evidence = right.clone();
            evidence.annotations.insert(name.into(), other.annotations[name].clone());
            assert_eq!(failed(&judged(&evidence, &trust)), (check.into(), Verdict::Invalid), "{name}");
        }
    }
}

#[test]
fn certificates_are_judged_as_in_bundles() {
    let (mint, plan, trust) = world();
    let missing = signed(&mint, &Plan { sct: Sct::Missing, ..plan.clone() });
    assert_eq!(failed(&judged(&missing, &trust)), ("sct".into(), Verdict::Invalid));
    let old = Plan { until: mint.now - TimeDelta::minutes(1), ..plan.clone() };
    assert_eq!(failed(&judged(&signed(&mint, &old), &trust)), ("certificate-time".into(), Verdict::Invalid));
    let stranger = Mint::new("other signing", mint.now);
    assert_ne!(judged(&signed(&stranger, &plan), &trust).verdict, Verdict::Valid);
    let key = super::mint_keys::Pair::p256().public();
    let by_key = judged(&signed(&mint, &plan), &TrustRoot::Key(key));
    assert_eq!(failed(&by_key), ("key".into(), Verdict::Unverifiable));
}

#[test]
fn configured_authorities_suffice_without_a_log() {
    let (mint, plan, _) = world();
    let roots =
        |mint: &Mint| TrustRoot::Certificates(CertificateRoots::parse(pem(&mint.ca_der).as_bytes()).unwrap());
    for mut evidence in [signed(&mint, &plan), attested(&mint, &plan)] {
        evidence.annotations.remove(BUNDLE);
        let found = judged(&evidence, &roots(&mint));
        assert_eq!(found.verdict, Verdict::Valid, "{found:#?}");
        let Some(Signer::Certificate { names, root, .. }) = found.valid_signer() else {
            panic!("{found:#?}")
        };
        assert_eq!(
            (names.as_slice(), root),
            ([IDENTITY.to_owned()].as_slice(), &Digest::sha256(&mint.ca_der))
        );
        assert_eq!(found.holds_until.unwrap().timestamp(), plan.until.timestamp());
        let stranger = Mint::new("other signing", mint.now);
        let unknown = judged(&evidence, &roots(&stranger));
        assert_eq!(failed(&unknown), ("certificate-chain".into(), Verdict::Unverifiable));
        evidence.subject = Digest::sha256(b"another image");
        assert_eq!(failed(&judged(&evidence, &roots(&mint))), ("subject".into(), Verdict::Invalid));
    }
    let old = Plan { until: mint.now - TimeDelta::minutes(1), ..plan };
    let found = judged(&signed(&mint, &old), &roots(&mint));
    assert_eq!(failed(&found), ("certificate-time".into(), Verdict::Invalid));
}
