//! What the object store says about itself, for the day the database is lost.
//!
//! ```text
//! manifests/<repository>/_<algorithm>/<hex>   one JSON document: a manifest of the repository with its tags and blobs
//! ```
//!
//! The database is the truth and these records follow it: a transaction that changes a manifest, its tags or the
//! objects of its blobs notes so, and a worker writes the record (or deletes it, if the manifest is gone) soon
//! afterwards. No push waits for it. A record has the manifest's bytes, the keys of the objects that hold its blobs,
//! and the bytes of small blobs, which are in the database otherwise (up to 1 MiB of them in one record).
//!
//! So what the store cannot give back is what happened in the last few seconds, content that no manifest refers to,
//! and everything that is not content: uploads that are open, the history of tags, users, rules, audit rows.
//!
//! Repository names have no component that begins with `_`, so no two manifests share a record.

use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use rreg_oci::{Digest, RepositoryName, Tag};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Storage;
use crate::blob::BlobStore;
use crate::error::StorageError;
use crate::metadata::{BlobContent, NewBlob, Segment, Unrecorded};

/// A worker that has not written a record by then is taken for dead.
const LEASE_MS: u64 = 60_000;
/// Records written at once: in the background, and in the way of as few pushes as possible.
const AT_ONCE: usize = 16;
/// Records whose rows go in one transaction, which pushes wait for.
const TOGETHER: usize = 32;
/// Longest record that is read, in bytes: a manifest with each character escaped, its blobs, and room.
const MAX_RECORD: u64 = 64 << 20;

/// A manifest as recorded in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedManifest {
    /// Where it is.
    pub repository: RepositoryName,
    /// Under which digest.
    pub digest: Digest,
    /// The type under which it was pushed.
    pub media_type: String,
    /// Its bytes. Every manifest is JSON, so they are text.
    pub body: String,
    /// Its tags.
    pub tags: Vec<RecordedTag>,
    /// The blobs of the repository that it needs.
    pub blobs: Vec<RecordedBlob>,
}

impl RecordedManifest {
    /// Rows come in the order in which they were made, which a rebuilt database has another of.
    fn ordered(mut self) -> Self {
        self.tags.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        self.blobs.sort_by_key(|blob| blob.digest.to_string());
        self
    }
}

/// A tag of a recorded manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedTag {
    /// Its name.
    pub name: Tag,
    /// When it was last written, in milliseconds since the Unix epoch: of two records that claim a tag the later
    /// is right.
    pub updated_at: i64,
}

/// A blob of a recorded manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    #[serde(flatten)]
    pub content: RecordedContent,
}

/// Where the bytes of a recorded blob are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordedContent {
    /// Here.
    #[serde(with = "base64_text")]
    Bytes(Vec<u8>),
    /// In these objects, one after the other.
    Objects(Vec<Segment>),
    /// In the database alone.
    Elsewhere,
}

impl RecordedBlob {
    /// The blob as a row wants it; `None` if its bytes are in the database alone, or are not its bytes.
    pub fn to_blob(&self) -> Option<NewBlob> {
        let content = match &self.content {
            RecordedContent::Bytes(bytes) if Digest::of(self.digest.algorithm(), bytes) == self.digest => {
                BlobContent::Inline(bytes.clone().into())
            }
            RecordedContent::Objects(objects) => BlobContent::Segments(objects.clone().into()),
            RecordedContent::Bytes(_) | RecordedContent::Elsewhere => return None,
        };
        Some(NewBlob { digest: self.digest, size: self.size, content, replace: false })
    }
}

mod base64_text {
    use base64::Engine as _;

    use super::{BASE64_STANDARD, Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

fn path(repository: &RepositoryName, digest: &Digest) -> Path {
    Path::from(format!("manifests/{repository}/_{}/{}", digest.algorithm().as_str(), digest.hex()))
}

impl BlobStore {
    /// Every record in the store, read one after the other; one that cannot be had or understood comes as the reason.
    pub fn records(
        &self,
    ) -> impl Stream<Item = Result<Result<RecordedManifest, String>, StorageError>> + Send + '_ {
        let found = self.listed("manifests");
        found.then(async |found| {
            let meta = found?;
            let said = self.listed_record(&meta.location, meta.size).await?;
            Ok(said.unwrap_or_else(|| Err(format!("{}: it is listed, and not there", meta.location))))
        })
    }

    /// As [`Self::record`]. One that cannot be had must not keep the others from being looked at, if the store is there
    /// at all: it comes as the reason too.
    pub(crate) async fn listed_record(
        &self,
        at: &Path,
        size: u64,
    ) -> Result<Option<Result<RecordedManifest, String>>, StorageError> {
        match self.record(at, size).await {
            Err(StorageError::Object(error)) => {
                self.ping().await?;
                Ok(Some(Err(format!("{at}: {error}"))))
            }
            said => said,
        }
    }

    /// `None` if it has been deleted since it was listed.
    pub(crate) async fn record(
        &self,
        at: &Path,
        size: u64,
    ) -> Result<Option<Result<RecordedManifest, String>>, StorageError> {
        if size > MAX_RECORD {
            return Ok(Some(Err(format!("{at}: {size} bytes are too many for a record"))));
        }
        // What is passed over here is lost to `--rebuild`.
        let Some(found) = self.get(at.as_ref(), None).await? else { return Ok(None) };
        Ok(Some(understand(at, &found.bytes().await?)))
    }
}

/// What the record says, if it is the record of what it says: right place, right digest.
fn understand(at: &Path, bytes: &Bytes) -> Result<RecordedManifest, String> {
    let record: RecordedManifest = serde_json::from_slice(bytes).map_err(|e| format!("{at}: {e}"))?;
    let found = Digest::of(record.digest.algorithm(), record.body.as_bytes());
    if found != record.digest {
        return Err(format!("{at}: the manifest's digest is {found}, not {}", record.digest));
    }
    if path(&record.repository, &record.digest) != *at {
        return Err(format!("{at}: this is the record of {} in {}", record.digest, record.repository));
    }
    Ok(record)
}

/// A page of manifests whose records were looked at.
#[derive(Debug)]
pub struct RecordsPage {
    /// The last row's number: where the next page begins.
    pub last: i64,
    /// Manifests whose record is not there, or (where it was read) does not say what the rows say.
    pub wrong: Vec<(RepositoryName, Digest)>,
    /// One whose record is right, or waits to be written.
    pub right: Option<(RepositoryName, Digest)>,
}

impl Storage {
    /// Looks at the records of up to `limit` manifests with row numbers above `after`; `None`: there are no more. With
    /// `read` they are read and compared, else only looked for; with `heal` those that are wrong are queued to be
    /// written again. What waits to be written is not wrong.
    ///
    /// # Errors
    /// When database or store fail.
    pub async fn inspect_records(
        &self,
        after: i64,
        limit: usize,
        read: bool,
        heal: bool,
    ) -> Result<Option<RecordsPage>, StorageError> {
        let page = self.metadata().recordable(after, limit).await?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        let last = *last;
        let mut checked = futures_util::stream::iter(page)
            .map(|(_, it)| async move { Ok::<_, StorageError>((self.is_record_right(&it, read).await?, it)) })
            .buffer_unordered(AT_ONCE);
        let (mut wrong, mut right) = (Vec::new(), None);
        while let Some(outcome) = checked.next().await {
            let (is_right, unrecorded) = outcome?;
            if is_right {
                right = Some((unrecorded.repository, unrecorded.digest));
                continue;
            }
            wrong.push((unrecorded.repository.clone(), unrecorded.digest));
            if heal {
                self.metadata().record_again(unrecorded).await?;
            }
        }
        Ok(Some(RecordsPage { last, wrong, right }))
    }

