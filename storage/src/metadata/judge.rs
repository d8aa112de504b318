//! What holds a blob or a manifest, and whether anything does. Plan, worker and "why is this kept?" all ask here.

use rreg_oci::{Digest, RepositoryName, Tag};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::reviews::ReviewKind;
use super::{MetadataStore, digest_column, size_column, text_column};
use crate::error::StorageError;

/// Something that holds content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The manifest has this tag.
    Tag(Tag),
    /// The manifest is a child of this index.
    Index(Digest),
    /// The manifest says something about this one, which is there.
    Subject(Digest),
    /// This manifest needs the blob.
    Manifest(Digest),
}

/// What is to become of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing holds it.
    Reclaim {
        /// Bytes that nobody else needs.
        bytes: u64,
    },
    /// It stays.
    Keep(Holder),
    /// It is not there any more.
    Gone,
}

/// What is known of one digest in one repository.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Where.
    pub repository: RepositoryName,
    /// As what.
    pub kind: ReviewKind,
    /// Length in bytes.
    pub size: u64,
    /// The first few that hold it.
    pub holders: Vec<Holder>,
    /// When it was last queued for review, if it is, in milliseconds since the Unix epoch.
    pub queued_at: Option<i64>,
}

/// Holders that are listed for one digest in one repository.
const LISTED: usize = 100;

impl MetadataStore {
    /// Where `digest` is and what holds it there.
    ///
    /// # Errors
    /// A database failure.
    pub async fn presences(&self, digest: &Digest) -> Result<Vec<Presence>, StorageError> {
        let mut conn = self.db.read().await?;
        let mut found = Vec::new();
        for (kind, sql) in [
            (
                ReviewKind::Manifest,
                "SELECT r.name, m.id, LENGTH(m.body), r.id FROM manifests m \
                 JOIN repositories r ON r.id = m.repository_id WHERE m.digest = $1 ORDER BY r.name",
            ),
            (
                ReviewKind::Blob,
                "SELECT r.name, b.id, b.size, r.id FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id \
                 JOIN repositories r ON r.id = rb.repository_id WHERE b.digest = $1 ORDER BY r.name",
            ),
        ] {
            let rows = sqlx::query(sql).bind(digest.to_string()).fetch_all(&mut *conn).await?;
            for row in &rows {
                let size = match kind {
                    // LENGTH is a 32-bit number in PostgreSQL and a 64-bit one in SQLite.
                    ReviewKind::Manifest => match row.try_get::<i64, _>(2) {
                        Ok(size) => u64::try_from(size).unwrap_or_default(),
                        Err(_) => u64::try_from(row.try_get::<i32, _>(2)?).unwrap_or_default(),
                    },
                    ReviewKind::Blob => size_column(row, 2)?,
                };
                let (id, repository): (i64, i64) = (row.try_get(1)?, row.try_get(3)?);
                let holders = match kind {
                    ReviewKind::Manifest => manifest_holders(&mut conn, repository, id, LISTED).await?,
                    ReviewKind::Blob => blob_holders(&mut conn, repository, id, LISTED).await?,
                };
                let queued = sqlx::query(
                    "SELECT queued_at FROM reviews WHERE repository_id = $1 AND kind = $2 AND digest = $3",
                )
                .bind(repository)
                .bind(kind.as_str())
                .bind(digest.to_string())
                .fetch_optional(&mut *conn)
                .await?;
                let queued_at = queued.map(|row| row.try_get(0)).transpose()?;
                found.push(Presence { repository: text_column(row, 0)?, kind, size, holders, queued_at });
            }
        }
        Ok(found)
    }
}

/// The verdict, and the row that it is about.
pub(super) async fn judge(
    conn: &mut AnyConnection,
    repository: i64,
    kind: ReviewKind,
    digest: &Digest,
) -> Result<(Option<i64>, Verdict), StorageError> {
    let sql = match kind {
        ReviewKind::Blob => {
            "SELECT b.id, b.size, (SELECT COUNT(*) FROM (SELECT 1 FROM repository_blobs o \
             WHERE o.blob_id = b.id LIMIT 2) AS two) FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id \
             WHERE rb.repository_id = $1 AND b.digest = $2"
        }
        ReviewKind::Manifest => {
            "SELECT id, CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM manifests WHERE repository_id = $1 AND digest = $2"
        }
    };
    let row = sqlx::query(sql).bind(repository).bind(digest.to_string()).fetch_optional(&mut *conn).await?;
    let Some(row) = row else { return Ok((None, Verdict::Gone)) };
    let (id, size, repositories): (i64, u64, i64) = (row.try_get(0)?, size_column(&row, 1)?, row.try_get(2)?);
    let holders = match kind {
        ReviewKind::Blob => blob_holders(conn, repository, id, 1).await?,
        ReviewKind::Manifest => manifest_holders(conn, repository, id, 1).await?,
    };
    let verdict = match holders.into_iter().next() {
        Some(holder) => Verdict::Keep(holder),
        None => Verdict::Reclaim { bytes: if repositories > 1 { 0 } else { size } },
    };
    Ok((Some(id), verdict))
}

async fn blob_holders(
    conn: &mut AnyConnection,
    repository: i64,
    blob: i64,
    limit: usize,
) -> Result<Vec<Holder>, StorageError> {
    let rows = sqlx::query(
        "SELECT m.digest FROM manifest_blobs mb JOIN manifests m ON m.id = mb.manifest_id \
         WHERE mb.repository_id = $1 AND mb.blob_id = $2 \
         UNION ALL SELECT m.digest FROM blobs b JOIN awaited_content a ON a.digest = b.digest \
         JOIN cached_images c ON c.manifest_id = a.manifest_id JOIN manifests m ON m.id = a.manifest_id \
         WHERE b.id = $2 AND a.repository_id = $1 AND c.evicted = 0 LIMIT $3",
    )
    // The second half: a manifest of an upstream awaits the blob, which has just come and is not linked to it yet.
    .bind(repository)
    .bind(blob)
    .bind(super::to_sql(limit as u64))
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| Ok(Holder::Manifest(digest_column(row, 0)?))).collect()
}

async fn manifest_holders(
    conn: &mut AnyConnection,
    repository: i64,
    manifest: i64,
    limit: usize,
) -> Result<Vec<Holder>, StorageError> {
    let mut holders = Vec::new();
    for (sql, holder) in [
        (
            "SELECT name FROM tags WHERE manifest_id = $1 AND repository_id = $2 LIMIT $3",
            (|row| Ok(Holder::Tag(text_column(row, 0)?))) as fn(&_) -> Result<_, StorageError>,
        ),
        (
            "SELECT m.digest FROM manifest_children mc JOIN manifests m ON m.id = mc.manifest_id \
             WHERE mc.child_id = $1 AND m.repository_id = $2 LIMIT $3",
            |row| Ok(Holder::Index(digest_column(row, 0)?)),
        ),
        (
            "SELECT s.digest FROM manifests m JOIN manifests s ON s.repository_id = m.repository_id \
             AND s.digest = m.subject WHERE m.id = $1 AND m.repository_id = $2 LIMIT $3",
            |row| Ok(Holder::Subject(digest_column(row, 0)?)),
        ),
    ] {
        if holders.len() >= limit {
            break;
        }
        let rows = sqlx::query(sql)
            .bind(manifest)
            .bind(repository)
            .bind(super::to_sql((limit - holders.len()) as u64))
            .fetch_all(&mut *conn)
            .await?;
        for row in &rows {
            holders.push(holder(row)?);
        }
    }
    Ok(holders)
}
