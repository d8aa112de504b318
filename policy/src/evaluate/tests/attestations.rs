//! What images have to say about how they were made.

use Outturn::{Error, Fail, Pass};

use super::rules::table;
use super::*;

#[test]
fn attestations() {
    let signed_by = "attestation: {predicate: 'https://p', signedBy: {key: a.pub}, cel: predicate.x == 1}";
    let unsigned = "attestation: {predicate: 'https://p', signed: false, cel: predicate.x == 1}";
    let attested = |x: Value, by: Value| {
        let mut one = json!({"predicateType": "https://p", "predicate": x});
        if !by.is_null() {
            one["signedBy"] = by;
        }
        json!({"attestations": [one]})
    };
    let key = |name: &str| json!({"key": name});
    let several = |all: &[(u64, &str)]| {
        let one = |(x, by): &(u64, &str)| json!({"predicateType": "https://p", "predicate": {"x": x}, "signedBy": key(by)});
        json!({"attestations": all.iter().map(one).collect::<Vec<_>>()})
    };
    let which = |word: &str| signed_by.replace("signedBy", &format!("which: {word}, signedBy"));
    let (every, any) = (which("every"), which("any"));
    let limited = |all: &[(u64, &str)], limit: &str| {
        let mut facts = several(all);
        facts[limit] = json!(["too many"]);
        facts
    };
    table(&[
        (signed_by, attested(json!({"x": 1}), key("a.pub")), Pass, "attested in"),
        (signed_by, attested(json!({"x": 2}), key("a.pub")), Fail, "the expression is false"),
        (signed_by, attested(json!({}), key("a.pub")), Error, "cannot be answered"),
        (signed_by, attested(json!({"x": 1}), key("b.pub")), Fail, "an attestation that is invalid"),
        (signed_by, attested(json!({"x": 1}), Value::Null), Fail, "an attestation that nobody signed"),
        (signed_by, json!({}), Fail, "no such attestation"),
        (signed_by, json!({"incomplete": ["too much"]}), Error, "too much"),
        (signed_by, json!({"over": ["too many"], "incomplete": ["x"]}), Fail, "too many"),
        (signed_by, limited(&[(1, "a.pub")], "over"), Pass, "attested in"),
        (signed_by, limited(&[(1, "a.pub")], "unread"), Fail, "too many"),
        (&every, limited(&[(1, "a.pub")], "over"), Fail, "too many"),
        (&any, limited(&[(1, "a.pub")], "unread"), Pass, "attested in"),
        (
            signed_by,
            json!({"attestations": [{"predicateType": "https://q", "signedBy": key("a.pub")}]}),
            Fail,
            "no such",
        ),
        (
            signed_by,
            attested(json!({"x": 1}), json!({"key": "a.pub", "verdict": "error"})),
            Error,
            "could not be checked",
        ),
        (unsigned, attested(json!({"x": 1}), Value::Null), Pass, ""),
        (unsigned, attested(json!({"x": 2}), Value::Null), Fail, "false"),
        // The newest says what is so: the first of a list. One by nobody who is meant is not among them.
        (signed_by, several(&[(2, "a.pub"), (1, "a.pub")]), Fail, "the expression is false"),
        (signed_by, several(&[(1, "a.pub"), (2, "a.pub")]), Pass, "attested in"),
        (signed_by, several(&[(2, "b.pub"), (1, "a.pub")]), Pass, "attested in"),
        (&every, several(&[(1, "a.pub"), (2, "a.pub")]), Fail, "the expression is false"),
        (&every, several(&[(1, "a.pub"), (1, "a.pub"), (2, "b.pub")]), Pass, "attested in"),
        (&any, several(&[(2, "a.pub"), (1, "a.pub")]), Pass, "attested in"),
        (&any, several(&[(2, "a.pub"), (1, "b.pub")]), Fail, ""),
        (
            "attestation: {predicate: 'https://p', signedBy: ci}",
            attested(json!({}), key("a.pub")),
            Fail,
            "does not define ci",
        ),
    ]);
}

/// Which of several is the latest, and what those that cannot be read are taken for.
#[test]
fn the_latest_attestation() {
    let latest = "attestation: {predicate: 'https://p', signedBy: [{key: a.pub}, {key: b.pub}], cel: predicate.x == 1}";
    let every = latest.replace("signedBy", "which: every, signedBy");
    let any = latest.replace("signedBy", "which: any, signedBy");
    let one = |x: u64, by: &str, at: &str| {
        let mut by = json!({"key": by});
        if !at.is_empty() {
            by["at"] = at.into();
        }
        json!({"predicateType": "https://p", "predicate": {"x": x}, "signedBy": by})
    };
    let unread = |by: &str, at: &str| {
        let mut one = one(1, by, at);
        one["unread"] = "too many subjects".into();
        one
    };
    let all = |all: &[&Value]| json!({"attestations": all});
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let (good, bad) = (one(1, "a.pub", ""), one(2, "a.pub", ""));
    let (good_old, bad_new) = (one(1, "b.pub", old), one(2, "b.pub", new));
    let other = one(1, "b.pub", "");
    table(&[
        // By proved times, wherever they are listed.
        (latest, all(&[&good_old, &bad_new]), Fail, "the expression is false"),
        (latest, all(&[&one(2, "b.pub", old), &one(1, "b.pub", new)]), Pass, "attested in"),
        // One without a time that is listed before it may be newer; one that is listed after it is older.
        (latest, all(&[&bad, &good_old]), Fail, "the expression is false"),
        (latest, all(&[&good, &good_old]), Pass, "attested in"),
        (latest, all(&[&good_old, &bad]), Pass, "attested in"),
        (latest, all(&[&good, &bad_new]), Fail, "the expression is false"),
        // The same said again is no newer.
        (latest, all(&[&good, &bad, &good]), Fail, "the expression is false"),
        (latest, all(&[&other, &bad, &good]), Fail, "the expression is false"),
        (latest, all(&[&one(1, "a.pub", new), &bad, &good]), Fail, "the expression is false"),
        (latest, all(&[&one(1, "a.pub", new), &bad]), Pass, "attested in"),
        // What cannot be read may say anything, if it is theirs.
        (latest, all(&[&unread("a.pub", ""), &good]), Fail, "of theirs in"),
        (latest, all(&[&good, &unread("a.pub", "")]), Pass, "attested in"),
        (latest, all(&[&unread("a.pub", new), &good_old]), Fail, "too many subjects"),
        (latest, all(&[&unread("a.pub", old), &one(1, "b.pub", new)]), Pass, "attested in"),
        (latest, all(&[&unread("c.pub", ""), &good]), Pass, "attested in"),
        (&every, all(&[&good, &unread("a.pub", "")]), Fail, "of theirs in"),
        (&any, all(&[&unread("a.pub", ""), &good]), Pass, "attested in"),
    ]);
    // An expression over all of them asks for what the policy trusts.
    let cel = "{signature: {any: [{key: a.pub}]}}\ncel: \"attestations.exists(a, a.predicate.x == 1)\"";
    let reasons = |facts: Value| decide(policy(cel, ""), facts).policies.remove(0).reasons.remove(1);
    assert_eq!(reasons(all(&[&unread("a.pub", ""), &good])).result, Fail);
    assert_eq!(reasons(all(&[&unread("c.pub", ""), &good])).result, Pass);
}