    /// Whether the store has a record of this manifest.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_record(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        Ok(self.blobs().meta(path(repository, digest).as_ref()).await?.is_some())
    }

    async fn is_record_right(&self, it: &Unrecorded, read: bool) -> Result<bool, StorageError> {
        match self.says_record(it, read).await {
            // One that cannot be had is of no use, if the store is there at all.
            Err(StorageError::Object(_)) => self.blobs().ping().await.map(|()| false),
            said => said,
        }
    }

    async fn says_record(&self, it: &Unrecorded, read: bool) -> Result<bool, StorageError> {
        let at = path(&it.repository, &it.digest);
        // What changes is queued in the same transaction, so that what is asked last decides.
        let said = match self.blobs().meta(at.as_ref()).await? {
            Some(_) if !read => return Ok(true),
            Some(meta) => self.blobs().record(&at, meta.size).await?.and_then(Result::ok),
            None => None,
        };
        let said = said.map(RecordedManifest::ordered);
        let rows = self.metadata().to_record(it).await?.map(RecordedManifest::ordered);
        Ok(said == rows || self.metadata().awaits_record(it).await?)
    }

    /// Brings up to `limit` records in line with the rows. Gives how many; fewer than `limit`: that was all.
    ///
    /// # Errors
    /// When database or store fail; what was not done is tried again after a minute.
    pub async fn write_records(&self, limit: u32) -> Result<usize, StorageError> {
        // Nothing is made where the store should be.
        self.blobs().must_be_ours().await?;
        let claimed = self.metadata().claim_unrecorded(LEASE_MS, limit).await?;
        let count = claimed.len();
        let mut written = futures_util::stream::iter(claimed)
            .map(|unrecorded| self.write_record(unrecorded))
            .buffer_unordered(AT_ONCE);
        let (mut result, mut done) = (Ok(()), Vec::with_capacity(TOGETHER));
        while let Some(outcome) = written.next().await {
            match outcome {
                Ok(unrecorded) => done.push(unrecorded),
                // The others all the same.
                Err(error) => result = Err(error),
            }
            // One transaction for many: each by itself would take longer than a push.
            if done.len() == TOGETHER {
                self.recorded(std::mem::take(&mut done), &mut result).await;
            }
        }
        self.recorded(done, &mut result).await;
        self.metadata().count_unrecorded().await?;
        result.map(|()| count)
    }

    async fn recorded(&self, done: Vec<Unrecorded>, result: &mut Result<(), StorageError>) {
        let kept = match self.blobs().must_be_ours().await {
            Ok(()) => self.metadata().recorded(done).await,
            Err(error) => Err(error),
        };
        match kept {
            // Too many wrote at once: their leases end.
            Ok(()) | Err(StorageError::Conflict) => {}
            Err(error) => *result = Err(error),
        }
    }

    async fn write_record(&self, unrecorded: Unrecorded) -> Result<Unrecorded, StorageError> {
        let at = path(&unrecorded.repository, &unrecorded.digest);
        match self.metadata().to_record(&unrecorded).await? {
            // What the record says may be all that leads to the content; it is written when the content is there again.
            Some(_)
                if self.metadata().lacks_content(&unrecorded.repository, &unrecorded.digest).await?
                    && self.blobs().meta(at.as_ref()).await?.is_some() => {}
            Some(record) => {
                let bytes = serde_json::to_vec(&record).map_err(|e| StorageError::Corrupt(e.to_string()))?;
                self.blobs().objects().put(&at, bytes.into()).await?;
            }
            None => self.blobs().delete(at.as_ref()).await?,
        }
        Ok(unrecorded)
    }
}
