//! What the rows say of records that may be extra.

use rreg_oci::{Digest, RepositoryName};

use super::unrecorded::queue;
use super::{MetadataStore, find_repository};
use crate::error::StorageError;

impl MetadataStore {
    /// Whether the manifest is there, or its record waits to be written or deleted.
    pub(crate) async fn knows_record(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        let row = sqlx::query(
            "SELECT 1 FROM repositories r WHERE r.name = $1 \
             AND (EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id AND m.digest = $2) \
             OR EXISTS (SELECT 1 FROM unrecorded u WHERE u.repository_id = r.id AND u.digest = $2))",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        Ok(row.is_some())
    }

    /// Whether the trail says that somebody has deleted the manifest not before `since`, in milliseconds since the Unix
    /// epoch.
    pub(crate) async fn was_deleted(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        since: i64,
    ) -> Result<bool, StorageError> {
        let row = sqlx::query(
            "SELECT 1 FROM audit_events WHERE at >= $1 AND event = 'manifest_delete' AND outcome = 'allowed' \
             AND repository = $2 AND target = $3 LIMIT 1",
        )
        .bind(since)
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        Ok(row.is_some())
    }

    /// Has the manifest's record written again, if there is such a manifest.
    pub(crate) async fn record_if_known(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StorageError> {
        if !self.knows_record(repository, digest).await? {
            return Ok(());
        }
        self.db
            .write(
                (repository.clone(), *digest),
                |conn, (repository, digest)| {
                    Box::pin(async move {
                        match find_repository(conn, repository).await? {
                            Some(id) => queue(conn, id, digest).await,
                            None => Ok(()),
                        }
                    })
                },
                |_, ()| {},
            )
            .await
    }
}
