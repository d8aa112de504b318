//! Images whose packages are to be listed: who takes one, and what became of it.
//!
//! A job is a row from the push of its manifest until its list is attached. Taking one is a lease with an end; who
//! dies with it lets go by time. Each taking counts, also one that ended with its process, so that an image that
//! brings a worker down does so a bounded number of times.

use std::time::Duration;

use rreg_oci::{Digest, RepositoryName};
use sqlx::{AnyConnection, Row as _};

use super::{MetadataStore, digest_column, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// An image whose packages are to be listed, taken by a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbomJob {
    id: i64,
    holder: String,
    /// Where the image is.
    pub repository: RepositoryName,
    /// Its manifest.
    pub digest: Digest,
    /// How often it was taken, this time included.
    pub attempts: u32,
}

/// A job that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSbom {
    /// Where the image is.
    pub repository: RepositoryName,
    /// Its manifest.
    pub digest: Digest,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub error: String,
}

impl MetadataStore {
    /// Takes a job that is due and was taken fewer than `most` times, for `lease`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn take_sbom_job(
        &self,
        holder: &str,
        lease: Duration,
        most: u32,
    ) -> Result<Option<SbomJob>, StorageError> {
        // Idle replicas look often, and looking must not wait for the writer.
        let due = sqlx::query("SELECT 1 FROM sbom_jobs WHERE due_at <= $1 AND attempts < $2 LIMIT 1")
            .bind(now_ms())
            .bind(i64::from(most))
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        if due.is_none() {
            return Ok(None);
        }
        self.db
            .write(
                (holder.to_owned(), millis(lease), most),
                |conn, (holder, lease, most)| Box::pin(take(conn, holder, *lease, *most)),
                |_, _| {},
            )
            .await
    }

    /// Prolongs the lease. `false` when somebody else has the job or it is gone.
    ///
    /// # Errors
    /// A database failure.
    pub async fn keep_sbom_job(&self, job: &SbomJob, lease: Duration) -> Result<bool, StorageError> {
        self.change(
            job,
            "UPDATE sbom_jobs SET due_at = $3 WHERE manifest_id = $1 AND holder = $2",
            Some(now_ms().saturating_add(millis(lease))),
        )
        .await
    }

    /// The list is attached. `false` when somebody else has taken the job meanwhile.
    ///
    /// # Errors
    /// A database failure.
    pub async fn finish_sbom_job(&self, job: &SbomJob) -> Result<bool, StorageError> {
        self.change(job, "DELETE FROM sbom_jobs WHERE manifest_id = $1 AND holder = $2", None).await
    }

    /// Gives an unfinished job back as if it had not been taken.
    ///
    /// # Errors
    /// A database failure.
    pub async fn return_sbom_job(&self, job: &SbomJob) -> Result<bool, StorageError> {
        self.change(
            job,
            "UPDATE sbom_jobs SET due_at = $3, attempts = attempts - 1, holder = NULL \
             WHERE manifest_id = $1 AND holder = $2",
            Some(now_ms()),
        )
        .await
    }

    /// Writes down why it failed. It is due again after `pause`; without one it counts as taken `most` times.
    ///
    /// # Errors
    /// A database failure.
    pub async fn fail_sbom_job(
        &self,
        job: &SbomJob,
        error: String,
        pause: Option<Duration>,
        most: u32,
    ) -> Result<(), StorageError> {
        self.db
            .write(
                (job.clone(), error, pause.map(millis), most),
                |conn, (job, error, pause, most)| {
                    Box::pin(async move {
                        sqlx::query(
                            "UPDATE sbom_jobs SET error = $3, due_at = $4, attempts = $5, holder = NULL \
                             WHERE manifest_id = $1 AND holder = $2",
                        )
                        .bind(job.id)
                        .bind(job.holder.as_str())
                        .bind(error.as_str())
                        .bind(now_ms().saturating_add(pause.unwrap_or_default()))
                        .bind(if pause.is_some() { i64::from(job.attempts) } else { i64::from(*most) })
                        .execute(conn)
                        .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Up to `limit` jobs that have failed, given up or not.
    ///
    /// # Errors
    /// A database failure.
    pub async fn failed_sbom_jobs(&self, limit: u32) -> Result<Vec<FailedSbom>, StorageError> {
        let rows = sqlx::query(
            "SELECT r.name, m.digest, j.attempts, COALESCE(j.error, 'interrupted: no worker has reported') FROM sbom_jobs j \
             JOIN manifests m ON m.id = j.manifest_id JOIN repositories r ON r.id = m.repository_id \
             WHERE j.attempts > 0 AND (j.error IS NOT NULL OR j.due_at <= $1) ORDER BY j.manifest_id LIMIT $2",
        )
        .bind(now_ms())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(FailedSbom {
                    repository: text_column(row, 0)?,
                    digest: digest_column(row, 1)?,
                    attempts: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
                    error: row.try_get(3)?,
                })
            })
            .collect()
    }

    /// Runs one statement on a job that its holder still has, with its id, its holder and perhaps a time.
    async fn change(
        &self,
        job: &SbomJob,
        sql: &'static str,
        time: Option<i64>,
    ) -> Result<bool, StorageError> {
        self.db
            .write(
                (job.clone(), sql, time),
                |conn, (job, sql, time)| {
                    Box::pin(async move {
                        let mut query = sqlx::query(*sql).bind(job.id).bind(job.holder.as_str());
                        if let Some(time) = time {
                            query = query.bind(*time);
                        }
                        Ok(query.execute(conn).await?.rows_affected() > 0)
                    })
                },
                |_, _| {},
            )
            .await
    }
}

fn millis(time: Duration) -> i64 {
    to_sql(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The condition is asked for twice: PostgreSQL looks at the outer one again when another worker was first.
async fn take(
    conn: &mut AnyConnection,
    holder: &str,
    lease: i64,
    most: u32,
) -> Result<Option<SbomJob>, StorageError> {
    let now = now_ms();
    let row = sqlx::query(
        "UPDATE sbom_jobs SET due_at = $1, holder = $2, attempts = attempts + 1 \
         WHERE due_at <= $3 AND attempts < $4 AND manifest_id = \
         (SELECT manifest_id FROM sbom_jobs WHERE due_at <= $3 AND attempts < $4 \
          ORDER BY due_at, manifest_id LIMIT 1) RETURNING manifest_id, attempts",
    )
    .bind(now.saturating_add(lease))
    .bind(holder)
    .bind(now)
    .bind(i64::from(most))
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: i64 = row.try_get(0)?;
    let named = sqlx::query(
        "SELECT r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.id = $1",
    )
    .bind(id)
    .fetch_one(conn)
    .await?;
    Ok(Some(SbomJob {
        id,
        holder: holder.to_owned(),
        repository: text_column(&named, 0)?,
        digest: digest_column(&named, 1)?,
        attempts: u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX),
    }))
}

/// Queues a new manifest.
pub(super) async fn queue(conn: &mut AnyConnection, manifest: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO sbom_jobs (manifest_id, due_at) VALUES ($1, $2) ON CONFLICT (manifest_id) DO NOTHING",
    )
    .bind(manifest)
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}
