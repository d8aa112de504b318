//! Records in the store that no manifest has: their manifest was deleted, and their own deletion never came to pass. A
//! database that is rebuilt would have the manifest again.

use futures_util::{Stream, StreamExt as _};
use object_store::path::Path;
use rreg_oci::{Digest, RepositoryName};

use crate::Storage;
use crate::blob::BlobStore;
use crate::error::StorageError;
use crate::records::{RecordedBlob, RecordedContent};

/// Clocks of store and registry differ by so many milliseconds at most, as far as is believed here.
const CLOCKS_MS: i64 = 5 * 60_000;

/// A record, as it is listed.
#[derive(Clone, Debug)]
pub struct ListedRecord {
    /// Its key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// Of which repository.
    pub repository: RepositoryName,
    /// Of which manifest.
    pub digest: Digest,
    /// When it was written, in milliseconds since the Unix epoch.
    written: i64,
}

impl BlobStore {
    /// Whether a listing has the object, whatever else is said of it.
    async fn is_listed(&self, key: &str) -> Result<bool, StorageError> {
        let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut listed = std::pin::pin!(self.listed(directory));
        let (mut any, mut found) = (false, false);
        while let Some(meta) = listed.next().await {
            any = true;
            found |= meta?.location.as_ref() == key;
        }
        // An empty list may be no list.
        Ok(found || !any)
    }

    /// Every record in the store, without reading it. What others keep beside them is passed over.
    pub fn list_records(&self) -> impl Stream<Item = Result<ListedRecord, StorageError>> + Send + use<> {
        self.listed("manifests")
            .map(|found| {
                let meta = found?;
                Ok(name(meta.location.as_ref()).map(|(repository, digest)| ListedRecord {
                    key: meta.location.to_string(),
                    size: meta.size,
                    repository,
                    digest,
                    written: meta.last_modified.timestamp_millis(),
                }))
            })
            .filter_map(|found| std::future::ready(found.transpose()))
    }
}

/// Whose record it is, by its key.
fn name(key: &str) -> Option<(RepositoryName, Digest)> {
    let (rest, hex) = key.strip_prefix("manifests/")?.rsplit_once('/')?;
    let (repository, algorithm) = rest.rsplit_once("/_")?;
    Some((repository.parse().ok()?, format!("{algorithm}:{hex}").parse().ok()?))
}

impl Storage {
    /// Those of the records that no row knows and that nobody is about to delete.
    ///
    /// # Errors
    /// When database or store fail.
    pub async fn extra_records(&self, page: Vec<ListedRecord>) -> Result<Vec<ListedRecord>, StorageError> {
        let mut extra = Vec::new();
        for record in page {
            if self.metadata().knows_record(&record.repository, &record.digest).await? {
                continue;
            }
            // The row may have gone since the record was listed, and the record with it; or it was pushed again.
            if self.may_be_there(&record.key).await?
                && !self.metadata().knows_record(&record.repository, &record.digest).await?
            {
                extra.push(record);
            }
        }
        Ok(extra)
    }

    /// What cannot be had is not known to be gone, if the store is there at all.
    async fn may_be_there(&self, key: &str) -> Result<bool, StorageError> {
        match self.blobs().meta(key).await {
            Err(StorageError::Object(_)) => self.blobs().ping().await.map(|()| true),
            found => Ok(found?.is_some()),
        }
    }

    /// Deletes an extra record if it is sure that nobody wants it: the trail says that its manifest was deleted after it
    /// was written, or content that it names is gone, so that nothing can come of it. Otherwise the database may be from
    /// a backup, and the record all that is left. Tells whether it was deleted.
    ///
    /// # Errors
    /// When database or store fail.
    pub async fn drop_record(&self, record: &ListedRecord) -> Result<bool, StorageError> {
        let since = record.written.saturating_sub(CLOCKS_MS);
        let deleted = self.metadata().was_deleted(&record.repository, &record.digest, since).await?;
        if !deleted && !self.lacks_objects(record).await? {
            return Ok(false);
        }
        self.blobs().delete(&record.key).await?;
        // It may have been pushed again in this moment.
        self.metadata().record_if_known(&record.repository, &record.digest).await?;
        Ok(true)
    }

    async fn lacks_objects(&self, record: &ListedRecord) -> Result<bool, StorageError> {
        // Of one that nobody can read it is not sure that nothing can come of it.
        for key in self.objects_of_record(record).await?.unwrap_or_default() {
            // What is lost with the record cannot be had again: two answers of one kind are not enough.
            if self.blobs().meta(&key).await?.is_none() && !self.blobs().is_listed(&key).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The keys of the objects that a record names, none of one that is gone; or why it cannot be known which they are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn objects_of_record(
        &self,
        record: &ListedRecord,
    ) -> Result<Result<Vec<String>, String>, StorageError> {
        let at = Path::from(record.key.as_str());
        Ok(match self.blobs().listed_record(&at, record.size).await? {
            Some(said) => said.map(|said| said.blobs.into_iter().flat_map(keys).collect()),
            None if self.blobs().is_listed(&record.key).await? => {
                Err(format!("{at}: it is listed, and not there"))
            }
            None => Ok(Vec::new()),
        })
    }
}

fn keys(blob: RecordedBlob) -> Vec<String> {
    match blob.content {
        RecordedContent::Objects(objects) => objects.into_iter().map(|object| object.key).collect(),
        RecordedContent::Bytes(_) | RecordedContent::Elsewhere => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_records() {
        let hex = "a".repeat(64);
        let (repository, digest) = name(&format!("manifests/team/app/_sha256/{hex}")).unwrap();
        assert_eq!((repository.as_str(), digest.hex()), ("team/app", hex));
        for other in
            ["manifests/notes.txt", "manifests/app/sha256/ab", "blobs/ab/cd", "manifests/app/_sha256/ab"]
        {
            assert!(name(other).is_none(), "{other}");
        }
    }
}
