//! Decisions that are due, in the background of every replica.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rreg_storage::StorageError;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::decide::{self, Failure};
use crate::app::App;

/// Time between two looks for changes and for work.
const LOOK: Duration = Duration::from_secs(1);
/// How long a manifest is its worker's: what a dead replica costs.
const LEASE: Duration = Duration::from_secs(60);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(30);
/// Manifests taken at once.
const BATCH: usize = 256;
/// Manifests looked at at once for those that have no row.
const PAGE: usize = 1000;
/// Ids below the last one that are looked at again: transactions end in another order than they begin.
const OVERLAP: i64 = 1000;

/// Keeps policies and decisions up to date until `stop`.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    // Beside each other: a change must not wait until everything is decided under what it changes.
    tokio::join!(keep_policies(&app, &stop), keep_decisions(&app, &stop));
}

async fn keep_policies(app: &Arc<App>, stop: &CancellationToken) {
    loop {
        refresh(app).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn keep_decisions(app: &Arc<App>, stop: &CancellationToken) {
    let mut last = 0;
    loop {
        if !app.admission.active().policies.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = round(app, &mut last, stop) => {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "decisions could not be brought up to date; trying again");
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.admission.wake.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Reads the policies again if somebody has changed them. Those that cannot be read change nothing.
async fn refresh(app: &Arc<App>) {
    let admission = &app.admission;
    let active = admission.active();
    let version = match app.storage.metadata().policies_version().await {
        Ok(version) => version,
        Err(error) => {
            tracing::warn!(%error, "it cannot be told whether policies have changed");
            return;
        }
    };
    if version == active.version && active.seen.still(admission.config.directory.as_deref()) {
        return;
    }
    match admission.reload().await {
        Ok(()) => admission.metrics.broken.set(0),
        Err(error) => {
            if admission.metrics.broken.get() == 0 {
                tracing::error!(%error, "policies cannot be read; those read before go on to hold");
            }
            admission.metrics.broken.set(1);
        }
    }
}

/// Everything that is due now.
async fn round(app: &Arc<App>, last: &mut i64, stop: &CancellationToken) -> Result<(), StorageError> {
    let metadata = app.storage.metadata();
    let mut after = last.saturating_sub(OVERLAP).max(0);
    while let Some(page) = metadata.expect_decisions(after, PAGE).await? {
        (after, *last) = (page, page);
    }
    let workers = Semaphore::new(usize::try_from(app.admission.config.workers).unwrap_or(1));
    while !stop.is_cancelled() {
        let active = app.admission.active();
        let batch = metadata.take_undecided(&active.revision, LEASE, BATCH).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let decide = |about: rreg_storage::Undecided| {
            let (app, active, workers) = (app.clone(), active.clone(), &workers);
            async move {
                let failure = match decide::decide_and_keep(app.clone(), about.clone(), active, Some(workers)).await {
                    Ok(_) => return app.admission.metrics.decided.inc(),
                    // Deleted meanwhile.
                    Err(Failure::Storage(StorageError::UnknownManifest { .. })) => return,
                    Err(failure) => failure.to_string(),
                };
                app.admission.metrics.failures.inc();
                tracing::warn!(repository = %about.repository, digest = %about.digest, failure, "not decided");
                let kept = app.storage.metadata().fail_decision(&about, failure, PAUSE).await;
                if let Err(error) = kept {
                    tracing::warn!(%error, "why nothing was decided could not be kept");
                }
            }
        };
        stream::iter(batch).for_each_concurrent(BATCH, decide).await;
    }
    Ok(())
}
