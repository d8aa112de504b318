//! Content that was quarantined and is right after all: a store may have answered wrongly for a while.

use rreg_oci::Digest;

use crate::Storage;
use crate::error::StorageError;
use crate::metadata::{BlobRecord, Content};

/// Blobs in one page.
const PAGE: usize = 100;

impl Storage {
    /// Quarantines content that was found damaged; [`Storage::open`] does it some time after it has answered so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_aside(&self, record: &BlobRecord) -> Result<(), StorageError> {
        self.metadata.quarantine(record.id, &record.content).await
    }

    /// Reads a quarantined blob. Where its bytes are right it is served again: `true`.
    ///
    /// # Errors
    /// When the store or the database fails.
    pub async fn heal(&self, digest: &Digest) -> Result<bool, StorageError> {
        let Some(stored) = self.metadata.stored_blob(digest).await? else { return Ok(false) };
        let good = match &stored.content {
            Content::Row(_) => stored.is_good(),
            Content::Objects(segments) => {
                let mut whole = segments.iter().map(|segment| segment.size).sum::<u64>() == stored.size;
                for segment in segments {
                    whole = whole && self.blobs.size_of(&segment.key).await? == Some(segment.size);
                }
                let keys: Vec<&str> = segments.iter().map(|segment| segment.key.as_str()).collect();
                whole && self.blobs.digest_of(&keys, digest.algorithm()).await? == Some(*digest)
            }
        };
        if good {
            self.metadata.end_quarantine(stored.row).await?;
            tracing::info!(%digest, "the bytes are right again: no longer quarantined");
        }
        Ok(good)
    }

    /// Reads what is quarantined, about `limit` blobs with row numbers above `after`, and ends the quarantine of what is
    /// right. Gives the number after which to go on; `None`: that was all.
    ///
    /// # Errors
    /// Those of blobs that could not be read, of which the first is given, have not kept the others from being read: they
    /// come beside the number. A database failure otherwise.
    pub async fn heal_all(
        &self,
        mut after: i64,
        limit: usize,
    ) -> Result<(Option<i64>, Option<StorageError>), StorageError> {
        let (mut looked_at, mut failure) = (0, None);
        let next = loop {
            if looked_at >= limit {
                break Some(after);
            }
            let page = self.metadata.quarantined(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break None };
            after = *last;
            looked_at += page.len();
            for (_, digest) in &page {
                if let Err(error) = self.heal(digest).await {
                    failure = failure.or(Some(error));
                }
            }
        };
        self.metadata.look_for_quarantine().await?;
        Ok((next, failure))
    }
}
