//! Reviews of many blobs of one repository, settled together: what one costs is mostly the number of statements.

use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::reviews::{Review, ReviewKind};
use super::{MetadataStore, bind_all, list, size_column, to_sql};
use crate::db::{Engine, now_ms};
use crate::error::StorageError;

/// What became of many reviews.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettledBlobs {
    /// Blobs that were taken out of the repository.
    pub reclaimed: usize,
    /// Bytes of those that no other repository has.
    pub bytes: u64,
    /// Reviews that found the blob held, or gone already.
    pub kept: usize,
}

impl MetadataStore {
    /// Settles reviews of blobs of one repository that were claimed together, in one transaction. Those that were queued anew since are
    /// left alone. Objects whose last row goes are deleted after `grace_ms`.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if somebody has come in between, or a database failure. Nothing is settled then;
    /// each can be tried alone.
    pub async fn settle_blobs(
        &self,
        reviews: Vec<Review>,
        grace_ms: u64,
    ) -> Result<SettledBlobs, StorageError> {
        let (cache, engine) = (self.cache.clone(), self.engine());
        self.db
            .write(
                (reviews, grace_ms, engine),
                |conn, (reviews, grace, engine)| Box::pin(settle(conn, reviews, *grace, *engine)),
                move |(reviews, ..), settled: &SettledBlobs| {
                    if settled.reclaimed > 0 {
                        cache.committed(|forget| {
                            reviews.iter().for_each(|review| forget.blob(&review.repository, &review.digest));
                        });
                    }
                },
            )
            .await
    }
}

async fn settle(
    conn: &mut AnyConnection,
    reviews: &[Review],
    grace_ms: u64,
    engine: Engine,
) -> Result<SettledBlobs, StorageError> {
    let Some(first) = reviews.first() else { return Ok(SettledBlobs::default()) };
    let repository = first.repository_id;
    let alike = |review: &&Review| review.kind == ReviewKind::Blob && review.repository_id == repository;
    let ids: Vec<i64> = reviews.iter().filter(alike).map(|review| review.id).collect();
    let sql = format!(
        "DELETE FROM reviews WHERE leased_until = $1 AND id IN ({}) RETURNING digest",
        list(2, ids.len())
    );
    let taken =
        bind_all(sqlx::query(AssertSqlSafe(sql)).bind(first.leased_until), ids).fetch_all(&mut *conn).await?;
    let digests = taken.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    let blobs = members(conn, repository, &digests, engine).await?;
    let released = release(conn, repository, &blobs).await?;
    let bytes = delete_unowned(conn, &released, grace_ms).await?;
    Ok(SettledBlobs { reclaimed: released.len(), bytes, kept: taken.len() - released.len() })
}

/// The blobs that are in the repository. Locked: two repositories that let go at once must not each take the other
/// for one that stays. With SQLite there is one writer.
async fn members(
    conn: &mut AnyConnection,
    repository: i64,
    digests: &[String],
    engine: Engine,
) -> Result<Vec<i64>, StorageError> {
    if digests.is_empty() {
        return Ok(Vec::new());
    }
    let lock = match engine {
        Engine::Sqlite => "",
        Engine::Postgres => " FOR UPDATE OF b",
    };
    let sql = format!(
        "SELECT b.id FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id \
         WHERE rb.repository_id = $1 AND b.digest IN ({}) ORDER BY b.id{lock}",
        list(2, digests.len())
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(repository);
    let query = bind_all(query, digests.iter().cloned());
    let rows = query.fetch_all(conn).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Takes out of the repository what nothing holds there: the conditions of `judge`.
async fn release(conn: &mut AnyConnection, repository: i64, blobs: &[i64]) -> Result<Vec<i64>, StorageError> {
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "DELETE FROM repository_blobs WHERE repository_id = $1 AND blob_id IN ({}) \
         AND NOT EXISTS (SELECT 1 FROM manifest_blobs mb WHERE mb.repository_id = repository_blobs.repository_id \
         AND mb.blob_id = repository_blobs.blob_id) \
         AND NOT EXISTS (SELECT 1 FROM blobs b JOIN awaited_content a ON a.digest = b.digest \
         AND a.repository_id = repository_blobs.repository_id \
         JOIN cached_images c ON c.manifest_id = a.manifest_id \
         WHERE b.id = repository_blobs.blob_id AND c.evicted = 0) RETURNING blob_id",
        list(2, blobs.len())
    );
    let rows = bind_all(sqlx::query(AssertSqlSafe(sql)).bind(repository), blobs.iter().copied())
        .fetch_all(conn)
        .await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Lists the objects of those that no repository has any more, and deletes their rows. Gives their bytes.
async fn delete_unowned(conn: &mut AnyConnection, blobs: &[i64], grace_ms: u64) -> Result<u64, StorageError> {
    if blobs.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "INSERT INTO reclaim (object_key, due_at) SELECT s.object_key, $1 FROM blob_segments s \
         WHERE s.blob_id IN ({}) AND NOT EXISTS (SELECT 1 FROM repository_blobs o WHERE o.blob_id = s.blob_id) \
         ON CONFLICT (object_key) DO NOTHING",
        list(2, blobs.len())
    );
    let due_at = now_ms().saturating_add(to_sql(grace_ms));
    bind_all(sqlx::query(AssertSqlSafe(sql)).bind(due_at), blobs.iter().copied()).execute(&mut *conn).await?;
    // The segments' rows go with the blobs'.
    let sql = format!(
        "DELETE FROM blobs WHERE id IN ({}) \
         AND NOT EXISTS (SELECT 1 FROM repository_blobs o WHERE o.blob_id = blobs.id) RETURNING size",
        list(1, blobs.len())
    );
    let rows = bind_all(sqlx::query(AssertSqlSafe(sql)), blobs.iter().copied()).fetch_all(conn).await?;
    rows.iter().map(|row| size_column(row, 0)).sum()
}
