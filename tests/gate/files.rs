//! `rreg policy check`, `test` and `schema`: policies as files, without a registry.

use super::{Desk, has, policy};

#[test]
fn check_tells_everything_at_once() {
    let desk = Desk::new();
    let good = desk.prod().display().to_string();
    has(&desk.rreg(&["policy", "check", &good]).exit(0), &["ok", "prod"]);
    desk.rreg(&["policy", "check", "policies"]).exit(0);
    let text = "apiVersion: rreg/v1\nkind: Policy\nname: bad\nmode: strict\nrequire:\n  \
                - {signature: {any: [{key: keys/none.pub}]}}\n  - {image: {nonRoott: true}}\n";
    desk.write("policies/bad.yaml", text);
    let said = desk.rreg(&["policy", "check", "policies"]).exit(1);
    has(&said, &["policies/bad.yaml:4:", "mode", "policies/bad.yaml:7:", "nonRoott"]);
    has(&said, &["ok", "policies/prod.yaml"]);
    let json = desk.rreg(&["policy", "check", "policies/bad.yaml", "--output", "json"]).json(1);
    let lines: Vec<u64> =
        json[0]["errors"].as_array().unwrap().iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert!(lines.contains(&4) && lines.contains(&7), "{json}");
    desk.write("policies/bad.yaml", &policy("bad", "signature: {any: [{key: keys/none.pub}]}"));
    has(&desk.rreg(&["policy", "check", "policies/bad.yaml"]).exit(1), &["keys/none.pub"]);
    // What is allowed and hardly meant.
    let rule = "signature: {any: [{keyless: {issuer: \"https://i.example\", identityRegex: \"acme\"}}]}";
    desk.write("policies/bad.yaml", &policy("loose", rule));
    has(&desk.rreg(&["policy", "check", "policies/bad.yaml"]).exit(0), &["warning", "^"]);
    desk.rreg(&["policy", "check", "nothing-here.yaml"]).exit(2);
    desk.rreg(&["policy", "check"]).exit(64);
}

#[test]
fn cases_are_run() {
    let desk = Desk::new();
    desk.prod();
    let cases = "policy: prod.yaml\ncases:\n  - name: signed\n    now: 2026-06-01T00:00:00Z\n    \
                 facts:\n      image: {repository: prod/app}\n      signatures: [{key: keys/team.pub}]\n    \
                 expect: {outcome: allow}\n  - name: unsigned\n    now: 2026-06-01T00:00:00Z\n    \
                 facts: {image: {repository: prod/app}}\n    expect: {outcome: OUTCOME}\n";
    desk.write("policies/prod.test.yaml", &cases.replace("OUTCOME", "deny"));
    has(
        &desk.rreg(&["policy", "test", "policies"]).exit(0),
        &["pass  signed", "pass  unsigned", "2 cases, 0 failed"],
    );
    // Cases are no policies.
    desk.rreg(&["policy", "check", "policies"]).exit(0);
    desk.write("policies/prod.test.yaml", &cases.replace("OUTCOME", "allow"));
    let failed = desk.rreg(&["policy", "test", "."]).exit(1);
    has(&failed, &["pass  signed", "fail  unsigned", "expected outcome allow", "2 cases, 1 failed"]);
    let json = desk.rreg(&["policy", "test", "policies", "--output", "json"]).json(1);
    assert_eq!(json[0]["cases"][0]["passed"], true);
    assert_eq!(json[0]["cases"][1]["passed"], false);
    desk.rreg(&["policy", "test", ".", "--filter", "nothing is called so"]).exit(1);
    desk.write("policies/prod.test.yaml", "policy: prod.yaml\ncase: []\n");
    has(&desk.rreg(&["policy", "test", "policies"]).exit(1), &["error", "case"]);
    std::fs::remove_file(desk.path("policies/prod.test.yaml")).unwrap();
    has(&desk.rreg(&["policy", "test", "policies"]).stderr(), &["no such case"]);
}

#[test]
fn the_schema_is_one() {
    let schema = Desk::new().rreg(&["policy", "schema"]).json(0);
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
    assert!(schema["properties"]["require"].is_object(), "{schema}");
}
