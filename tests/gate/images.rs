//! What becomes of images: allowed, denied, or not to be checked.

use super::{Desk, has, policy};
use crate::harness::Registry;
use crate::harness::image::Image;

on_each_backend!(signatures_decide, indexes_and_names, what_cannot_be_checked);

async fn signatures_decide(registry: Registry) {
    let desk = Desk::new();
    desk.prod();
    desk.key("other");
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{}/{repository}:v1", registry.address());

    let unsigned = desk.gate(&name, &[]).exit(1);
    has(
        &unsigned,
        &["denied", &image.root().digest.to_string(), "policy prod", "require[0].signature", "expected"],
    );
    has(&unsigned, &["found", "fix"]);

    desk.rreg(&["sign", &name, "--key", "other.key"]).done();
    let other = desk.gate(&name, &["--format", "json"]).json(1);
    let key = desk.rreg(&["key", "public", "other.key", "--output", "json"]).json(0)["key"].clone();
    let reason = &other[0]["decision"]["policies"][0]["reasons"][0];
    let found = reason["found"].as_str().unwrap();
    assert!(found.contains(key.as_str().unwrap()), "who signed is said: {reason}");
    assert_eq!(reason["evidence"].as_array().unwrap().len(), 1, "and by what: {reason}");

    desk.rreg(&["sign", &name, "--key", "policies/keys/team.key"]).done();
    has(&desk.gate(&name, &[]).exit(0), &["allowed"]);
    has(&desk.gate(&name, &["--all"]).exit(0), &["pass", "require[0].signature"]);
    let explained = desk.rreg(&["policy", "explain", &name, "--policy", "policies"]).exit(0);
    has(&explained, &["allowed", "pass", "require[0].signature"]);

    // From elsewhere: what a policy names is beside its file.
    let policies = desk.path("policies/prod.yaml").display().to_string();
    let mut elsewhere = desk.command(env!("CARGO_BIN_EXE_rreg"));
    elsewhere.current_dir("/").args(["gate", &name, "--policy", &policies]);
    super::Ran::of(&mut elsewhere).exit(0);

    // One that is denied among others decides, and a warning is no denial.
    let second = Image::layered(&format!("{repository}/second"), 1);
    registry.api().push(&repository, &second, Some("v2")).await;
    let unsigned = format!("{}/{repository}:v2", registry.address());
    let both = desk.rreg(&["gate", &name, &unsigned, "--policy", "policies"]).exit(1);
    has(&both, &["2 images: 1 allowed, 1 denied"]);
    let text = policy("soft", "signature: {any: [{key: ../policies/keys/team.pub}]}") + "mode: warn\n";
    desk.write("soft/soft.yaml", &text);
    let warned = desk.rreg(&["gate", &unsigned, "--policy", "soft"]).exit(0);
    has(&warned, &["warned", "policy soft (warn, warned of)", "fix"]);
}

