//! Decisions that are to be made: those that nobody has made yet, and those that time, other policies or a change of facts
//! ask for again. Workers of all replicas take them under leases.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::decisions::{NEVER, SELECT, Undecided, undecided};
use super::{MetadataStore, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// A row for a manifest that has none yet. Changes of facts only touch rows, so there must be one before facts are
/// gathered: what happens meanwhile is counted in it.
const EXPECT: &str = "INSERT INTO decisions (manifest_id, revision, changes, due_at, leased_until, decided_at) \
     SELECT id, '', 1, $3, 0, 0 FROM manifests WHERE id > $1 AND id <= $2 ON CONFLICT (manifest_id) DO NOTHING";

impl MetadataStore {
    /// What is known of a manifest that was taken. `None` if it is gone.
    ///
    /// # Errors
    /// A database failure.
    pub async fn taken(&self, manifest: TakenManifest) -> Result<Option<Undecided>, StorageError> {
        let sql = format!("{SELECT} WHERE m.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(manifest.0)
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        row.as_ref().map(undecided).transpose()
    }

    /// Takes up to `limit` manifests whose decision is due or of other policies than `revision`, for `lease`. Those
    /// that somebody with other policies has decided less than `patience` ago are left to them.
    ///
    /// # Errors
    /// A database failure.
    pub async fn take_undecided(
        &self,
        revision: &str,
        lease: Duration,
        patience: Duration,
        limit: usize,
    ) -> Result<Vec<TakenManifest>, StorageError> {
        let before = now_ms().saturating_sub(millis(patience));
        let ids = due(&mut *self.db.read().await?, revision, before, limit).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.db
            .write(
                (ids, revision.to_owned(), millis(lease)),
                |conn, (ids, revision, lease)| Box::pin(take(conn, ids, revision, *lease)),
                |_, _| {},
            )
            .await
    }

    /// Makes rows for the manifests of these ids that have none.
    pub(super) async fn expect(&self, after: i64, last: i64) -> Result<(), StorageError> {
        self.db
            .write(
                (after, last),
                |conn, (after, last)| {
                    Box::pin(async move {
                        sqlx::query(EXPECT).bind(*after).bind(*last).bind(NEVER).execute(conn).await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Makes a row for each manifest after the one with id `after` that has none, looking at `limit` of them. Gives
    /// the id of the last; `None` when there are no more.
    ///
    /// # Errors
    /// A database failure.
    pub async fn expect_decisions(&self, after: i64, limit: usize) -> Result<Option<i64>, StorageError> {
        let last: Option<i64> = sqlx::query(
            "SELECT MAX(id) FROM (SELECT id FROM manifests WHERE id > $1 ORDER BY id LIMIT $2) AS page",
        )
        .bind(after)
        .bind(to_sql(limit as u64))
        .fetch_one(&mut *self.db.read().await?)
        .await?
        .try_get(0)?;
        let Some(last) = last else { return Ok(None) };
        let missing = sqlx::query(
            "SELECT 1 FROM manifests m WHERE m.id > $1 AND m.id <= $2 \
             AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.manifest_id = m.id) LIMIT 1",
        )
        .bind(after)
        .bind(last)
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        if missing.is_none() {
            return Ok(Some(last));
        }
        self.expect(after, last).await?;
        Ok(Some(last))
    }

    /// Writes down why nothing could be decided; it is due again after `pause`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn fail_decision(
        &self,
        about: &Undecided,
        error: String,
        pause: Duration,
    ) -> Result<(), StorageError> {
        let until = now_ms().saturating_add(millis(pause));
        self.db
            .write(
                (about.clone(), error, until),
                |conn, (about, error, until)| {
                    Box::pin(async move {
                        sqlx::query(
                            "UPDATE decisions SET error = $3, leased_until = $4 WHERE manifest_id = $1 AND changes = $2",
                        )
                        .bind(about.manifest)
                        .bind(about.changes)
                        .bind(error.as_str())
                        .bind(*until)
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

/// A manifest that a worker has taken.
#[derive(Clone, Copy, Debug)]
pub struct TakenManifest(i64);

fn millis(time: Duration) -> i64 {
    to_sql(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Ranges of two indexes, so that finding nothing costs nothing.
async fn due(
    conn: &mut AnyConnection,
    revision: &str,
    before: i64,
    limit: usize,
) -> Result<Vec<i64>, StorageError> {
    let mut ids = Vec::new();
    for sql in [
        "SELECT manifest_id FROM decisions WHERE revision = '' AND leased_until <= $2 AND $1 <> '' AND $4 >= 0 LIMIT $3",
        "SELECT manifest_id FROM decisions WHERE revision > '' AND revision < $1 AND leased_until <= $2 \
         AND decided_at <= $4 LIMIT $3",
        "SELECT manifest_id FROM decisions WHERE revision > $1 AND leased_until <= $2 AND decided_at <= $4 LIMIT $3",
        "SELECT manifest_id FROM decisions WHERE revision = $1 AND due_at <= $2 AND leased_until <= $2 AND $4 >= 0 \
         LIMIT $3",
    ] {
        let left = limit.saturating_sub(ids.len());
        if left == 0 {
            break;
        }
        let rows = sqlx::query(sql)
            .bind(revision)
            .bind(now_ms())
            .bind(to_sql(left as u64))
            .bind(before)
            .fetch_all(&mut *conn)
            .await?;
        for row in rows {
            ids.push(row.try_get(0)?);
        }
    }
    Ok(ids)
}

async fn take(
    conn: &mut AnyConnection,
    ids: &[i64],
    revision: &str,
    lease: i64,
) -> Result<Vec<TakenManifest>, StorageError> {
    let now = now_ms();
    let mut taken = Vec::with_capacity(ids.len());
    for id in ids {
        let row = sqlx::query(
            "UPDATE decisions SET leased_until = $4 WHERE manifest_id = $1 AND leased_until <= $3 \
             AND (revision <> $2 OR due_at <= $3)",
        )
        .bind(*id)
        .bind(revision)
        .bind(now)
        .bind(now.saturating_add(lease))
        .execute(&mut *conn)
        .await?;
        if row.rows_affected() > 0 {
            taken.push(TakenManifest(*id));
        }
    }
    Ok(taken)
}
