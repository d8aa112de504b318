//! One replica fetches a blob; the others wait until it is in the store, or until the lease ends without it. They do
//! not wait for ever: a replica whose clients have waited long enough fetches the blob too.

use std::time::{Duration, Instant};

use rreg_oci::{Digest, RepositoryName};
use rreg_storage::{Engine, FillLease, Storage, StorageError};

use super::error::MirrorError;

/// How long a lease lasts without being prolonged: what a dead replica costs those that wait.
const LASTS: Duration = Duration::from_secs(15);
/// How often it is prolonged.
const RENEWAL: Duration = Duration::from_secs(5);
/// How often those that wait look.
const LOOK: Duration = Duration::from_millis(200);

/// A lease that this process holds. The embedded database has one process only and needs none.
pub(super) struct Lease {
    storage: Storage,
    row: Option<FillLease>,
}

impl Lease {
    /// Waits for the lease, `patience` at most. `None` when the blob has been stored meanwhile, by another replica or
    /// by a fill that ended between the look of whoever began this one and its beginning.
    pub(super) async fn take(
        storage: &Storage,
        holder: &str,
        repository: &RepositoryName,
        digest: &Digest,
        patience: Duration,
    ) -> Result<Option<Self>, MirrorError> {
        let until = Instant::now() + patience;
        let storage = storage.clone();
        let alone = storage.metadata().engine() == Engine::Sqlite;
        let row = FillLease { repository: repository.clone(), digest: *digest, holder: holder.to_owned() };
        loop {
            let taken = !alone && storage.metadata().take_fill_lease(&row, LASTS).await?;
            match storage.metadata().blob(repository, digest).await {
                Err(StorageError::UnknownBlob { .. } | StorageError::Damaged { .. })
                    if taken || alone || Instant::now() >= until =>
                {
                    return Ok(Some(Self { storage, row: taken.then_some(row) }));
                }
                Err(StorageError::UnknownBlob { .. } | StorageError::Damaged { .. }) => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    let lease = Self { storage, row: taken.then_some(row) };
                    lease.give_back().await;
                    return Ok(None);
                }
            }
        }
    }

    /// Prolongs the lease for as long as it is polled.
    pub(super) async fn keep(&self) {
        let Some(row) = &self.row else { return std::future::pending().await };
        loop {
            tokio::time::sleep(RENEWAL).await;
            // If it is lost, the worst is that the blob is fetched twice.
            if let Err(error) = self.storage.metadata().take_fill_lease(row, LASTS).await {
                tracing::warn!(%error, digest = %row.digest, "the lease on a blob could not be prolonged");
            }
        }
    }

    /// Lets the next one go on at once. Without it, the lease ends by itself.
    pub(super) async fn give_back(self) {
        let Some(row) = &self.row else { return };
        if let Err(error) = self.storage.metadata().release_fill_lease(row).await {
            tracing::warn!(%error, digest = %row.digest, "the lease on a blob could not be given back");
        }
    }
}
