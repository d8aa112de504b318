//! Envelopes of both formats: what must pass, what must not, and that no byte can be changed.

use serde_json::json;

use super::super::algorithm::Algorithm;
use super::mint::{Draft, draft, issued, issued_for, key_for, root, signer_params};
use super::{COSE, JWS, evidence, failed, judge, now, subject, time, trusting};
use crate::context::VerifyContext;
use crate::limits::Limits;
use crate::notation::{NotationTrust, Revocation, verify};
use crate::signer::Signer;
use crate::verdict::Verdict;
use rreg_oci::Digest;

#[test]
fn both_formats_pass_with_every_algorithm() {
    let root = root();
    let trust = trusting(&root.der);
    let all = [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ];
    for algorithm in all {
        let leaf = issued_for(signer_params("Release"), &root, key_for(algorithm));
        let mut draft = draft(&leaf, &[&root]).set("alg", json!(algorithm.name()));
        draft.algorithm = algorithm;
        for (media, content) in [(JWS, draft.jws()), (COSE, draft.cose())] {
            let found = judge(media, &content, &trust);
            assert_eq!(found.verdict, Verdict::Valid, "{algorithm:?} {media}: {found:?}");
            let Some(Signer::Notation { subject, scheme, store, root: anchor }) = found.signer else {
                panic!("no signer");
            };
            assert_eq!(subject, "CN=Release,O=acme,ST=WA,C=US");
            assert_eq!((scheme.as_str(), store.as_str()), ("notary.x509", "ca:acme"));
            assert_eq!(anchor, Digest::sha256(&root.der));
            assert_eq!((found.signed_at, found.holds_until), (None, Some(time("2040-01-01T00:00:00Z"))));
        }
    }
}

#[test]
fn a_signing_authority_vouches_for_the_time() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let good = draft(&leaf, &[&root]).by_authority("2024-05-01T00:00:00Z");
    let before = draft(&leaf, &[&root]).by_authority("2019-05-01T00:00:00Z");
    let trust = trusting(&root.der);
    for (media, good, before) in [(JWS, good.jws(), before.jws()), (COSE, good.cose(), before.cose())] {
        let found = judge(media, &good, &trust);
        assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
        assert_eq!(found.signed_at, Some(time("2024-05-01T00:00:00Z")));
        failed(&judge(media, &before, &trust), "authentic-timestamp", Verdict::Invalid);
    }
}

#[test]
fn no_byte_can_be_changed() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let trust = trusting(&root.der);
    let good = draft(&leaf, &[&root]).expiring("2030-01-01T00:00:00Z");
    for (media, content) in [(JWS, good.jws()), (COSE, good.cose())] {
        assert_eq!(judge(media, &content, &trust).verdict, Verdict::Valid);
        for at in 0..content.len() {
            let mut changed = content.clone();
            changed[at] ^= 1 << (at % 8);
            assert_ne!(judge(media, &changed, &trust).verdict, Verdict::Valid, "{media}: byte {at}");
        }
        for length in (0..content.len()).step_by(7) {
            assert_ne!(
                judge(media, &content[..length], &trust).verdict,
                Verdict::Valid,
                "{media}: cut at {length}"
            );
        }
    }
}

#[test]
fn it_cannot_be_moved_to_another_subject() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let trust = trusting(&root.der);
    let (limits, revocation) = (Limits::default(), Revocation::check());
    let context = VerifyContext { now: now(), limits: &limits, revocation: &revocation };
    let good = draft(&leaf, &[&root]);
    for (media, content) in [(JWS, good.jws()), (COSE, good.cose())] {
        let other = evidence(media, &content, &Digest::sha256(b"another image"));
        failed(&verify(&other, &trust, &context), "subject", Verdict::Invalid);
        let right = evidence(media, &content, &subject());
        assert_eq!(verify(&right, &trust, &context).verdict, Verdict::Valid);
    }
}

#[track_caller]
fn both_fail(draft: &Draft<'_>, trust: &NotationTrust, check: &str, verdict: Verdict) {
    failed(&judge(JWS, &draft.jws(), trust), check, verdict);
    failed(&judge(COSE, &draft.cose(), trust), check, verdict);
}

