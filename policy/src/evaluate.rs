//! What policies say about facts: pure and total. The same policies, facts, point and time give the same decision.

mod attestation;
mod documents;
mod horizon;
mod image;
mod licenses;
mod reason;
mod sbom;
mod signature;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

use crate::decision::{Decision, MAX_TEXT, Mode, Outcome, Outturn, Point, PolicyResult, Reason, plain};
use crate::facts::Facts;
use crate::rules::cel::{CelError, Scope, hour};
use crate::rules::{Ask, Expression, OnError, Policy, PolicySet, Rule};
use horizon::Horizon;
use reason::Finding;

/// What a decision needs besides policies and facts.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateContext {
    /// The time.
    pub now: DateTime<Utc>,
    /// When the same image was last allowed by facts that were whole, where it was.
    pub last_good: Option<DateTime<Utc>>,
}

/// What is asked about one image for one policy.
struct Inquiry<'a> {
    policy: &'a Policy,
    facts: &'a Facts,
    at: Point,
    now: DateTime<Utc>,
    horizon: &'a Horizon,
    /// How many there are of which each has its share of the work of an expression.
    shares: usize,
}

/// Asks every policy that is about the image at this point.
pub fn evaluate(policies: &PolicySet, facts: &Facts, at: Point, context: &EvaluateContext) -> Decision {
    let horizon = Horizon::new(context.now);
    let (now, horizon) = (context.now, &horizon);
    let asked = policies.applies(&facts.image, at);
    let mut answers: Vec<_> = asked
        .map(|policy| (policy, Inquiry { policy, facts, at, now, horizon, shares: 1 }.reasons()))
        .collect();
    // At a pull they are asked for themselves, later; elsewhere nobody comes back to ask.
    let children = if at == Point::Pull { &[] } else { facts.image.images.as_slice() };
    for child in children {
        let facts = facts.of_child(child);
        for (policy, reasons) in answers.iter_mut().filter(|(policy, _)| policy.is_about(&facts.image)) {
            let (facts, shares) = (&facts, children.len());
            Inquiry { policy, facts, at, now, horizon, shares }.of_child(reasons);
        }
    }
    let results: Vec<PolicyResult> = answers
        .into_iter()
        .map(|(policy, reasons)| {
            Inquiry { policy, facts, at, now, horizon, shares: 1 }.answer(reasons, context.last_good)
        })
        .collect();
    Decision {
        repository: facts.image.repository.clone(),
        digest: facts.image.digest,
        at,
        outcome: results.iter().map(|result| result.outcome).max().unwrap_or(Outcome::Allow),
        policies: results,
        decided_at: context.now,
        holds_until: horizon.end(),
    }
}

/// What helps where more is attached than is looked at.
const FEWER: &str = "delete what is attached and not needed";

/// What helps where a layer is fetched from elsewhere.
const ALL_LAYERS: &str = "push the image with all its layers";

/// What a mode makes of a failure.
fn failure(mode: Mode) -> Outcome {
    match mode {
        Mode::Audit => Outcome::Allow,
        Mode::Warn => Outcome::Warn,
        Mode::Enforce => Outcome::Deny,
    }
}

/// The worst of some results. `Outturn` is ordered by that; with no rule nothing is broken.
fn worst(reasons: &[Reason]) -> Outturn {
    reasons.iter().map(|reason| reason.result).max().unwrap_or(Outturn::Pass)
}

