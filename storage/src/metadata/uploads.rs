//! Upload sessions.

use bytes::Bytes;
use rreg_oci::{Algorithm, Hasher, RepositoryName, UploadId};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::blobs::Segment;
use super::reclaim::not_reclaimed;
use super::sessions::Held;
use super::{MetadataStore, size_column, text_column, to_sql};
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
