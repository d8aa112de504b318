//! Files of cases: what they read, and what they say when something differs.

use super::*;
use crate::rules::tests::{EXAMPLE, policies};

const FILE: &str = r#"
policy: prod.yaml
cases:
  - name: a release is pulled
    now: 2026-06-01T00:00:00Z
    facts:
      image: {repository: prod/app, pinned: true, user: "65532", labels: {org.opencontainers.image.source: "https://github.com/acme/app"}}
      signatures: [{keyless: {issuer: "https://token.actions.githubusercontent.com", identity: "https://github.com/acme/app/.github/workflows/r.yml@refs/tags/v1"}}]
      attestations: [{predicateType: "https://slsa.dev/provenance/v1", predicate: {buildDefinition: {buildType: "https://actions.github.io/x"}}, signedBy: {key: ci.pub}}]
      sbom: {format: spdx, packages: 3, quality: 8, licenses: {MIT: [a]}}
      findings: []
      findingsAt: 2026-05-31T12:00:00Z
      baseCreated: 2026-05-01T00:00:00Z
    expect: {outcome: allow, holdsUntil: 2026-06-01T12:00:00Z}
  - name: what nobody signed is not
    now: 2026-06-01
    facts: {image: {repository: prod/app, pinned: true}}
    expect:
      outcome: deny
      reasons:
        - {rule: "require[0].signature", result: fail, found: not signed, expected: the key team-a.pub}
        - {rule: vulns, result: error, found: not gathered}
  - name: what another one signed is not
    now: 2026-06-01
    facts: {image: {repository: prod/app}, signatures: [{key: stranger.pub}, {notation: {store: acme, subject: "C=DE,ST=BE,O=evil"}}]}
    expect: {outcome: deny, reasons: [{rule: signature, result: fail, found: O=evil}]}
  - name: elsewhere it does not matter
    now: 2026-06-01
    facts: {image: {repository: dev/app}}
    expect: {outcome: allow}
"#;

fn example() -> Vec<Policy> {
    policies(&EXAMPLE.replace("require:", "signers: {ci: {key: ci.pub}}\nrequire:"))
}

#[test]
fn cases_pass() {
    let file = CaseFile::parse(FILE).unwrap().remove(0);
    assert_eq!(file.policies, ["prod.yaml"]);
    for result in file.run(&example()) {
        assert!(result.passed(), "{}: {}", result.name, result.differences.join("\n"));
    }
}

#[test]
fn what_differs_is_shown() {
    let file = FILE.replace("{outcome: allow, holdsUntil: 2026-06-01T12:00:00Z}", "{outcome: deny}");
    let file =
        file.replace("found: not signed", "found: signed by me").replace("rule: vulns", "rule: nothing");
    let results = CaseFile::parse(&file).unwrap().remove(0).run(&example());
    assert_eq!(results[0].differences[0], "expected outcome deny, but it is allow");
    let second = results[1].differences.join("\n");
    assert!(
        second.contains(r#"expected "found" to contain "signed by me", but it is "not signed""#),
        "{second}"
    );
    assert!(second.contains("expected a reason of the rule nothing, but there is none"), "{second}");
    assert!(second.contains("prod require[0].signature fail"), "{second}");
    assert!(results[2].passed() && results[3].passed());
}

#[test]
fn mistakes_are_named() {
    for (old, new, said) in [
        ("now: 2026-06-01T00:00:00Z", "nwo: 2026-06-01", r#"did you mean "now"?"#),
        ("outcome: allow", "outcome: alow", r#"did you mean "allow"?"#),
        ("pinned: true, user", "pined: true, user", r#"did you mean "pinned"?"#),
        ("{key: stranger.pub}", "{key: a, keyless: {issuer: a, identity: b}}", "exclude each other"),
    ] {
        let errors = CaseFile::parse(&FILE.replacen(old, new, 1)).unwrap_err();
        assert!(errors.to_string().contains(said), "{errors}");
    }
    assert!(CaseFile::parse("").is_err());
    let wrong = FILE.replace("findings: []", "findings: [{id: 1}]");
    let result = CaseFile::parse(&wrong).unwrap().remove(0).run(&example()).remove(0);
    assert!(result.differences[0].contains("its facts cannot be read"), "{:?}", result.differences);
}
