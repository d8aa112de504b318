//! Four levels and what each makes of a check that fails.

use serde_json::json;

use super::mint::{Draft, draft, issued, root, self_signed, signer_params};
use super::mint_answers::{crl_point, no_answers};
use super::{JWS, judge_at, now, time};
use crate::notation::{NotationTrust, Revocation, TrustPolicyDocument, TrustStores};
use crate::verdict::Verdict;

fn trust(level: serde_json::Value, identity: &str, der: &[u8]) -> NotationTrust {
    let document = json!({"version": "1.0", "trustPolicies": [{
        "name": "some", "registryScopes": ["registry.acme.io/app"], "signatureVerification": level,
        "trustStores": ["ca:acme"], "trustedIdentities": [identity],
    }]});
    let document = TrustPolicyDocument::parse(&serde_json::to_vec(&document).unwrap()).unwrap();
    let stores = TrustStores::new([("ca", "acme", "root.der", der)]).unwrap();
    document.statements(&stores).unwrap().remove(0)
}

/// Which check fails, and the verdicts under strict, permissive and audit.
#[test]
fn each_level_enforces_its_checks() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let mut listed = signer_params("Release");
    listed.custom_extensions = vec![crl_point("http://crl.acme.io/list")];
    let listed = issued(listed, &root);
    let stranger = self_signed(signer_params("Stranger"));
    let good = "x509.subject:C=US,ST=WA,O=acme";
    let other = "x509.subject:C=US,ST=WA,O=other";
    let mut tampered = draft(&leaf, &[&root]);
    tampered.key = &stranger.key;
    let (valid, invalid) = (Verdict::Valid, Verdict::Invalid);
    let now = now();
    let late = time("2041-01-01T00:00:00Z");
    let cases: [(&str, Draft<'_>, &str, _, [Verdict; 3]); 7] = [
        ("", draft(&leaf, &[&root]), good, now, [valid, valid, valid]),
        ("integrity", tampered, good, now, [invalid, invalid, invalid]),
        (
            "authenticity",
            draft(&stranger, &[]),
            good,
            now,
            [Verdict::Unverifiable, Verdict::Unverifiable, valid],
        ),
        ("identity", draft(&leaf, &[&root]), other, now, [invalid, invalid, valid]),
        (
            "expiry",
            draft(&leaf, &[&root]).expiring("2025-05-01T00:00:00Z"),
            good,
            now,
            [invalid, valid, valid],
        ),
        ("authentic-timestamp", draft(&leaf, &[&root]), good, late, [invalid, valid, valid]),
        ("revocation", draft(&listed, &[&root]), good, now, [Verdict::Error, valid, valid]),
    ];
    for (check, draft, identity, at, expected) in cases {
        for (level, expected) in ["strict", "permissive", "audit"].into_iter().zip(expected) {
            let trust = trust(json!({ "level": level }), identity, &root.der);
            let found = judge_at(JWS, &draft.jws(), &trust, &no_answers(), at);
            assert_eq!(found.verdict, expected, "{check} under {level}: {found:?}");
            if !check.is_empty() {
                let made = found.checks.iter().find(|made| made.name == check).unwrap();
                assert_ne!(made.verdict, Verdict::Valid, "{check} under {level}");
                assert_eq!(made.enforced, expected != Verdict::Valid, "{check} under {level}");
            }
            if check == "authenticity" || check == "identity" {
                assert_eq!(found.valid_signer(), None, "{check} under {level}");
            }
        }
    }
}

#[test]
fn skip_is_never_valid() {
    let document = json!({"version": "1.0", "trustPolicies": [{
        "name": "some", "registryScopes": ["registry.acme.io/app"], "signatureVerification": {"level": "skip"},
    }]});
    let document = TrustPolicyDocument::parse(&serde_json::to_vec(&document).unwrap()).unwrap();
    let trust = document.statements(&TrustStores::default()).unwrap().remove(0);
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let found = judge_at(JWS, &draft(&leaf, &[&root]).jws(), &trust, &Revocation::check(), now());
    assert_eq!((found.verdict, found.checks.len()), (Verdict::Unverifiable, 1));
}

#[test]
fn single_checks_are_overridden() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let expired = draft(&leaf, &[&root]).expiring("2025-05-01T00:00:00Z");
    let lenient = trust(json!({"level": "strict", "override": {"expiry": "log"}}), "*", &root.der);
    let found = judge_at(JWS, &expired.jws(), &lenient, &Revocation::check(), now());
    assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
    let hard = trust(json!({"level": "audit", "override": {"expiry": "enforce"}}), "*", &root.der);
    let found = judge_at(JWS, &expired.jws(), &hard, &Revocation::check(), now());
    assert_eq!(found.verdict, Verdict::Invalid, "{found:?}");
    let unasked = trust(json!({"level": "strict", "override": {"revocation": "skip"}}), "*", &root.der);
    let mut listed = signer_params("Release");
    listed.custom_extensions = vec![crl_point("http://crl.acme.io/list")];
    let listed = issued(listed, &root);
    let found = judge_at(JWS, &draft(&listed, &[&root]).jws(), &unasked, &Revocation::check(), now());
    assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
}
