//! One manifest, every point: facts in, decisions out, and the row that keeps them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::{Manifest, ManifestKind};
use rreg_policy::{
    Decision, EvaluateContext, Facts, ImageFacts, Outcome, Point, PolicySet, evaluate, is_evidence_type,
};
use rreg_storage::{AuditEvent, NewDecision, NewManifest, StorageError, Undecided};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::active::{Active, Asked};
use super::facts::{self, Looked};
use crate::app::App;

/// Who decides, in the audit trail.
const DECIDER: &str = "policy";
/// Stands for the digest of trust roots where a manifest is evidence itself, which no policy is asked about.
const EVIDENCE: &str = "evidence";
/// The event of an image that was let through and no longer is.
const WITHDRAWN: &str = "decision.withdrawn";
/// How often a decision is begun again because facts have changed under it.
const TURNS: usize = 5;

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Read(#[from] rreg_policy::ReadError),
    #[error("facts kept changing while they were looked at")]
    Unsteady,
    #[error("{0}")]
    Other(String),
}

/// What is decided about one manifest of a repository.
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    /// Digest of the policies.
    pub(crate) revision: String,
    /// Pulls by tag, then by digest.
    pub(super) pull: [Decision; 2],
    /// Runs in a cluster, by tag, then by digest.
    pub(super) admit: [Decision; 2],
    /// Runs on a node, as this registry's policies have it; the node's own decide there.
    pub(super) run: [Decision; 2],
    pub(super) promote: Decision,
}

impl Decisions {
    pub(crate) fn pull(&self, by_digest: bool) -> &Decision {
        &self.pull[usize::from(by_digest)]
    }

    /// At a point; `None` for a push, which is over when a manifest is here.
    pub(crate) fn at(&self, point: Point, by_digest: bool) -> Option<&Decision> {
        let place = usize::from(by_digest);
        match point {
            Point::Push => None,
            Point::Promote => Some(&self.promote),
            Point::Pull => Some(&self.pull[place]),
            Point::Admit => Some(&self.admit[place]),
            Point::Run => Some(&self.run[place]),
        }
    }

    /// Of each pair the one by tag first.
    pub(super) fn all(&self) -> [&Decision; 7] {
        let ([pull, pinned_pull], [admit, pinned_admit], [run, pinned_run]) =
            (&self.pull, &self.admit, &self.run);
        [pull, pinned_pull, admit, pinned_admit, run, pinned_run, &self.promote]
    }

    pub(super) fn make(
        policies: &PolicySet,
        revision: &str,
        facts: &mut Facts,
        now: DateTime<Utc>,
        last_good: Option<DateTime<Utc>>,
    ) -> Self {
        let context = EvaluateContext { now, last_good };
        let mut pair = |point| {
            [false, true].map(|by_digest| {
                facts.image.pinned = Some(by_digest);
                evaluate(policies, facts, point, &context)
            })
        };
        let (pull, admit, run) = (pair(Point::Pull), pair(Point::Admit), pair(Point::Run));
        facts.image.pinned = None;
        let promote = evaluate(policies, facts, Point::Promote, &context);
        Self { revision: revision.to_owned(), pull, admit, run, promote }
    }

    fn holds_until(&self) -> Option<DateTime<Utc>> {
        self.all().into_iter().filter_map(|decision| decision.holds_until).min()
    }
}

