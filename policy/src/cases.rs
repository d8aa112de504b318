//! Test cases of policies, kept beside them in files `*.test.yaml`:
//!
//! ```yaml
//! policy: prod.yaml
//! cases:
//!   - name: a release is pulled
//!     now: 2026-06-01T00:00:00Z
//!     facts:
//!       image: {repository: prod/app, pinned: true}
//!       signatures: [{key: team-a.pub}]
//!     expect: {outcome: allow}
//!   - name: what nobody signed is not
//!     now: 2026-06-01T00:00:00Z
//!     facts: {image: {repository: prod/app, pinned: true}}
//!     expect:
//!       outcome: deny
//!       reasons: [{rule: "require[0].signature", result: fail, found: not signed}]
//! ```
//!
//! Facts have the names that `rreg policy explain` shows, and defaults for what a case does not speak of. Besides the
//! full form in `evidence` there are short ones: `signatures` and `attestations`, valid unless they say otherwise,
//! under the trust material that the policy itself names. `sbom` and `baseCreated` may be the value itself, `findings`
//! the list.

pub(crate) mod facts;
mod tables;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::decision::{Decision, Outcome, Outturn, Point, Reason};
use crate::evaluate::{EvaluateContext, evaluate};
use crate::rules::node::{Node, documents};
use crate::rules::words::moment;
use crate::rules::{Place, Policy, PolicyErrors, PolicySet};

/// A file of cases.
#[derive(Clone, Debug)]
pub struct CaseFile {
    /// The policy files that the cases are about, relative to this one.
    pub policies: Vec<String>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    at: Point,
    now: DateTime<Utc>,
    last_good: Option<DateTime<Utc>>,
    facts: Value,
    expect: Expect,
}

#[derive(Clone, Debug)]
struct Expect {
    outcome: Outcome,
    holds_until: Option<DateTime<Utc>>,
    reasons: Vec<ExpectedReason>,
}

#[derive(Clone, Debug, Default)]
struct ExpectedReason {
    rule: String,
    policy: Option<String>,
    result: Option<Outturn>,
    expected: Option<String>,
    found: Option<String>,
    fix: Option<String>,
}

/// How a case came out.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// What differs from what is expected, a line each. Empty where the case passes.
    pub differences: Vec<String>,
    /// The decision, where one was made.
    pub decision: Option<Decision>,
}

impl CaseResult {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl CaseFile {
    /// Reads a file of cases; it may hold several YAML documents. All mistakes are told at once, but for those inside
    /// of facts, which a case tells when it is run.
    pub fn parse(text: &str) -> Result<Vec<Self>, PolicyErrors> {
        let nodes = documents(text)?;
        if nodes.is_empty() {
            return Err(PolicyErrors::of_text("there are no cases in this text", ""));
        }
        let mut errors = PolicyErrors::default();
        for node in &nodes {
            tables::FILE.check(node, "", &mut errors);
        }
        errors.or(())?;
        Ok(nodes.iter().map(file).collect())
    }

