//! What nobody looked at passes nothing.

use proptest::prelude::*;
use rreg_oci::Digest;

use super::*;
use crate::facts::ImageFacts;

const RULES: &[&str] = &[
    "signature: {any: [{key: a.pub}]}",
    "signature: {all: [{key: a.pub}, ci]}",
    "signature: {atLeast: 1, of: [{notation: {store: acme}}]}",
    "attestation: {predicate: spdx, signed: false}",
    "attestation: {predicate: spdx, signedBy: {key: a.pub}, cel: predicate.x == 1}",
    "sbom: {present: true}",
    "sbom: {present: false, denyLicenses: ['AGPL*']}",
    "vulns: {fail: [{kev: true}]}",
    "image: {nonRoot: true, digestOnly: true, maxAgeDays: 3, allowedBases: ['**'], maxSizeMiB: 4}",
    "image: {allowedRegistries: ['**'], platforms: ['**'], labels: {a: '**'}, denyPorts: [22], baseMaxAgeDays: 1}",
    "cel: 'true'",
    "cel: image.repository == 'team/app'",
    "cel: size(signatures) == 0 && size(attestations) == 0",
    "cel: sbom == null",
    "cel: now > timestamp('2020-01-01T00:00:00Z')",
];

const MATCHES: &[&str] = &[
    "{}",
    "{tags: ['v*']}",
    "{platforms: ['linux/*']}",
    "{registries: ['*.acme.com']}",
    "{tags: [a], platforms: [b], registries: [c], repos: ['team/**']}",
];

fn bare() -> Facts {
    Facts::bare(ImageFacts::bare("team/app", Digest::sha256(b"image")), Some("the database is away".into()))
}

proptest! {
    /// `onError` decides about what could not be looked at, for every policy that may be about it.
    #[test]
    fn no_rule_is_answered(
        rules in prop::collection::vec(prop::sample::select(RULES), 1..4),
        matches in prop::sample::select(MATCHES),
        at in prop::sample::select(vec![Point::Promote, Point::Pull, Point::Admit, Point::Run]),
        (on_error, outcome) in prop::sample::select(vec![
            ("deny", Outcome::Deny), ("lastGood(24h)", Outcome::Deny), ("allow", Outcome::Allow)
        ]),
    ) {
        let others = format!("match: {matches}\nonError: {on_error}");
        let set = PolicySet::new(vec![policy(&rules.join("\n"), &others)]);
        let decision = evaluate(&set, &bare(), at, &EvaluateContext { now: now(), last_good: None });
        prop_assert_eq!(decision.policies.len(), 1, "{}", matches);
        prop_assert_eq!(decision.outcome, outcome);
        for reason in &decision.policies[0].reasons {
            prop_assert_eq!(reason.result, Outturn::Error, "{:?}", reason);
            prop_assert!(reason.found.contains("the database is away"));
        }
    }
}

#[test]
fn only_what_is_known_leaves_a_policy_out() {
    let unknown = bare();
    let about = |matches: &str, facts: &Facts| {
        policy("sbom: {present: true}", &format!("match: {matches}")).is_about(&facts.image)
    };
    assert!(!about("{repos: ['prod/**']}", &unknown));
    assert!(about("{tags: ['v*']}", &unknown));
    let mut known = unknown.clone();
    known.image.unknown = false;
    assert!(!about("{tags: ['v*']}", &known));
    assert!(!about("{registries: ['*.acme.com']}", &known));
    let mut elsewhere = unknown;
    elsewhere.image.registry = "evil.com".into();
    assert!(!about("{registries: ['*.acme.com']}", &elsewhere));
    let text = serde_json::to_string(&known).unwrap();
    assert!(!text.contains("unknown"), "{text}");
    assert!(!serde_json::from_str::<Facts>(&text).unwrap().image.unknown);
}

/// What is too much to be asked about is its maker's doing, and no outage.
#[test]
fn too_much_to_be_asked_about_is_a_failure() {
    for rule in RULES {
        let set = PolicySet::new(vec![policy(rule, "onError: allow")]);
        let mut facts = Facts::bare(ImageFacts::bare("team/app", Digest::sha256(b"image")), None);
        facts.unread = vec!["nothing was decided within 5s".into()];
        for last_good in [None, Some(now())] {
            let context = EvaluateContext { now: now(), last_good };
            let decision = evaluate(&set, &facts, Point::Pull, &context);
            assert_eq!(decision.outcome, Outcome::Deny, "{rule}");
            assert!(decision.message().contains("within 5s"), "{}", decision.message());
        }
    }
}

/// Whoever made the image wrote the size of a layer that is elsewhere.
#[test]
fn a_size_that_is_only_said_passes_nothing() {
    use Outturn::{Fail, Pass};
    let signed = "attestation: {predicate: 'https://p', signed: false, cel: 'image.size < 9'}";
    for (rule, here, elsewhere) in [
        ("cel: image.size < 1000", Pass, Fail),
        ("cel: image['size'] / 1048576 <= 1", Pass, Fail),
        ("cel: '[image].all(i, i.size < 1000)'", Pass, Fail),
        ("cel: image.size * 2 < 1000", Pass, Fail),
        ("cel: '!(image.size >= 1000)'", Pass, Fail),
        ("cel: image.labels['team'] == 'a'", Pass, Pass),
        ("cel: image.layers.size() == 0", Pass, Pass),
        (signed, Pass, Fail),
    ] {
        let set = PolicySet::new(vec![policy(rule, "onError: allow")]);
        let facts = json!({"image": {"size": 5, "labels": {"team": "a"}}, "attestations": [{"predicateType": "https://p"}]});
        let mut facts = crate::cases::facts::facts(facts, &set).unwrap();
        let result = |facts: &Facts| {
            let context = EvaluateContext { now: now(), last_good: None };
            evaluate(&set, facts, Point::Pull, &context).policies[0].result
        };
        assert_eq!(result(&facts), here, "{rule}");
        facts.image.elsewhere = vec![Digest::sha256(b"a layer")];
        assert_eq!(result(&facts), elsewhere, "{rule}");
    }
}
