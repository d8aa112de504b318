//! Reclaims what nothing references any more.
//!
//! Storage puts an object on its list of things to delete in the same transaction that takes away its last row
//! (a deleted blob, a cancelled upload, a copy of content that was there already), so nothing has to be searched
//! for. A sweep ends idle uploads and deletes what is on the list and past its grace. Any number of replicas may
//! sweep at once: deleting twice is no error.
//!
//! Not here yet: retention rules, reclaiming untagged manifests, and the search for objects without a row, which
//! a crash between writing an object and its row leaves behind.

use std::time::Duration;

use rreg_storage::{Storage, StorageError};
use tokio_util::sync::CancellationToken;

/// Uploads and objects handled in one round.
const ROUND: u32 = 500;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Idle uploads that were ended.
    pub uploads: usize,
    /// Objects that were deleted.
    pub objects: usize,
}

/// Ends uploads in which nothing has arrived for `idle`, and deletes objects that are due, until none is left.
///
/// # Errors
/// When database or store fail; what was done until then stays done.
pub async fn sweep(storage: &Storage, idle: Duration) -> Result<Report, StorageError> {
    let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    let mut report = Report::default();
    loop {
        let uploads = storage.metadata().expire_uploads(idle, ROUND).await?;
        let keys = storage.metadata().due_objects(ROUND).await?;
        let objects = keys.len();
        for key in &keys {
            storage.blobs().delete(key).await?;
        }
        if objects > 0 {
            storage.metadata().forget_objects(keys).await?;
        }
        report.uploads += uploads;
        report.objects += objects;
        if uploads + objects == 0 {
            return Ok(report);
        }
    }
}

/// Sweeps every `period` until `shutdown`. Failures are logged and tried again the next time.
pub async fn run(storage: Storage, idle: Duration, period: Duration, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick comes at once; start-up has better things to do.
    ticks.tick().await;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match sweep(&storage, idle).await {
            Ok(report) if report == Report::default() => {}
            Ok(report) => tracing::info!(uploads = report.uploads, objects = report.objects, "reclaimed"),
            Err(error) => tracing::warn!(%error, "reclaim failed; trying again later"),
        }
    }
}
