//! What comes out: rules by tables, modes, exemptions, and time.

mod attestations;
mod documents;
mod images;
mod index;
mod latest;
mod rules;
mod scopes;
mod time;
mod unknown;

use chrono::{DateTime, TimeZone, Utc};
use serde_json::{Value, json};

use super::*;
use crate::rules::tests::policy;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 6, 1, 12, 0, 0).unwrap()
}

fn decide_at(policy: Policy, facts: Value, at: Point, context: EvaluateContext) -> Decision {
    let set = PolicySet::new(vec![policy]);
    let facts = crate::cases::facts::facts(facts, &set).unwrap();
    evaluate(&set, &facts, at, &context)
}

fn decide(policy: Policy, facts: Value) -> Decision {
    decide_at(policy, facts, Point::Pull, EvaluateContext { now: now(), last_good: None })
}

/// The only reason of a policy with one rule.
fn ask(rule: &str, facts: Value) -> Reason {
    let mut reasons = decide(policy(rule, ""), facts).policies.remove(0).reasons;
    assert_eq!(reasons.len(), 1);
    reasons.remove(0)
}

#[test]
fn mode_and_on_error_make_outcomes() {
    use Outcome::{Allow, Deny, Warn};
    let facts = |result: Outturn| match result {
        Outturn::Pass => json!({"sbom": {"format": "spdx"}}),
        Outturn::Error => json!({"sbom": {"notGathered": "the database is away"}}),
        Outturn::Fail => json!({}),
    };
    for (mode, failed) in [("audit", Allow), ("warn", Warn), ("enforce", Deny)] {
        for (on_error, good, erred) in [
            ("deny", None, failed),
            ("deny", Some(1), failed),
            ("allow", None, Allow),
            ("lastGood(24h)", None, failed),
            ("lastGood(24h)", Some(0), Allow),
            ("lastGood(24h)", Some(23), Allow),
            ("lastGood(24h)", Some(24), failed),
            ("lastGood(24h)", Some(25), failed),
        ] {
            for (result, outcome) in
                [(Outturn::Pass, Allow), (Outturn::Error, erred), (Outturn::Fail, failed)]
            {
                let policy = policy("sbom: {present: true}", &format!("mode: {mode}\nonError: {on_error}"));
                let last_good = good.map(|hours| now() - chrono::TimeDelta::hours(hours));
                let context = EvaluateContext { now: now(), last_good };
                let decision = decide_at(policy, facts(result), Point::Pull, context);
                let found = &decision.policies[0];
                assert_eq!((found.result, found.outcome), (result, outcome), "{mode} {on_error} {good:?}");
                assert_eq!(decision.outcome, outcome);
                let stood_in =
                    on_error.starts_with("last") && result == Outturn::Error && good.is_some_and(|h| h < 24);
                assert_eq!(found.last_good.is_some(), stood_in, "{mode} {on_error} {good:?}");
            }
        }
    }
}

