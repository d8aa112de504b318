//! What `sign` makes is valid under its key, about its subject, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use proptest::prelude::*;
use rreg_oci::Digest;

use super::*;
use crate::evidence::Found;
use crate::key::PublicKey;
use crate::limits::Limits;
use crate::notation::Revocation;
use crate::sign::{BUNDLE_V03, SigningKey, image_bundle};

fn trust(key: &SigningKey) -> TrustRoot {
    TrustRoot::Key(PublicKey::from_der(key.public().der()).unwrap())
}

fn subject() -> Digest {
    Digest::sha256(b"an image")
}

fn evidence(kind: EvidenceKind, media_type: &str, content: Vec<u8>) -> Evidence {
    Evidence {
        subject: subject(),
        manifest: Digest::sha256(b"a manifest"),
        kind,
        media_type: media_type.to_owned(),
        content: content.into(),
        annotations: BTreeMap::new(),
        found: BTreeSet::from([Found::Referrer]),
    }
}

fn signed(key: &SigningKey) -> Evidence {
    evidence(EvidenceKind::Bundle, BUNDLE_V03, image_bundle(key, &subject()).unwrap())
}

fn with_context<T>(run: impl FnOnce(&VerifyContext<'_>) -> T) -> T {
    let limits = Limits::default();
    let revocation = Revocation::check();
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    run(&VerifyContext { now, limits: &limits, revocation: &revocation })
}

#[test]
fn valid_under_its_key_and_about_its_subject_alone() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let bundle = signed(&key);
    with_context(|context| {
        let found = verify(&bundle, &trust(&key), context);
        assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
        assert_eq!(found.signer, Some(crate::signer::Signer::Key { key: key.public().id() }));
        assert_ne!(verify(&bundle, &trust(&other), context).verdict, Verdict::Valid);
        let moved = Evidence { subject: Digest::sha256(b"another image"), ..bundle };
        assert_eq!(verify(&moved, &trust(&key), context).verdict, Verdict::Invalid);
    });
}

#[test]
fn the_same_bytes_of_another_type_are_another_piece() {
    let jose = evidence(EvidenceKind::Notation, "application/jose+json", b"{}".to_vec());
    let cose = Evidence { media_type: "application/cose".into(), ..jose.clone() };
    assert_ne!(jose.id(), cose.id());
    let with_parameters =
        Evidence { media_type: "application/jose+json; charset=utf-8".into(), ..jose.clone() };
    assert_eq!(jose.id(), with_parameters.id());
}

#[test]
fn facts_tell_signed_and_unsigned_apart() {
    let key = SigningKey::generate().unwrap();
    let about = |digest: Digest| {
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.org/p","predicate":{{}},
            "subject":[{{"digest":{{"sha256":"{}"}}}}]}}"#,
            digest.hex()
        );
        evidence(EvidenceKind::Statement, "application/vnd.in-toto+json", text.into_bytes())
    };
    let all = [
        signed(&key),
        about(subject()),
        about(Digest::sha256(b"another image")),
        evidence(EvidenceKind::Sbom, "application/spdx+json", b"{}".to_vec()),
        evidence(EvidenceKind::Notation, "application/jose+json", b"{}".to_vec()),
    ];
    let root = trust(&key);
    let facts = with_context(|context| evidence_facts(&all, std::slice::from_ref(&root), context));
    let verdicts: Vec<_> = facts.iter().map(|f| f.under(&root.id()).map(|v| v.verdict)).collect();
    let expected = [Some(Verdict::Valid), None, None, None, Some(Verdict::Unverifiable)];
    assert_eq!(verdicts, expected);
    let stated: Vec<_> = facts.iter().map(|f| f.statement.is_some()).collect();
    assert_eq!(
        stated,
        [true, true, false, false, false],
        "a statement about another image says nothing here"
    );
    assert!(facts[0].is_signature() && facts[4].is_signature() && !facts[1].is_signature());
    for unsigned in &all[1..4] {
        let verdict = with_context(|context| verify(unsigned, &root, context).verdict);
        assert_eq!(verdict, Verdict::Unverifiable);
    }
}

proptest! {
    /// A changed byte that leaves the JSON saying the same (white space, the case of nothing) cannot be told apart, so
    /// the bundle is compared as JSON first.
    #[test]
    fn a_changed_byte_is_never_valid(place: prop::sample::Index, bits in 1u8..) {
        let key = SigningKey::generate().unwrap();
        let whole = signed(&key);
        let mut bytes = whole.content.to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= bits;
        let same = serde_json::from_slice::<serde_json::Value>(&bytes).ok()
            == serde_json::from_slice::<serde_json::Value>(&whole.content).ok();
        let changed = Evidence { content: bytes.into(), ..whole };
        let verdict = with_context(|context| verify(&changed, &trust(&key), context).verdict);
        // The hint names a key for whoever has several and is signed by nobody.
        let hint = serde_json::from_slice::<serde_json::Value>(&changed.content).is_ok_and(|json| {
            json["verificationMaterial"]["publicKey"]["hint"] != key.hint()
        });
        prop_assert!(same || hint || verdict != Verdict::Valid, "byte {place}: {verdict:?}");
    }
}
