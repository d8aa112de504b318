//! Whatever is changed in something valid, it is never valid any more; nor is it about anything else.

use std::sync::{Arc, LazyLock};

use chrono::Utc;
use proptest::prelude::*;
use proptest::test_runner::Config;
use rreg_oci::Digest;

use super::forms::{bundle, cosign_attestation, cosign_signature, message_bundle};
use super::mint::{Mint, Plan};
use super::mint_keys::Pair;
use super::{forms, statement_about};
use crate::sigstore::verify;
use crate::{Evidence, EvidenceKind, Limits, TrustRoot, Verdict, VerifyContext};

/// How many cases: a few seconds by default, more where `RREG_TEST_ROUNDS` says so.
fn rounds() -> Config {
    let rounds = std::env::var("RREG_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    Config { cases: rounds.unwrap_or(512), failure_persistence: None, ..Config::default() }
}

struct Case {
    name: &'static str,
    evidence: Evidence,
    trust: TrustRoot,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let artifact = b"an image's manifest";
    let subject = Digest::sha256(artifact);
    let pair = Pair::p256();
    let mint = Mint::new("acme signing", Utc::now());
    let plan = Plan::at(mint.now);
    let key = || TrustRoot::Key(pair.public());
    let sigstore = TrustRoot::Sigstore(Arc::new(mint.root()));
    let minted = |bundle: serde_json::Value| {
        forms::evidence(EvidenceKind::Bundle, &subject, bundle.to_string().into_bytes())
    };
    vec![
        Case { name: "cosign signature", evidence: cosign_signature(&pair, &subject), trust: key() },
        Case { name: "cosign attestation", evidence: cosign_attestation(&pair, &subject), trust: key() },
        Case { name: "bundle", evidence: bundle(&pair, &subject), trust: key() },
        Case { name: "message bundle", evidence: message_bundle(&pair, artifact), trust: key() },
        Case {
            name: "keyless attestation, logged as a signature",
            evidence: minted(mint.attest_plainly(&plan, &statement_about(&subject))),
            trust: sigstore.clone(),
        },
        Case {
            name: "keyless attestation",
            evidence: minted(mint.attest(&plan, &statement_about(&subject))),
            trust: sigstore.clone(),
        },
        Case { name: "keyless signature", evidence: minted(mint.sign(&plan, artifact)), trust: sigstore },
    ]
});

fn verdict(evidence: &Evidence, trust: &TrustRoot) -> Verdict {
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
    .verdict
}

#[test]
fn the_cases_are_valid_to_begin_with() {
    for case in CASES.iter() {
        assert_eq!(verdict(&case.evidence, &case.trust), Verdict::Valid, "{}", case.name);
    }
}

proptest! {
    #![proptest_config(rounds())]

    #[test]
    fn no_changed_byte_of_the_content_is_valid(case in 0..7usize, at: prop::sample::Index, change in 1..=255u8) {
        let case = &CASES[case];
        let mut content = case.evidence.content.to_vec();
        let at = at.index(content.len());
        content[at] ^= change;
        let changed = Evidence { content: content.into(), ..case.evidence.clone() };
        prop_assert_ne!(verdict(&changed, &case.trust), Verdict::Valid, "{}: {}", case.name,
            String::from_utf8_lossy(&changed.content[at.saturating_sub(60)..(at + 40).min(changed.content.len())]));
    }

    #[test]
    fn no_cut_content_is_valid(case in 0..7usize, at: prop::sample::Index) {
        let case = &CASES[case];
        let content = case.evidence.content.slice(..at.index(case.evidence.content.len()));
        let changed = Evidence { content, ..case.evidence.clone() };
        prop_assert_ne!(verdict(&changed, &case.trust), Verdict::Valid, "{}", case.name);
    }

    #[test]
    fn no_changed_byte_of_an_annotation_is_valid(at: prop::sample::Index, change in 1..128u8) {
        let case = &CASES[0];
        let mut changed = case.evidence.clone();
        for value in changed.annotations.values_mut() {
            let mut bytes = std::mem::take(value).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            *value = String::from_utf8(bytes).unwrap();
        }
        prop_assert_ne!(verdict(&changed, &case.trust), Verdict::Valid);
    }

    #[test]
    fn it_is_about_nothing_else(case in 0..7usize, at in 0..32usize, change in 1..=255u8) {
        let case = &CASES[case];
        let mut hash = case.evidence.subject.hash().to_vec();
        hash[at] ^= change;
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let moved = Evidence { subject: format!("sha256:{hex}").parse().unwrap(), ..case.evidence.clone() };
        prop_assert_ne!(verdict(&moved, &case.trust), Verdict::Valid, "{}", case.name);
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic(content: Vec<u8>, kind in 0..3usize) {
        let kind = [EvidenceKind::Bundle, EvidenceKind::CosignSignature, EvidenceKind::CosignAttestation][kind];
        let case = &CASES[0];
        let sent = Evidence { kind, content: content.into(), ..case.evidence.clone() };
        prop_assert_ne!(verdict(&sent, &case.trust), Verdict::Valid);
    }
}
