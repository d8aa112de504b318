//! What people are told of decisions beside the answers to their requests: the log, and counters.

use std::sync::PoisonError;

use rreg_policy::{Decision, Outcome, Point};
use rreg_storage::{AuditEvent, Undecided};

use super::Admission;
use super::decide::{Decisions, WITHDRAWN, word};

/// Policies whose warnings are counted by name: metrics must not grow with names that come and go.
const WARNED_OF: usize = 200;

/// A point by its name in policies.
pub(super) fn point_word(point: Point) -> &'static str {
    match point {
        Point::Push => "push",
        Point::Promote => "promote",
        Point::Pull => "pull",
        Point::Admit => "admit",
        Point::Run => "run",
    }
}

impl Admission {
    /// Counts and tells a decision that is kept.
    pub(super) fn kept(&self, about: &Undecided, decisions: &Decisions, audit: &[AuditEvent]) {
        for event in audit.iter().filter(|event| event.event == WITHDRAWN) {
            self.metrics.withdrawn.inc();
            let reason = decisions.pull(true).message();
            let (repository, digest, rule) = (&about.repository, &about.digest, &event.rule);
            tracing::warn!(%repository, %digest, rule, reason, "no longer allowed");
        }
        for event in audit.iter().filter(|event| event.rule.starts_with(word(Outcome::Warn))) {
            let (repository, digest, rule) = (&about.repository, &about.digest, &event.rule);
            let all = decisions.all().into_iter().flat_map(Decision::warnings);
            let reason = all.take(1).collect::<String>();
            tracing::warn!(%repository, %digest, rule, reason, "allowed with a warning");
        }
    }

    /// Counts what a request is warned of. Of names there are no more than of policies that hold or that held a while ago;
    /// those past that are counted together.
    pub(crate) fn warned(&self, decision: &Decision) {
        let point = point_word(decision.at);
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