/// Decides, and keeps the decision unless facts have changed meanwhile; then begins again. Not more decide at once than
/// `at_once` lets; it does not count who waits for the database, where those who wait together are served together.
pub(super) async fn decide_and_keep(
    app: Arc<App>,
    about: Undecided,
    active: Arc<Active>,
    at_once: Option<&Semaphore>,
) -> Result<Decisions, Failure> {
    let mut about = about;
    for _ in 0..TURNS {
        let (decisions, new) = {
            let _turn = match at_once {
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            decide(&app, &about, &active).await?
        };
        let metadata = app.storage.metadata();
        let withdrawn = new.audit.iter().any(|event| event.event == WITHDRAWN);
        if metadata.keep_decision(&about, new).await? {
            if withdrawn {
                app.admission.withdrawn(&about, &decisions);
            }
            return Ok(decisions);
        }
        let (repository, digest) = (about.repository.clone(), about.digest);
        let again = metadata.undecided(&repository, &digest).await?;
        let unknown = || StorageError::UnknownManifest {
            repository,
            reference: rreg_oci::Reference::Digest(digest),
        };
        about = again.ok_or_else(unknown)?;
    }
    Err(Failure::Unsteady)
}

async fn decide(
    app: &Arc<App>,
    about: &Undecided,
    active: &Active,
) -> Result<(Decisions, NewDecision), Failure> {
    let now = Utc::now();
    let asked = active.asked(&about.repository);
    let known = known_facts(about, &asked, now);
    let gathered = known.is_none() && asked.anything() && about.trust.as_deref() != Some(EVIDENCE);
    let (looked, trust) = match known {
        Some(facts) => (Looked::Subject(Box::new(facts)), asked.trust.as_str()),
        None if gathered => match facts::of_stored(app, about, &asked, now).await? {
            Looked::Evidence => (Looked::Evidence, EVIDENCE),
            subject => (subject, asked.trust.as_str()),
        },
        // What is evidence once is evidence for ever; of what nobody asks about, nothing is gathered.
        None if about.trust.as_deref() == Some(EVIDENCE) => (Looked::Evidence, EVIDENCE),
        None => (Looked::Evidence, ""),
    };
    let last_good = about.good_at.and_then(DateTime::from_timestamp_millis);
    let (decisions, facts) = match looked {
        Looked::Evidence => {
            let nobody = PolicySet::new(Vec::new());
            let mut facts = bare_facts(about, None);
            (Decisions::make(&nobody, &active.revision, &mut facts, now, None), None)
        }
        Looked::Subject(mut facts) => {
            let text = if gathered { Some(json(&facts)?) } else { None };
            (Decisions::make(&asked.policies, &active.revision, &mut facts, now, last_good), text)
        }
    };
    let pull = decisions.pull(true);
    let good = pull.outcome != Outcome::Deny && pull.policies.iter().all(|it| it.last_good.is_none());
    let again = if asked.anything() { facts::look_again(app, about, now) } else { None };
    let due = [decisions.holds_until(), again].into_iter().flatten().min();
    let new = NewDecision {
        revision: active.revision.clone(),
        by_tag: word(decisions.pull(false).outcome).to_owned(),
        by_digest: word(pull.outcome).to_owned(),
        due_at: due.map(|time| time.timestamp_millis()),
        good_at: if good { Some(now.timestamp_millis()) } else { about.good_at },
        body: decisions.to_text().map_err(|error| Failure::Other(error.to_string()))?,
        trust: trust.to_owned(),
        facts,
        audit: events(about, &decisions),
    };
    Ok((decisions, new))
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Other(error.to_string()))
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allow => "allow",
        Outcome::Warn => "warn",
        Outcome::Deny => "deny",
    }
}

/// The facts of the last time, if they are still all that there is and were verified under the same roots.
pub(super) fn known_facts(about: &Undecided, asked: &Asked, now: DateTime<Utc>) -> Option<Facts> {
    if !about.facts_hold || about.trust.as_deref() != Some(&asked.trust) {
        return None;
    }
    let facts: Facts = serde_json::from_str(about.facts.as_deref()?).ok()?;
    let verified = facts.evidence.iter().flat_map(|evidence| evidence.verifications.values());
    let ended = verified.filter_map(|verification| verification.holds_until).any(|until| until <= now);
    (!ended && facts.incomplete.is_empty()).then_some(facts)
}

fn bare_facts(about: &Undecided, why: Option<String>) -> Facts {
    Facts::bare(ImageFacts::bare(about.repository.as_str(), about.digest), why)
}

/// What a policy's `onError` says when nothing could be gathered.
pub(super) fn without_facts(about: &Undecided, active: &Active, why: String) -> Decisions {
    let last_good = about.good_at.and_then(DateTime::from_timestamp_millis);
    let asked = active.asked(&about.repository);
    Decisions::make(&asked.policies, &active.revision, &mut bare_facts(about, Some(why)), Utc::now(), last_good)
}

