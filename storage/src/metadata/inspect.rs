//! Rows in the order of their numbers, for whoever compares them with the store.

use std::collections::HashSet;

use rreg_oci::Digest;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::blobs::Segment;
use super::{MetadataStore, digest_column, size_column, to_sql};
use crate::error::StorageError;

/// Content as the rows describe it, quarantined or not.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its row; later pages begin after it.
    pub row: i64,
    /// Its digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub content: Content,
}

/// Where the rows say that bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In the row.
    Row(Vec<u8>),
    /// In these objects, one after the other.
    Objects(Vec<Segment>),
}

impl Stored {
    /// Whether bytes in the row have the right length and digest. Of objects it knows nothing and says yes.
    pub fn is_good(&self) -> bool {
        match &self.content {
            Content::Row(bytes) => {
                bytes.len() as u64 == self.size && Digest::of(self.digest.algorithm(), bytes) == self.digest
            }
            Content::Objects(_) => true,
        }
    }
}

impl MetadataStore {
    /// Up to `limit` blobs with row numbers above `after`, whoever holds them.
    ///
    /// # Errors
    /// A database failure.
    pub async fn stored_blobs(&self, after: i64, limit: usize) -> Result<Vec<Stored>, StorageError> {
        let rows =
            sqlx::query("SELECT id, digest, size, content FROM blobs WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after)
                .bind(to_sql(limit as u64))
                .fetch_all(&mut *self.db.read().await?)
                .await?;
        let mut blobs = Vec::with_capacity(rows.len());
        for row in &rows {
            blobs.push(self.stored(row).await?);
        }
        Ok(blobs)
    }

    /// The blob as it is now, whoever holds it.
    ///
    /// # Errors
    /// A database failure.
    pub async fn stored_blob(&self, digest: &Digest) -> Result<Option<Stored>, StorageError> {
        let row = sqlx::query("SELECT id, digest, size, content FROM blobs WHERE digest = $1")
            .bind(digest.to_string())
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        match row {
            Some(row) => Ok(Some(self.stored(&row).await?)),
            None => Ok(None),
        }
    }

    async fn stored(&self, row: &AnyRow) -> Result<Stored, StorageError> {
        let id = row.try_get(0)?;
        let content = match row.try_get::<Option<Vec<u8>>, _>(3)? {
            Some(bytes) => Content::Row(bytes),
            None => Content::Objects(super::blobs::segments(&mut *self.db.read().await?, id).await?),
        };
        Ok(Stored { row: id, digest: digest_column(row, 1)?, size: size_column(row, 2)?, content })
    }

    /// Up to `limit` manifests with row numbers above `after`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn stored_manifests(&self, after: i64, limit: usize) -> Result<Vec<Stored>, StorageError> {
        let rows = sqlx::query("SELECT id, digest, body FROM manifests WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(to_sql(limit as u64))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        rows.iter()
            .map(|row| {
                let body: Vec<u8> = row.try_get(2)?;
                let (size, content) = (body.len() as u64, Content::Row(body));
                Ok(Stored { row: row.try_get(0)?, digest: digest_column(row, 1)?, size, content })
            })
            .collect()
    }

    /// Those of the objects that a row knows: of a blob, of an open upload, or on the list of what is to be deleted.
    ///
    /// # Errors
    /// A database failure.
    pub async fn known_objects(&self, keys: &[&str]) -> Result<HashSet<String>, StorageError> {
        let mut conn = self.db.read().await?;
        let mut known = HashSet::new();
        for key in keys {
            let row = sqlx::query(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM blob_segments WHERE object_key = $1) \
                 OR EXISTS (SELECT 1 FROM upload_segments WHERE object_key = $1) \
                 OR EXISTS (SELECT 1 FROM reclaim WHERE object_key = $1)",
            )
            .bind(*key)
            .fetch_optional(&mut *conn)
            .await?;
            if row.is_some() {
                known.insert((*key).to_owned());
            }
        }
        Ok(known)
    }
}
