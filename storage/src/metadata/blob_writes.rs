//! What a write of blobs does inside its transaction.

use rreg_oci::{Digest, RepositoryName};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::blobs::{BlobContent, NewBlob};
use super::cached::blob_came;
use super::reviews::{ReviewKind, queue};
use super::unrecorded::queue_users_of;
use super::{digest_column, ensure_repository, find_repository, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// Objects that good copies have replaced stay for so long: somebody may be reading them.
const REPLACED_GRACE_MS: i64 = 3_600_000;

/// `first` is the key of the damaged content's first object; without one the bytes are in the row.
pub(super) async fn quarantine(
    conn: &mut AnyConnection,
    id: i64,
    first: Option<&str>,
) -> Result<(), StorageError> {
    let row = sqlx::query(
        "SELECT b.digest, b.content, s.object_key FROM blobs b \
         LEFT JOIN blob_segments s ON s.blob_id = b.id AND s.position = 0 WHERE b.id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(()) };
    let digest = digest_column(&row, 0)?;
    let still_damaged = match row.try_get::<Option<Vec<u8>>, _>(1)? {
        Some(bytes) => Digest::of(digest.algorithm(), &bytes) != digest,
        None => row.try_get::<Option<String>, _>(2)?.as_deref() == first,
    };
    if still_damaged {
        sqlx::query("UPDATE blobs SET quarantined = 1 WHERE id = $1").bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Inserts or finds the content and makes it a member. Tells whether quarantined content was healed.
pub(super) async fn insert_blob(
    conn: &mut AnyConnection,
    repository: &RepositoryName,
    blob: &NewBlob,
) -> Result<bool, StorageError> {
    let repository = ensure_repository(conn, repository).await?;
    // Before anything is looked at: see `reviews`.
    queue(conn, repository, ReviewKind::Blob, &blob.digest).await?;
    let inline = match &blob.content {
        BlobContent::Inline(bytes) => Some(bytes.to_vec()),
        BlobContent::Segments(_) => None,
    };
    let digest = blob.digest.to_string();
    let inserted = sqlx::query(
        "INSERT INTO blobs (digest, size, content, quarantined, created_at) VALUES ($1, $2, $3, 0, $4) \
         ON CONFLICT (digest) DO NOTHING RETURNING id",
    )
    .bind(&digest)
    .bind(to_sql(blob.size))
    .bind(inline.clone())
    .bind(now_ms())
    .fetch_optional(&mut *conn)
    .await?;
    let mut healed = false;
    let id = match inserted {
        Some(row) => {
            let id = row.try_get(0)?;
            insert_segments(conn, id, &blob.content).await?;
            id
        }
        None => {
            let row = sqlx::query("SELECT id, quarantined FROM blobs WHERE digest = $1")
                .bind(&digest)
                .fetch_optional(&mut *conn)
                .await?
                // Deleted since the conflict: PostgreSQL only.
                .ok_or(StorageError::Conflict)?;
            let (id, quarantined): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            healed = blob.replace || quarantined != 0 || other_bytes(conn, id, inline.as_deref()).await?;
            if healed {
                heal(conn, id, inline, &blob.content).await?;
            } else {
                discard(conn, &blob.content).await?;
            }
            id
        }
    };
    sqlx::query(
        "INSERT INTO repository_blobs (repository_id, blob_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(repository)
    .bind(id)
    .execute(&mut *conn)
    .await?;
    blob_came(conn, repository, (id, &blob.digest)).await?;
    Ok(healed)
}

/// Whether the row holds other bytes than these under the same digest: damaged, though nobody has noticed yet.
async fn other_bytes(conn: &mut AnyConnection, id: i64, bytes: Option<&[u8]>) -> Result<bool, StorageError> {
    let Some(bytes) = bytes else { return Ok(false) };
    let found = sqlx::query("SELECT 1 FROM blobs WHERE id = $1 AND content IS NOT NULL AND content <> $2")
        .bind(id)
        .bind(bytes.to_vec())
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

async fn insert_segments(
    conn: &mut AnyConnection,
    blob: i64,
    content: &BlobContent,
) -> Result<(), StorageError> {
    let BlobContent::Segments(segments) = content else { return Ok(()) };
    for (position, segment) in (0i64..).zip(segments.iter()) {
        super::reclaim::not_reclaimed(&mut *conn, &segment.key).await?;
        sqlx::query(
            "INSERT INTO blob_segments (blob_id, position, object_key, size) VALUES ($1, $2, $3, $4)",
        )
        .bind(blob)
        .bind(position)
        .bind(&segment.key)
        .bind(to_sql(segment.size))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Puts good bytes in the place of damaged ones.
async fn heal(
    conn: &mut AnyConnection,
    id: i64,
    inline: Option<Vec<u8>>,
    content: &BlobContent,
) -> Result<(), StorageError> {
    release_segments(conn, id, now_ms() + REPLACED_GRACE_MS).await?;
    sqlx::query("UPDATE blobs SET quarantined = 0, content = $2 WHERE id = $1")
        .bind(id)
        .bind(inline)
        .execute(&mut *conn)
        .await?;
    queue_users_of(conn, id).await?;
    insert_segments(conn, id, content).await
}

/// Objects that turned out to be copies: nobody can be reading them.
async fn discard(conn: &mut AnyConnection, content: &BlobContent) -> Result<(), StorageError> {
    let BlobContent::Segments(segments) = content else { return Ok(()) };
    for segment in segments.iter() {
        super::reclaim::reclaim(conn, &segment.key, now_ms()).await?;
    }
    Ok(())
}

/// Gives the blob's objects to reclaim.
async fn release_segments(conn: &mut AnyConnection, blob: i64, due_at: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO reclaim (object_key, due_at) SELECT object_key, $2 FROM blob_segments WHERE blob_id = $1 \
         ON CONFLICT (object_key) DO NOTHING",
    )
    .bind(blob)
    .bind(due_at)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM blob_segments WHERE blob_id = $1").bind(blob).execute(conn).await?;
    Ok(())
}

pub(super) async fn mount_blob(
    conn: &mut AnyConnection,
    digest: &Digest,
    from: &RepositoryName,
    to: &RepositoryName,
) -> Result<(), StorageError> {
    let from_row = sqlx::query(
        "SELECT b.id FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id \
         JOIN repositories r ON r.id = rb.repository_id \
         WHERE b.digest = $1 AND b.quarantined = 0 AND r.name = $2",
    )
    .bind(digest.to_string())
    .bind(from.as_str())
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = from_row else {
        return Err(StorageError::UnknownBlob { repository: from.clone(), digest: *digest });
    };
    let blob: i64 = row.try_get(0)?;
    let repository = ensure_repository(conn, to).await?;
    // Before the membership, which a worker may be taking away. Should the content itself go meanwhile, the foreign
    // key says so and the transaction is repeated.
    queue(conn, repository, ReviewKind::Blob, digest).await?;
    sqlx::query(
        "INSERT INTO repository_blobs (repository_id, blob_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(repository)
    .bind(blob)
    .execute(&mut *conn)
    .await?;
    blob_came(conn, repository, (blob, digest)).await
}

pub(super) async fn delete_blob(
    conn: &mut AnyConnection,
    name: &RepositoryName,
    digest: &Digest,
    grace_ms: u64,
) -> Result<(), StorageError> {
    let unknown = || StorageError::UnknownBlob { repository: name.clone(), digest: *digest };
    let repository = find_repository(conn, name).await?.ok_or_else(unknown)?;
    let row = sqlx::query(
        "SELECT b.id FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id \
         WHERE b.digest = $1 AND rb.repository_id = $2",
    )
    .bind(digest.to_string())
    .bind(repository)
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(unknown)?;
    let blob: i64 = row.try_get(0)?;
    let user = sqlx::query(
        "SELECT m.digest FROM manifest_blobs mb JOIN manifests m ON m.id = mb.manifest_id \
         WHERE mb.repository_id = $1 AND mb.blob_id = $2 LIMIT 1",
    )
    .bind(repository)
    .bind(blob)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(user) = user {
        return Err(StorageError::InUse { digest: *digest, by: digest_column(&user, 0)?.to_string() });
    }
    release_blob(conn, repository, blob, grace_ms).await
}

/// Takes the blob out of the repository, and its row and objects away if that was the last one. The caller has seen
/// that no manifest needs it; the foreign key sees to it that none comes in between.
pub(super) async fn release_blob(
    conn: &mut AnyConnection,
    repository: i64,
    blob: i64,
    grace_ms: u64,
) -> Result<(), StorageError> {
    // Two repositories that let go at once must not each take the other for one that stays.
    sqlx::query("UPDATE blobs SET quarantined = quarantined WHERE id = $1")
        .bind(blob)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM repository_blobs WHERE repository_id = $1 AND blob_id = $2")
        .bind(repository)
        .bind(blob)
        .execute(&mut *conn)
        .await?;
    let others = sqlx::query("SELECT 1 FROM repository_blobs WHERE blob_id = $1 LIMIT 1")
        .bind(blob)
        .fetch_optional(&mut *conn)
        .await?;
    if others.is_none() {
        release_segments(conn, blob, now_ms().saturating_add(to_sql(grace_ms))).await?;
        sqlx::query("DELETE FROM blobs WHERE id = $1").bind(blob).execute(conn).await?;
    }
    Ok(())
}
