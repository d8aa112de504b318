//! What is asked of an image is asked of each image of an index, where nobody asks for them one by one.

use std::sync::Arc;

use rreg_oci::Digest;

use Outturn::{Fail, Pass};

use super::*;
use crate::facts::{OfImages, SbomFacts};
use crate::statement::Statement;

fn child(place: usize, size: u64, base: Option<&str>) -> Value {
    json!({"digest": rreg_oci::Digest::sha256(&[place as u8]).to_string(), "mediaType": "m", "config": place,
        "size": size, "baseName": base})
}

fn index(images: Vec<Value>, labels: &[Value], annotations: Value) -> Value {
    let configs: Vec<Value> = labels.iter().map(|labels| json!({"labels": labels, "user": "7"})).collect();
    json!({"image": {"configs": configs, "images": images, "annotations": annotations, "size": 1}})
}

fn result(rule: &str, facts: Value, at: Point) -> Outturn {
    let points = "at: [push, promote, pull, admit, run]";
    decide_at(policy(rule, points), facts, at, EvaluateContext { now: now(), last_good: None }).policies[0]
        .result
}

#[test]
fn expressions_hold_for_each_image() {
    let two = |labels: &[Value]| index(vec![child(0, 5, None), child(1, 2000, None)], labels, json!({}));
    let (clean, banned) = (json!({}), json!({"banned": "1", "quarantine": "true"}));
    for (rule, labels, whole) in [
        ("cel: \"!('banned' in image.labels)\"", [&banned, &clean], Fail),
        ("cel: \"!('banned' in image.labels)\"", [&clean, &banned], Fail),
        ("cel: \"!('banned' in image.labels)\"", [&clean, &clean], Pass),
        ("cel: image.labels['quarantine'] != 'true'", [&clean, &banned], Fail),
        ("cel: image.size < 1000", [&clean, &clean], Fail),
        ("cel: image.size < 2001", [&clean, &clean], Pass),
        ("cel: image.users.all(u, u == '7')", [&clean, &clean], Pass),
        ("cel: image.repository == 'test/image'", [&clean, &clean], Pass),
    ] {
        let facts = two(&labels.map(Clone::clone));
        for at in [Point::Push, Point::Promote, Point::Admit, Point::Run] {
            assert_eq!(result(rule, facts.clone(), at), whole, "{rule} {at:?}");
        }
        // Each is asked for by itself then.
        assert_eq!(result(rule, facts, Point::Pull), Pass, "{rule}");
    }
}

/// What the index says is not enough where one of its images says otherwise.
#[test]
fn what_is_attached_to_an_image_counts_for_the_index() {
    let attestation = "attestation: {predicate: 'https://p', signedBy: {key: a.pub}, cel: predicate.x == 1}";
    let deny = "sbom: {denyLicenses: ['AGPL*']}";
    let by = "sbom: {denyLicenses: ['AGPL*'], signedBy: {key: a.pub}}";
    let all = "cel: attestations.all(a, a.predicate.x == 1)";
    let attested = |x: u64, license: &str| {
        json!({"predicateType": "https://p", "predicate": {"x": x}, "signedBy": {"key": "a.pub"},
            "sbom": {"format": "spdx", "packages": 1, "licenses": {license: ["a"]}}})
    };
    let facts = |set: &PolicySet, of_child: Option<Value>| {
        let mut facts = index(vec![child(0, 5, None), child(1, 5, None)], &[json!({}), json!({})], json!({}));
        facts["attestations"] = json!([attested(1, "MIT")]);
        let mut facts = crate::cases::facts::facts(facts, set).unwrap();
        let each = vec![SbomFacts { evidence: Some(facts.evidence[0].id), ..facts.signed_sboms[0].clone() }];
        let attestations: Vec<Value> = of_child.into_iter().collect();
        let mut more = crate::cases::facts::facts(json!({"attestations": attestations}), set).unwrap();
        for fact in &mut more.evidence {
            (fact.subject, fact.id) = (facts.image.images[1].digest, Digest::sha256(b"of the child"));
            let statement = fact.statement.as_ref().unwrap();
            let subjects = vec![fact.subject];
            fact.statement = Some(Arc::new(Statement { subjects, ..Statement::clone(statement) }));
        }
        let of_child =
            |sbom: &SbomFacts| SbomFacts { evidence: Some(Digest::sha256(b"of the child")), ..sbom.clone() };
        let sboms = each.into_iter().chain(more.signed_sboms.iter().map(of_child)).collect();
        let of_images = OfImages { evidence: more.evidence, sboms, ..OfImages::default() };
        facts.of_images = Some(Box::new(of_images));
        facts
    };
    for (rule, of_child, expected) in [
        (attestation, None, Pass),
        (attestation, Some(attested(1, "MIT")), Pass),
        (attestation, Some(attested(2, "MIT")), Fail),
        (deny, None, Pass),
        (deny, Some(attested(1, "AGPL-3.0-only")), Fail),
        (by, Some(attested(1, "MIT")), Pass),
        (by, Some(attested(1, "AGPL-3.0-only")), Fail),
        (all, Some(attested(1, "MIT")), Pass),
        (all, Some(attested(2, "MIT")), Fail),
        ("sbom: {present: true}", None, Pass),
    ] {
        let set = PolicySet::new(vec![policy(rule, "at: [pull, admit, run]")]);
        assert!(set.asks_of_images(), "{rule}");
        let facts = facts(&set, of_child);
        let context = EvaluateContext { now: now(), last_good: None };
        let reason = |at| evaluate(&set, &facts, at, &context).policies.remove(0).reasons.remove(0);
        assert_eq!(reason(Point::Pull).result, Pass, "{rule}");
        for at in [Point::Admit, Point::Run] {
            let reason = reason(at);
            assert_eq!(reason.result, expected, "{rule} {reason:?}");
            assert!(expected == Pass || reason.found.contains("in the index: "), "{reason:?}");
        }
    }
    for (rule, at) in [("signature: {any: [{key: a.pub}]}", "[admit]"), (attestation, "[push, pull]")] {
        assert!(!PolicySet::new(vec![policy(rule, &format!("at: {at}"))]).asks_of_images());
    }
}

