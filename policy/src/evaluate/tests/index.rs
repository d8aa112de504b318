//! What is asked of an image is asked of each image of an index, where nobody asks for them one by one.

use super::*;

use Outturn::{Fail, Pass};

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
