//! Each rule: what passes, what fails, what cannot be decided.

use super::*;

#[track_caller]
pub(super) fn table(rows: &[(&str, Value, Outturn, &str)]) {
    for (rule, facts, result, found) in rows {
        let reason = ask(rule, facts.clone());
        assert_eq!(reason.result, *result, "{rule} {facts}: {reason:?}");
        assert!(reason.found.contains(found), "{rule} {facts}: {reason:?}");
        assert!(!reason.expected.is_empty() && !reason.found.is_empty());
        assert!(*result != Outturn::Pass || reason.fix.is_empty());
        assert!(*result != Outturn::Fail || !reason.fix.is_empty(), "{rule}: {reason:?}");
    }
}

fn keyless(identity: &str) -> Value {
    json!({"keyless": {"issuer": "https://i", "identity": identity, "claims": {"ref": "refs/heads/main"}}})
}

fn signed(signatures: Value) -> Value {
    json!({"signatures": signatures})
}

use Outturn::{Error, Fail, Pass};

#[test]
fn signatures() {
    let key = "signature: {any: [{key: a.pub}]}";
    let exact = "signature: {any: [{keyless: {issuer: 'https://i', identity: ['https://x', 'https://y']}}]}";
    let regex = "signature: {any: [{keyless: {issuerRegex: '^https://i$', identityRegex: '^https://x/.+@refs/tags/'}}]}";
    let claims = "signature: {any: [{keyless: {issuer: 'https://i', identityRegex: '^', claims: {ref: 'refs/heads/*'}}}]}";
    let other = "signature: {any: [{keyless: {issuer: 'https://i', identityRegex: '^', claims: {ref: 'refs/tags/*'}}}]}";
    let root =
        "signature: {any: [{keyless: {issuer: 'https://i', identity: 'https://x', root: private.json}}]}";
    let certificate = "signature: {any: [{certificate: {roots: r.pem, subject: 'O=acme,CN=ci'}}]}";
    let name = "signature: {any: [{certificate: {roots: r.pem, nameRegex: '^ci@'}}]}";
    let notation = "signature: {any: [{notation: {store: acme, subject: 'C=US,ST=WA,O=acme'}}]}";
    let by_policy = "signature: {any: [{notation: {policy: trustpolicy.json}}]}";
    let cert = |names: &str| json!([{"certificate": {"roots": "r.pem", "subject": "CN=ci,OU=x,O=acme", "names": names}}]);
    let notary = |subject: &str| json!([{"notation": {"store": "acme", "subject": subject}}]);
    table(&[
        (key, signed(json!([{"key": "a.pub"}])), Pass, "signed by the key a.pub"),
        (key, json!({}), Fail, "not signed"),
        (
            key,
            signed(json!([{"key": "b.pub"}])),
            Fail,
            "a signature that is invalid: signature: it was made with another key",
        ),
        (key, signed(json!([{"key": "a.pub", "verdict": "invalid"}])), Fail, "invalid: signature"),
        (
            key,
            signed(json!([{"key": "a.pub", "verdict": "unverifiable"}])),
            Fail,
            "nobody trusted here can vouch for",
        ),
        (key, signed(json!([{"key": "a.pub", "verdict": "error"}])), Error, "could not be checked"),
        (
            key,
            signed(json!([{"key": "a.pub", "until": "2026-06-01T12:00:00Z"}])),
            Error,
            "to be verified anew",
        ),
        (key, signed(json!([{"key": "b.pub"}, {"key": "a.pub"}])), Pass, "a.pub"),
        (key, json!({"incomplete": ["the store is away"]}), Error, "the store is away"),
        (key, json!({"incomplete": ["x"], "signatures": [{"key": "a.pub"}]}), Pass, "a.pub"),
        (key, signed(notary("C=US,ST=WA,O=acme")), Fail, "other trust material"),
        (exact, signed(json!([keyless("https://y")])), Pass, "https://x or https://y by https://i"),
        (exact, signed(json!([keyless("https://z")])), Fail, "signed by https://z by https://i"),
        (regex, signed(json!([keyless("https://x/a@refs/tags/v1")])), Pass, ""),
        (
            regex,
            signed(json!([keyless("https://evil/https://x/a@refs/tags/v1")])),
            Fail,
            "signed by https://evil",
        ),
        (claims, signed(json!([keyless("a")])), Pass, ""),
        (other, signed(json!([keyless("a")])), Fail, "signed by a by https://i"),
        (root, signed(json!([keyless("https://x")])), Fail, "other trust material"),
        (certificate, signed(cert("x")), Pass, "the certificate O=acme,CN=ci of r.pem"),
        (name, signed(cert("ci@acme")), Pass, ""),
        (name, signed(cert("x")), Fail, "the certificate of CN=ci"),
        (notation, signed(notary("CN=x,O=acme,ST=WA,C=US")), Pass, ""),
        (notation, signed(notary("CN=x,O=evil,ST=WA,C=US")), Fail, "O=evil"),
        (
            by_policy,
            signed(json!([{"notation": {"policy": "trustpolicy.json", "subject": "O=a"}}])),
            Pass,
            "",
        ),
        ("signature: {any: [ci]}", signed(json!([{"key": "a.pub"}])), Fail, "the policy does not define ci"),
    ]);
}