/// A policy for one platform asks nothing of the images for others.
#[test]
fn images_that_a_policy_is_not_about_are_not_asked() {
    let mut facts =
        index(vec![child(0, 5, None), child(1, 5, None)], &[json!({}), json!({"a": "b"})], json!({}));
    for (place, platform) in ["linux/amd64", "linux/arm64"].into_iter().enumerate() {
        facts["image"]["images"][place]["platforms"] = json!([platform]);
    }
    facts["image"]["platforms"] = json!(["linux/amd64", "linux/arm64"]);
    let rule = "cel: \"!('a' in image.labels)\"";
    for (platform, expected) in [("linux/amd64", Pass), ("linux/arm64", Fail), ("linux/*", Fail)] {
        let policy = policy(rule, &format!("at: [admit]\nmatch: {{platforms: ['{platform}']}}"));
        let context = EvaluateContext { now: now(), last_good: None };
        let decision = decide_at(policy, facts.clone(), Point::Admit, context);
        assert_eq!(decision.policies[0].result, expected, "{platform}");
    }
}

#[test]
fn every_statement_about_the_image_below_counts() {
    let rule = "image: {allowedBases: ['debian*']}";
    let label = |name: &str| json!({"org.opencontainers.image.base.name": name});
    let (good, bad, none) = (label("debian:12"), label("evil"), json!({}));
    let index = |bases: [Option<&str>; 2], labels: [&Value; 2], annotations: &Value| {
        let [first, second] = bases;
        let images = vec![child(0, 5, first), child(1, 5, second)];
        index(images, &labels.map(Clone::clone), annotations.clone())
    };
    let said = [Some("debian:12"), Some("debian:12")];
    for (facts, expected) in [
        (index(said, [&good, &good], &none), Pass),
        (index(said, [&none, &none], &none), Pass),
        (index([None, None], [&good, &bad], &none), Fail),
        (index([None, None], [&bad, &good], &none), Fail),
        (index(said, [&good, &bad], &good), Fail),
        (index([None, None], [&none, &none], &good), Pass),
        (index([None, None], [&bad, &none], &good), Fail),
        (index([None, None], [&good, &none], &none), Fail),
        (json!({"image": {"baseName": "debian:12", "labels": good}}), Pass),
        (json!({"image": {"baseName": "debian:12", "labels": bad}}), Fail),
        (json!({"image": {"labels": none}}), Fail),
    ] {
        for at in [Point::Pull, Point::Admit] {
            assert_eq!(result(rule, facts.clone(), at), expected, "{facts}");
        }
    }
}

#[test]
fn what_is_made_in_the_future_is_not_young() {
    let made = |created: &str| json!({"image": {"created": created}});
    for (created, expected) in [
        ("2026-05-31T00:00:00Z", Pass),
        // Clocks differ.
        ("2026-06-02T00:00:00Z", Pass),
        ("2026-06-04T00:00:00Z", Fail),
        ("2099-01-01T00:00:00Z", Fail),
    ] {
        assert_eq!(result("image: {maxAgeDays: 3}", made(created), Point::Pull), expected, "{created}");
    }
}
