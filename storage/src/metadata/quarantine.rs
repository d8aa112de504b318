//! What was found damaged and is not served.

use std::sync::atomic::Ordering;

use rreg_oci::{Digest, RepositoryName};
use sqlx::Row as _;

use super::{MetadataStore, digest_column, to_sql};
use crate::error::StorageError;

impl MetadataStore {
    /// Up to `limit` digests of quarantined blobs, with rows after `after`, and the rows.
    ///
    /// # Errors
    /// A database failure.
    pub async fn quarantined(&self, after: i64, limit: usize) -> Result<Vec<(i64, Digest)>, StorageError> {
        let rows = sqlx::query(
            "SELECT id, digest FROM blobs WHERE quarantined = 1 AND id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(to_sql(limit as u64))
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, digest_column(row, 1)?))).collect()
    }

    /// Whether anything may be quarantined, as of the last look at it.
    pub fn may_lack_content(&self) -> bool {
        self.quarantines.load(Ordering::SeqCst) > 0
    }

    /// Something is quarantined, and its row says so.
    pub(crate) fn note_quarantine(&self) {
        self.quarantines.fetch_add(1, Ordering::SeqCst);
    }

    /// Looks whether anything is quarantined.
    pub(crate) async fn look_for_quarantine(&self) -> Result<(), StorageError> {
        let before = self.quarantines.load(Ordering::SeqCst);
        if !self.quarantined(-1, 1).await?.is_empty() {
            self.note_quarantine();
        } else {
            // Unless something was noted while the rows were read.
            let _ = self.quarantines.compare_exchange(before, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
        Ok(())
    }

    /// The blob's bytes were read and are right: it is served again.
    pub(crate) async fn end_quarantine(&self, id: i64) -> Result<(), StorageError> {
        let cache = self.cache.clone();
        self.db
            .write(
                id,
                |conn, id| {
                    Box::pin(async move {
                        sqlx::query("UPDATE blobs SET quarantined = 0 WHERE id = $1")
                            .bind(*id)
                            .execute(conn)
                            .await?;
                        Ok(())
                    })
                },
                move |_, ()| cache.committed(|forget| forget.all_blobs()),
            )
            .await
    }

    /// Whether content of this manifest, or of one that it holds, is quarantined: what cannot be pulled has to be pushed
    /// again, and clients push only what they are told is not here.
    ///
    /// # Errors
    /// A database failure.
    pub async fn lacks_content(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        if !self.may_lack_content() {
            return Ok(false);
        }
        let row = sqlx::query(
            "WITH RECURSIVE below(id) AS (SELECT m.id FROM repositories r CROSS JOIN manifests m \
             WHERE r.name = $1 AND m.repository_id = r.id AND m.digest = $2 \
             UNION SELECT mc.child_id FROM below CROSS JOIN manifest_children mc WHERE mc.manifest_id = below.id) \
             SELECT 1 FROM below WHERE (SELECT MAX(b.quarantined) FROM manifest_blobs mb CROSS JOIN blobs b \
             WHERE mb.manifest_id = below.id AND b.id = mb.blob_id) = 1 LIMIT 1",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        Ok(row.is_some())
    }
}

#[cfg(test)]
mod tests;
