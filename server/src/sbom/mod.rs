//! Lists of the packages in pushed images, attached as referrers in the background.
//!
//! The push of an image leaves a row ([`rreg_storage::SbomJob`]); workers of all replicas take rows under leases, read
//! the image's layers once as streams, and push the documents into the same repository. Documents and their
//! manifests follow from the image's digest alone, so doing it twice changes nothing.

mod attach;
mod layers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rreg_oci::{Glob, RepositoryName};
use rreg_storage::{SbomJob, Storage, StorageError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, AttachSbom};
use crate::telemetry::SbomMetrics;

/// How often an image is tried.
const MOST: u32 = 5;
/// How long a job is its worker's without being prolonged: what a dead replica costs.
const LEASE: Duration = Duration::from_secs(20);
/// How often the lease is prolonged.
const RENEWAL: Duration = Duration::from_secs(5);
/// Time between two looks for work.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(10);

/// Whose images are listed.
pub(crate) struct Covered(Vec<Glob>);

impl Covered {
    pub(crate) fn new(config: &config::Sbom) -> Self {
        Self(if config.attach == AttachSbom::Off { Vec::new() } else { config.repositories.clone() })
    }

    pub(crate) fn covers(&self, repository: &RepositoryName) -> bool {
        self.0.iter().any(|glob| glob.matches(repository.as_str()))
    }
}

/// Why an image has no list.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is wrong, in one word that stays.
    pub(crate) name: &'static str,
    pub(crate) message: String,
    /// Whether another attempt may end differently.
    pub(crate) again: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let name = match &error {
            StorageError::Damaged { .. } | StorageError::DamagedManifest { .. } => "damaged",
            StorageError::UnknownBlob { .. } | StorageError::UnknownManifest { .. } => "deleted",
            _ => "storage",
        };
        Self { name, message: error.to_string(), again: name != "deleted" }
    }
}

/// Takes jobs and does them.
#[derive(Clone)]
pub(crate) struct Worker {
    storage: Storage,
    metrics: SbomMetrics,
    limits: attach::Limits,
    documents: &'static [attach::Format],
    /// This process, as rows name it.
    holder: Arc<str>,
}

impl Worker {
    pub(crate) fn new(
        config: &config::Sbom,
        storage: Storage,
        metrics: SbomMetrics,
        max_manifest: usize,
    ) -> Self {
        let documents: &[attach::Format] = match config.attach {
            AttachSbom::Off => &[],
            AttachSbom::Cyclonedx => &[attach::Format::CycloneDx],
            AttachSbom::Spdx => &[attach::Format::Spdx],
            AttachSbom::Both => &[attach::Format::CycloneDx, attach::Format::Spdx],
        };
        let limits = attach::Limits {
            image_bytes: config.max_image_size.0,
            time: config.timeout.0,
            manifest_bytes: max_manifest,
        };
        let holder = uuid::Uuid::new_v4().to_string().into();
        Self { storage, metrics, limits, documents, holder }
    }

    /// Starts as many as are configured; none when nothing is attached.
    pub(crate) fn start(self, config: &config::Sbom, shutdown: &CancellationToken) -> TaskTracker {
        let tasks = TaskTracker::new();
        if !self.documents.is_empty() {
            for number in 0..config.workers {
                let mut worker = self.clone();
                worker.holder = format!("{}/{number}", self.holder).into();
                tasks.spawn(worker.run(shutdown.clone()));
            }
        }
        tasks
    }

    async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let pause = match self.storage.metadata().take_sbom_job(&self.holder, LEASE, MOST).await {
                Ok(Some(job)) => {
                    self.one(&job, &shutdown).await;
                    continue;
                }
                Ok(None) => LOOK,
                // Another replica was first.
                Err(StorageError::Conflict) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "images whose packages are to be listed cannot be looked for");
                    PAUSE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does one job and writes down what became of it.
    async fn one(&self, job: &SbomJob, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let ended = {
            let work = attach::attach(&self.storage, job, self.documents, &self.limits, &stop);
            tokio::select! {
                ended = work => Some(ended),
                () = self.keep(job) => None,
            }
        };
        // Whatever still reads for it stops at its next piece.
        stop.cancel();
        let metadata = self.storage.metadata();
        let written = match ended {
            // Somebody else has it, or the image is gone.
            None => Ok(()),
            Some(Ok(())) => {
                self.metrics.attached.inc();
                tracing::info!(repository = %job.repository, digest = %job.digest, "SBOM attached");
                metadata.finish_sbom_job(job).await.map(drop)
            }
            Some(Err(_)) if shutdown.is_cancelled() => metadata.return_sbom_job(job).await.map(drop),
            Some(Err(failure)) => self.failed(job, &failure).await,
        };
        if let Err(error) = written {
            tracing::warn!(%error, digest = %job.digest, "what became of a list of packages was not written down");
        }
    }

    /// Prolongs the lease for as long as it is polled; ends when it is lost.
    async fn keep(&self, job: &SbomJob) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Ok(false) = self.storage.metadata().keep_sbom_job(job, LEASE).await {
                return;
            }
        }
    }

    async fn failed(&self, job: &SbomJob, failure: &Failure) -> Result<(), StorageError> {
        self.metrics.failures.inc();
        let again = failure.again && job.attempts < MOST;
        let pause = again.then(|| PAUSE.saturating_mul(1 << job.attempts.saturating_sub(1).min(8)));
        let (repository, digest, attempts) = (&job.repository, &job.digest, job.attempts);
        match pause {
            Some(pause) => {
                tracing::warn!(%repository, %digest, attempts, %failure, again_in = ?pause, "no SBOM attached");
            }
            None => {
                self.metrics.given_up.inc();
                tracing::error!(%repository, %digest, attempts, %failure, "no SBOM attached; given up");
            }
        }
        self.storage.metadata().fail_sbom_job(job, failure.to_string(), pause, MOST).await
    }
}
