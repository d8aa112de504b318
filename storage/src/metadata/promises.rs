//! "It is here": what a client that asks with HEAD before it pushes a manifest may rely on.
//!
//! Docker, containerd and crane ask for each blob (and each child of an index) and upload only what is missing. What
//! they were told is here must not go before their manifest has come, so a HEAD of content that is queued for review
//! starts its patience anew: it stays for `reclaim.blobs_after` (`untagged_after`) from then on, less a minute.
//!
//! The common case costs no query: a record in memory remembers that it was promised, and content that nobody reviews
//! needs no promise, since a review that is queued later waits longer. Only an old review is written to, at most once
//! a minute for the same content.

use std::sync::atomic::{AtomicI64, Ordering};

use rreg_oci::{Digest, Reference, RepositoryName};
use sqlx::Row as _;

use super::blobs::BlobRecord;
use super::manifests::StoredManifest;
use super::reviews::ReviewKind;
use super::{MetadataStore, find_repository};
use crate::db::now_ms;
use crate::error::StorageError;

/// A promise holds for so long without another look. What patience is configured is hours, so a minute is little.
const HOLDS_MS: i64 = 60_000;

/// Reviews can be settled and queued under a promise only so often before its client is told to try again.
const TURNS: usize = 5;

/// When content was last promised to a client, in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Promised(AtomicI64);

impl Promised {
    fn holds(&self) -> bool {
        now_ms().saturating_sub(self.0.load(Ordering::Relaxed)) < HOLDS_MS
    }

    fn keep(&self) {
        self.0.store(now_ms(), Ordering::Relaxed);
    }
}

impl Clone for Promised {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl BlobRecord {
    /// Whether a client may be told that the blob is here without [`MetadataStore::promise_blob`].
    pub fn is_promised(&self) -> bool {
        self.promised.holds()
    }
}

impl StoredManifest {
    /// Whether a client may be told that the manifest is here without [`MetadataStore::promise_manifest`].
    pub fn is_promised(&self) -> bool {
        self.promised.holds()
    }
}

impl MetadataStore {
    /// Sees to it that the blob stays for a while.
    ///
    /// # Errors
    /// [`StorageError::UnknownBlob`] if it has just gone, [`StorageError::Conflict`], or a database failure.
    pub async fn promise_blob(
        &self,
        repository: &RepositoryName,
        record: &BlobRecord,
    ) -> Result<(), StorageError> {
        if record.is_promised() {
            return Ok(());
        }
        if !self.promise(repository, ReviewKind::Blob, &record.digest).await? {
            let repository = repository.clone();
            return Err(StorageError::UnknownBlob { repository, digest: record.digest });
        }
        record.promised.keep();
        Ok(())
    }

    /// Sees to it that the manifest stays for a while.
    ///
    /// # Errors
    /// [`StorageError::UnknownManifest`] if it has just gone, [`StorageError::Conflict`], or a database failure.
    pub async fn promise_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &StoredManifest,
    ) -> Result<(), StorageError> {
        if manifest.is_promised() {
            return Ok(());
        }
        if !self.promise(repository, ReviewKind::Manifest, &manifest.digest).await? {
            let (repository, reference) = (repository.clone(), Reference::Digest(manifest.digest));
            return Err(StorageError::UnknownManifest { repository, reference });
        }
        manifest.promised.keep();
        Ok(())
    }

    /// Whether it is there, and stays for a while.
    async fn promise(
        &self,
        repository: &RepositoryName,
        kind: ReviewKind,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        // Membership and review in one look: a worker takes both away in one transaction.
        let sql = match kind {
            ReviewKind::Blob => {
                "SELECT v.queued_at FROM repositories r JOIN repository_blobs rb ON rb.repository_id = r.id \
                 JOIN blobs b ON b.id = rb.blob_id LEFT JOIN reviews v ON v.repository_id = r.id \
                 AND v.kind = 'blob' AND v.digest = b.digest WHERE r.name = $1 AND b.digest = $2"
            }
            ReviewKind::Manifest => {
                "SELECT v.queued_at FROM repositories r JOIN manifests m ON m.repository_id = r.id \
                 LEFT JOIN reviews v ON v.repository_id = r.id AND v.kind = 'manifest' AND v.digest = m.digest \
                 WHERE r.name = $1 AND m.digest = $2"
            }
        };
        for _ in 0..TURNS {
            let row = sqlx::query(sql)
                .bind(repository.as_str())
                .bind(digest.to_string())
                .fetch_optional(&mut *self.db.read().await?)
                .await?;
            let Some(row) = row else { return Ok(false) };
            match row.try_get::<Option<i64>, _>(0)? {
                Some(queued_at) if now_ms().saturating_sub(queued_at) >= HOLDS_MS => {
                    if self.postpone(repository, kind, digest, queued_at).await? {
                        return Ok(true);
                    }
                    // Settled or queued anew meanwhile: looked at again.
                }
                _ => return Ok(true),
            }
        }
        Err(StorageError::Conflict)
    }

    /// Queues the review anew if it is the one that was seen. A worker that has claimed it finds it too young.
    async fn postpone(
        &self,
        repository: &RepositoryName,
        kind: ReviewKind,
        digest: &Digest,
        queued_at: i64,
    ) -> Result<bool, StorageError> {
        self.db
            .write(
                (repository.clone(), kind, *digest, queued_at),
                |conn, (repository, kind, digest, queued_at)| {
                    Box::pin(async move {
                        let Some(id) = find_repository(conn, repository).await? else { return Ok(false) };
                        let postponed = sqlx::query(
                            "UPDATE reviews SET queued_at = $5, leased_until = 0 WHERE repository_id = $1 \
                             AND kind = $2 AND digest = $3 AND queued_at = $4",
                        )
                        .bind(id)
                        .bind(kind.as_str())
                        .bind(digest.to_string())
                        .bind(*queued_at)
                        .bind(now_ms())
                        .execute(conn)
                        .await?;
                        Ok(postponed.rows_affected() > 0)
                    })
                },
                |_, _| {},
            )
            .await
    }
}