#[test]
fn protected_headers_are_held_to_the_specification() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let trust = trusting(&root.der);
    let new = || draft(&leaf, &[&root]);
    let scheme = "io.cncf.notary.signingScheme";
    let bad = [
        new().set(scheme, json!("notary.x509.other")),
        new().without(scheme),
        new().set("crit", json!([])),
        new().without("crit"),
        new().set("crit", json!([scheme, "absent"])),
        new().set("crit", json!(["com.example.some"])).set("com.example.some", json!("here")),
        new().without("io.cncf.notary.signingTime"),
        new().set("io.cncf.notary.signingTime", json!("yesterday")),
        new().set("io.cncf.notary.authenticSigningTime", json!("2025-01-01T00:00:00Z")),
        new().set("io.cncf.notary.expiry", json!("2030-01-01T00:00:00Z")),
        new().by_authority("2024-05-01T00:00:00Z").set("crit", json!([scheme])),
        new().by_authority("2024-05-01T00:00:00Z").without("io.cncf.notary.authenticSigningTime"),
        new()
            .by_authority("2024-05-01T00:00:00Z")
            .set("io.cncf.notary.signingTime", json!("2024-05-01T00:00:00Z")),
    ];
    for draft in &bad {
        both_fail(draft, &trust, "envelope", Verdict::Invalid);
    }
    both_fail(&new().expiring("2024-12-31T00:00:00Z"), &trust, "integrity", Verdict::Invalid);
    both_fail(&new().set("cty", json!("text/plain")), &trust, "integrity", Verdict::Invalid);
    both_fail(&new().expiring("2025-05-01T00:00:00Z"), &trust, "expiry", Verdict::Invalid);
    let unknown =
        new().set("crit", json!([scheme, "com.example.some"])).set("com.example.some", json!("here"));
    both_fail(&unknown, &trust, "critical-attributes", Verdict::Invalid);
    let plugin = "io.cncf.notary.verificationPlugin";
    let plugin = new().set("crit", json!([scheme, plugin])).set(plugin, json!("com.example.plugin"));
    both_fail(&plugin, &trust, "critical-attributes", Verdict::Unverifiable);
    let harmless = new().set("com.example.some", json!("here"));
    assert_eq!(judge(JWS, &harmless.jws(), &trust).verdict, Verdict::Valid);
    assert_eq!(judge(COSE, &harmless.cose(), &trust).verdict, Verdict::Valid);
}

#[test]
fn the_key_dictates_the_algorithm() {
    let root = root();
    let leaf = issued_for(signer_params("Release"), &root, key_for(Algorithm::Ps384));
    let mut draft = draft(&leaf, &[&root]).set("alg", json!("PS256"));
    draft.algorithm = Algorithm::Ps256;
    let trust = trusting(&root.der);
    both_fail(&draft, &trust, "integrity", Verdict::Invalid);
    for alg in ["none", "HS256", "RS256", "EdDSA"] {
        let draft = Draft {
            protected: draft.protected.clone(),
            chain: draft.chain.clone(),
            payload: vec![1],
            ..draft
        };
        failed(&judge(JWS, &draft.set("alg", json!(alg)).jws(), &trust), "envelope", Verdict::Invalid);
    }
}

#[test]
fn the_payload_names_a_whole_descriptor() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let trust = trusting(&root.der);
    let digest = subject();
    let bad = [
        json!({}),
        json!({"targetArtifact": {"digest": digest, "size": 9}}),
        json!({"targetArtifact": {"digest": digest, "mediaType": "application/x"}}),
        json!({"targetArtifact": {"digest": digest, "mediaType": "", "size": 9}}),
        json!({"targetArtifact": {"digest": "sha256:1", "mediaType": "application/x", "size": 9}}),
        json!("text"),
    ];
    for payload in bad {
        let mut draft = draft(&leaf, &[&root]);
        draft.payload = serde_json::to_vec(&payload).unwrap();
        both_fail(&draft, &trust, "subject", Verdict::Invalid);
    }
}

#[test]
fn times_in_cose_are_tagged() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let draft = draft(&leaf, &[&root]);
    let mut protected = draft.cose_protected();
    for (label, value) in &mut protected.rest {
        if *label == coset::Label::Text("io.cncf.notary.signingTime".to_owned()) {
            *value = coset::cbor::Value::Integer(1_735_689_600.into());
        }
    }
    failed(&judge(COSE, &draft.cose_with(protected), &trusting(&root.der)), "envelope", Verdict::Invalid);
}

#[test]
fn limits_are_errors() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let trust = trusting(&root.der);
    let good = draft(&leaf, &[&root]);
    let revocation = Revocation::check();
    let small = [
        Limits { max_evidence: 100, ..Limits::default() },
        Limits { max_chain: 1, ..Limits::default() },
        Limits { max_depth: 1, ..Limits::default() },
    ];
    for limits in small {
        let context = VerifyContext { now: now(), limits: &limits, revocation: &revocation };
        for (media, content) in [(JWS, good.jws()), (COSE, good.cose())] {
            let found = verify(&evidence(media, &content, &subject()), &trust, &context);
            failed(&found, "limits", Verdict::Error);
        }
    }
    let deep = [b"{\"payload\":".repeat(5000), vec![0x81; 5000], vec![0xd2; 5000], vec![0x9f; 5000]];
    for bytes in &deep {
        assert_eq!(
            judge(COSE, bytes, &trust).verdict.max(Verdict::Error),
            judge(COSE, bytes, &trust).verdict
        );
        assert_ne!(judge(JWS, bytes, &trust).verdict, Verdict::Valid);
    }
    failed(&judge("application/other", &good.jws(), &trust), "envelope", Verdict::Error);
}

#[test]
fn members_of_the_protected_header_are_there_once() {
    use super::super::jws::read_protected;
    let once = r#"{"alg":"ES256","cty":"x","crit":["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2025-01-01T00:00:00Z"}"#;
    assert!(read_protected(once.as_bytes()).is_ok());
    let twice = once.replacen('{', r#"{"alg":"PS256","#, 1);
    assert!(read_protected(twice.as_bytes()).unwrap_err().contains("twice"));
}
