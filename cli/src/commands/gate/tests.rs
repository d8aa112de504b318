//! The forms of a report, on decisions as policies make them.

use std::collections::BTreeMap;

use chrono::DateTime;
use rreg_oci::Digest;
use rreg_policy::{Decision, Mode, Outcome, Outturn, Point, PolicyResult, Reason};
use serde_json::Value;

use super::report::{Found, Judged, PolicyFiles, Report, Status, Unchecked};
use super::table::Detail;
use super::{junit, sarif, table};
use crate::exit::Exit;

fn reason(rule: &str, result: Outturn) -> Reason {
    let fix = if result == Outturn::Pass { "" } else { "sign it" };
    Reason {
        rule: rule.into(),
        result,
        expected: "a signature by <the key>".into(),
        found: "\u{1b}[31mnone & nothing\nat all".into(),
        evidence: vec![Digest::sha256(b"evidence")],
        fix: fix.into(),
        exempted: Vec::new(),
    }
}

fn policy(name: &str, mode: Mode, results: &[Outturn]) -> PolicyResult {
    let result = results.iter().copied().max().unwrap_or(Outturn::Pass);
    let outcome = match (result, mode) {
        (Outturn::Pass, _) | (_, Mode::Audit) => Outcome::Allow,
        (_, Mode::Warn) => Outcome::Warn,
        (_, Mode::Enforce) => Outcome::Deny,
    };
    let reasons =
        results.iter().enumerate().map(|(i, result)| reason(&format!("require[{i}].signature"), *result));
    PolicyResult {
        policy: name.into(),
        revision: Digest::sha256(name.as_bytes()),
        mode,
        result,
        outcome,
        reasons: reasons.collect(),
        last_good: None,
    }
}

fn judged(image: &str, policies: Vec<PolicyResult>) -> Judged {
    let digest = Digest::sha256(image.as_bytes());
    let decision = Decision {
        repository: "app".into(),
        digest,
        at: Point::Run,
        outcome: policies.iter().map(|policy| policy.outcome).max().unwrap_or(Outcome::Allow),
        policies,
        decided_at: DateTime::UNIX_EPOCH,
        holds_until: None,
    };
    let platforms = vec!["linux/amd64".into(), "linux/arm64".into()];
    Judged { image: image.into(), result: Ok(Found { digest, platforms, decision, incomplete: Vec::new() }) }
}

fn report(images: Vec<Judged>) -> Report {
    let by_revision =
        BTreeMap::from([(Digest::sha256(b"prod").to_string(), "policies/prod.yaml".to_owned())]);
    Report { at: Point::Run, images, files: PolicyFiles { by_revision, all: "policies".into() } }
}

/// One of each: allowed, warned of, audited, denied, undecided, unreachable, and asked by no policy.
fn all() -> Report {
    use Outturn::{Error, Fail, Pass};
    let gone = Unchecked { why: "cannot talk to the registry".into(), hint: Some("is it there?".into()) };
    report(vec![
        judged("h:1/app:good", vec![policy("prod", Mode::Enforce, &[Pass])]),
        judged("h:1/app:warned", vec![policy("soft", Mode::Warn, &[Fail, Pass])]),
        judged("h:1/app:audited", vec![policy("quiet", Mode::Audit, &[Fail])]),
        judged("h:1/app:bad", vec![policy("prod", Mode::Enforce, &[Pass, Error, Fail])]),
        judged("h:1/app:undecided", vec![policy("prod", Mode::Enforce, &[Error])]),
        Judged { image: "h:1/app:gone".into(), result: Err(gone) },
        judged("h:1/app", Vec::new()),
    ])
}

