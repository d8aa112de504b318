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

/// A decision that people are told of, at a point by tag or by digest, and its row for the trail.
pub(super) struct News {
    pub(super) event: AuditEvent,
    place: (Point, bool),
}

/// The first decision of policies at each point, and every change of one.
pub(super) fn news(about: &Undecided, decisions: &Decisions) -> Vec<News> {
    let before = about.body.as_deref().and_then(Decisions::of_text);
    let changed = changes(before.as_ref(), decisions);
    changed.map(|(place, now, was)| News { event: event(about, now, was, place.1), place }).collect()
}

/// Where a decision differs from the one before, which is, and what the outcome was.
fn changes<'d>(
    before: Option<&'d Decisions>,
    decisions: &'d Decisions,
) -> impl Iterator<Item = ((Point, bool), &'d Decision, Option<Outcome>)> {
    Decisions::PLACES.iter().filter_map(move |(point, by_digest)| {
        let now = decisions.at(*point, *by_digest)?;
        let was = before.and_then(|before| before.at(*point, *by_digest)).map(|was| was.outcome);
        if was == Some(now.outcome) || (was.is_none() && now.policies.is_empty()) {
            return None;
        }
        // By tag only where that makes a difference.
        let other = decisions.at(*point, true).map(|other| other.outcome);
        if !by_digest && *point != Point::Promote && other == Some(now.outcome) {
            return None;
        }
        Some(((*point, *by_digest), now, was))
    })
}

fn event(about: &Undecided, now: &Decision, was: Option<Outcome>, by_digest: bool) -> AuditEvent {
    let withdrawn = was.is_some_and(|was| was != Outcome::Deny) && now.outcome == Outcome::Deny;
    let name = if withdrawn { WITHDRAWN } else { "decision" };
    let outcome = if now.outcome == Outcome::Deny { "denied" } else { "allowed" };
    let decided =
        now.with_outcome(now.outcome).map(|policy| format!("{}@{}", policy.policy, policy.revision));
    let by: Vec<String> = decided.collect();
    let how = if by_digest { "" } else { " by tag" };
    let rule = format!("{} at {}{how}: {}", now.outcome.word(), now.at.word(), by.join(", "));
    let mut event = AuditEvent::new(name, outcome, rule.trim_end_matches(": ").to_owned());
    event.actor = DECIDER.to_owned();
    event.repository = Some(about.repository.to_string());
    event.target = Some(about.digest.to_string());
    event
}

impl Admission {
    /// Counts and tells what is kept.
    pub(super) fn kept(&self, about: &Undecided, decisions: &Decisions, news: &[News]) {
        let (repository, digest) = (&about.repository, &about.digest);
        for News { event, place: (point, by_digest) } in news {
            let Some(decision) = decisions.at(*point, *by_digest) else { continue };
            let rule = &event.rule;
            if event.event == WITHDRAWN {
                self.metrics.withdrawn.inc();
                tracing::warn!(%repository, %digest, rule, reason = decision.message(), "no longer allowed");
            }
            if decision.outcome == Outcome::Warn {
                let reason = decision.warnings().into_iter().take(1).collect::<String>();
                tracing::warn!(%repository, %digest, rule, reason, "allowed with a warning");
            }
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
    use super::super::fixtures::decided;
    use super::*;

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
        let (before, now) = (decided(&POLICY.replace("[run]", "[promote]")), decided(POLICY));
        let told: Vec<_> = changes(Some(&before), &now).collect();
        let [(place, by_tag, was)] = told[..] else { panic!("{told:?}") };
        assert_eq!((place, was), ((Point::Run, false), Some(Outcome::Allow)));
        let reason = by_tag.message();
        assert!(!reason.is_empty() && Some(by_tag) == now.at(Point::Run, false), "{reason}");
        assert_ne!(reason, now.pull(true).message());
        assert!(!told.iter().any(|((point, _), ..)| *point == Point::Admit));
    }
}
