//! What people are told of decisions beside the answers to their requests: the log, and counters.

use std::sync::PoisonError;

use rreg_policy::{Decision, Outcome, Point};
use rreg_storage::{AuditEvent, Undecided};

use super::Admission;
use super::decide::Decisions;

/// Who decides, in the audit trail.
const DECIDER: &str = "policy";
/// An image that was allowed and is not any more.
const WITHDRAWN: &str = "decision.withdrawn";

/// Policies whose warnings are counted by name: metrics must not grow with names that come and go.
const WARNED_OF: usize = 200;

/// Rows for the trail: the first decision of policies at each point, and every change of one.
pub(super) fn events(about: &Undecided, decisions: &Decisions) -> Vec<AuditEvent> {
    let before = about.body.as_deref().and_then(Decisions::of_text);
    let changed = Decisions::PLACES.iter().filter_map(|(point, by_digest)| {
        let now = decisions.at(*point, *by_digest)?;
        let was = before.as_ref().and_then(|before| before.at(*point, *by_digest)).map(|was| was.outcome);
        if was == Some(now.outcome) || (was.is_none() && now.policies.is_empty()) {
            return None;
        }
        // By tag only where that makes a difference.
        let other = decisions.at(*point, true).map(|other| other.outcome);
        if !by_digest && *point != Point::Promote && other == Some(now.outcome) {
            return None;
        }
        Some(event(about, now, was, *by_digest))
    });
    changed.collect()
}

fn event(about: &Undecided, now: &Decision, was: Option<Outcome>, by_digest: bool) -> AuditEvent {
    let withdrawn = was.is_some_and(|was| was != Outcome::Deny) && now.outcome == Outcome::Deny;
    let name = if withdrawn { WITHDRAWN } else { "decision" };
    let outcome = if now.outcome == Outcome::Deny { "denied" } else { "allowed" };
    let decided =
        now.with_outcome(now.outcome).map(|policy| format!("{}@{}", policy.policy, policy.revision));
    let by: Vec<String> = decided.collect();
    let rule = format!("{}: {}", headline(now, by_digest), by.join(", "));
    let mut event = AuditEvent::new(name, outcome, rule.trim_end_matches(": ").to_owned());
    event.actor = DECIDER.to_owned();
    event.repository = Some(about.repository.to_string());
    event.target = Some(about.digest.to_string());
    event
}

/// What the trail says first of a decision.
fn headline(decision: &Decision, by_digest: bool) -> String {
    let how = if by_digest { "" } else { " by tag" };
    format!("{} at {}{how}", decision.outcome.word(), decision.at.word())
}

/// The decision that a row of the trail is about. One by tag has a row of its own only where its outcome is another.
fn decision_of<'d>(event: &AuditEvent, decisions: &'d Decisions) -> Option<&'d Decision> {
    let all = Decisions::PLACES.iter().filter_map(|(point, by_digest)| {
        let decision = decisions.at(*point, *by_digest)?;
        Some((decision, headline(decision, *by_digest)))
    });
    let mut about = all.filter(|(_, headline)| event.rule.starts_with(headline.as_str()));
    about.next().map(|(decision, _)| decision)
}

impl Admission {
    /// Counts and tells a decision that is kept.
    pub(super) fn kept(&self, about: &Undecided, decisions: &Decisions, audit: &[AuditEvent]) {
        for event in audit.iter().filter(|event| event.event == WITHDRAWN) {
            self.metrics.withdrawn.inc();
            let reason = decision_of(event, decisions).map(Decision::message).unwrap_or_default();
            let (repository, digest, rule) = (&about.repository, &about.digest, &event.rule);
            tracing::warn!(%repository, %digest, rule, reason, "no longer allowed");
        }
        for event in audit.iter().filter(|event| event.rule.starts_with(Outcome::Warn.word())) {
            let (repository, digest, rule) = (&about.repository, &about.digest, &event.rule);
            let warnings = decision_of(event, decisions).into_iter().flat_map(Decision::warnings);
            let reason = warnings.take(1).collect::<String>();
            tracing::warn!(%repository, %digest, rule, reason, "allowed with a warning");
        }
    }

    /// Counts what a request is warned of. Of names there are no more than of policies that hold or that held a while ago;
    /// those past that are counted together.
    pub(crate) fn warned(&self, decision: &Decision) {
        let point = decision.at.word();
        for policy in decision.with_outcome(Outcome::Warn) {
            let name = policy.policy.as_str();
            let mut known = self.warned_of.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = !known.contains(name);
            if is_new && known.len() < WARNED_OF {
                known.insert(name.to_owned());
            }
            let name = if is_new && !known.contains(name) { "other" } else { name };
            drop(known);
            self.metrics.warnings.with_label_values(&[name, point]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use rreg_oci::Digest;
    use rreg_policy::{Facts, ImageFacts, Policy, TrustError, TrustReference, TrustRoot, TrustSource};

    use super::super::active::{Asked, Good};
    use super::*;

    struct Nothing;

    impl TrustSource for Nothing {
        fn load(&self, _: &TrustReference) -> Result<TrustRoot, TrustError> {
            Err(TrustError::new("trust", "there is none"))
        }
    }

    /// Pulls are allowed, so that a reason can only be that of the run.
    const POLICY: &str = "
apiVersion: rreg/v1
kind: Policy
name: digests
at: [run]
require: [{image: {digestOnly: true}}]
";

    #[test]
    fn the_reason_is_that_of_the_decision_which_is_told() {
        let asked = Asked::new(Policy::parse(POLICY, &Nothing).unwrap(), Vec::new());
        let image =
            ImageFacts { unknown: false, ..ImageFacts::bare("team/app", Digest::sha256(b"an image")) };
        let decisions =
            Decisions::make(&asked, "revision", &mut Facts::bare(image, None), Utc::now(), &Good::new());
        let told = |rule: String| {
            let event = AuditEvent::new(WITHDRAWN, "denied", rule);
            decision_of(&event, &decisions).map(Decision::message)
        };
        let by_tag = decisions.at(Point::Run, false).unwrap();
        let reason = told(format!("{}: digests@1", headline(by_tag, false))).unwrap();
        assert!(!reason.is_empty() && reason == by_tag.message(), "{reason}");
        assert_ne!(reason, decisions.pull(true).message());
        assert_eq!(told("deny at admit".into()), None);
    }
}
