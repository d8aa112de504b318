//! Upload sessions, and the list of objects to be deleted.

use bytes::Bytes;
use rreg_oci::{Algorithm, Hasher, RepositoryName, UploadId};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::blobs::Segment;
use super::sessions::Held;
use super::{MetadataStore, bind_all, list, size_column, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// An upload in progress.
#[derive(Clone, Debug)]
pub struct UploadSession {
    /// Its name.
    pub id: UploadId,
    /// Where the blob will go.
    pub repository: RepositoryName,
    /// How many bytes have arrived.
    pub size: u64,
    /// The hash over them.
    pub(crate) hasher: Hasher,
    /// The objects that hold them,
    pub(crate) segments: Vec<Segment>,
    /// and the few bytes after those.
    pub(crate) tail: Bytes,
}

/// What one chunk adds to a session.
#[derive(Clone, Debug)]
pub struct UploadProgress {
    /// Bytes in the session afterwards.
    pub(crate) size: u64,
    /// Hash afterwards.
    pub(crate) hasher: Hasher,
    /// A new object that takes up the old tail too.
    pub(crate) segment: Option<Segment>,
    /// The new tail.
    pub(crate) tail: Bytes,
}

impl UploadSession {
    /// A session in which nothing has arrived.
    pub(crate) fn new(id: UploadId, repository: RepositoryName, hasher: Hasher) -> Self {
        Self { id, repository, size: 0, hasher, segments: Vec::new(), tail: Bytes::new() }
    }
}

impl MetadataStore {
    /// Opens a session.
    ///
    /// # Errors
    /// [`StorageError::Full`], or a database failure.
    pub async fn begin_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId, StorageError> {
        self.db.room()?;
        let id = UploadId::random();
        if self.empty.as_ref().is_some_and(|empty| empty.open(id, repository, algorithm, now_ms())) {
            return Ok(id);
        }
        self.db
            .write(
                (id, repository.clone(), algorithm),
                |conn, (id, repository, algorithm)| Box::pin(begin(conn, id, repository, *algorithm)),
                |_, ()| {},
            )
            .await?;
        Ok(id)
    }

    /// The session as it stands.
    ///
    /// # Errors
    /// [`StorageError::UnknownUpload`], or a database failure.
    pub async fn upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<UploadSession, StorageError> {
        if let Some(algorithm) = self.empty.as_ref().and_then(|empty| empty.algorithm(repository, id)) {
            return Ok(UploadSession::new(*id, repository.clone(), Hasher::new(algorithm)));
        }
        let mut conn = self.db.read().await?;
        let key = id.to_string();
        let row = sqlx::query(
            "SELECT algorithm, size, hash_state, tail FROM uploads WHERE id = $1 AND repository = $2",
        )
        .bind(&key)
        .bind(repository.as_str())
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(StorageError::UnknownUpload(*id))?;
        let algorithm: Algorithm = text_column(&row, 0)?;
        let state: Vec<u8> = row.try_get(2)?;
        let tail: Vec<u8> = row.try_get(3)?;
        let size = size_column(&row, 1)?;
        let segments = if size > tail.len() as u64 { segments(&mut conn, &key).await? } else { Vec::new() };
        Ok(UploadSession {
            id: *id,
            repository: repository.clone(),
            size,
            hasher: Hasher::restore(algorithm, &state)?,
            segments,
            tail: tail.into(),
        })
    }

    /// Adds a chunk, provided that nobody else has since the session was read.
    ///
    /// # Errors
    /// [`StorageError::OffsetMismatch`] or [`StorageError::UnknownUpload`] if somebody has, or a database failure.
    pub(crate) async fn advance_upload(
        &self,
        session: &UploadSession,
        progress: UploadProgress,
    ) -> Result<(), StorageError> {
        let held = self.claim(&session.repository, &session.id).await;
        self.db
            .write(
                (session.clone(), progress, held),
                |conn, (session, progress, held)| {
                    Box::pin(async move {
                        if held.is_some() {
                            let algorithm = progress.hasher.algorithm();
                            begin(conn, &session.id, &session.repository, algorithm).await?;
                        }
                        advance(conn, session, progress).await
                    })
                },
                |(_, _, held), ()| held.iter().for_each(Held::end),
            )
            .await
    }

    /// Gives each session without bytes its row: the process ends, and the next one shall know it.
    pub(super) async fn keep_empty_sessions(&self) {
        let sessions = self.empty.as_ref().map(|empty| empty.drain()).unwrap_or_default();
        if sessions.is_empty() {
            return;
        }
        let kept = self.db.write(
            sessions,
            |conn, sessions| {
                Box::pin(async move {
                    for (id, session) in sessions {
                        begin(conn, id, &session.repository, session.algorithm).await?;
                    }
                    Ok(())
                })
            },
            |_, ()| {},
        );
        if let Err(error) = kept.await {
            tracing::warn!(%error, "upload sessions without content were lost; their clients begin again");
        }
    }

    /// Ends a session without a blob. What had arrived goes to reclaim.
    ///
    /// # Errors
    /// [`StorageError::UnknownUpload`], or a database failure.
    pub async fn cancel_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<(), StorageError> {
        match self.claim(repository, id).await {
            Some(held) => {
                held.end();
                Ok(())
            }
            None => self.cancel(Some(repository), *id).await,
        }
    }

    async fn cancel(&self, repository: Option<&RepositoryName>, id: UploadId) -> Result<(), StorageError> {
        self.db
            .write(
                (repository.cloned(), id),
                |conn, (repository, id)| Box::pin(cancel(conn, repository.as_ref(), id)),
                |_, ()| {},
            )
            .await
    }

    /// Cancels up to `limit` sessions in which nothing has arrived for `idle_ms`. Returns how many.
    ///
    /// # Errors
    /// A database failure.
    pub async fn expire_uploads(&self, idle_ms: u64, limit: u32) -> Result<usize, StorageError> {
        let before = now_ms().saturating_sub(to_sql(idle_ms));
        let mut expired = self.empty.as_ref().map_or(0, |empty| empty.expire(before));
        let rows = sqlx::query("SELECT id FROM uploads WHERE updated_at < $1 ORDER BY updated_at LIMIT $2")
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        for row in &rows {
            let id: UploadId = text_column(row, 0)?;
            match self.cancel(None, id).await {
                Ok(()) => expired += 1,
                // Finished or cancelled meanwhile.
                Err(StorageError::UnknownUpload(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(expired)
    }

    /// How many objects' time has come, up to `limit`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn due_objects(&self, limit: u32) -> Result<usize, StorageError> {
        let rows = sqlx::query("SELECT object_key FROM reclaim WHERE due_at <= $1 ORDER BY due_at LIMIT $2")
            .bind(now_ms())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        Ok(rows.len())
    }

    /// Up to `limit` objects whose time has come, by key. From now on no row takes them: they may be deleted at any
    /// moment.
    ///
    /// # Errors
    /// A database failure.
    pub async fn take_due_objects(&self, limit: u32) -> Result<Vec<String>, StorageError> {
        self.db.write(limit, |conn, limit| Box::pin(take_due(conn, *limit)), |_, _| {}).await
    }

    /// Takes deleted objects off the list.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_objects(&self, keys: Vec<String>) -> Result<(), StorageError> {
        self.db
            .write(
                keys,
                |conn, keys| {
                    Box::pin(async move {
                        let sql =
                            format!("DELETE FROM reclaim WHERE object_key IN ({})", list(1, keys.len()));
                        let query = sqlx::query(sqlx::AssertSqlSafe(sql));
                        bind_all(query, keys.iter().cloned()).execute(conn).await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Puts an object that no row knows on the list of those to be deleted: its bytes arrived, its row did not.
    ///
    /// # Errors
    /// A database failure.
    pub async fn reclaim_object(&self, key: String) -> Result<(), StorageError> {
        self.db
            .write(
                key,
                |conn, key| {
                    Box::pin(async move {
                        sqlx::query(
                            "INSERT INTO reclaim (object_key, due_at) SELECT CAST($1 AS TEXT), $2 \
                             WHERE NOT EXISTS (SELECT 1 FROM blob_segments WHERE object_key = $1) \
                             AND NOT EXISTS (SELECT 1 FROM upload_segments WHERE object_key = $1) \
                             ON CONFLICT (object_key) DO NOTHING",
                        )
                        .bind(key.as_str())
                        .bind(now_ms())
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

/// When an object is due that is being deleted.
const TAKEN: i64 = -1;

async fn take_due(conn: &mut AnyConnection, limit: u32) -> Result<Vec<String>, StorageError> {
    let rows = sqlx::query(
        "UPDATE reclaim SET due_at = $3 WHERE object_key IN \
         (SELECT object_key FROM reclaim WHERE due_at <= $1 ORDER BY due_at LIMIT $2) RETURNING object_key",
    )
    .bind(now_ms())
    .bind(i64::from(limit))
    .bind(TAKEN)
    .fetch_all(conn)
    .await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// An object gets a row: it is not to be deleted any more. Where that has begun, it is too late.
///
/// # Errors
/// [`StorageError::Conflict`] then.
pub(super) async fn not_reclaimed(conn: &mut AnyConnection, key: &str) -> Result<(), StorageError> {
    let taken = sqlx::query("DELETE FROM reclaim WHERE object_key = $1 RETURNING due_at")
        .bind(key)
        .fetch_optional(conn)
        .await?;
    match taken.map(|row| row.try_get::<i64, _>(0)).transpose()? {
        Some(TAKEN) => Err(StorageError::Conflict),
        _ => Ok(()),
    }
}

async fn begin(
    conn: &mut AnyConnection,
    id: &UploadId,
    repository: &RepositoryName,
    algorithm: Algorithm,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO uploads (id, repository, algorithm, size, hash_state, tail, updated_at) \
         VALUES ($1, $2, $3, 0, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(repository.as_str())
    .bind(algorithm.as_str())
    .bind(Hasher::new(algorithm).save())
    .bind(Vec::<u8>::new())
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}

async fn segments(conn: &mut AnyConnection, upload: &str) -> Result<Vec<Segment>, StorageError> {
    let rows =
        sqlx::query("SELECT object_key, size FROM upload_segments WHERE upload_id = $1 ORDER BY position")
            .bind(upload)
            .fetch_all(conn)
            .await?;
    rows.iter().map(|row| Ok(Segment { key: row.try_get(0)?, size: size_column(row, 1)? })).collect()
}

async fn advance(
    conn: &mut AnyConnection,
    session: &UploadSession,
    progress: &UploadProgress,
) -> Result<(), StorageError> {
    let id = session.id.to_string();
    let updated = sqlx::query(
        "UPDATE uploads SET size = $3, hash_state = $4, tail = $5, updated_at = $6 WHERE id = $1 AND size = $2",
    )
    .bind(&id)
    .bind(to_sql(session.size))
    .bind(to_sql(progress.size))
    .bind(progress.hasher.save())
    .bind(progress.tail.to_vec())
    .bind(now_ms())
    .execute(&mut *conn)
    .await?;
    if updated.rows_affected() == 0 {
        return Err(moved_on(conn, &session.id, session.size).await?);
    }
    if let Some(segment) = &progress.segment {
        not_reclaimed(&mut *conn, &segment.key).await?;
        sqlx::query(
            "INSERT INTO upload_segments (upload_id, position, object_key, size) VALUES ($1, $2, $3, $4)",
        )
        .bind(&id)
        .bind(to_sql(session.segments.len() as u64))
        .bind(&segment.key)
        .bind(to_sql(segment.size))
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// Removes the session if it still has `size` bytes; its segments have become a blob's.
pub(super) async fn close(
    conn: &mut AnyConnection,
    repository: &RepositoryName,
    id: &UploadId,
    size: u64,
) -> Result<(), StorageError> {
    let deleted = sqlx::query("DELETE FROM uploads WHERE id = $1 AND repository = $2 AND size = $3")
        .bind(id.to_string())
        .bind(repository.as_str())
        .bind(to_sql(size))
        .execute(&mut *conn)
        .await?;
    if deleted.rows_affected() == 0 { Err(moved_on(conn, id, size).await?) } else { Ok(()) }
}

/// Why a session is not what it was when it was read: somebody else has ended it or added to it.
async fn moved_on(
    conn: &mut AnyConnection,
    id: &UploadId,
    expected: u64,
) -> Result<StorageError, StorageError> {
    let row = sqlx::query("SELECT size FROM uploads WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(conn)
        .await?;
    Ok(match row {
        Some(row) => StorageError::OffsetMismatch { at: size_column(&row, 0)?, offset: expected },
        None => StorageError::UnknownUpload(*id),
    })
}

async fn cancel(
    conn: &mut AnyConnection,
    repository: Option<&RepositoryName>,
    id: &UploadId,
) -> Result<(), StorageError> {
    let key = id.to_string();
    let found = sqlx::query("SELECT 1 FROM uploads WHERE id = $1 AND ($2 = '' OR repository = $2)")
        .bind(&key)
        .bind(repository.map_or("", RepositoryName::as_str))
        .fetch_optional(&mut *conn)
        .await?;
    if found.is_none() {
        return Err(StorageError::UnknownUpload(*id));
    }
    sqlx::query(
        "INSERT INTO reclaim (object_key, due_at) SELECT object_key, $2 FROM upload_segments WHERE upload_id = $1 \
         ON CONFLICT (object_key) DO NOTHING",
    )
    .bind(&key)
    .bind(now_ms())
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM uploads WHERE id = $1").bind(&key).execute(conn).await?;
    Ok(())
}

/// Puts an object on the list of those to be deleted.
pub(super) async fn reclaim(conn: &mut AnyConnection, key: &str, due_at: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO reclaim (object_key, due_at) VALUES ($1, $2) ON CONFLICT (object_key) DO NOTHING",
    )
    .bind(key)
    .bind(due_at)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::store;

    /// Gives an object a row, as the end of an upload does.
    async fn take(store: &MetadataStore, key: &str) -> Result<(), StorageError> {
        store.db.write(key.to_owned(), |conn, key| Box::pin(not_reclaimed(conn, key)), |_, ()| {}).await
    }

    #[tokio::test]
    async fn what_gets_a_row_is_not_deleted_and_what_is_being_deleted_gets_none() {
        let (_dir, store) = store().await;
        for key in ["blobs/aa/1", "blobs/aa/2"] {
            store.reclaim_object(key.to_owned()).await.unwrap();
        }
        take(&store, "blobs/aa/1").await.unwrap();
        assert_eq!(store.take_due_objects(10).await.unwrap(), ["blobs/aa/2"]);
        assert!(matches!(take(&store, "blobs/aa/2").await, Err(StorageError::Conflict)));
        // A crash in between: it is taken again.
        assert_eq!(store.take_due_objects(10).await.unwrap(), ["blobs/aa/2"]);
        store.forget_objects(vec!["blobs/aa/2".to_owned()]).await.unwrap();
        take(&store, "blobs/aa/2").await.unwrap();
        assert_eq!(store.due_objects(10).await.unwrap(), 0);
    }
}
