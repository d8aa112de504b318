//! Carrying it out: reviews under leases, then objects.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rreg_storage::{Review, ReviewKind, Settled, Storage, StorageError, Verdict};
use tokio_util::sync::CancellationToken;

use crate::{Schedule, ms};

/// Uploads, reviews and objects handled in one round.
const ROUND: u32 = 500;
/// Reviews claimed at once, in a transaction that pushes wait for.
const CLAIMED: u32 = 64;
/// Reviews settled at once: with SQLite they share transactions, as many as leave room for pushes in between.
const AT_ONCE: usize = 16;
/// Objects taken off the list in one transaction, for the same reason.
const FORGOTTEN: usize = 32;
/// A worker that has not settled a review by then is taken for dead.
const LEASE: Duration = Duration::from_secs(60);
/// Time between two looks at which records are to be written: what a lost database takes with it.
const RECORDS: Duration = Duration::from_secs(5);
/// Time between two looks for uploads to the store that were never ended, and how old those are: what a server writes
/// at this moment is younger.
const UNFINISHED: Duration = Duration::from_secs(3600);
const UNFINISHED_AFTER: Duration = Duration::from_secs(86_400);
/// Objects deleted at once.
const DELETES: usize = 16;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Idle uploads that were ended.
    pub uploads: usize,
    /// Manifests whose rows were deleted.
    pub manifests: usize,
    /// Blobs that were taken out of a repository.
    pub blobs: usize,
    /// Bytes of those that no other repository has.
    pub bytes: u64,
    /// Reviews that found the content held, or gone already.
    pub kept: usize,
    /// Objects that were deleted.
    pub objects: usize,
}

/// Does all that is due: ends idle uploads, settles reviews, deletes objects.
///
/// # Errors
/// When database or store fail; what was done until then stays done.
pub async fn sweep(storage: &Storage, schedule: &Schedule) -> Result<Report, StorageError> {
    let mut report = Report::default();
    loop {
        let ended = storage.metadata().expire_uploads(ms(schedule.idle), ROUND).await?;
        report.uploads += ended;
        if ended == 0 {
            break;
        }
    }
    for (kind, age) in schedule.kinds() {
        settle_all(storage, schedule, (kind, age), &mut report).await?;
    }
    delete_objects(storage, &mut report).await?;
    Ok(report)
}

/// Brings the store's records of manifests in line with the rows.
///
/// # Errors
/// When database or store fail; what was not done is tried again after a minute.
pub async fn write_records(storage: &Storage) -> Result<(), StorageError> {
    while storage.write_records(ROUND).await? == ROUND as usize {}
    Ok(())
}