    /// Runs the cases on the policies that the files named by [`Self::policies`] hold.
    pub fn run(&self, policies: &[Policy]) -> Vec<CaseResult> {
        let set = PolicySet::new(policies.to_vec());
        self.cases.iter().map(|case| case.run(&set)).collect()
    }
}

fn texts(node: Option<&Node>) -> Vec<String> {
    node.map(Node::many).unwrap_or_default().iter().filter_map(|n| n.text().map(str::to_owned)).collect()
}

fn file(node: &Node) -> CaseFile {
    let cases = node.get("cases").map(Node::many).unwrap_or_default();
    CaseFile { policies: texts(node.get("policy")), cases: cases.iter().filter_map(case).collect() }
}

fn time(node: &Node, name: &str) -> Option<DateTime<Utc>> {
    node.get(name).and_then(Node::text).and_then(|text| moment(text).ok())
}

/// Reads a word of one of the enumerations that decisions are made of.
fn word<T: serde::de::DeserializeOwned>(node: &Node, name: &str) -> Option<T> {
    node.get(name).and_then(|node| serde_json::from_value(node.json()).ok())
}

fn case(node: &Node) -> Option<Case> {
    let expect = node.get("expect")?;
    let text = |node: &Node, name: &str| node.get(name).and_then(Node::text).map(str::to_owned);
    let reason = |node: &Node| ExpectedReason {
        rule: text(node, "rule").unwrap_or_default(),
        policy: text(node, "policy"),
        result: word(node, "result"),
        expected: text(node, "expected"),
        found: text(node, "found"),
        fix: text(node, "fix"),
    };
    let reasons = expect.get("reasons").map(Node::many).unwrap_or_default();
    Some(Case {
        name: text(node, "name")?,
        place: node.place,
        at: word(node, "at").unwrap_or(Point::Pull),
        now: time(node, "now")?,
        last_good: time(node, "lastGood"),
        facts: node.get("facts").map(Node::json).unwrap_or_default(),
        expect: Expect {
            outcome: word(expect, "outcome")?,
            holds_until: time(expect, "holdsUntil"),
            reasons: reasons.iter().map(reason).collect(),
        },
    })
}

impl Case {
    fn run(&self, policies: &PolicySet) -> CaseResult {
        let facts = match facts::facts(self.facts.clone(), policies) {
            Ok(facts) => facts,
            Err(problem) => {
                let differences = vec![format!("its facts cannot be read: {problem}")];
                return CaseResult {
                    name: self.name.clone(),
                    place: self.place,
                    differences,
                    decision: None,
                };
            }
        };
        let context = EvaluateContext { now: self.now, last_good: self.last_good };
        let decision = evaluate(policies, &facts, self.at, &context);
        let differences = self.expect.differences(&decision);
        CaseResult { name: self.name.clone(), place: self.place, differences, decision: Some(decision) }
    }
}

fn plain<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

impl Expect {
    fn differences(&self, decision: &Decision) -> Vec<String> {
        let mut differences = Vec::new();
        if self.outcome != decision.outcome {
            let (wanted, actual) = (plain(&self.outcome), plain(&decision.outcome));
            differences.push(format!("expected outcome {wanted}, but it is {actual}"));
        }
        if self.holds_until.is_some_and(|wanted| decision.holds_until != Some(wanted)) {
            let actual = decision.holds_until.map_or("nothing".into(), |end| end.to_rfc3339());
            let wanted = self.holds_until.map(|end| end.to_rfc3339()).unwrap_or_default();
            differences.push(format!("expected it to hold until {wanted}, but it holds until {actual}"));
        }
        differences.extend(self.reasons.iter().filter_map(|reason| reason.difference(decision)));
        if !differences.is_empty() {
            differences.extend(decision.policies.iter().flat_map(|policy| {
                policy.reasons.iter().map(move |r| {
                    let what = format!("{} {} {}", policy.policy, r.rule, plain(&r.result));
                    format!("  {what}: expected {}; found {}; fix: {}", r.expected, r.found, r.fix)
                })
            }));
            if decision.policies.is_empty() {
                differences.push("  no policy is about this image at this point".into());
            }
        }
        differences
    }
}

impl ExpectedReason {
    /// What differs from the reasons of this rule, where none is as expected.
    fn difference(&self, decision: &Decision) -> Option<String> {
        let mut seen = None;
        for policy in &decision.policies {
            if self.policy.as_ref().is_some_and(|wanted| *wanted != policy.policy) {
                continue;
            }
            for reason in policy.reasons.iter().filter(|reason| self.is_about(reason)) {
                let wrong = self.wrong(reason);
                if wrong.is_empty() {
                    return None;
                }
                seen.get_or_insert(wrong);
            }
        }
        match seen {
            Some(wrong) => Some(format!("{}: {}", self.rule, wrong.join("; "))),
            None => Some(format!("expected a reason of the rule {}, but there is none", self.rule)),
        }
    }

    /// A rule by its whole place, or by the end of it.
    fn is_about(&self, reason: &Reason) -> bool {
        let end = || reason.rule.strip_suffix(self.rule.as_str()).is_some_and(|before| before.ends_with('.'));
        reason.rule == self.rule || end()
    }

    fn wrong(&self, reason: &Reason) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(result) = self.result.filter(|result| *result != reason.result) {
            wrong.push(format!("expected result {}, but it is {}", plain(&result), plain(&reason.result)));
        }
        let texts = [
            ("expected", &self.expected, &reason.expected),
            ("found", &self.found, &reason.found),
            ("fix", &self.fix, &reason.fix),
        ];
        for (name, wanted, actual) in texts {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| !actual.contains(wanted.as_str())) {
                wrong.push(format!("expected {name:?} to contain {wanted:?}, but it is {actual:?}"));
            }
        }
        wrong
    }
}