#[test]
fn the_hardest_policy_counts_and_none_allows() {
    let named = |name: &str, others: &str| {
        let text = crate::rules::tests::text("sbom: {present: true}", others)
            .replace("name: test", &format!("name: {name}"));
        crate::rules::tests::policies(&text).remove(0)
    };
    let set = PolicySet::new(vec![
        named("b", "mode: warn"),
        named("a", "mode: audit"),
        named("c", "match: {repos: [x]}"),
    ]);
    let facts = crate::cases::facts::facts(json!({}), &set).unwrap();
    let context = EvaluateContext { now: now(), last_good: None };
    let decision = evaluate(&set, &facts, Point::Pull, &context);
    assert_eq!(decision.outcome, Outcome::Warn);
    assert_eq!(decision.policies.iter().map(|p| p.policy.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(
        decision.message().contains("require[0].sbom: expected an SBOM; found no SBOM;"),
        "{}",
        decision.message()
    );
    assert_eq!(decision.warnings().len(), 1, "only what warns warns");
    let push = evaluate(&set, &facts, Point::Push, &context);
    assert_eq!((push.outcome, push.policies.len()), (Outcome::Allow, 0));
}

#[test]
fn what_strangers_wrote_is_shown_as_text_and_cut() {
    let evil = format!("\u{1b}]0;owned\u{7}\n\u{9b}2J\u{202e}{}", "é".repeat(3000));
    let facts = json!({"image": {"registry": evil, "labels": {"a": evil}}});
    let rules = "image: {allowedRegistries: r}\n".repeat(8);
    let decision = decide(policy(&rules, ""), facts);
    for reason in &decision.policies[0].reasons {
        for text in [&reason.found, &reason.expected, &reason.fix] {
            assert!(
                text.len() <= 1024 && !text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\n']),
                "{text:?}"
            );
        }
        assert!(reason.found.len() > 1000 && reason.found.ends_with('…'), "{reason:?}");
    }
    let message = decision.message();
    assert!(message.len() <= 4096 && message.ends_with('…') && !message.contains(char::is_control));
    assert_eq!(crate::decision::plain("as it is", 8), "as it is");
    // Whatever is not seen is shown, and counted as it is shown.
    assert_eq!(crate::decision::plain("a\u{200b}b\u{feff}", 20), "a\\u{200b}b\\u{feff}");
    assert_eq!(crate::decision::plain("a\u{200b}b", 8), "a\\u{2…");
}

#[test]
fn digests_are_left_out_for_those_who_may_not_know_them() {
    let hex = "a".repeat(64);
    for (text, told) in [
        (format!("write app@sha256:{hex} instead"), "write app@sha256:… instead"),
        (
            format!("the tag sha256-{hex}.sig of sha512:{hex}{hex}, or sha256:"),
            "the tag sha256-….sig of sha512:…, or sha256:",
        ),
        ("nothing".to_owned(), "nothing"),
        ("cut off at sha256:abc".to_owned(), "cut off at sha256:…"),
    ] {
        assert_eq!(crate::decision::without_digests(&text), told);
    }
    let facts = json!({"image": {"pinned": false, "repository": "a"}});
    let decision = decide(policy("image: {digestOnly: true}", ""), facts);
    assert!(decision.message().contains("a@sha256:"));
    let told = decision.without_digests().message();
    assert!(told.contains("a@sha256:… instead"), "{told}");
}

#[test]
fn a_warning_ends_with_what_to_do() {
    let facts = json!({"image": {"registry": "r".repeat(2000)}});
    let long = "image: {allowedRegistries: a}";
    let decision = decide(policy(long, "mode: warn"), facts);
    let warnings = decision.warnings();
    assert!(warnings[0].ends_with("with `rreg cp`") && warnings[0].len() < 600, "{warnings:?}");
    assert!(decide(policy(long, ""), json!({"image": {"registry": "b"}})).warnings().is_empty());
}

#[test]
fn policies_are_about_what_they_match() {
    let image =
        |image: Value| decide(policy("sbom: {present: true}", ""), json!({"image": image})).policies.len();
    assert_eq!(image(json!({})), 1);
    for (matches, image, meant) in [
        ("{repos: ['prod/**']}", json!({"repository": "prod/a/b"}), true),
        ("{repos: ['prod/**']}", json!({"repository": "dev/a"}), false),
        ("{tags: ['v*']}", json!({"tags": ["latest", "v1"]}), true),
        ("{tags: ['v*']}", json!({"tags": ["latest"]}), false),
        ("{tags: ['v*']}", json!({}), false),
        ("{platforms: ['linux/*']}", json!({"platforms": ["linux/amd64"]}), true),
        ("{platforms: ['linux/*']}", json!({"platforms": ["windows/amd64"]}), false),
        ("{platforms: ['linux/*']}", json!({}), true),
        ("{platforms: ['linux/amd64']}", json!({"platforms": ["Linux/x86_64"]}), true),
        ("{platforms: ['linux/amd64']}", json!({"platforms": ["linux/amd64/v2"]}), true),
        ("{platforms: ['linux/x86-64']}", json!({"platforms": ["linux/amd64"]}), true),
        ("{platforms: ['linux/arm64/v8']}", json!({"platforms": ["linux/aarch64"]}), true),
        ("{platforms: ['linux/arm64']}", json!({"platforms": ["linux/amd64"]}), false),
        ("{platforms: ['linux/amd64']}", json!({"platforms": ["windows/unknown"]}), true),
        ("{platforms: ['linux/amd64']}", json!({"platforms": ["windows/arm64", "unknown/unknown"]}), true),
        ("{registries: ['*.example.com:5000']}", json!({"registry": "a.example.com:5000"}), true),
        ("{registries: ['*.example.com']}", json!({"registry": "evil.com"}), false),
        ("{repos: [a], tags: [b]}", json!({"repository": "a", "tags": ["c"]}), false),
    ] {
        let policy = policy("sbom: {present: true}", &format!("match: {matches}"));
        // Platforms choose among the images of an index.
        let mut image = image;
        if image.get("platforms").is_some() {
            image["mediaType"] = json!(rreg_oci::media_type::OCI_INDEX);
        }
        assert_eq!(decide(policy, json!({"image": image})).policies.len() == 1, meant, "{matches} {image}");
    }
}

/// What runtimes run whatever it says of its platform is asked about whatever it says.
#[test]
fn a_single_image_is_meant_whatever_its_platform() {
    use rreg_oci::media_type::{DOCKER_LIST, OCI_INDEX, OCI_MANIFEST};
    let parent = rreg_oci::Digest::sha256(b"an index");
    let cases = [
        (OCI_MANIFEST, json!([]), &[Point::Promote, Point::Pull, Point::Admit, Point::Run][..]),
        (OCI_MANIFEST, json!([parent]), &[Point::Promote, Point::Admit, Point::Run]),
        (OCI_INDEX, json!([]), &[]),
        (DOCKER_LIST, json!([]), &[]),
    ];
    for (media_type, parents, meant) in cases {
        for at in [Point::Push, Point::Promote, Point::Pull, Point::Admit, Point::Run] {
            let image = |platform: &str| {
                let policy = policy(
                    "image: {labels: {a: b}}",
                    "at: [push, promote, pull, admit, run]\nmatch: {platforms: [linux/amd64]}",
                );
                let image = json!({"mediaType": media_type, "parents": parents, "platforms": [platform]});
                let context = EvaluateContext { now: now(), last_good: None };
                decide_at(policy, json!({"image": image}), at, context).policies.len() == 1
            };
            assert!(image("linux/amd64"), "{media_type} {parents} {at:?}");
            assert_eq!(image("linux/riscv64"), meant.contains(&at), "{media_type} {parents} {at:?}");
        }
    }
}

#[test]
fn a_push_asks_only_what_the_image_answers() {
    let rules = "signature: {any: [{key: a.pub}]}\nattestation: {predicate: spdx, signed: false}\nsbom: {present: true}\nvulns: {maxAge: 1h}\nimage: {nonRoot: true, digestOnly: true}\ncel: image.repository == 'a'\ncel: size(signatures) > 0";
    let facts = json!({"image": {"user": "root", "repository": "b"}});
    let context = EvaluateContext { now: now(), last_good: None };
    let decision = decide_at(policy(rules, "at: [push]"), facts, Point::Push, context);
    let results: Vec<(&str, Outturn)> =
        decision.policies[0].reasons.iter().map(|r| (r.rule.as_str(), r.result)).collect();
    assert_eq!(
        results,
        [
            ("require[0].signature", Outturn::Pass),
            ("require[1].attestation", Outturn::Pass),
            ("require[2].sbom", Outturn::Pass),
            ("require[3].vulns", Outturn::Pass),
            ("require[4].image.nonRoot", Outturn::Fail),
            ("require[4].image.digestOnly", Outturn::Pass),
            ("require[5].cel", Outturn::Fail),
            ("require[6].cel", Outturn::Pass),
        ]
    );
    assert!(decision.policies[0].reasons[0].found.contains("not asked at a push"));
}

#[test]
fn an_exemption_ends_with_its_day() {
    let exempt = "exempt: [{rule: image.nonRoot, until: 2026-06-01, by: sec@acme, why: SEC-1}]";
    let end = Utc.with_ymd_and_hms(2026, 6, 2, 0, 0, 0).unwrap();
    for (at, result) in
        [(now(), Outturn::Pass), (end - chrono::TimeDelta::seconds(1), Outturn::Pass), (end, Outturn::Fail)]
    {
        let context = EvaluateContext { now: at, last_good: None };
        let facts = json!({"image": {"user": "0"}});
        let decision = decide_at(policy("image: {nonRoot: true}", exempt), facts, Point::Pull, context);
        let reason = &decision.policies[0].reasons[0];
        assert_eq!(reason.result, result, "{at}");
        let used = result == Outturn::Pass;
        assert_eq!(reason.exempted.len(), usize::from(used));
        assert_eq!(decision.holds_until, used.then_some(end));
        match used {
            true => assert_eq!(reason.exempted[0], "image.nonRoot until 2026-06-01 by sec@acme: SEC-1"),
            false => assert!(reason.found.contains("has ended"), "{}", reason.found),
        }
    }
}

#[test]
fn exemptions_are_about_what_they_name() {
    for (exemption, rule, exempted) in [
        ("rule: nonRoot", "image: {nonRoot: true}", true),
        ("rule: image", "image: {nonRoot: true}", true),
        ("rule: 'require[0]'", "image: {nonRoot: true}", true),
        ("rule: 'require[0].image.nonRoot'", "image: {nonRoot: true}", true),
        ("rule: mine", "{name: mine, image: {nonRoot: true}}", true),
        ("rule: Root", "image: {nonRoot: true}", false),
        ("rule: labels", "image: {nonRoot: true}", false),
        ("id: nonRoot", "image: {nonRoot: true}", false),
    ] {
        let exempt = format!("exempt: [{{{exemption}, until: 2027-01-01, by: a, why: b}}]");
        let decision = decide(policy(rule, &exempt), json!({"image": {"user": ""}}));
        assert_eq!(decision.policies[0].result == Outturn::Pass, exempted, "{exemption}");
    }
    let finding = |purl: &str| json!({"findings": [{"id": "CVE-1", "purl": purl, "severity": "high"}]});
    for (exemption, purl, exempted) in [
        ("id: CVE-1", "pkg:deb/debian/zlib1g@1.2", true),
        ("id: CVE-2", "pkg:deb/debian/zlib1g@1.2", false),
        ("purl: 'pkg:deb/debian/zlib1g'", "pkg:deb/debian/zlib1g@1.2?arch=amd64", true),
        ("purl: 'pkg:deb/debian/zlib1g@1.2'", "pkg:deb/debian/zlib1g@1.2?arch=amd64", true),
        ("purl: 'pkg:deb/debian/zlib1g@1.3'", "pkg:deb/debian/zlib1g@1.2?arch=amd64", false),
        ("purl: 'pkg:deb/debian/zlib'", "pkg:deb/debian/zlib1g@1.2", false),
        ("id: CVE-1, purl: 'pkg:deb/debian/curl'", "pkg:deb/debian/zlib1g@1.2", false),
    ] {
        let exempt = format!("exempt: [{{{exemption}, until: 2027-01-01, by: a, why: b}}]");
        let decision = decide(policy("vulns: {fail: [{severity: '>=high'}]}", &exempt), finding(purl));
        assert_eq!(decision.policies[0].result == Outturn::Pass, exempted, "{exemption} {purl}");
        assert_eq!(decision.policies[0].reasons[0].exempted.len(), usize::from(exempted));
    }
}
