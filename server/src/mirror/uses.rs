//! What was asked for, and letting go of what was not: limits on how much of upstreams is kept.
//!
//! Requests only leave a note in memory. Every few seconds the notes go into the database, and where there is more
//! than a limit allows, images are evicted, those first that were used longest ago. Their bytes go the way of all
//! reclaim (`rreg_gc`), so an image that is asked for in time is kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rreg_oci::{Digest, RepositoryName};
use rreg_storage::StorageError;
use tokio_util::sync::CancellationToken;

use super::Mirror;
use crate::app::App;

/// Most notes in memory; uses beyond them go unnoticed until the next round.
const NOTES: usize = 20_000;
/// Notes in one transaction: pushes wait for its end.
const BATCH: usize = 100;
/// Longest time between two rounds.
const ROUND: Duration = Duration::from_secs(10);

/// Limits, and what was used since the last round.
#[derive(Default)]
pub(super) struct Uses {
    limits: Limits,
    notes: Mutex<HashSet<(RepositoryName, Digest)>>,
}

/// How much is kept, in bytes; 0: everything.
#[derive(Default)]
pub(super) struct Limits {
    /// Of all upstreams together.
    pub(super) all: u64,
    /// By upstream.
    pub(super) each: Vec<(String, u64)>,
    /// An image asked for so recently is not evicted.
    pub(super) keep: Duration,
    /// The age at which a blob that nothing needs is reclaimed.
    pub(super) reclaimed_after: Duration,
}

impl Limits {
    fn are_set(&self) -> bool {
        self.all > 0 || self.each.iter().any(|(_, limit)| *limit > 0)
    }
}

impl Uses {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, notes: Mutex::default() }
    }
}

impl Mirror {
    /// Notes that a manifest of an upstream was asked for.
    pub(crate) fn used(&self, repository: &RepositoryName, digest: &Digest) {
        if !self.uses.limits.are_set() || !self.upstreams.iter().any(|upstream| upstream.covers(repository)) {
            return;
        }
        let mut notes = self.uses.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < NOTES {
            notes.insert((repository.clone(), *digest));
        }
    }

    /// Keeps to the limits until `shutdown`. Ends at once where there are none.
    pub(crate) async fn keep_to_limits(app: Arc<App>, period: Duration, shutdown: CancellationToken) {
        let uses = &app.mirror.uses;
        if !uses.limits.are_set() {
            return;
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(period.min(ROUND)) => {}
            }
            if let Err(error) = uses.round(&app).await {
                tracing::warn!(%error, "copies of upstreams could not be evicted; trying again later");
            }
        }
    }
}

impl Uses {
    async fn round(&self, app: &App) -> Result<(), StorageError> {
        let notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        let metadata = app.storage.metadata();
        let notes: Vec<_> = notes.into_iter().collect();
        for batch in notes.chunks(BATCH) {
            metadata.used_copies(batch.to_vec()).await?;
        }
        let each = self.limits.each.iter().map(|(name, limit)| (Some(name.as_str()), *limit));
        for (upstream, limit) in each.chain([(None, self.limits.all)]).filter(|(_, limit)| *limit > 0) {
            let mut held = metadata.cached_bytes(upstream).await?;
            while held > limit {
                let (keep, age) = (self.limits.keep, self.limits.reclaimed_after);
                let Some(evicted) = metadata.evict_copy(upstream, keep, age).await? else {
                    tracing::debug!(held, limit, "everything that is kept of upstreams was used lately");
                    break;
                };
                let rreg_storage::Evicted { repository, digest, bytes } = evicted;
                tracing::info!(%repository, %digest, bytes, "evicted");
                app.metrics.mirror.evicted_bytes.inc_by(bytes);
                held = held.saturating_sub(bytes);
            }
        }
        Ok(())
    }
}
