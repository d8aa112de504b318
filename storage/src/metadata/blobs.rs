//! Blobs: one row per content, memberships per repository.

use std::sync::Arc;

use bytes::Bytes;
use rreg_oci::{Digest, RepositoryName, UploadId};
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::audit::{AuditEvent, note};
use super::blob_writes::{delete_blob, insert_blob, mount_blob, quarantine};
use super::promises::Promised;
use super::sessions::Held;
use super::{MetadataStore, size_column};
use crate::error::StorageError;

/// One object that holds a stretch of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Where it lies in the object store.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Where a blob's bytes are.
#[derive(Clone, Debug)]
pub enum BlobContent {
    /// In the database.
    Inline(Bytes),
    /// In these objects, one after the other.
    Segments(Arc<[Segment]>),
}

/// A blob that a repository holds.
#[derive(Clone, Debug)]
pub struct BlobRecord {
    /// Row of the content.
    pub(crate) id: i64,
    /// Its digest.
    pub digest: Digest,
    /// Its text, for headers.
    pub digest_text: Bytes,
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub content: BlobContent,
    pub(super) promised: Promised,
}

impl BlobRecord {
    pub(crate) fn memory(&self) -> u64 {
        match &self.content {
            BlobContent::Inline(bytes) => bytes.len() as u64,
            BlobContent::Segments(segments) => 100 * segments.len() as u64,
        }
    }
}

/// A blob whose bytes are verified and durable, waiting for its rows.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Its digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub content: BlobContent,
    /// Take the place of what is stored under this digest already, rather than being dropped as a copy.
    pub replace: bool,
}

impl MetadataStore {
    /// The blob, if `repository` holds it and it is not quarantined.
    ///
    /// # Errors
    /// [`StorageError::UnknownBlob`], [`StorageError::Damaged`], or when the database fails.
    pub async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Arc<BlobRecord>, StorageError> {
        if let Some(record) = self.cached_blob(repository, digest) {
            return Ok(record);
        }
        let epoch = self.cache.epoch();
        let mut conn = self.db.read().await?;
        let row = sqlx::query(
            "SELECT b.id, b.size, b.content, b.quarantined FROM repositories r \
             JOIN repository_blobs rb ON rb.repository_id = r.id JOIN blobs b ON b.id = rb.blob_id \
             WHERE r.name = $1 AND b.digest = $2",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *conn)
        .await?;
        let Some(row) = row else {
            return Err(StorageError::UnknownBlob { repository: repository.clone(), digest: *digest });
        };
        let id = row.try_get(0)?;
        if row.try_get::<i64, _>(3)? != 0 {
            let what = "it is quarantined; pushing it again heals it".to_owned();
            return Err(StorageError::Damaged { digest: *digest, what });
        }
        let content = match row.try_get::<Option<Vec<u8>>, _>(2)? {
            Some(bytes) if Digest::of(digest.algorithm(), &bytes) != *digest => {
                drop(conn);
                let what = "the bytes in the database have another digest".to_owned();
                self.note_damage(digest, &what);
                self.quarantine(id, &BlobContent::Inline(bytes.into())).await?;
                return Err(StorageError::Damaged { digest: *digest, what });
            }
            Some(bytes) => BlobContent::Inline(bytes.into()),
            None => BlobContent::Segments(segments(&mut conn, id).await?.into()),
        };
        let digest_text = digest.to_string().into();
        let record = Arc::new(BlobRecord {
            id,
            digest: *digest,
            digest_text,
            size: size_column(&row, 1)?,
            content,
            promised: Promised::default(),
        });
        self.cache.keep_blob(epoch, repository, &record);
        Ok(record)
    }

    /// The objects under which this content is stored, if it is known at all and not inside the database.
    pub(crate) async fn stored_segments(
        &self,
        digest: &Digest,
    ) -> Result<Option<Vec<Segment>>, StorageError> {
        let mut conn = self.db.read().await?;
        let row = sqlx::query("SELECT id FROM blobs WHERE digest = $1 AND content IS NULL")
            .bind(digest.to_string())
            .fetch_optional(&mut *conn)
            .await?;
        match row {
            Some(row) => Ok(Some(segments(&mut conn, row.try_get(0)?).await?)),
            None => Ok(None),
        }
    }

    /// The blob, if it can be had without waiting.
    pub fn cached_blob(&self, repository: &RepositoryName, digest: &Digest) -> Option<Arc<BlobRecord>> {
        self.cache.blob(repository, digest)
    }

