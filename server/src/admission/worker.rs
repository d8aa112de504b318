//! Decisions that are due, in the background of every replica.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rreg_storage::{StorageError, TakenManifest};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::active::{Active, LoadError};
use super::decide::{self, Failure};
use crate::app::App;

/// Time between two looks for changes and for work.
const LOOK: Duration = Duration::from_secs(1);
/// How long a manifest is its worker's: what a dead replica costs.
const LEASE: Duration = Duration::from_secs(60);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(30);
/// How long what another replica has decided by other policies is left alone.
const PATIENCE: Duration = Duration::from_secs(60);
/// A batch is followed by a rest of this part of its time, in which requests have the machine.
const REST: u32 = 2;
/// Manifests taken at once.
const BATCH: usize = 256;
/// Manifests in hand at once: most of them wait for the database, which takes those that wait together.
const AT_ONCE: usize = 64;
/// Manifests looked at at once for those that have no row.
const PAGE: usize = 1000;
/// Ids below the last one that are looked at again: transactions end in another order than they begin.
const OVERLAP: i64 = 1000;

/// Keeps policies and decisions up to date until `stop`.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    tokio::join!(keep_policies(&app, &stop), keep_decisions(&app, &stop));
}

async fn keep_policies(app: &Arc<App>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        refresh(app).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn keep_decisions(app: &Arc<App>, stop: &CancellationToken) {
    let (mut last, mut trusted) = (0, String::new());
    loop {
        let active = app.admission.active();
        if !active.policies.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = round(app, &mut last, stop) => {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "decisions could not be brought up to date; trying again");
                    }
                }
            }
        }
        if trusted != active.revision {
            forget(app).await;
            trusted.clone_from(&active.revision);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.admission.wake.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What was found under trust roots that no policy names any more is of no use to anybody.
async fn forget(app: &Arc<App>) {
    let active = app.admission.active();
    let roots = active.policies.iter().flat_map(rreg_policy::Policy::trust_roots);
    let names = roots.map(|root| app.admission.name_of(root)).collect();
    if let Err(error) = app.storage.metadata().forget_verifications(names).await {
        tracing::warn!(%error, "verifications under former trust roots were not forgotten");
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
        // What was wrong may have been taken away again.
        admission.note_broken(None);
        return;
    }
    // What is wrong with the policies themselves is told where it is noticed.
    if let Err(LoadError::Storage(error)) = admission.reload().await {
        tracing::warn!(%error, "policies could not be read again");
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
    // Another replica may have other policies for a while: a directory is not changed everywhere at once. Where there is
    // no other, nobody is waited for.
    let patience = if metadata.decides_alone() { Duration::ZERO } else { PATIENCE };
    while !stop.is_cancelled() {
        let active = app.admission.active();
        let batch = metadata.take_undecided(&active.revision, LEASE, patience, BATCH).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let decide = |taken| one(app, taken, active.clone(), &workers);
        stream::iter(batch).for_each_concurrent(AT_ONCE, decide).await;
        // Requests come first: whoever pulls what is not decided yet has it decided at once.
        tokio::time::sleep((begun.elapsed() / REST).min(LOOK)).await;
    }
    Ok(())
}

async fn one(app: &Arc<App>, taken: TakenManifest, active: Arc<Active>, workers: &Semaphore) {
    let metadata = app.storage.metadata();
    let about = match metadata.taken(taken).await {
        Ok(Some(about)) => about,
        // Deleted meanwhile.
        Ok(None) => return,
        Err(error) => return tracing::warn!(%error, "a manifest could not be looked at"),
    };
    let failure =
        match decide::decide_and_keep(app.clone(), about.clone(), active, Some(workers), &Arc::default())
            .await
        {
            Ok(_) => return app.admission.metrics.decided.inc(),
            Err(Failure::Storage(StorageError::UnknownManifest { .. })) => return,
            Err(failure) => failure.to_string(),
        };
    app.admission.metrics.failures.inc();
    tracing::warn!(repository = %about.repository, digest = %about.digest, failure, "not decided");
    if let Err(error) = metadata.fail_decision(&about, failure, PAUSE).await {
        tracing::warn!(%error, "why nothing was decided could not be kept");
    }
}