impl Inquiry<'_> {
    fn reasons(&self) -> Vec<Reason> {
        self.policy.require.iter().flat_map(|rule| self.rule(rule)).collect()
    }

    /// What is worse about one image of an index than about the index, rule by rule. That a signature covers the index is
    /// enough, and what configs say is asked of all of them together.
    fn of_child(&self, reasons: &mut [Reason]) {
        let is_asked = |rule: &&Rule| match &rule.ask {
            Ask::Attestation(_) | Ask::Sbom(_) | Ask::Cel(_) => true,
            Ask::Signature(_) | Ask::Vulns(_) | Ask::Image(_) => false,
        };
        for own in self.policy.require.iter().filter(is_asked).flat_map(|rule| self.rule(rule)) {
            let of_index = reasons.iter_mut().find(|known| known.rule == own.rule);
            if let Some(known) = of_index.filter(|known| known.result < own.result) {
                let found = format!("of {} in the index: {}", self.facts.image.digest, own.found);
                *known = Reason { found: plain(&found, MAX_TEXT), ..own };
            }
        }
    }

    fn answer(&self, reasons: Vec<Reason>, last_good: Option<DateTime<Utc>>) -> PolicyResult {
        let result = worst(&reasons);
        let (outcome, last_good) = self.outcome(result, last_good);
        PolicyResult {
            policy: self.policy.name.clone(),
            revision: self.policy.revision,
            mode: self.policy.mode,
            result,
            outcome,
            reasons,
            last_good,
        }
    }

    /// What a result means, and the good decision that stands in for one that could not be made.
    fn outcome(&self, result: Outturn, last_good: Option<DateTime<Utc>>) -> (Outcome, Option<DateTime<Utc>>) {
        match (result, self.policy.on_error) {
            (Outturn::Pass, _) => (Outcome::Allow, None),
            (Outturn::Error, OnError::Allow) if !self.facts.broken => (Outcome::Allow, None),
            (Outturn::Error, OnError::LastGood(age)) => {
                let held = last_good.filter(|good| self.horizon.is_before(good.checked_add_signed(age)));
                match held {
                    Some(good) => (Outcome::Allow, Some(good)),
                    None => (failure(self.policy.mode), None),
                }
            }
            (Outturn::Error | Outturn::Fail, _) => (failure(self.policy.mode), None),
        }
    }

    fn rule(&self, rule: &Rule) -> Vec<Reason> {
        let findings = if self.at == Point::Push && !is_asked_at_push(rule) {
            let found = "not asked at a push: signatures, attestations and SBOMs come after it";
            vec![(rule.path.clone(), Finding::pass("nothing yet", found))]
        } else if self.facts.image.unknown {
            self.unknown(rule)
        } else {
            self.ask(rule)
        };
        findings.into_iter().map(|(path, finding)| self.reason(rule, path, finding)).collect()
    }

    /// What is not there proves nothing, neither for a rule nor against it.
    fn unknown(&self, rule: &Rule) -> Vec<(String, Finding)> {
        let past = self.facts.unread.first().or(self.facts.image.unread.first());
        let expected = "an image that can be looked at";
        let why = past.or(self.facts.incomplete.first()).map_or("nobody looked at it", String::as_str);
        let found = format!("the image could not be looked at: {why}");
        let finding = || match past {
            Some(_) => Finding::fail(expected, found.as_str(), "take away what is too much"),
            None => Finding::error(expected, found.as_str(), "try again later"),
        };
        rule.paths().into_iter().map(|path| (path, finding())).collect()
    }

    fn ask(&self, rule: &Rule) -> Vec<(String, Finding)> {
        let one = |finding: Finding| vec![(rule.path.clone(), finding)];
        match &rule.ask {
            Ask::Signature(signers) => one(self.signature(signers)),
            Ask::Attestation(asked) => one(self.attestation(asked)),
            Ask::Sbom(asked) => one(self.sbom(asked)),
            Ask::Vulns(asked) => one(self.vulns(asked)),
            Ask::Image(asked) => self.image(asked, &rule.path),
            Ask::Cel(expression) => one(self.expression(expression)),
        }
    }

    /// A reason, after exemptions of the whole rule and with the author's own words.
    fn reason(&self, rule: &Rule, path: String, mut finding: Finding) -> Reason {
        if finding.result != Outturn::Pass {
            let name = rule.name.as_deref();
            let mut about =
                self.policy.exempt.iter().filter(|exemption| exemption.is_about_rule(&path, name));
            match about.clone().find(|exemption| self.horizon.holds(exemption)) {
                Some(used) => {
                    finding.result = Outturn::Pass;
                    finding.exempted.push(used.to_string());
                }
                None => {
                    if let Some(ended) = about.next() {
                        finding.found.push_str(&format!(" (the exemption {ended} has ended)"));
                    }
                }
            }
        }
        let fix = match (&rule.message, finding.result) {
            (_, Outturn::Pass) => String::new(),
            (Some(message), _) => message.clone(),
            (None, _) => finding.fix,
        };
        // The only place where reasons are made: what strangers wrote is in them, and people read them in terminals.
        Reason {
            rule: path,
            result: finding.result,
            expected: plain(&finding.expected, MAX_TEXT),
            found: plain(&finding.found, MAX_TEXT),
            evidence: finding.evidence,
            fix: plain(&fix, MAX_TEXT),
            exempted: finding.exempted,
        }
    }

    fn scope<'s>(&'s self, predicate: Option<&'s serde_json::Value>) -> Scope<'s> {
        Scope { facts: self.facts, policy: self.policy, now: self.now, predicate }
    }

    /// Notes when the values that an expression sees change by time alone.
    fn note_times(&self, expression: &Expression) {
        if expression.uses("now") {
            self.horizon.note(hour(self.now).checked_add_signed(chrono::TimeDelta::hours(1)));
        }
        if expression.uses("signatures") || expression.uses("attestations") {
            let roots = self.policy.trust_roots().map(crate::TrustRoot::id);
            let ends = roots.flat_map(|id| {
                self.facts.evidence.iter().filter_map(move |fact| fact.under(&id)?.holds_until)
            });
            ends.for_each(|end| self.horizon.note(Some(end)));
        }
    }

    fn expression(&self, expression: &Expression) -> Finding {
        self.note_times(expression);
        let expected = format!("{expression} is true");
        if let Some(finding) = self.missing(expression, &expected) {
            return finding;
        }
        match expression.run_share(&self.scope(None), self.shares) {
            Ok(true) => Finding::pass(expected, "it is true"),
            Ok(false) => Finding::fail(expected, "it is false", "see the policy's expression"),
            // Anybody can attach what takes too much.
            Err(error @ CelError::TooMuchWork) => Finding::fail(expected, error.to_string(), FEWER),
            Err(error) if self.is_makers_choice(expression) => {
                let found =
                    format!("{error}; a layer is fetched from elsewhere, so that its size is not known");
                Finding::fail(expected, found, ALL_LAYERS)
            }
            Err(error) => Finding::error(expected, error.to_string(), "guard what may be missing with has()"),
        }
    }

    /// Whether an expression may fail for a size that whoever made the image has made unknown: there is none to calculate
    /// with where a layer is fetched from elsewhere.
    fn is_makers_choice(&self, expression: &Expression) -> bool {
        expression.uses("image") && !self.facts.image.elsewhere.is_empty()
    }

    /// The limit that was passed, where more was attached than is looked at.
    fn past_limit(&self) -> Option<&str> {
        self.facts.unread.iter().chain(&self.facts.over).next().map(String::as_str)
    }

    /// An expression over what is not there in whole cannot be answered. Where a limit is what was passed, what would not
    /// be so by what lies past it is not taken to be so: signatures alone are looked at before all else.
    fn missing(&self, expression: &Expression, expected: &str) -> Option<Finding> {
        let all = expression.uses("attestations") || expression.uses("sbom");
        if let Some(why) = self.past_limit().filter(|_| all) {
            return Some(Finding::fail(expected, format!("not everything was looked at: {why}"), FEWER));
        }
        let unread = || self.evidence().find(|fact| self.is_unread_by(fact, None));
        if let Some(fact) = unread().filter(|_| expression.uses("attestations")) {
            let why = fact.unread.as_deref().unwrap_or_default();
            let found = format!("an attestation in {} cannot be read: {why}", fact.manifest);
            return Some(Finding::fail(expected, found, "attest what can be read, and delete this"));
        }
        if let Some(why) = self.unread_sbom().filter(|_| expression.uses("sbom")) {
            let found = format!("not every SBOM was looked at: {why}");
            return Some(Finding::fail(expected, found, documents::WHOSE));
        }
        if let (true, crate::Fact::NotGathered(why)) = (expression.uses("sbom"), &self.facts.sbom) {
            return Some(Finding::error(expected, format!("the SBOM is not known: {why}"), ""));
        }
        if let Some(why) = self.facts.image.unread.first().filter(|_| expression.uses("image")) {
            return Some(self.unreadable(expected.to_owned(), why));
        }
        if let Some(why) = self.facts.image.incomplete.first().filter(|_| expression.uses("image")) {
            return Some(self.partly(expected.to_owned(), why));
        }
        let evidence = expression.uses("signatures") || expression.uses("attestations");
        let why = self.facts.incomplete.first().filter(|_| evidence)?;
        Some(Finding::error(expected, format!("not all signatures and attestations are known: {why}"), ""))
    }
}

fn is_asked_at_push(rule: &Rule) -> bool {
    match &rule.ask {
        Ask::Image(_) => true,
        Ask::Cel(expression) => expression.needs_only_image(),
        Ask::Signature(_) | Ask::Attestation(_) | Ask::Sbom(_) | Ask::Vulns(_) => false,
    }
}