#[test]
fn exit_codes() {
    let exit = |range: std::ops::Range<usize>| {
        let images = all().images.into_iter().skip(range.start).take(range.len()).collect();
        report(images).exit()
    };
    assert_eq!(exit(0..3), Exit::Ok, "warnings and audits let pass");
    assert_eq!(exit(3..4), Exit::Refused);
    assert_eq!(exit(4..5), Exit::Unreachable, "nothing failed, but not all is known");
    assert_eq!(exit(5..6), Exit::Unreachable);
    assert_eq!(exit(3..6), Exit::Refused, "what is denied is known");
    let report = all();
    let status: Vec<Status> = report.images.iter().map(Judged::status).collect();
    use Status::{Allowed, Denied, Unchecked, Warned};
    assert_eq!(status, [Allowed, Warned, Allowed, Denied, Unchecked, Unchecked, Allowed]);
}

#[test]
fn json_has_its_documented_shape() {
    let value = serde_json::to_value(&all().images).unwrap();
    for image in value.as_array().unwrap() {
        for field in ["image", "digest", "platforms", "status", "decision"] {
            assert!(image.get(field).is_some(), "{field}: {image}");
        }
        assert_eq!(image["decision"].is_null(), image.get("error").is_some(), "{image}");
    }
    assert_eq!(value[3]["decision"]["policies"][0]["reasons"][2]["result"], "fail");
}

/// What the SARIF 2.1.0 schema and its readers ask for (sections 3.13, 3.14, 3.19, 3.27, 3.49).
#[test]
fn sarif_is_what_its_readers_want() {
    let report = all();
    let value = sarif::write(&report);
    assert_eq!(value["version"], "2.1.0");
    assert!(value["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let run = &value["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let mut ids: Vec<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rules.len(), "each rule once");
    let results = run["results"].as_array().unwrap();
    let levels: Vec<&str> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["warning", "note", "error", "error", "error", "error"]);
    for result in results {
        let place = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[place]["id"], result["ruleId"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let location = &result["locations"][0];
        let uri = location["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(["policies", "policies/prod.yaml"].contains(&uri), "{uri}");
        assert!(
            location["logicalLocations"][0]["fullyQualifiedName"].as_str().unwrap().starts_with("h:1/app:")
        );
    }
    // The same rule on another tag is the same alert; another rule is not.
    let print = |i: usize| results[i]["partialFingerprints"]["rregGate/v1"].clone();
    assert_ne!(print(2), print(3));
    let message = results[2]["message"]["text"].as_str().unwrap();
    assert!(message.contains("expected") && message.contains("found") && message.contains("Fix: sign it."));
}

#[test]
fn junit_counts_what_it_says() {
    let text = junit::write(&all());
    let count = |what: &str| text.matches(what).count();
    assert_eq!(count("<testsuite "), 7);
    assert_eq!((count("<failure "), count("<error "), count("<skipped ")), (1, 3, 3));
    assert!(
        text.contains(r#"<testsuites name="rreg gate" tests="10" failures="1" errors="3" skipped="3">"#),
        "{text}"
    );
    assert!(
        text.contains("<failure type=\"denied\" message=\"expected a signature by &lt;the key&gt;; found")
    );
    assert!(!text.contains('\u{1b}'), "no control character");
}

#[test]
fn the_table_says_why_and_steers_nothing() {
    let text = table::write(&all(), Detail::Problems);
    assert!(text.ends_with("7 images: 3 allowed, 1 warned, 1 denied, 2 unchecked\n"), "{text}");
    for part in ["expected", "found", "fix", "linux/arm64", "no policy is about it at run", "is it there?"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("\u{1b}[31mnone"), "what a stranger wrote");
    let plain = anstream::adapter::strip_str(&text).to_string();
    assert!(plain.contains("denied    h:1/app:bad at run\n"), "{plain}");
    let problems = plain.matches("require[0].signature").count();
    let full = anstream::adapter::strip_str(&table::write(&all(), Detail::All)).to_string();
    assert!(full.matches("require[0].signature").count() > problems);
}

#[test]
fn names_with_digests_are_named_once() {
    let judged = judged(&format!("h:1/app:v1@{}", Digest::sha256(b"x")), Vec::new());
    let pinned = judged.pinned();
    assert_eq!(pinned.matches('@').count(), 1);
    let value: Value = serde_json::to_value(&judged).unwrap();
    assert_eq!(value["status"], "allowed");
}
