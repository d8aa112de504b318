//! How much of an upstream is here, what was used last, and letting go of it.
//!
//! An image is evicted by taking its blobs from its manifest: they are awaited again, and each gets a review that is
//! due at once, so that rows and bytes go the way of all reclaim. The manifest stays, and its tags: they are small,
//! say what the upstream had, and fetch the blobs anew when somebody asks. An image that is asked for before its blobs
//! are reclaimed gets them back.

use std::time::Duration;

use rreg_oci::{Digest, RepositoryName};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::manifests::{MANIFEST_MEMBER, member};
use super::references::link_blobs;
use super::{MetadataStore, digest_column, find_repository, size_column, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// An image whose blobs were let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Where.
    pub repository: RepositoryName,
    /// Its manifest.
    pub digest: Digest,
    /// Bytes that no other manifest needs.
    pub bytes: u64,
}

impl MetadataStore {
    /// Remembers that these manifests were asked for now; those that are no copies are passed over.
    ///
    /// # Errors
    /// A database failure.
    pub async fn used_copies(&self, used: Vec<(RepositoryName, Digest)>) -> Result<(), StorageError> {
        self.db
            .write(
                used,
                |conn, used| {
                    Box::pin(async move {
                        for (repository, digest) in used.iter() {
                            used_copy(conn, repository, digest).await?;
                        }
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Bytes of blobs that manifests of an upstream, or of all, hold; each blob counts once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cached_bytes(&self, upstream: Option<&str>) -> Result<u64, StorageError> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs WHERE id IN \
             (SELECT mb.blob_id FROM cached_images c JOIN manifest_blobs mb ON mb.manifest_id = c.manifest_id \
              WHERE c.evicted = 0 AND ($1 = '' OR c.upstream = $1))",
        )
        .bind(upstream.unwrap_or_default())
        .fetch_one(&mut *self.db.read().await?)
        .await?;
        size_column(&row, 0)
    }

    /// Lets go of the image that was used longest ago, of an upstream or of all, unless that was less than
    /// `unused_for` ago. The reviews of its blobs are `queued_for` old from the start.
    ///
    /// # Errors
    /// A database failure.
    pub async fn evict_copy(
        &self,
        upstream: Option<&str>,
        unused_for: Duration,
        queued_for: Duration,
    ) -> Result<Option<Evicted>, StorageError> {
        let ms = |duration: Duration| to_sql(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.db
            .write(
                (upstream.unwrap_or_default().to_owned(), ms(unused_for), ms(queued_for)),
                |conn, (upstream, unused_for, queued_for)| {
                    Box::pin(evict(conn, upstream, *unused_for, *queued_for))
                },
                |_, _| {},
            )
            .await
    }
}

/// Writes down that a manifest of an upstream is here, or was used.
pub(super) async fn note_copy(
    conn: &mut AnyConnection,
    manifest: i64,
    upstream: &str,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO cached_images (manifest_id, upstream, used_at, evicted) VALUES ($1, $2, $3, 0) \
         ON CONFLICT (manifest_id) DO UPDATE SET used_at = excluded.used_at, evicted = 0",
    )
    .bind(manifest)
    .bind(upstream)
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes down that a manifest is used; `false` if it is no copy.
pub(super) async fn note_use(conn: &mut AnyConnection, manifest: i64) -> Result<bool, StorageError> {
    let noted = sqlx::query("UPDATE cached_images SET used_at = $2, evicted = 0 WHERE manifest_id = $1")
        .bind(manifest)
        .bind(now_ms())
        .execute(conn)
        .await?;
    Ok(noted.rows_affected() > 0)
}

async fn used_copy(
    conn: &mut AnyConnection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), StorageError> {
    let Some(repository) = find_repository(conn, repository).await? else { return Ok(()) };
    let Some(manifest) = member(conn, Some(repository), MANIFEST_MEMBER, digest).await? else {
        return Ok(());
    };
    if !note_use(conn, manifest).await? {
        return Ok(());
    }
    // What was evicted and is still here.
    let rows = sqlx::query(
        "SELECT a.digest, b.id FROM awaited_content a JOIN blobs b ON b.digest = a.digest \
         JOIN repository_blobs rb ON rb.blob_id = b.id AND rb.repository_id = a.repository_id \
         WHERE a.manifest_id = $1 AND b.quarantined = 0",
    )
    .bind(manifest)
    .fetch_all(&mut *conn)
    .await?;
    for row in &rows {
        link_blobs(conn, repository, manifest, &[row.try_get(1)?]).await?;
        sqlx::query("DELETE FROM awaited_content WHERE manifest_id = $1 AND digest = $2")
            .bind(manifest)
            .bind(row.try_get::<String, _>(0)?)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

async fn evict(
    conn: &mut AnyConnection,
    upstream: &str,
    unused_for: i64,
    queued_for: i64,
) -> Result<Option<Evicted>, StorageError> {
    let now = now_ms();
    // The condition stands twice: PostgreSQL looks at the outer one again when another replica was first.
    let row = sqlx::query(
        "UPDATE cached_images SET evicted = 1 WHERE evicted = 0 AND used_at <= $2 AND manifest_id IN \
         (SELECT c.manifest_id FROM cached_images c WHERE c.evicted = 0 AND ($1 = '' OR c.upstream = $1) \
          AND c.used_at <= $2 AND EXISTS (SELECT 1 FROM manifest_blobs mb WHERE mb.manifest_id = c.manifest_id) \
          ORDER BY c.used_at LIMIT 1) RETURNING manifest_id",
    )
    .bind(upstream)
    .bind(now.saturating_sub(unused_for))
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let manifest: i64 = row.try_get(0)?;
    let row = sqlx::query(
        "SELECT r.name, m.digest, (SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM manifest_blobs mb \
         JOIN blobs b ON b.id = mb.blob_id WHERE mb.manifest_id = m.id AND NOT EXISTS \
         (SELECT 1 FROM repository_blobs rb \
          CROSS JOIN manifest_blobs o WHERE o.repository_id = rb.repository_id AND o.blob_id = rb.blob_id \
          AND rb.blob_id = mb.blob_id AND o.manifest_id <> m.id)) \
         FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.id = $1",
    )
    .bind(manifest)
    .fetch_one(&mut *conn)
    .await?;
    let evicted = Evicted {
        repository: text_column(&row, 0)?,
        digest: digest_column(&row, 1)?,
        bytes: size_column(&row, 2)?,
    };
    let_go(conn, manifest, now.saturating_sub(queued_for)).await?;
    Ok(Some(evicted))
}

/// Takes the blobs from the manifest.
async fn let_go(conn: &mut AnyConnection, manifest: i64, queued_at: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO awaited_content (repository_id, digest, manifest_id, size) \
         SELECT mb.repository_id, b.digest, mb.manifest_id, b.size FROM manifest_blobs mb \
         JOIN blobs b ON b.id = mb.blob_id WHERE mb.manifest_id = $1 ON CONFLICT DO NOTHING",
    )
    .bind(manifest)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO reviews (repository_id, kind, digest, queued_at) \
         SELECT mb.repository_id, 'blob', b.digest, $2 FROM manifest_blobs mb JOIN blobs b ON b.id = mb.blob_id \
         WHERE mb.manifest_id = $1 \
         ON CONFLICT (repository_id, kind, digest) DO UPDATE SET queued_at = excluded.queued_at, leased_until = 0",
    )
    .bind(manifest)
    .bind(queued_at)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM manifest_blobs WHERE manifest_id = $1").bind(manifest).execute(conn).await?;
    Ok(())
}
