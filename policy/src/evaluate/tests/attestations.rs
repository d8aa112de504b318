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