async fn indexes_and_names(registry: Registry) {
    let desk = Desk::new();
    desk.prod();
    let repository = registry.repository();
    let image = Image::index(&repository);
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{}/{repository}", registry.address());
    desk.rreg(&["sign", &format!("{name}:v1"), "--key", "policies/keys/team.key"]).done();
    let report = desk.gate(&format!("{name}:v1"), &["--output", "json"]).json(0);
    assert_eq!(report[0]["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]), "{report}");
    assert_eq!(report[0]["digest"], image.root().digest.to_string());

    let digest = image.root().digest;
    desk.write("policies/prod.yaml", &policy("pin", "image: {digestOnly: true}"));
    desk.gate(&format!("{name}:v1"), &[]).exit(1);
    desk.gate(&format!("{name}:v1@{digest}"), &[]).exit(0);
    desk.gate(&format!("{name}@{digest}"), &[]).exit(0);

    // A policy for tags is about what the tag names, and about what is meant to be that.
    let tagged = policy("tagged", "signature: {any: [{key: keys/team.pub}]}") + "match: {tags: [v2]}\n";
    desk.write("policies/prod.yaml", &tagged);
    let second = Image::layered(&format!("{repository}/2"), 1);
    registry.api().push(&repository, &second, Some("v2")).await;
    desk.gate(&format!("{name}:v2"), &[]).exit(1);
    desk.gate(&format!("{name}:v2@{}", second.root().digest), &[]).exit(1);
    // The tag that is written counts, whatever it names: this one is signed, and the other is not.
    has(&desk.gate(&format!("{name}:v2@{digest}"), &[]).exit(0), &["allowed", "the tag v2 names"]);
    desk.gate(&format!("{name}:v1@{}", second.root().digest), &[]).exit(2);
    let bare = desk.gate(&format!("{name}@{}", second.root().digest), &["--allow-unmatched"]).exit(0);
    has(&bare, &["policies about tags were not asked (tagged)"]);

    // Registries, and points.
    let host = registry.address();
    let here = policy("here", "signature: {any: [{key: keys/team.pub}]}")
        + &format!("match: {{registries: [\"{host}\"]}}\nat: [pull]\n");
    desk.write("policies/prod.yaml", &here);
    desk.gate(&format!("{name}:v2"), &["--at", "pull"]).exit(1);
    // No policy is about it there: a mistake, unless it is meant.
    has(&desk.gate(&format!("{name}:v2"), &[]).exit(2), &["no policy is about it at the point run"]);
    desk.gate(&format!("{name}:v2"), &["--allow-unmatched"]).exit(0);
}

async fn what_cannot_be_checked(registry: Registry) {
    let desk = Desk::new();
    desk.prod();
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{}/{repository}:v1", registry.address());

    let missing = format!("{}/{repository}:none", registry.address());
    has(&desk.gate(&missing, &[]).exit(2), &["unchecked", "404"]);
    has(&desk.gate("127.0.0.1:1/a:b", &[]).exit(2), &["unchecked", "cannot talk to the registry"]);
    // What is denied is known, whatever else is not.
    desk.rreg(&["gate", &name, &missing, "--policy", "policies"]).exit(1);

    // A rule on what nobody has gathered is an error, and refuses.
    desk.write("policies/more.yaml", &policy("vulns", "vulns: {fail: [{kev: true}]}"));
    desk.rreg(&["sign", &name, "--key", "policies/keys/team.key"]).done();
    let report = desk.gate(&name, &["--format", "json"]).json(2);
    assert_eq!(
        (&report[0]["status"], &report[0]["decision"]["outcome"]),
        (&"unchecked".into(), &"deny".into())
    );
    desk.write("policies/more.yaml", &(policy("vulns", "vulns: {fail: [{kev: true}]}") + "onError: allow\n"));
    desk.gate(&name, &[]).exit(0);

    // Half of the policies are no policies.
    desk.write("policies/more.yaml", "apiVersion: rreg/v1\nkind: Policy\nname: x\nrequires: []\n");
    has(&desk.gate(&name, &[]).stderr(), &["more.yaml", "requires", "rreg policy check"]);
    desk.gate(&name, &[]).exit(2);
    desk.write("policies/more.yaml", &policy("prod", "image: {nonRoot: true}"));
    has(&desk.gate(&name, &[]).stderr(), &["prod.yaml", "more.yaml", "another name"]);
    desk.write("policies/more.yaml", &policy("gone", "signature: {any: [{key: keys/nobody.pub}]}"));
    has(&desk.gate(&name, &[]).stderr(), &["keys/nobody.pub"]);
    desk.rreg(&["gate", &name, "--policy", "nowhere"]).exit(2);
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.rreg(&["gate", &name, "--policy", "empty"]).exit(2);

    desk.rreg(&["gate", &name]).exit(64);
    desk.rreg(&["gate", "--policy", "policies"]).exit(64);
    desk.rreg(&["gate", "no image", "--policy", "policies"]).exit(64);
    desk.gate(&name, &["--at", "noon"]).exit(64);
}
