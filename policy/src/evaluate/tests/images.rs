//! What is asked of images themselves.

use Outturn::{Error, Fail, Pass};

use super::rules::table;
use super::*;

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