/// Aborts uploads to the store that were begun at least `after` ago and never ended: their server was killed. Gives how
/// many.
///
/// # Errors
/// When the store fails or does not list them.
pub async fn abort_unfinished(storage: &Storage, after: Duration) -> Result<usize, StorageError> {
    let found = storage.blobs().unfinished(after).await?;
    let (mut aborted, mut failure) = (0, None);
    for upload in &found {
        match storage.blobs().abort(upload).await {
            Ok(()) => aborted += 1,
            // One that the store keeps keeps none of the others.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(aborted), Err)
}

async fn settle_all(
    storage: &Storage,
    schedule: &Schedule,
    (kind, age): (ReviewKind, u64),
    report: &mut Report,
) -> Result<(), StorageError> {
    let grace = ms(schedule.grace);
    loop {
        let reviews = storage.metadata().claim_reviews(kind, age, ms(LEASE), CLAIMED).await?;
        if reviews.is_empty() {
            return Ok(());
        }
        let alone = match kind {
            ReviewKind::Manifest => reviews,
            ReviewKind::Blob => settle_together(storage, reviews, grace, report).await?,
        };
        let mut settled = stream::iter(alone)
            .map(|review| {
                let storage = storage.clone();
                async move { storage.metadata().settle_review(&review, grace).await }
            })
            .buffer_unordered(AT_ONCE);
        while let Some(outcome) = settled.next().await {
            match (outcome, kind) {
                (Ok(Settled::Judged(Verdict::Reclaim { bytes })), ReviewKind::Blob) => {
                    report.blobs += 1;
                    report.bytes += bytes;
                }
                (Ok(Settled::Judged(Verdict::Reclaim { .. })), ReviewKind::Manifest) => report.manifests += 1,
                (Ok(Settled::Judged(Verdict::Keep(_) | Verdict::Gone)), _) => report.kept += 1,
                // Somebody has pushed it again: it is young now. Or too many wrote at once: its lease ends.
                (Ok(Settled::Postponed) | Err(StorageError::Conflict), _) => {}
                (Err(error), _) => return Err(error),
            }
        }
    }
}

/// Settles reviews of blobs, those of each repository together. Gives those that have to be tried alone, because one
/// of their company met somebody else's transaction.
async fn settle_together(
    storage: &Storage,
    mut reviews: Vec<Review>,
    grace: u64,
    report: &mut Report,
) -> Result<Vec<Review>, StorageError> {
    let mut alone = Vec::new();
    reviews.sort_by(|a, b| a.repository.cmp(&b.repository));
    for same in reviews.chunk_by(|a, b| a.repository == b.repository) {
        match storage.metadata().settle_blobs(same.to_vec(), grace).await {
            Ok(settled) => {
                report.blobs += settled.reclaimed;
                report.bytes += settled.bytes;
                report.kept += settled.kept;
            }
            Err(StorageError::Conflict) => alone.extend_from_slice(same),
            Err(error) => return Err(error),
        }
    }
    Ok(alone)
}

async fn delete_objects(storage: &Storage, report: &mut Report) -> Result<(), StorageError> {
    loop {
        let keys = storage.metadata().take_due_objects(ROUND).await?;
        if keys.is_empty() {
            return Ok(());
        }
        let delete = |key: String| {
            let blobs = storage.blobs().clone();
            async move { blobs.delete(&key).await }
        };
        let mut deleted = stream::iter(keys.clone()).map(delete).buffer_unordered(DELETES);
        while let Some(result) = deleted.next().await {
            result?;
        }
        drop(deleted);
        report.objects += keys.len();
        // Bytes first: a crash in between deletes them once more, and deleting twice is no error.
        for some in keys.chunks(FORGOTTEN) {
            storage.metadata().forget_objects(some.to_vec()).await?;
        }
    }
}

/// Sweeps every period until `shutdown`, and writes records every few seconds. Failures are logged and tried again
/// the next time.
pub async fn run(storage: Storage, schedule: Schedule, shutdown: CancellationToken) {
    let (mut sweeps, mut records, mut unfinished) =
        (ticks(schedule.period), ticks(RECORDS), ticks(UNFINISHED));
    // The first tick comes at once; start-up has better things to do.
    sweeps.tick().await;
    records.tick().await;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = sweeps.tick() => sweep_once(&storage, &schedule).await,
            _ = unfinished.tick() => match abort_unfinished(&storage, UNFINISHED_AFTER).await {
                Ok(0) => {}
                Ok(aborted) => tracing::info!(aborted, "uploads to the object store that were never ended"),
                Err(error) => tracing::info!(%error, "uploads to the object store that were never ended are not known; \
                    a lifecycle rule of the store can end them"),
            },
            _ = records.tick() => if let Err(error) = write_records(&storage).await {
                tracing::warn!(%error, "a record could not be written to the object store; trying again later");
            },
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

async fn sweep_once(storage: &Storage, schedule: &Schedule) {
    match sweep(storage, schedule).await {
        Ok(Report { uploads: 0, manifests: 0, blobs: 0, objects: 0, .. }) => {}
        Ok(Report { uploads, manifests, blobs, bytes, objects, .. }) => {
            tracing::info!(uploads, manifests, blobs, bytes, objects, "reclaimed");
        }
        Err(error) => tracing::warn!(%error, "reclaim failed; trying again later"),
    }
}