/// A limit that is passed makes no error, whatever else does.
#[test]
fn past_a_limit() {
    let key = "signature: {any: [{key: a.pub}]}";
    table(&[
        (key, json!({"over": ["200 were looked at"]}), Fail, "200 were looked at"),
        (key, json!({"unread": ["more than 8 MiB"], "incomplete": ["x"]}), Fail, "more than 8 MiB"),
        (
            key,
            json!({"over": ["too many"], "signatures": [{"key": "a.pub", "verdict": "error"}]}),
            Fail,
            "too many",
        ),
        (key, json!({"over": ["x"], "unread": ["y"], "signatures": [{"key": "a.pub"}]}), Pass, "a.pub"),
    ]);
}

#[test]
fn several_signers() {
    let two = "signature: {atLeast: 2, of: [{key: a.pub}, {key: b.pub}, {key: c.pub}]}";
    let all = "signature: {all: [{key: a.pub}, {key: b.pub}]}";
    // One identity meets both descriptions: it is one signer all the same.
    let same = "signature: {atLeast: 2, of: [{keyless: {issuer: 'https://i', identityRegex: '^x'}}, {keyless: {issuer: 'https://i', identityRegex: '^'}}]}";
    let again = json!([keyless("x"), {"keyless": {"issuer": "https://i", "identity": "x", "claims": {"ref": "other"}}}]);
    table(&[
        (two, signed(json!([{"key": "a.pub"}, {"key": "c.pub"}])), Pass, ""),
        (two, signed(json!([{"key": "a.pub"}])), Fail, ""),
        (two, signed(json!([{"key": "a.pub"}, {"key": "a.pub"}])), Fail, ""),
        (two, signed(json!([{"key": "a.pub"}, {"key": "b.pub", "verdict": "error"}])), Error, ""),
        (all, signed(json!([{"key": "a.pub"}, {"key": "b.pub"}])), Pass, ""),
        (all, signed(json!([{"key": "b.pub"}])), Fail, ""),
        (
            "signature: {all: [{key: a.pub}, ci]}",
            signed(json!([{"key": "a.pub"}])),
            Fail,
            "does not define ci",
        ),
        (same, signed(json!([keyless("x")])), Fail, ""),
        (same, signed(again), Fail, ""),
        (same, signed(json!([keyless("y"), keyless("x")])), Pass, ""),
        (same, signed(json!([keyless("y"), keyless("z")])), Fail, ""),
    ]);
}

#[test]
fn only_what_is_about_the_image_counts() {
    let policy = policy("signature: {any: [{key: a.pub}]}", "");
    let set = PolicySet::new(vec![policy]);
    let mut facts = crate::cases::facts::facts(signed(json!([{"key": "a.pub"}])), &set).unwrap();
    let context = EvaluateContext { now: now(), last_good: None };
    let index = rreg_oci::Digest::sha256(b"an index");
    facts.evidence[0].subject = index;
    assert_eq!(evaluate(&set, &facts, Point::Pull, &context).outcome, Outcome::Deny);
    facts.image.parents = vec![index];
    assert_eq!(evaluate(&set, &facts, Point::Pull, &context).outcome, Outcome::Allow);
    // Valid under a root that this policy does not trust is nothing here.
    let found: Vec<_> = std::mem::take(&mut facts.evidence[0].verifications).into_values().collect();
    facts.evidence[0].verifications.insert(index.to_string(), found[0].clone());
    let decision = evaluate(&set, &facts, Point::Pull, &context);
    assert_eq!(decision.policies[0].result, Error);
    assert!(decision.policies[0].reasons[0].found.contains("has not been verified yet"));
}

#[test]
fn expressions() {
    table(&[
        ("cel: image.repository == 'a'", json!({"image": {"repository": "a"}}), Pass, "it is true"),
        ("cel: image.repository == 'b'", json!({"image": {"repository": "a"}}), Fail, "it is false"),
        ("cel: image.labels.a == 'b'", json!({}), Fail, "it is false"),
        ("cel: image.labels.a.startsWith('b')", json!({}), Error, "cannot be answered"),
        ("cel: sbom.quality > 5", json!({"sbom": {"notGathered": "later"}}), Error, "later"),
        ("cel: sbom == null", json!({}), Pass, ""),
        ("cel: size(signatures) == 0", json!({"incomplete": ["too much"]}), Error, "too much"),
    ]);
    let counted = "cel: \"signatures.exists(s, s.identity.endsWith('x')) && attestations.all(a, a.signed)\"";
    let rules =
        format!("{counted}\nsignature: {{any: [{{key: a.pub}}, {{keyless: {{issuer: i, identity: j}}}}]}}");
    let facts = json!({"signatures": [keyless("x")], "attestations": [{"predicateType": "https://p", "signedBy": {"key": "a.pub"}}]});
    assert_eq!(decide(policy(&rules, ""), facts).policies[0].reasons[0].result, Pass);
    let facts = json!({"signatures": [keyless("x")], "attestations": [{"predicateType": "https://p", "signedBy": {"key": "b.pub"}}]});
    assert_eq!(decide(policy(&rules, ""), facts).policies[0].reasons[0].result, Fail);
    let message = decide(policy("{cel: image.repository == 'b', message: set it in CI}", ""), json!({}));
    assert_eq!(message.policies[0].reasons[0].fix, "set it in CI");
}
