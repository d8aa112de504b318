//! A gate's report as SARIF 2.1.0 (OASIS), for code scanning.
//!
//! Each rule of each policy is a rule of the tool, named `policy/rule`; what does not pass is a result. The thing that
//! is wrong is an image, which no file shows, so a result has the image as logical location, and points to the policy
//! file that asks for it as physical one, which readers such as GitHub want to have.

use std::collections::BTreeMap;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rreg_oci::Digest;
use rreg_policy::{Outcome, Outturn, PolicyResult, Reason};
use serde_json::{Value, json};

use super::report::{Found, Judged, Report, Unchecked};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// An image that could not be looked at at all.
const UNCHECKED: &str = "rreg/unchecked";
/// What a path has to do without in a URI (RFC 3986, section 3.3).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The rules met so far, with their places in `tool.driver.rules`.
#[derive(Default)]
struct Rules {
    places: BTreeMap<String, usize>,
    list: Vec<Value>,
}

impl Rules {
    fn place(&mut self, id: &str, rule: impl FnOnce() -> Value) -> usize {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let place = self.list.len();
        self.places.insert(id.to_owned(), place);
        self.list.push(rule());
        place
    }
}

pub(super) fn write(report: &Report) -> Value {
    let mut rules = Rules::default();
    let mut results = Vec::new();
    for judged in &report.images {
        match &judged.result {
            Ok(found) => results.extend(of_found(judged, found, report, &mut rules)),
            Err(unchecked) => results.push(of_unchecked(judged, unchecked, report, &mut rules)),
        }
    }
    let done = report.images.iter().all(|judged| judged.result.is_ok());
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rreg",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.list,
            }},
            "invocations": [{"executionSuccessful": done, "exitCode": report.exit() as u8}],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn of_found(judged: &Judged, found: &Found, report: &Report, rules: &mut Rules) -> Vec<Value> {
    let mut results = Vec::new();
    for policy in &found.decision.policies {
        for reason in &policy.reasons {
            let id = format!("{}/{}", policy.policy, reason.rule);
            let place = rules.place(&id, || rule(&id, policy, reason));
            if reason.result != Outturn::Pass {
                let file = report.files.of(policy);
                results.push(result(&id, place, level(policy), &message(judged, reason), judged, file));
            }
        }
    }
    results
}

fn of_unchecked(judged: &Judged, unchecked: &Unchecked, report: &Report, rules: &mut Rules) -> Value {
    let place = rules.place(UNCHECKED, || {
        json!({
            "id": UNCHECKED,
            "name": "Unchecked",
            "shortDescription": {"text": "The image can be looked at"},
            "help": {"text": "See the message; nothing is known of the image until it is mended."},
            "defaultConfiguration": {"level": "error"},
        })
    });
    let hint = unchecked.hint.iter().map(|hint| format!(" Hint: {hint}."));
    let text: String = std::iter::once(format!("{} could not be checked: {}.", judged.image, unchecked.why))
        .chain(hint)
        .collect();
    result(UNCHECKED, place, "error", &text, judged, &report.files.all)
}

fn rule(id: &str, policy: &PolicyResult, reason: &Reason) -> Value {
    let mut rule = json!({
        "id": id,
        "name": name(&reason.rule),
        "shortDescription": {"text": format!("Policy {}: {}", policy.policy, reason.rule)},
        "fullDescription": {"text": format!("Expected: {}", reason.expected)},
        "defaultConfiguration": {"level": level(policy)},
        "properties": {"policy": policy.policy, "revision": policy.revision},
    });
    if !reason.fix.is_empty() {
        rule["help"] = json!({"text": reason.fix});
    }
    rule
}

/// A rule's place as an identifier, which is what SARIF wants for a name (section 3.49.7).
fn name(rule: &str) -> String {
    let parts = rule.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, rest) = part.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect()
}

fn level(policy: &PolicyResult) -> &'static str {
    match policy.outcome {
        Outcome::Deny => "error",
        Outcome::Warn => "warning",
        Outcome::Allow => "note",
    }
}

fn message(judged: &Judged, reason: &Reason) -> String {
    let mut text = format!("{}: expected {}; found {}.", judged.image, reason.expected, reason.found);
    if !reason.fix.is_empty() {
        text.push_str(&format!(" Fix: {}.", reason.fix.trim_end_matches('.')));
    }
    text
}

fn result(id: &str, place: usize, level: &str, text: &str, judged: &Judged, file: &str) -> Value {
    // The same finding about the next build of an image is the same alert: neither tag nor digest is part of it.
    let name = judged.image.split_once('@').map_or(judged.image.as_str(), |(name, _)| name);
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    let fingerprint = Digest::sha256(format!("{id}\n{repository}").as_bytes());
    json!({
        "ruleId": id,
        "ruleIndex": place,
        "level": level,
        "message": {"text": text},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(file)},
                "region": {"startLine": 1},
            },
            "logicalLocations": [{"fullyQualifiedName": judged.pinned(), "kind": "resource"}],
        }],
        "partialFingerprints": {"rregGate/v1": fingerprint.to_string()},
    })
}

/// A path as a URI reference: relative as it was given, or `file:` where it is absolute.
fn uri(path: &str) -> String {
    let encoded = utf8_percent_encode(path.trim_start_matches("./"), PATH).to_string();
    if Path::new(path).is_absolute() {
        return format!("file://{encoded}");
    }
    // A colon in the first segment would be read as a scheme (RFC 3986, section 4.2).
    let first = encoded.split('/').next().unwrap_or_default();
    if first.contains(':') { format!("./{encoded}") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uri_references() {
        assert_eq!(uri("./policies/a b#.yaml"), "policies/a%20b%23.yaml");
        assert_eq!(uri("/etc/ü.yaml"), "file:///etc/%C3%BC.yaml");
        assert_eq!(uri("a:b.yaml"), "./a:b.yaml");
    }

    #[test]
    fn names_are_identifiers() {
        assert_eq!(name("require[0].signature"), "Require0Signature");
        assert_eq!(name("ü"), "");
    }
}
