//! Which manifests the object store has no true record of, and what a record has to say.

use std::sync::atomic::Ordering;

use rreg_oci::{Digest, RepositoryName};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::blobs::segments;
use super::{MetadataStore, digest_column, size_column, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;
use crate::records::{RecordedBlob, RecordedContent, RecordedManifest, RecordedTag};

/// Content of small blobs that one record takes along, in bytes. Records of many manifests with the same blobs must
/// not multiply them; configurations have a few KiB.
const MAX_CONTENT: usize = 1 << 20;

/// A manifest whose record is to be written, or to be deleted if the manifest is gone.
#[derive(Clone, Debug)]
pub(crate) struct Unrecorded {
    /// Of the row in the queue; of the manifest, where it is not from the queue.
    id: i64,
    version: i64,
    repository_id: i64,
    pub(crate) repository: RepositoryName,
    pub(crate) digest: Digest,
}

impl MetadataStore {
    /// Takes up to `limit` for `lease_ms`. Nobody else gets them until then.
    pub(crate) async fn claim_unrecorded(
        &self,
        lease_ms: u64,
        limit: u32,
    ) -> Result<Vec<Unrecorded>, StorageError> {
        let due = sqlx::query("SELECT 1 FROM unrecorded WHERE leased_until <= $1 LIMIT 1")
            .bind(now_ms())
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        self.db
            .write((lease_ms, limit), |conn, (lease, limit)| Box::pin(claim(conn, *lease, *limit)), |_, _| {})
            .await
    }

    /// What the record has to say; `None`: there is no such manifest any more.
    pub(crate) async fn to_record(
        &self,
        unrecorded: &Unrecorded,
    ) -> Result<Option<RecordedManifest>, StorageError> {
        let mut conn = self.db.read().await?;
        let row = sqlx::query(
            "SELECT id, media_type, body FROM manifests WHERE repository_id = $1 AND digest = $2",
        )
        .bind(unrecorded.repository_id)
        .bind(unrecorded.digest.to_string())
        .fetch_optional(&mut *conn)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (id, body): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(2)?);
        let body = String::from_utf8(body)
            .map_err(|_| StorageError::Corrupt(format!("manifest {} is not UTF-8", unrecorded.digest)))?;
        let tags = sqlx::query("SELECT name, updated_at FROM tags WHERE manifest_id = $1 ORDER BY name")
            .bind(id)
            .fetch_all(&mut *conn)
            .await?;
        let tags = tags
            .iter()
            .map(|row| Ok(RecordedTag { name: text_column(row, 0)?, updated_at: row.try_get(1)? }))
            .collect::<Result<_, StorageError>>()?;
        Ok(Some(RecordedManifest {
            repository: unrecorded.repository.clone(),
            digest: unrecorded.digest,
            media_type: row.try_get(1)?,
            body,
            tags,
            blobs: blobs(&mut conn, id).await?,
        }))
    }

    /// Up to `limit` manifests with row numbers above `after`, as if they were to be recorded, each with its number.
    /// Without copies of what upstreams have: those are fetched again, and no record is kept of them.
    pub(crate) async fn recordable(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Unrecorded)>, StorageError> {
        let rows = sqlx::query(
            "SELECT m.id, m.repository_id, r.name, m.digest FROM manifests m CROSS JOIN repositories r \
             WHERE r.id = m.repository_id AND m.id > $1 AND m.is_copy = 0 \
             ORDER BY m.id LIMIT $2",
        )
        .bind(after)
        .bind(to_sql(limit as u64))
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let id = row.try_get(0)?;
                let (repository_id, repository) = (row.try_get(1)?, text_column(row, 2)?);
                let digest = digest_column(row, 3)?;
                Ok((id, Unrecorded { id, version: 0, repository_id, repository, digest }))
            })
            .collect()
    }

    /// Whether its record is still to be written.
    pub(crate) async fn awaits_record(&self, unrecorded: &Unrecorded) -> Result<bool, StorageError> {
        let row = sqlx::query("SELECT 1 FROM unrecorded WHERE repository_id = $1 AND digest = $2")
            .bind(unrecorded.repository_id)
            .bind(unrecorded.digest.to_string())
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        Ok(row.is_some())
    }

    /// Has the record written again.
    pub(crate) async fn record_again(&self, unrecorded: Unrecorded) -> Result<(), StorageError> {
        self.db
            .write(
                unrecorded,
                |conn, it| Box::pin(async move { queue(conn, it.repository_id, &it.digest).await }),
                |_, ()| {},
            )
            .await
    }

    /// The records say what [`Self::to_record`] gave: done, unless something has changed since.
    pub(crate) async fn recorded(&self, all: Vec<Unrecorded>) -> Result<(), StorageError> {
        if all.is_empty() {
            return Ok(());
        }
        self.db
            .write(
                all,
                |conn, all| {
                    Box::pin(async move {
                        for unrecorded in all {
                            done(conn, unrecorded).await?;
                        }
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// How many records were waiting to be written when they were counted last.
    pub fn records_waiting(&self) -> u64 {
        self.records_waiting.load(Ordering::Relaxed)
    }

    /// How many records wait to be written now.
    ///
    /// # Errors
    /// A database failure.
    pub async fn count_waiting_records(&self) -> Result<u64, StorageError> {
        self.count_unrecorded().await?;
        Ok(self.records_waiting())
    }

    pub(crate) async fn count_unrecorded(&self) -> Result<(), StorageError> {
        // A queue: what is counted is what there is to do.
        let row = sqlx::query(
            "SELECT COUNT(*) FROM (SELECT 1 FROM unrecorded WHERE leased_until >= 0 LIMIT 100000) AS few",
        )
        .fetch_one(&mut *self.db.read().await?)
        .await?;
        self.records_waiting
            .store(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }
}

async fn blobs(conn: &mut AnyConnection, manifest: i64) -> Result<Vec<RecordedBlob>, StorageError> {
    let rows = sqlx::query(
        "SELECT b.id, b.digest, b.size, b.content FROM manifest_blobs mb JOIN blobs b ON b.id = mb.blob_id \
         WHERE mb.manifest_id = $1 ORDER BY b.id",
    )
    .bind(manifest)
    .fetch_all(&mut *conn)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    let mut room = MAX_CONTENT;
    for row in &rows {
        let content = match row.try_get::<Option<Vec<u8>>, _>(3)? {
            Some(bytes) if bytes.len() <= room => {
                room -= bytes.len();
                RecordedContent::Bytes(bytes)
            }
            Some(_) => RecordedContent::Elsewhere,
            None => RecordedContent::Objects(segments(conn, row.try_get(0)?).await?),
        };
        found.push(RecordedBlob { digest: digest_column(row, 1)?, size: size_column(row, 2)?, content });
    }
    Ok(found)
}

/// The lease is asked for twice: PostgreSQL looks at the outer condition again when another worker was first.
async fn claim(conn: &mut AnyConnection, lease_ms: u64, limit: u32) -> Result<Vec<Unrecorded>, StorageError> {
    let now = now_ms();
    let rows = sqlx::query(
        "UPDATE unrecorded SET leased_until = $1 WHERE leased_until <= $2 AND id IN \
         (SELECT id FROM unrecorded WHERE leased_until <= $2 ORDER BY leased_until, id LIMIT $3) \
         RETURNING id, version, repository_id, digest",
    )
    .bind(now.saturating_add(to_sql(lease_ms)))
    .bind(now)
    .bind(i64::from(limit))
    .fetch_all(&mut *conn)
    .await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let repository_id = row.try_get(2)?;
        let name = sqlx::query("SELECT name FROM repositories WHERE id = $1")
            .bind(repository_id)
            .fetch_one(&mut *conn)
            .await?;
        claimed.push(Unrecorded {
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            repository_id,
            repository: text_column(&name, 0)?,
            digest: digest_column(row, 3)?,
        });
    }
    Ok(claimed)
}

/// A row that is not the claimed one any more: there was a change, or another worker has finished after this one's
/// lease. In the second case nobody knows whose record was written last, so it is written once more.
async fn done(conn: &mut AnyConnection, unrecorded: &Unrecorded) -> Result<(), StorageError> {
    let taken = sqlx::query("DELETE FROM unrecorded WHERE id = $1 AND version = $2 AND digest = $3")
        .bind(unrecorded.id)
        .bind(unrecorded.version)
        .bind(unrecorded.digest.to_string())
        .execute(&mut *conn)
        .await?;
    if taken.rows_affected() == 0 {
        queue(conn, unrecorded.repository_id, &unrecorded.digest).await?;
    }
    Ok(())
}

/// The manifest, its tags or its blobs' objects have changed, or it is about to go.
pub(super) async fn queue(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO unrecorded (repository_id, digest, version) VALUES ($1, $2, $3) \
         ON CONFLICT (repository_id, digest) DO UPDATE SET version = excluded.version, leased_until = 0",
    )
    .bind(repository)
    .bind(digest.to_string())
    .bind(rand::random::<i64>())
    .execute(conn)
    .await?;
    Ok(())
}

/// The blob's bytes are somewhere else now: every record that names it says something wrong.
pub(super) async fn queue_users_of(conn: &mut AnyConnection, blob: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO unrecorded (repository_id, digest, version) SELECT m.repository_id, m.digest, $2 \
         FROM repository_blobs rb \
         CROSS JOIN manifest_blobs mb JOIN manifests m ON m.id = mb.manifest_id \
         WHERE mb.repository_id = rb.repository_id AND mb.blob_id = rb.blob_id AND rb.blob_id = $1 \
         ON CONFLICT (repository_id, digest) DO UPDATE SET version = excluded.version, leased_until = 0",
    )
    .bind(blob)
    .bind(rand::random::<i64>())
    .execute(conn)
    .await?;
    Ok(())
}
