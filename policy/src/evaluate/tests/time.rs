//! A decision holds until it says so, and not longer than is true.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

const RULES: &[&str] = &[
    "signature: {any: [{key: a.pub}, {key: b.pub}]}",
    "signature: {all: [{key: a.pub}, {key: b.pub}]}",
    "attestation: {predicate: 'https://p', signedBy: {key: a.pub}}",
    "vulns: {maxAge: 24h, fail: [{severity: '>=high', graceDays: 14}, {kev: true}]}",
    "vulns: {fail: [{severity: critical, graceDays: 3}]}",
    "image: {maxAgeDays: 30, nonRoot: true}",
    "image: {baseMaxAgeDays: 20}",
    "cel: now - image.created < duration('600h')",
    "cel: size(signatures) > 0",
    "sbom: {present: true}",
];

const OTHERS: &[&str] =
    &["onError: deny", "onError: lastGood(24h)", "mode: warn", "onError: lastGood(2d)\nmode: warn"];

/// A moment some hours before or after the time of the test, to the second.
fn moment() -> impl Strategy<Value = String> {
    (-900_i64..900, 0_i64..3600).prop_map(|(hours, seconds)| {
        (now() + TimeDelta::hours(hours) + TimeDelta::seconds(seconds)).to_rfc3339()
    })
}

fn facts_and_exemptions() -> impl Strategy<Value = (Value, String)> {
    let signature = (prop::sample::select(vec!["a.pub", "b.pub", "c.pub"]), moment())
        .prop_map(|(key, until)| json!({"key": key, "until": until}));
    let attestation = moment().prop_map(
        |until| json!({"predicateType": "https://p", "predicate": {}, "signedBy": {"key": "a.pub", "until": until}}),
    );
    let finding = (prop::sample::select(vec!["high", "critical", "low"]), moment(), any::<bool>()).prop_map(
        |(severity, published, kev)| {
            json!({"id": "CVE-1", "purl": "pkg:npm/a@1", "severity": severity, "published": published, "kev": kev})
        },
    );
    let lists = (
        prop::collection::vec(signature, 0..3),
        prop::collection::vec(attestation, 0..2),
        prop::collection::vec(finding, 0..3),
    );
    let exemptions = prop::collection::vec(
        (prop::sample::select(vec!["id: CVE-1", "rule: image", "rule: signature"]), moment()),
        0..2,
    );
    (lists, moment(), moment(), moment(), exemptions).prop_map(
        |(lists, created, base, matched, exemptions)| {
            let facts = json!({
                "image": {"created": created, "user": "1000"},
                "signatures": lists.0, "attestations": lists.1, "findings": lists.2,
                "findingsAt": matched, "baseCreated": base,
            });
            let exemptions: Vec<String> = exemptions
                .iter()
                .map(|(what, until)| format!("{{{what}, until: '{until}', by: a, why: b}}"))
                .collect();
            let exempt = if exemptions.is_empty() {
                String::new()
            } else {
                format!("\nexempt: [{}]", exemptions.join(", "))
            };
            (facts, exempt)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_decision_holds_until_it_says_so(
        rules in prop::sample::subsequence(RULES.to_vec(), 1..4),
        others in prop::sample::select(OTHERS.to_vec()),
        (facts, exempt) in facts_and_exemptions(),
        good in prop::option::of(0_i64..80),
        share in 0.0_f64..1.0,
    ) {
        let set = PolicySet::new(vec![policy(&rules.join("\n"), &format!("{others}{exempt}"))]);
        let facts = crate::cases::facts::facts(facts, &set).unwrap();
        let last_good = good.map(|hours| now() - TimeDelta::hours(hours));
        let at = |now| evaluate(&set, &facts, Point::Pull, &EvaluateContext { now, last_good });
        let first = at(now());
        let end = first.holds_until.unwrap_or(now() + TimeDelta::days(20_000));
        prop_assert!(end > now());
        let seconds = (end - now()).num_seconds();
        for later in [seconds - 1, (seconds as f64 * share) as i64] {
            let again = at(now() + TimeDelta::seconds(later.max(0)));
            prop_assert_eq!(first.outcome, again.outcome);
            prop_assert_eq!(first.policies[0].result, again.policies[0].result);
            let results = |decision: &Decision| decision.policies[0].reasons.iter().map(|r| r.result).collect::<Vec<_>>();
            prop_assert_eq!(results(&first), results(&again));
            prop_assert_eq!(again.holds_until, first.holds_until);
        }
    }
}

#[test]
fn what_ends_is_noticed() {
    let until = |rule: &str, others: &str, facts: Value| {
        decide(policy(rule, others), facts).holds_until.map(|end| end.to_rfc3339())
    };
    let signed = json!({"signatures": [{"key": "a.pub", "until": "2026-06-03T00:00:00Z"}]});
    assert_eq!(until("signature: {any: [{key: a.pub}]}", "", signed).unwrap(), "2026-06-03T00:00:00+00:00");
    let made = json!({"image": {"created": "2026-05-31T00:00:00Z"}});
    assert_eq!(until("image: {maxAgeDays: 3}", "", made).unwrap(), "2026-06-03T00:00:00+00:00");
    assert_eq!(until("cel: now != now", "", json!({})).unwrap(), "2026-06-01T13:00:00+00:00");
    assert_eq!(until("sbom: {present: true}", "", json!({})), None);
}
