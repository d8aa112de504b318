//! Which of several attestations says what is so.

use super::rules::table;
use super::*;

use Outturn::{Fail, Pass};

/// Whoever may push can attach an old statement again, in as many ways as there are.
#[test]
fn what_is_attached_again_in_other_ways_is_no_newer() {
    use crate::evidence::Found::{CosignTag, Referrer, ReferrersTag};
    let rule = "attestation: {predicate: 'https://p', signedBy: {key: a.pub}, cel: predicate.x == 1}";
    let set = PolicySet::new(vec![policy(rule, "")]);
    let one =
        |x: u64| json!({"predicateType": "https://p", "predicate": {"x": x}, "signedBy": {"key": "a.pub"}});
    let result = |listed: &[(u64, &[crate::evidence::Found])]| {
        let attestations: Vec<Value> = listed.iter().map(|(x, _)| one(*x)).collect();
        let mut facts = crate::cases::facts::facts(json!({"attestations": attestations}), &set).unwrap();
        for (fact, (_, found)) in facts.evidence.iter_mut().zip(listed) {
            fact.found = found.to_vec();
        }
        evaluate(&set, &facts, Point::Pull, &EvaluateContext { now: now(), last_good: None }).policies[0]
            .result
    };
    let (good, bad) = (1, 2);
    assert_eq!(result(&[(good, &[Referrer]), (bad, &[Referrer])]), Pass);
    for again in [&[Referrer][..], &[Referrer, ReferrersTag], &[ReferrersTag], &[CosignTag, Referrer]] {
        assert_eq!(result(&[(good, again), (bad, &[Referrer]), (good, &[Referrer])]), Fail, "{again:?}");
    }
    // Lists that differ say nothing.
    let both = &[Referrer, CosignTag][..];
    assert_eq!(result(&[(good, &[CosignTag]), (bad, both), (good, &[Referrer])]), Fail);
    assert_eq!(
        result(&[(good, &[CosignTag]), (bad, &[Referrer]), (bad, &[CosignTag]), (good, &[Referrer])]),
        Fail
    );
}

/// Whoever may delete the older copy can have an old statement stamped and listed anew. What it says of its own time is
/// signed with it.
#[test]
fn what_is_stamped_anew_is_no_newer_than_what_says_a_later_time() {
    let rule = "attestation: {predicate: 'https://p', signedBy: {key: a.pub}, cel: predicate.x == 1}";
    let stamps = ["", "2026-02-01T00:00:00Z"];
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z");
    let one = |x: u64, said: Value, stamp: &str| {
        let mut by = json!({"key": "a.pub"});
        if !stamp.is_empty() {
            by["at"] = stamp.into();
        }
        let mut predicate = said;
        predicate["x"] = x.into();
        json!({"predicateType": "https://p", "predicate": predicate, "signedBy": by})
    };
    let says: [fn(&str) -> Value; 4] = [
        |time| json!({"timestamp": time}),
        |time| json!({"metadata": {"scanFinishedOn": time, "scanStartedOn": "2020-01-01T00:00:00Z"}}),
        |time| json!({"runDetails": {"metadata": {"finishedOn": time}}}),
        |time| json!({"metadata": {"timestamp": time}}),
    ];
    let stamped = "2026-01-20T00:00:00Z";
    for said in says {
        for stamp in stamps {
            let bad_stamp = if stamp.is_empty() { "" } else { stamped };
            let restamped =
                json!({"attestations": [one(1, said(early), stamp), one(2, said(late), bad_stamp)]});
            let honest = json!({"attestations": [one(1, said(late), stamp), one(2, said(early), bad_stamp)]});
            table(&[(rule, restamped, Fail, "the expression is false"), (rule, honest, Pass, "attested in")]);
        }
    }
    // One that says none is as new as its stamp and its place say, which is told.
    let silent = json!({"attestations": [one(1, json!({}), stamps[1]), one(2, json!({}), stamped)]});
    table(&[(rule, silent, Pass, "not all say a time themselves")]);
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
    let (old, between, new) = ("2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z");
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
        // A time can be stamped over an old signature by anybody.
        (latest, all(&[&one(1, "b.pub", new), &one(2, "b.pub", between), &good_old]), Fail, "is false"),
        (latest, all(&[&one(2, "b.pub", new), &one(1, "b.pub", between)]), Fail, "is false"),
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
