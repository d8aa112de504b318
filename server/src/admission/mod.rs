//! What may be pulled, pushed and tagged: policies asked about facts, and the answers kept.
//!
//! A decision is a row ([`rreg_storage::StoredDecision`]) made in the background; a request reads it. Where there is
//! none that holds, the request waits until one is made, at most `policy.timeout`; past that it is decided on no facts:
//! each policy's `onError` says what happens where others did not answer, and else it fails. Cryptography happens once for a piece of evidence and a trust
//! root ([`facts`]), wherever it is asked for first.
//!
//! [`active`] knows which policies hold, [`facts`] gathers what they ask about, [`decide`] asks them, [`worker`] keeps
//! the rows good, [`read`] reads policies again, and this file answers requests; [`review`] those of Kubernetes.

mod active;
mod answer;
mod content;
mod decide;
mod facts;
#[cfg(test)]
mod fixtures;
mod kept;
mod read;
mod remembered;
pub(crate) mod review;
mod sources;
mod stage;
mod told;
mod what_if;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use rreg_oci::{Digest, ImageReference, RepositoryName, Tag};
use rreg_policy::{Decision, Limits, Point, TrustRoot};
use rreg_storage::{Storage, StorageError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

pub use active::LoadError;
pub use sources::{load_directory, policy_files, policy_text};

pub(crate) use active::Active;
pub(crate) use answer::Answer;
pub(crate) use decide::{Decisions, Failure};
pub(crate) use sources::{Seen, SetTrust};
pub(crate) use what_if::what_if;
pub(crate) use worker::run as keep_deciding;

use decide::Undone;
use remembered::{ByBytes, EACH, REMEMBERED, Remembered, TOLD, Told, bounded};
use stage::{Stage, Stages};

use crate::app::App;
use crate::config;
use crate::mirror::Flights;
use crate::revocation::Revocations;
use crate::telemetry::PolicyMetrics;

/// Decisions that requests wait for and that are made at the same time.
const AT_ONCE: usize = 16;

/// A manifest and the policies that it is asked about.
type Key = (RepositoryName, Digest, String);

/// Asks policies.
pub(crate) struct Admission {
    storage: Storage,
    pub(crate) config: config::Policy,
    active: RwLock<Arc<Active>>,
    /// Why those that there are now cannot be read, where they cannot.
    broken: RwLock<Option<String>>,
    remembered: Cache<(RepositoryName, Digest), Remembered, ByBytes>,
    told: Cache<(RepositoryName, Digest), Told, ByBytes>,
    limits: Limits,
    revocations: Revocations,
    pub(crate) metrics: PolicyMetrics,
    /// Names that warnings are counted by.
    warned_of: Mutex<BTreeSet<String>>,
    /// Something is to be decided again.
    wake: Notify,
    reading: tokio::sync::Mutex<()>,
    /// Decisions that requests wait for, one for all who ask for the same.
    flights: Flights<Key, Result<Arc<Decisions>, Arc<Failure>>>,
    /// How far they have come.
    stages: Stages,
    /// How many of those at the same time.
    slots: Arc<Semaphore>,
    /// Whose turn it is to read a large document.
    large: Semaphore,
    /// Whose turn it is to read or change the texts of all policies.
    pub(crate) texts: Semaphore,
}

impl Admission {
    /// Reads the policies for the first time.
    ///
    /// # Errors
    /// [`LoadError`]: a registry whose policies cannot be read does not start.
    pub(crate) async fn new(
        config: &config::Policy,
        storage: Storage,
        metrics: PolicyMetrics,
    ) -> Result<Self, LoadError> {
        let active = Active::load(&storage, config.directory.as_deref()).await?;
        Ok(Self {
            storage,
            config: config.clone(),
            active: RwLock::new(Arc::new(active)),
            broken: RwLock::default(),
            remembered: bounded(REMEMBERED, EACH),
            told: bounded(TOLD, 8 << 10),
            limits: Limits::default(),
            revocations: Revocations::new(config.revocation),
            metrics,
            warned_of: Mutex::default(),
            wake: Notify::new(),
            reading: tokio::sync::Mutex::default(),
            flights: Flights::default(),
            stages: Stages::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            large: Semaphore::new(facts::LARGE_AT_ONCE),
            texts: Semaphore::new(1),
        })
    }

    /// What verifications under a trust root are kept as. How revocation is looked at is a part of what was found.
    fn name_of(&self, root: &TrustRoot) -> Digest {
        match root {
            TrustRoot::Notation(_) => {
                Digest::sha256(format!("{} {}", root.id(), self.config.revocation).as_bytes())
            }
            TrustRoot::Key(_) | TrustRoot::Certificates(_) | TrustRoot::Sigstore(_) => root.id(),
        }
    }

    pub(crate) fn signers_may_read(&self) -> bool {
        self.config.signers_may_read
    }

    fn timeout(&self) -> Duration {
        self.config.timeout.0
    }

    /// Until when a request that comes now waits for decisions.
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout()
    }

    /// The answer to a pull, if it is known without waiting. `None`: ask [`Admission::pull`].
    pub(crate) fn known(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        by_digest: bool,
    ) -> Option<bool> {
        let active = self.active();
        if !active.asked(repository).at(Point::Pull) {
            return Some(true);
        }
        let remembered = self.remembered.get(&(repository.clone(), *digest))?;
        if !remembered.holds(self.storage.metadata(), &active) {
            return None;
        }
        let decision = remembered.decision;
        let outcome = if by_digest { &decision.by_digest } else { &decision.by_tag };
        (outcome == "allow").then_some(true)
    }

    /// Whether a manifest of `repository` may be pulled. One row is read; what is not decided yet is decided now.
    ///
    /// # Errors
    /// A database failure.
    pub(crate) async fn pull(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &Digest,
        by_digest: bool,
    ) -> Result<Answer, StorageError> {
        if self.known(repository, digest, by_digest) == Some(true) {
            return Ok(Answer::Allow);
        }
        let active = self.active();
        let metadata = self.storage.metadata();
        let about = (repository.clone(), *digest);
        if let Some(told) = self.told.get(&about)
            && told.remembered.holds(metadata, &active)
        {
            return Ok(Answer::of(told.decisions.pull(by_digest).clone()));
        }
        let epoch = metadata.facts_epoch(repository, digest).await?;
        let row = metadata.decision(repository, digest).await?;
        let Some(row) = row.filter(|row| row.holds(&active.revision)) else {
            let decisions = self.decide_now(app, repository, digest, &active, self.deadline()).await?;
            return Ok(Answer::of(decisions.pull(by_digest).clone()));
        };
        let outcome = if by_digest { row.by_digest.clone() } else { row.by_tag.clone() };
        let remembered = epoch.map(|epoch| Remembered { epoch, decision: Arc::new(row) });
        if let Some(remembered) = &remembered {
            self.remembered.insert(about.clone(), remembered.clone());
        }
        if outcome == "allow" {
            return Ok(Answer::Allow);
        }
        let body = metadata.decision_body(repository, digest).await?;
        let decisions = body.as_deref().and_then(Decisions::of_text);
        match decisions {
            Some(decisions) if decisions.revision == active.revision => {
                let answer = Answer::of(decisions.pull(by_digest).clone());
                if let Some(remembered) = remembered {
                    let bytes = body.map_or(0, |body| body.len() as u64);
                    self.told.insert(about, Told { remembered, decisions: Arc::new(decisions), bytes });
                }
                Ok(answer)
            }
            // Changed between the two looks.
            _ => {
                let decisions = self.decide_now(app, repository, digest, &active, self.deadline()).await?;
                Ok(Answer::of(decisions.pull(by_digest).clone()))
            }
        }
    }

    /// What is decided about a manifest that is here, at every point.
    ///
    /// # Errors
    /// A database failure.
    pub(crate) async fn decisions(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Decisions, StorageError> {
        self.decisions_by(app, repository, digest, self.deadline()).await
    }

    /// The same for a request that waits until `deadline`. What is not decided then is decided on no facts.
    async fn decisions_by(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Decisions, StorageError> {
        let active = self.active();
        let metadata = self.storage.metadata();
        let row = metadata.decision(repository, digest).await?;
        if row.is_some_and(|row| row.holds(&active.revision))
            && let Some(body) = metadata.decision_body(repository, digest).await?
            && let Some(decisions) = Decisions::of_text(&body)
            && decisions.revision == active.revision
        {
            return Ok(decisions);
        }
        self.decide_now(app, repository, digest, &active, deadline).await
    }

    /// What is decided about a manifest under a tag that somebody wrote beside its digest, whether or not it has it.
    ///
    /// # Errors
    /// A database failure.
    async fn decided_as(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &Digest,
        (tag, at): (&Tag, Point),
        deadline: Instant,
    ) -> Result<Decision, StorageError> {
        let active = self.active();
        let about = self.storage.metadata().undecided(repository, digest).await?;
        let about = about.ok_or_else(|| StorageError::UnknownManifest {
            repository: repository.clone(),
            reference: rreg_oci::Reference::Digest(*digest),
        })?;
        let stage = self.stages.alone();
        let deciding = async {
            // Facts that were kept a moment ago are used; where they could not be, they are gathered as any others.
            let _slot = self.slots.acquire().await;
            stage.note_begun();
            decide::under_another_name(app, &about, &active, (tag, at), &stage).await
        };
        let why = match tokio::time::timeout_at(deadline, deciding).await {
            Ok(Ok(decision)) => return Ok(decision),
            Ok(Err(Failure::Storage(error))) => return Err(error),
            Ok(Err(failure)) => (&failure).into(),
            Err(_) => self.late(&stage),
        };
        Ok(decide::without_facts(&about, &active, why).at(at, true).cloned().unwrap_or_else(|| {
            // There is one at every point but a push.
            decide::nobody_decides(&about, at)
        }))
    }

    /// Why nothing was decided in time.
    fn late(&self, stage: &Stage) -> Undone {
        let time = self.config.timeout;
        match stage.is_held_up(time.0) {
            true => Undone::HeldUp(format!("others did not answer within {time} (policy.timeout)")),
            false => {
                Undone::TooMuch(format!("nothing was decided within {time} (policy.timeout): try again"))
            }
        }
    }

    /// Decides until `deadline`, and on nothing where that is too early.
    async fn decide_now(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &Digest,
        active: &Arc<Active>,
        deadline: Instant,
    ) -> Result<Decisions, StorageError> {
        self.metrics.decided_at_once.inc();
        let metadata = self.storage.metadata();
        let about = metadata.undecided(repository, digest).await?;
        let unknown = || StorageError::UnknownManifest {
            repository: repository.clone(),
            reference: rreg_oci::Reference::Digest(*digest),
        };
        let about = about.ok_or_else(unknown)?;
        if deadline <= Instant::now() {
            // The workers get to it.
            self.metrics.late.inc();
            let why = "nothing is decided yet, and this request could not wait for it (policy.timeout)";
            return Ok(decide::without_facts(&about, active, Undone::HeldUp(why.to_owned())));
        }
        let key = (repository.clone(), *digest, active.revision.clone());
        let stage = self.stages.of(&key);
        let (slots, begun, seen) = (self.slots.clone(), about.clone(), stage.clone());
        let work = || {
            let (app, active) = (app.clone(), active.clone());
            async move {
                let _slot = slots.acquire_owned().await;
                seen.note_begun();
                let decided = decide::decide_and_keep(app, begun, active, None, &seen).await;
                decided.map(Arc::new).map_err(Arc::new)
            }
        };
        // What is begun is ended: the next request finds it.
        let flight = self.flights.join(&app.tasks, key, work);
        let why = match tokio::time::timeout_at(deadline, flight).await {
            Ok(Some(Ok(decisions))) => return Ok(Decisions::clone(&decisions)),
            Ok(Some(Err(failure))) => match &*failure {
                Failure::Storage(StorageError::UnknownManifest { .. }) => return Err(unknown()),
                // Whoever may write can keep facts changing, and keep a database busy: that is to be tried again, and lets
                // nothing through.
                Failure::Unsteady => return Err(StorageError::Conflict),
                Failure::Storage(error) => return Err(StorageError::Undecided(error.to_string())),
                failure => failure.into(),
            },
            Ok(None) => Undone::TooMuch("the decision broke off".to_owned()),
            Err(_) => {
                self.metrics.late.inc();
                self.late(&stage)
            }
        };
        tracing::warn!(%repository, %digest, ?why, "decided without facts");
        Ok(decide::without_facts(&about, active, why))
    }

    /// The revision of the policies, and what their `onError` says about running an image whose upstream does not answer.
    pub(crate) fn decide_unanswered(&self, image: &ImageReference, why: &str) -> (String, Decision) {
        let active = self.active();
        (active.revision.clone(), decide::unanswered(image, &active, Point::Admit, why))
    }

    /// Whether a manifest may be stored, and tagged where it is to be.
    ///
    /// # Errors
    /// A database failure.
    pub(crate) async fn push(
        &self,
        app: &Arc<App>,
        new: &rreg_storage::NewManifest,
    ) -> Result<Answer, StorageError> {
        let asked = self.active().asked(&new.repository);
        let points: Vec<Point> = [Some(Point::Push), (!new.tags.is_empty()).then_some(Point::Promote)]
            .into_iter()
            .flatten()
            .filter(|point| asked.at(*point))
            .collect();
        if points.is_empty() {
            return Ok(Answer::Allow);
        }
        let stage = self.stages.alone();
        stage.note_begun();
        let task = decide::arriving(app, new, &points, &asked, &stage);
        let task = tokio::time::timeout(self.timeout(), task);
        let worst = match task.await {
            Ok(decision) => decision?,
            Err(_) => {
                self.metrics.late.inc();
                decide::arriving_without_facts(new, &points, &asked, self.late(&stage))
            }
        };
        Ok(Answer::of(worst))
    }
}