/// Rows for the trail: the first decision of policies, and every change of what becomes of a pull.
fn events(about: &Undecided, decisions: &Decisions) -> Vec<AuditEvent> {
    let before = about.body.as_deref().and_then(Decisions::of_text);
    let now = decisions.pull(true);
    let was = before.as_ref().map(|before| before.pull(true).outcome);
    if was == Some(now.outcome) || (was.is_none() && now.policies.is_empty()) {
        return Vec::new();
    }
    let withdrawn = was.is_some_and(|was| was != Outcome::Deny) && now.outcome == Outcome::Deny;
    let name = if withdrawn { WITHDRAWN } else { "decision" };
    let outcome = if now.outcome == Outcome::Deny { "denied" } else { "allowed" };
    let policies = now.with_outcome(now.outcome).map(|policy| policy.policy.as_str());
    let rule = format!("{} by {}", word(now.outcome), policies.collect::<Vec<_>>().join(", "));
    let mut event = AuditEvent::new(name, outcome, rule.trim_end_matches(" by ").to_owned());
    event.actor = DECIDER.to_owned();
    event.repository = Some(about.repository.to_string());
    event.target = Some(about.digest.to_string());
    vec![event]
}

impl super::Admission {
    /// Counts and tells that something is no longer let through.
    fn withdrawn(&self, about: &Undecided, decisions: &Decisions) {
        self.metrics.withdrawn.inc();
        let reason = decisions.pull(true).message();
        tracing::warn!(repository = %about.repository, digest = %about.digest, reason, "no longer allowed");
    }
}

/// Signatures, attestations and documents stay readable whatever is decided about images, so that clients can verify: a
/// manifest with nothing else in it, and an index of such manifests as clients keep at fallback tags.
pub(super) fn is_evidence(manifest: &Manifest) -> bool {
    match manifest.kind {
        ManifestKind::Image => {
            !manifest.layers.is_empty() && manifest.layers.iter().all(|layer| is_evidence_type(&layer.media_type))
        }
        // It says nothing that can be run, and each child is asked about by itself.
        ManifestKind::Index => manifest.manifests.iter().all(|child| {
            let kind = child.artifact_type.as_deref().unwrap_or_default();
            is_evidence_type(kind) || kind.starts_with("application/vnd.docker.attestation.manifest")
        }),
    }
}

/// Decides about a manifest that is on its way in.
pub(super) async fn arriving(
    app: &Arc<App>,
    new: &NewManifest,
    points: &[Point],
    asked: &Asked,
) -> Result<Decision, StorageError> {
    let now = Utc::now();
    match facts::of_arriving(app, new, asked, now).await {
        Ok(mut facts) => {
            facts.image.pinned = Some(new.tags.is_empty());
            Ok(hardest(points, |point| {
                evaluate(&asked.policies, &facts, point, &EvaluateContext { now, last_good: None })
            }))
        }
        Err(Failure::Storage(error)) => Err(error),
        Err(failure) => Ok(arriving_without_facts(new, points, asked, failure.to_string())),
    }
}

pub(super) fn arriving_without_facts(
    new: &NewManifest,
    points: &[Point],
    asked: &Asked,
    why: String,
) -> Decision {
    let context = EvaluateContext { now: Utc::now(), last_good: None };
    let mut image = ImageFacts::bare(new.repository.as_str(), new.digest);
    image.tags = new.tags.iter().map(ToString::to_string).collect();
    let facts = Facts::bare(image, Some(why));
    hardest(points, |point| evaluate(&asked.policies, &facts, point, &context))
}

/// `points` is never empty; the first of the hardest.
fn hardest(points: &[Point], decide: impl Fn(Point) -> Decision) -> Decision {
    let mut decisions = points.iter().map(|point| decide(*point));
    let first = decisions.next().unwrap_or_else(|| decide(Point::Push));
    decisions.fold(first, |worst, next| if next.outcome > worst.outcome { next } else { worst })
}
