//! What may be pulled, pushed and tagged: policies asked about facts, and the answers kept.
//!
//! A decision is a row ([`rreg_storage::StoredDecision`]) made in the background; a request reads it. Where there is
//! none that holds, the request waits until one is made, at most `policy.timeout`; past that it is decided on no facts,
//! so that each policy's `onError` says what happens. Cryptography happens once for a piece of evidence and a trust
//! root ([`facts`]), wherever it is asked for first.
//!
//! [`active`] knows which policies hold, [`facts`] gathers what they ask about, [`decide`] asks them, [`worker`] keeps
//! the rows good, and this file answers requests; [`review`] those of Kubernetes.

mod active;
mod content;
mod decide;
mod facts;
mod kept;
pub(crate) mod review;
mod revocation;
mod sources;
mod what_if;
mod worker;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use rreg_oci::{Digest, RepositoryName};
use rreg_policy::{Decision, Limits, Outcome, Point};
use rreg_storage::{Storage, StorageError, StoredDecision};
use tokio::sync::Notify;

pub use active::LoadError;
pub use sources::load_directory;

pub(crate) use active::Active;
pub(crate) use sources::{Seen, SetTrust};
pub(crate) use what_if::what_if;
pub(crate) use worker::run as keep_deciding;
pub(crate) use decide::{Decisions, Failure};

use crate::app::App;
use crate::config;
use crate::telemetry::PolicyMetrics;

/// Decisions remembered in memory, where no other replica can change them.
const REMEMBERED: usize = 100_000;
/// The same of those with reasons to be told, which are some kilobytes each.
const TOLD: usize = 1000;

/// Asks policies.
pub(crate) struct Admission {
    storage: Storage,
    config: config::Policy,
    active: RwLock<Arc<Active>>,
    remembered: Cache<(RepositoryName, Digest), Remembered>,
    told: Cache<(RepositoryName, Digest), Told>,
    limits: Limits,
    revocations: revocation::Revocations,
    pub(crate) metrics: PolicyMetrics,
    /// Something is to be decided again.
    wake: Notify,
}

#[derive(Clone)]
struct Remembered {
    epoch: u64,
    decision: Arc<StoredDecision>,
}

/// A refusal or warning with its reasons: a client that is refused comes again.
#[derive(Clone)]
struct Told {
    remembered: Remembered,
    decisions: Arc<Decisions>,
}

impl Remembered {
    fn holds(&self, epoch: u64, active: &Active) -> bool {
        self.epoch == epoch && self.decision.holds(&active.revision)
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It goes on.
    Allow,
    /// It goes on, and the client is told why it would be refused.
    Warn(Box<Decision>),
    /// It is refused.
    Deny(Box<Decision>),
}

impl Answer {
    fn of(decision: Decision) -> Self {
        match decision.outcome {
            Outcome::Allow => Self::Allow,
            Outcome::Warn => Self::Warn(Box::new(decision)),
            Outcome::Deny => Self::Deny(Box::new(decision)),
        }
    }
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
            remembered: Cache::new(REMEMBERED),
            told: Cache::new(TOLD),
            limits: Limits::default(),
            revocations: revocation::Revocations::new(config.revocation),
            metrics,
            wake: Notify::new(),
        })
    }

    /// The policies that hold now.
    pub(crate) fn active(&self) -> Arc<Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn activate(&self, active: Active) {
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
        self.wake.notify_waiters();
    }

    /// Reads the policies again now, for whoever has just changed them.
    pub(crate) async fn reload(&self) -> Result<(), LoadError> {
        let active = Active::load(&self.storage, self.config.directory.as_deref()).await?;
        if active.revision != self.active().revision {
            self.activate(active);
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        self.config.timeout.0
    }

    /// The answer to a pull, if it is known without waiting. `None`: ask [`Admission::pull`].
    pub(crate) fn known(&self, repository: &RepositoryName, digest: &Digest, by_digest: bool) -> Option<bool> {
        let active = self.active();
        if !active.asked(repository).at(Point::Pull) {
            return Some(true);
        }
        let epoch = self.storage.metadata().decisions_epoch()?;
        let remembered = self.remembered.get(&(repository.clone(), *digest))?;
        if !remembered.holds(epoch, &active) {
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
        let epoch = metadata.decisions_epoch();
        let about = (repository.clone(), *digest);
        if let (Some(epoch), Some(told)) = (epoch, self.told.get(&about))
            && told.remembered.holds(epoch, &active)
        {
            return Ok(Answer::of(told.decisions.pull(by_digest).clone()));
        }
        let row = metadata.decision(repository, digest).await?;
        let Some(row) = row.filter(|row| row.holds(&active.revision)) else {
            let decisions = self.decide_now(app, repository, digest, &active).await?;
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
                    self.told.insert(about, Told { remembered, decisions: Arc::new(decisions) });
                }
                Ok(answer)
            }
            // Changed between the two looks.
            _ => {
                let decisions = self.decide_now(app, repository, digest, &active).await?;
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
        self.decide_now(app, repository, digest, &active).await
    }

    /// Decides within `policy.timeout`, and on nothing where that is too short.
    async fn decide_now(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &Digest,
        active: &Arc<Active>,
    ) -> Result<Decisions, StorageError> {
        self.metrics.decided_at_once.inc();
        let about = self.storage.metadata().undecided(repository, digest).await?;
        let unknown = || StorageError::UnknownManifest {
            repository: repository.clone(),
            reference: rreg_oci::Reference::Digest(*digest),
        };
        let about = about.ok_or_else(unknown)?;
        // What is begun is ended: the next request finds it.
        let task = tokio::spawn(decide::decide_and_keep(app.clone(), about.clone(), active.clone(), None));
        let why = match tokio::time::timeout(self.timeout(), task).await {
            Ok(Ok(Ok(decisions))) => return Ok(decisions),
            Ok(Ok(Err(Failure::Storage(error)))) => return Err(error),
            Ok(Ok(Err(failure))) => failure.to_string(),
            Ok(Err(_)) => "the decision broke off".to_owned(),
            Err(_) => {
                self.metrics.late.inc();
                format!("nothing was decided within {} (policy.timeout)", self.config.timeout)
            }
        };
        tracing::warn!(%repository, %digest, why, "decided without facts");
        Ok(decide::without_facts(&about, active, why))
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
        if points.is_empty() || decide::is_evidence(&new.manifest) {
            return Ok(Answer::Allow);
        }
        let task = tokio::time::timeout(self.timeout(), decide::arriving(app, new, &points, &asked));
        let worst = match task.await {
            Ok(decision) => decision?,
            Err(_) => {
                self.metrics.late.inc();
                let why = format!("nothing was decided within {} (policy.timeout)", self.config.timeout);
                decide::arriving_without_facts(new, &points, &asked, why)
            }
        };
        Ok(Answer::of(worst))
    }
}
