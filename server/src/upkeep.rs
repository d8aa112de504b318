//! What a server does besides answering: keeps the trail and the histories of tags and policies to their ages, reads again
//! what is quarantined, ends what is slow when the server stops.

use std::time::Duration;

use rreg_storage::Storage;
use tokio_util::sync::CancellationToken;

use crate::app::Stopping;
use crate::config::{Config, Policy};

/// Begins all of it.
pub(crate) fn begin(config: &Config, storage: &Storage, stopping: &Stopping) {
    let shutdown = &stopping.begun;
    tokio::spawn(rreg_gc::run(storage.clone(), config.reclaim_schedule(), shutdown.clone()));
    tokio::spawn(heal(storage.clone(), shutdown.clone()));
    tokio::spawn(end_slow_uploads(stopping.clone(), config.server.shutdown_timeout.0 / 3));
    tokio::spawn(forget_policies(storage.clone(), config.policy.clone(), shutdown.clone()));
    for (rows, keep) in [(Rows::Audit, config.auth.audit_keep.0), (Rows::Tags, config.tags.history_keep.0)] {
        if !keep.is_zero() {
            tokio::spawn(forget_old(storage.clone(), rows, keep, shutdown.clone()));
        }
    }
}

/// Time for the last records of manifests when the server stops.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// Writes the records that are waiting, as far as there is time.
pub(crate) async fn last_records(storage: &Storage) {
    match tokio::time::timeout(LAST_RECORDS, rreg_gc::write_records(storage)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the last records could not be written to the object store"),
        Err(_) => tracing::warn!("the last records were not all written; the next start goes on with them"),
    }
}

/// Waits for the next turn. `false`: there is none, since the server stops.
async fn again_in(period: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(period) => true,
    }
}

/// Between two looks at what is quarantined, and how many blobs each looks at.
const HEAL: Duration = Duration::from_secs(60);
const HEAL_AT_ONCE: usize = 1000;

/// Serves again what was quarantined and is right: a store may have answered wrongly for a while.
async fn heal(storage: Storage, shutdown: CancellationToken) {
    let mut after = -1;
    loop {
        // What stays quarantined must not keep what comes after it from being looked at: the next look goes on there.
        let failure = match storage.heal_all(after, HEAL_AT_ONCE).await {
            Ok((next, failure)) => {
                after = next.unwrap_or(-1);
                failure
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            tracing::warn!(%error, "what is quarantined cannot be read");
        }
        if !again_in(HEAL, &shutdown).await {
            return;
        }
    }
}

/// Between two looks for rows that are too old, and how many go in one transaction.
const FORGET: Duration = Duration::from_secs(3600);
const FORGET_PAGE: u32 = 1000;

/// What is kept for a time.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// Events of the audit trail.
    Audit,
    /// Changes of tags.
    Tags,
}

/// Keeps rows to their age.
async fn forget_old(storage: Storage, rows: Rows, keep: Duration, shutdown: CancellationToken) {
    let metadata = storage.metadata();
    loop {
        let before = rreg_storage::time_ago(keep);
        loop {
            let gone = match rows {
                Rows::Audit => metadata.forget_audit(before, FORGET_PAGE).await,
                Rows::Tags => metadata.forget_tag_history(before, FORGET_PAGE).await,
            };
            match gone {
                Ok(gone) if gone >= u64::from(FORGET_PAGE) && !shutdown.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, ?rows, "old rows could not be deleted");
                    break;
                }
            }
        }
        if !again_in(FORGET, &shutdown).await {
            return;
        }
    }
}

/// Keeps earlier texts of policies to their number and age.
async fn forget_policies(storage: Storage, policy: Policy, shutdown: CancellationToken) {
    loop {
        if let Err(error) = storage.metadata().forget_policy_history(policy.history()).await {
            tracing::warn!(%error, "earlier texts of policies could not be deleted");
        }
        if !again_in(FORGET, &shutdown).await {
            return;
        }
    }
}

/// Uploads get so long to end by themselves.
async fn end_slow_uploads(stopping: Stopping, patience: Duration) {
    stopping.begun.cancelled().await;
    tokio::time::sleep(patience).await;
    stopping.late.cancel();
}