    /// Makes verified, durable bytes a blob of `repository`. With `upload`, closes that session in the same
    /// transaction, provided it still has `upload.1` bytes.
    ///
    /// If the content is known already, the given objects are handed to reclaim instead; if what is known is
    /// quarantined, the given ones take its place.
    ///
    /// # Errors
    /// [`StorageError::UnknownUpload`] if the session was closed or moved on meanwhile, [`StorageError::Full`], or a
    /// database failure.
    pub(crate) async fn commit_blob(
        &self,
        repository: &RepositoryName,
        blob: NewBlob,
        upload: Option<(UploadId, u64)>,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError> {
        self.db.room()?;
        let cache = self.cache.clone();
        let held = match &upload {
            Some((id, _)) => self.claim(repository, id).await,
            None => None,
        };
        // A session without a row has none to close.
        let upload = upload.filter(|_| held.is_none());
        self.db
            .write(
                (repository.clone(), blob, upload, held, audit),
                |conn, (repository, blob, upload, _, audit)| {
                    Box::pin(async move {
                        if let Some((id, size)) = upload {
                            super::uploads::close(conn, repository, id, *size).await?;
                        }
                        let healed = insert_blob(&mut *conn, repository, blob).await?;
                        note(conn, audit.as_ref()).await?;
                        Ok(healed)
                    })
                },
                move |(repository, blob, _, held, _), healed| {
                    held.iter().for_each(Held::end);
                    cache.committed(|forget| match healed {
                        true => forget.all_blobs(),
                        false => forget.blob(repository, &blob.digest),
                    });
                },
            )
            .await?;
        Ok(())
    }

    /// Adds a blob that `from` holds to `to`. Without `from`, any repository that `may_read` allows will do.
    ///
    /// # Errors
    /// [`StorageError::UnknownBlob`] when there is no such source, or a database failure.
    pub async fn mount(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        may_read: impl Fn(&RepositoryName) -> bool,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError> {
        // Read first: most mounts that clients try have no source, and those shall not wait for the writer.
        let unknown =
            || StorageError::UnknownBlob { repository: from.unwrap_or(to).clone(), digest: *digest };
        let source = self.holders(digest, from).await?.into_iter().find(|holder| may_read(holder));
        let source = source.ok_or_else(unknown)?;
        let cache = self.cache.clone();
        self.db
            .write(
                (*digest, source, to.clone(), audit),
                |conn, (digest, from, to, audit)| {
                    Box::pin(async move {
                        mount_blob(&mut *conn, digest, from, to).await?;
                        note(conn, audit.as_ref()).await
                    })
                },
                move |(digest, _, to, _), ()| cache.committed(|forget| forget.blob(to, digest)),
            )
            .await
    }

    /// Repositories that hold the blob: `from` alone if given, else the first few.
    async fn holders(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<Vec<RepositoryName>, StorageError> {
        const LOOKED_AT: i64 = 100;
        let rows = sqlx::query(
            "SELECT r.name FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id \
             JOIN repositories r ON r.id = rb.repository_id \
             WHERE b.digest = $1 AND b.quarantined = 0 AND ($2 = '' OR r.name = $2) LIMIT $3",
        )
        .bind(digest.to_string())
        .bind(from.map_or("", RepositoryName::as_str))
        .bind(LOOKED_AT)
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter().map(|row| super::text_column(row, 0)).collect()
    }

    /// Takes the blob out of `repository`. The last repository to let go gives its objects to reclaim, to be
    /// deleted after `grace_ms`.
    ///
    /// # Errors
    /// [`StorageError::UnknownBlob`], [`StorageError::InUse`], or a database failure.
    pub async fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        grace_ms: u64,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError> {
        let cache = self.cache.clone();
        self.db
            .write(
                (repository.clone(), *digest, grace_ms, audit),
                |conn, (repository, digest, grace_ms, audit)| {
                    Box::pin(async move {
                        delete_blob(&mut *conn, repository, digest, *grace_ms).await?;
                        note(conn, audit.as_ref()).await
                    })
                },
                move |(repository, digest, ..), ()| cache.committed(|forget| forget.blob(repository, digest)),
            )
            .await
    }

    /// Takes damaged content out of service everywhere. A new push of the same digest heals it.
    ///
    /// `damaged` says what was read: by the time this is written the content may have been healed, or deleted and
    /// its row number given to another blob, and those must not suffer for it.
    ///
    /// # Errors
    /// A database failure.
    pub(crate) async fn quarantine(&self, id: i64, damaged: &BlobContent) -> Result<(), StorageError> {
        self.note_quarantine();
        let cache = self.cache.clone();
        let first = match damaged {
            BlobContent::Inline(_) => None,
            BlobContent::Segments(segments) => segments.first().map(|segment| segment.key.clone()),
        };
        self.db
            .write(
                (id, first),
                |conn, (id, first)| Box::pin(quarantine(conn, *id, first.as_deref())),
                move |_, ()| cache.committed(|forget| forget.all_blobs()),
            )
            .await?;
        // Whoever looked before the row was there has found nothing.
        self.note_quarantine();
        Ok(())
    }
}

pub(super) async fn segments(conn: &mut AnyConnection, blob: i64) -> Result<Vec<Segment>, StorageError> {
    let rows = sqlx::query("SELECT object_key, size FROM blob_segments WHERE blob_id = $1 ORDER BY position")
        .bind(blob)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok(Segment { key: row.try_get(0)?, size: size_column(row, 1)? })).collect()
}
