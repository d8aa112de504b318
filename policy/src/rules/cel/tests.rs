//! Expressions: what they may say, and that their bounds hold.

use chrono::{TimeZone, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::facts::Facts;
use crate::rules::tests::policy;

fn facts() -> Facts {
    serde_json::from_value(json!({
        "image": {
            "repository": "prod/app", "mediaType": "m", "digest": rreg_oci::Digest::sha256(b"").to_string(),
            "tags": ["v1", "v2"], "platforms": ["linux/amd64"], "size": 10,
            "configs": [
                {"platform": "linux/amd64", "user": "app", "labels": {"a": "1", "b": "2"}, "created": "2026-01-01T00:00:00Z"},
                {"platform": "linux/arm64", "user": "app", "labels": {"a": "1", "b": "3"}, "created": "2026-01-02T00:00:00Z"},
            ],
        },
        "sbom": {"known": {"format": "spdx", "packages": 3, "quality": 7.5}},
    }))
    .unwrap()
}

fn within(text: &str, predicate: &Value, work: u64) -> Result<bool, CelError> {
    let expression = Expression::compile(text, VARIABLES).unwrap_or_else(|error| panic!("{text}: {error}"));
    let (facts, policy) = (facts(), policy("sbom: {present: true}", ""));
    let now = Utc.with_ymd_and_hms(2026, 6, 1, 12, 34, 56).unwrap();
    expression.run_within(&Scope { facts: &facts, policy: &policy, now, predicate: Some(predicate) }, work)
}

fn run(text: &str) -> Result<bool, CelError> {
    within(text, &json!({"a": {"b": [1, 2, 3]}, "text": "https://a/b"}), budget::MAX_WORK)
}

#[test]
fn expressions_see_the_facts() {
    for text in [
        "image.repository == 'prod/app' && image.tags.exists(t, t == 'v2')",
        "image.labels == {'a': '1'} && !has(image.labels.b)",
        "image.configs.all(c, c.user != 'root') && 'app' in image.users",
        "image.size > 3 && image.size + 1 == 11",
        "image.created == timestamp('2026-01-01T00:00:00Z')",
        "now - image.created > duration('24h') && now.getMinutes() == 0 && now.getHours() == 12",
        "predicate.a.b.map(x, x * 2) == [2, 4, 6] && predicate.a.b.filter(x, x > 2).size() == 1",
        "predicate.text.matches('^https://') && matches(predicate.text, 'b$') && !predicate.text.matches('^x')",
        "sbom.quality >= 7.5 && sbom.packages == 3",
        "size(signatures) == 0 && attestations == []",
        "image.baseName == null && image.pinned == null",
        "predicate.text.startsWith('https') ? true : false",
        "[1, 2].exists_one(image, image == 1)",
    ] {
        assert_eq!(run(text), Ok(true), "{text}");
    }
    assert_eq!(run("image.repository == 'x'"), Ok(false));
}

#[test]
fn what_has_no_answer_is_an_error() {
    for text in ["1 / 0 == 1", "predicate.a.b[9] == 1", "image.tags > 1"] {
        assert!(matches!(run(text), Err(CelError::Failed(_))), "{text}: {:?}", run(text));
    }
    for text in ["image.repository", "1", "null", "[true]", "{'a': true}"] {
        assert!(matches!(run(text), Err(CelError::NotBoolean(_))), "{text}: {:?}", run(text));
    }
}

#[test]
fn a_name_that_is_not_there_is_none() {
    for text in [
        "image.labels['zzz'] == 'a'",
        "image.labels.zzz == 'a'",
        "image.annotations['org.opencontainers.image.source'] == 'x'",
        "image.configs[0].labels['zzz'] == 'a'",
        "predicate['nothing'] == 1",
    ] {
        assert_eq!(run(text), Ok(false), "{text}");
    }
    for text in [
        "image.labels['zzz'] != 'a'",
        "image.labels['a'] == '1'",
        "image.labels.a == '1'",
        "image.labels['zzz'] == null",
    ] {
        assert_eq!(run(text), Ok(true), "{text}");
    }
}

#[test]
fn mistakes_are_seen_before_there_is_an_image() {
    for (text, why) in [
        ("image.labls['x'] == 'y'", "did you mean image.labels"),
        ("image.nosuch == 1", "has no field \"nosuch\""),
        ("has(image.nosuch)", "has no field"),
        ("sbom.qualty > 5.0", "did you mean sbom.quality"),
        ("now - image.created < duration('30d')", "duration"),
        ("image.created > timestamp('yesterday')", "timestamp"),
    ] {
        let error = Expression::compile(text, VARIABLES).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    for text in [
        "[1].exists(image, image.x == 1) || true",
        "duration('1h30m') < duration('1.5s')",
        "duration('0') < duration('-1ms')",
    ] {
        Expression::compile(text, VARIABLES).unwrap();
    }
}

#[test]
fn what_strangers_attached_is_paid_for_before_it_is_seen() {
    let long = json!({"a": vec![1; 10_000]});
    assert_eq!(within("predicate != null", &long, 9_000), Err(CelError::TooMuchWork));
    assert_eq!(within("image.size > 3", &long, 9_000), Ok(true));
    assert_eq!(within("has(predicate.a)", &long, budget::MAX_WORK), Ok(true));
}

/// What an image says of itself is its maker's, who may write much.
#[test]
fn an_image_is_paid_for_before_it_is_seen() {
    let (mut facts, policy) = (facts(), policy("sbom: {present: true}", ""));
    let expression = Expression::compile("image.repository != ''", VARIABLES).unwrap();
    let run = |facts: &Facts| {
        expression.run_share(&Scope { facts, policy: &policy, now: Utc::now(), predicate: None }, 1)
    };
    let labels = |count: usize| (0..count).map(|n| (format!("{n:0>60}"), "x".to_owned())).collect();
    facts.image.configs[0].labels = labels(10_000);
    assert_eq!(run(&facts), Ok(true));
    facts.image.configs[0].labels = labels(400_000);
    assert_eq!(run(&facts), Err(CelError::TooMuchWork));
    facts.image.configs[0].labels.clear();
    facts.image.configs[0].environment = vec!["x".repeat(8 << 20); 9];
    assert_eq!(run(&facts), Err(CelError::TooMuchWork));
}

#[test]
fn what_cannot_be_bounded_is_refused() {
    let deep = format!("{}1{} == 1", "(".repeat(60), ")".repeat(60));
    let sums = format!("1{} == 1", " + 1".repeat(200));
    let nots = format!("{}true", "!".repeat(200));
    let long = format!("'{}' == ''", "a".repeat(5000));
    let nested = "[1].all(a, [1].all(b, [1].all(c, true)))".to_owned();
    let pattern = "image.repository.matches('(a{900}){900}')".to_owned();
    for text in
        [deep, sums, nots, long, nested, pattern, "Message{a: 1} == null".into(), "_f(1)".into(), "".into()]
    {
        let shown: String = text.chars().take(60).collect();
        assert!(Expression::compile(&text, VARIABLES).is_err(), "{shown}");
    }
    assert!(Expression::compile("[1].all(a, [1].all(b, true))", VARIABLES).is_ok());
}

#[test]
fn the_deepest_that_is_allowed_can_be_run() {
    let brackets = format!("{}1{} == 1", "(".repeat(40), ")".repeat(40));
    let lists = format!("{}1{} != [1]", "[".repeat(20), "]".repeat(20));
    let sums = format!("1{} == 21", " + 1".repeat(20));
    let nested = format!("[1].all(a, [1].all(b, 1{} == 13))", " + 1".repeat(12));
    for text in [brackets, lists, sums, nested] {
        assert_eq!(run(&text), Ok(true), "{text}");
    }
    // Whatever becomes of these, they are answered.
    let ands = format!("true{}", " && true".repeat(500));
    let sums = format!("1{} == 1", "+1".repeat(1500));
    let chain = format!("image{} == 1", ".a".repeat(1500));
    let calls = format!("''{} == ''", ".size()".repeat(500));
    let choices = format!("{}true", "true ? true : ".repeat(290));
    for text in [ands, sums, chain, calls, choices] {
        let _ = Expression::compile(&text, VARIABLES);
    }
}

#[test]
fn work_is_bounded_and_errors_cannot_be_swallowed() {
    let list: Vec<u64> = (0..2000).collect();
    let text = "x".repeat(1 << 20);
    let predicate = json!({"list": list, "text": text});
    for text in [
        "predicate.list.all(a, predicate.list.all(b, a + b >= 0))",
        "predicate.list.exists(a, predicate.list.exists(b, a + b < 0)) || true",
        "true || predicate.list.all(a, predicate.text == predicate.text + 'a')",
        "predicate.list.all(a, predicate.text != 'a' + predicate.text)",
        "predicate.list.all(a, predicate.text.contains('y') == false)",
        "predicate.list.all(a, predicate.text.matches('y') == false)",
        "predicate.list.map(a, predicate.text).size() == 2000",
        "predicate.list.map(a, {'x': predicate.text}).size() == 2000",
        "predicate.list.map(a, predicate.list).size() == 2000",
        "predicate.list.map(a, [predicate.list, predicate.list]).map(b, b).size() == 2000",
        "[predicate.text].map(a, a + a + a + a + a + a + a + a).map(b, b + b + b + b + b + b + b).map(c, c + c + c + c + c + c + c)[0] != ''",
    ] {
        let answer = within(text, &predicate, budget::MAX_WORK / 8);
        let shortcut = text.starts_with("true ||");
        assert_eq!(answer, if shortcut { Ok(true) } else { Err(CelError::TooMuchWork) }, "{text}");
    }
    // What real rules do stays far below.
    for text in [
        "predicate.list.all(a, a >= 0) && predicate.list.exists(a, a == 1999)",
        "predicate.list.filter(a, a > 5).map(a, a + 1).size() == 1994",
        "predicate.text.startsWith('xxx')",
    ] {
        assert_eq!(within(text, &predicate, budget::MAX_WORK / 10), Ok(true), "{text}");
    }
    assert_eq!(within("[1, 2, 3].all(a, a > 0)", &Value::Null, 2), Err(CelError::TooMuchWork));
}

#[test]
fn names_of_the_bounds_cannot_be_written() {
    for text in
        ["@pay(1) == 1", "@over([1], 0) == [1]", "@matches('a', 'b')", "@result", "[1].all(@pay, true)"]
    {
        assert!(Expression::compile(text, VARIABLES).is_err(), "{text}");
    }
}

#[test]
fn what_a_push_may_ask() {
    let compile = |text: &str| Expression::compile(text, VARIABLES).unwrap();
    assert!(compile("image.size < 5").needs_only_image());
    assert!(!compile("image.size < 5 && size(signatures) > 0").needs_only_image());
    assert!(!compile("sbom != null").needs_only_image());
    assert!(compile("now > image.created").uses("now"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn odd_texts_never_panic(text in r#"[a-z0-9"'.\[\](){}?:&|!<>=+*/%, \\@`$\n-]{0,40}"#) {
        if let Ok(expression) = Expression::compile(&text, VARIABLES) {
            let (facts, policy) = (facts(), policy("sbom: {present: true}", ""));
            let _ = expression.run_share(&Scope { facts: &facts, policy: &policy, now: Utc::now(), predicate: None }, 1);
        }
    }

    #[test]
    fn pieces_of_expressions_never_panic(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "image", ".", "tags", "all(", "x", ",", ")", "(", "[", "]", "{", "}", "1", "'a'", "&&", "||", "!", "-",
                "?", ":", "==", "in", "has(", "size(", "matches(", "map(", "b'\\x'", "r'", "\"\"\"", "1u", "1.5e9", "null",
                "9223372036854775807", "-9223372036854775808", "duration('1h')", "timestamp('9999-12-31T23:59:59Z')", "+", "*",
            ]),
            0..14,
        ),
        spaced in any::<bool>(),
    ) {
        let text = pieces.join(if spaced { " " } else { "" });
        if let Ok(expression) = Expression::compile(&text, VARIABLES) {
            let (facts, policy) = (facts(), policy("sbom: {present: true}", ""));
            let _ = expression.run_share(&Scope { facts: &facts, policy: &policy, now: Utc::now(), predicate: None }, 1);
        }
    }
}
