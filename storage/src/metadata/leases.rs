//! Leases on work that one replica does for all: rows with a holder and an end.
//!
//! The replicas' own clocks decide, so a lease has to last much longer than those differ.

use std::time::Duration;

use rreg_oci::{Digest, RepositoryName};

use super::{MetadataStore, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// A lease on fetching one blob.
#[derive(Clone, Debug)]
pub struct FillLease {
    /// Where the blob belongs.
    pub repository: RepositoryName,
    /// Which blob.
    pub digest: Digest,
    /// Who holds the lease: one name a process.
    pub holder: String,
}

impl MetadataStore {
    /// Takes or prolongs the lease for `lasts`. `false` when another holder has it.
    ///
    /// # Errors
    /// A database failure.
    pub async fn take_fill_lease(&self, lease: &FillLease, lasts: Duration) -> Result<bool, StorageError> {
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        self.db
            .write(
                (lease.clone(), to_sql(lasts)),
                |conn, (lease, lasts)| {
                    Box::pin(async move {
                        let now = now_ms();
                        let taken = sqlx::query(
                            "INSERT INTO fill_leases (repository, digest, holder, expires_at) \
                             VALUES ($1, $2, $3, $4) ON CONFLICT (repository, digest) DO UPDATE \
                             SET holder = excluded.holder, expires_at = excluded.expires_at \
                             WHERE fill_leases.holder = excluded.holder OR fill_leases.expires_at < $5",
                        )
                        .bind(lease.repository.as_str())
                        .bind(lease.digest.to_string())
                        .bind(lease.holder.as_str())
                        .bind(now.saturating_add(*lasts))
                        .bind(now)
                        .execute(conn)
                        .await?;
                        Ok(taken.rows_affected() > 0)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// Gives the lease back, if it is still this holder's.
    ///
    /// # Errors
    /// A database failure.
    pub async fn release_fill_lease(&self, lease: &FillLease) -> Result<(), StorageError> {
        self.db
            .write(
                lease.clone(),
                |conn, lease| {
                    Box::pin(async move {
                        sqlx::query(
                            "DELETE FROM fill_leases WHERE repository = $1 AND digest = $2 AND holder = $3",
                        )
                        .bind(lease.repository.as_str())
                        .bind(lease.digest.to_string())
                        .bind(lease.holder.as_str())
                        .execute(conn)
                        .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }
}
