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

#[test]
fn images() {
    let image = |image: Value| json!({"image": image});
    for (user, result) in [
        ("app", Fail),
        ("1000", Pass),
        ("1", Pass),
        ("0001000", Pass),
        ("2147483647", Pass),
        ("2147483648", Fail),
        ("4294967296", Fail),
        ("99999999999999999999999", Fail),
        ("0000", Fail),
        ("-0", Fail),
        ("+1", Fail),
        ("-1", Fail),
        (" 1000", Fail),
        ("1000 ", Fail),
        ("0x10", Fail),
        ("\u{661}", Fail),
        ("1000:0", Pass),
        ("", Fail),
        ("root", Fail),
        ("0", Fail),
        ("00", Fail),
        ("0:1000", Fail),
        ("root:app", Fail),
        (":app", Fail),
        ("rooted", Fail),
    ] {
        assert_eq!(ask("image: {nonRoot: true}", image(json!({"user": user}))).result, result, "{user:?}");
    }
    let configs = json!([{"platform": "linux/amd64", "user": "7"}, {"platform": "linux/arm64"}]);
    let ports = |ports: Value| image(json!({"ports": ports}));
    table(&[
        ("image: {nonRoot: true}", image(json!({})), Fail, "no image config"),
        (
            "image: {nonRoot: true}",
            image(json!({"configs": configs})),
            Fail,
            "linux/arm64: no user, which is root",
        ),
        ("image: {digestOnly: true}", image(json!({"pinned": true})), Pass, ""),
        ("image: {digestOnly: true}", image(json!({"pinned": false})), Fail, "asked for by tag"),
        ("image: {digestOnly: true}", image(json!({})), Error, "not known"),
        ("image: {maxAgeDays: 30}", image(json!({"created": "2026-05-02T12:00:01Z"})), Pass, ""),
        (
            "image: {maxAgeDays: 30}",
            image(json!({"created": "2026-05-02T12:00:00Z"})),
            Fail,
            "made on 2026-05-02",
        ),
        ("image: {maxAgeDays: 30}", image(json!({"user": "a"})), Fail, "does not say when"),
        ("image: {baseMaxAgeDays: 30}", json!({"baseCreated": "2026-05-20T00:00:00Z"}), Pass, ""),
        ("image: {baseMaxAgeDays: 30}", json!({"baseCreated": "2026-01-20T00:00:00Z"}), Fail, "2026-01-20"),
        (
            "image: {baseMaxAgeDays: 30}",
            json!({"baseCreated": "absent"}),
            Fail,
            "does not say what it is built on",
        ),
        ("image: {baseMaxAgeDays: 30}", json!({}), Error, "baseMaxAgeDays cannot be asked"),
        (
            "image: {allowedBases: ['docker.io/library/*']}",
            image(json!({"baseName": "docker.io/library/alpine:3"})),
            Pass,
            "",
        ),
        (
            "image: {allowedBases: ['docker.io/library/*']}",
            image(json!({"baseName": "evil.io/a"})),
            Fail,
            "evil.io/a",
        ),
        ("image: {allowedBases: ['**']}", image(json!({})), Fail, "does not say"),
        ("image: {allowedRegistries: ['*.acme.com']}", image(json!({"registry": "r.acme.com"})), Pass, ""),
        (
            "image: {allowedRegistries: ['*.acme.com']}",
            image(json!({"registry": "evil.com"})),
            Fail,
            "from evil.com",
        ),
        ("image: {allowedRegistries: ['*.acme.com']}", image(json!({})), Pass, "this registry"),
        ("image: {platforms: ['linux/*']}", image(json!({"platforms": ["linux/amd64"]})), Pass, ""),
        (
            "image: {platforms: ['linux/*']}",
            image(json!({"platforms": ["linux/amd64", "windows/amd64"]})),
            Fail,
            "also for windows/amd64",
        ),
        ("image: {platforms: [linux/amd64]}", image(json!({"platforms": ["linux/x86_64/v2"]})), Pass, ""),
        (
            "image: {platforms: [linux/amd64]}",
            image(json!({"platforms": ["linux/unknown"]})),
            Fail,
            "also for",
        ),
        ("image: {platforms: ['linux/*']}", image(json!({})), Fail, "no platform"),
        ("image: {labels: {team: 'a*'}}", image(json!({"labels": {"team": "ab"}})), Pass, ""),
        ("image: {labels: {team: 'a*'}}", image(json!({"labels": {"team": "b"}})), Fail, "team=b"),
        ("image: {labels: {team: 'a*'}}", image(json!({"labels": {}})), Fail, "no label team"),
        ("image: {maxSizeMiB: 1}", image(json!({"size": 1_048_576})), Pass, "1.0 MiB"),
        ("image: {maxSizeMiB: 1}", image(json!({"size": 1_048_577})), Fail, "1.0 MiB"),
        ("image: {maxSizeMiB: 1}", image(json!({})), Error, "no size of its own"),
        ("image: {denyPorts: [22]}", ports(json!(["80/tcp"])), Pass, ""),
        ("image: {denyPorts: [22]}", ports(json!(["22/tcp"])), Fail, "it exposes 22/tcp"),
        ("image: {denyPorts: [22]}", ports(json!(["20-25"])), Fail, ""),
        ("image: {denyPorts: [22]}", ports(json!(["odd"])), Fail, ""),
    ]);
}

#[test]
fn an_index_that_was_not_looked_at_in_whole_does_not_pass() {
    let facts = |user: &str| {
        let config = json!({"platform": "linux/amd64", "user": user, "created": "2026-05-31T00:00:00Z", "ports": ["80"],
            "labels": {"a": "b"}});
        json!({"image": {"configs": [config], "platforms": ["linux/amd64"], "size": 1, "baseName": "base",
            "registry": "r", "pinned": true, "incomplete": ["sha256:x is an index"]}})
    };
    let why = "not every image of the index was looked at: sha256:x is an index";
    for part in [
        "nonRoot: true",
        "maxAgeDays: 3",
        "platforms: 'linux/*'",
        "labels: {a: b}",
        "maxSizeMiB: 1",
        "denyPorts: 22",
        "allowedBases: base",
    ] {
        table(&[(&format!("image: {{{part}}}"), facts("1000"), Error, why)]);
    }
    let attested = json!({"image": facts("1")["image"], "attestations": [{"predicateType": "https://p"}]});
    table(&[
        ("image: {digestOnly: true}", facts("1000"), Pass, ""),
        ("image: {allowedRegistries: r}", facts("1000"), Pass, ""),
        // What is wrong with one image is wrong with all of them together.
        ("image: {nonRoot: true}", facts("0"), Fail, "root"),
        ("image: {nonRoot: true}", json!({"image": {"incomplete": ["x"]}}), Error, "looked at: x"),
        ("cel: image.users.all(u, u != 'root')", facts("1000"), Error, why),
        ("cel: size(signatures) == 0", facts("1000"), Pass, ""),
        (
            "attestation: {predicate: 'https://p', signed: false, cel: image.size < 9}",
            attested,
            Error,
            "not every image",
        ),
        ("signature: {any: [{key: a.pub}]}", facts("1000"), Fail, "not signed"),
        // Nor does what strangers attach keep an image from being judged.
        ("image: {maxSizeMiB: 1}", json!({"image": {"size": 1}, "incomplete": ["junk"]}), Pass, ""),
    ]);
    let windows = policy("sbom: {present: true}", "match: {platforms: ['windows/*']}");
    assert_eq!(decide(windows, facts("1000")).policies.len(), 1);
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
