//! Rows from the records of the object store, for a database that was lost, emptied, or restored from an old backup.
//!
//! Nothing is deleted and no object is written. What a record names is looked for before it gets a row: every object
//! in its full length, with [`Depth::Deep`] in every byte. A manifest that lacks a blob is not restored, but its
//! other blobs are, so that pushing it again uploads what is missing and no more.

use futures_util::StreamExt as _;
use rreg_oci::{Digest, Manifest, ManifestLimits, RepositoryName};
use rreg_storage::{
    BlobContent, Content, NewBlob, RecordedBlob, RecordedContent, RecordedManifest, Segment, Storage,
    StorageError,
};

use crate::Depth;

/// Contradictions that are named in a refusal.
const NAMED: usize = 20;

/// A manifest that could not be restored as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// Where.
    pub repository: RepositoryName,
    /// Which manifest.
    pub manifest: Digest,
    /// A blob of it that is not to be had, for want of which it is not there; or a child of it, an index, which is.
    pub missing: Digest,
}

/// What was restored, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// Records in the store.
    pub records: u64,
    /// Contents that the database knows now.
    pub blobs: u64,
    /// Manifests that it knows now.
    pub manifests: u64,
    /// Tags that it knows now.
    pub tags: u64,
    /// How many things were not restored.
    pub count: u64,
    /// The first of the manifests that were not restored as they were.
    pub incomplete: Vec<Incomplete>,
    /// The first of the records that could not be understood, with the reason.
    pub unreadable: Vec<String>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Rebuild {
    /// It was done.
    Done(Rebuilt),
    /// The store lists no records, and nothing else that is known to be in it.
    Nothing,
    /// The database says other things than the store; the first of them. Nothing was changed.
    Refused(Vec<String>),
}

/// Adds rows for everything that the store has records of. Over rows that contradict the records only with `merge`:
/// then contents stay as the rows have them, and of two values of a tag the later stays. Names up to `limit` things
/// that were not restored.
///
/// # Errors
/// When database or store fail; what was restored until then stays, and doing it again is harmless.
pub async fn rebuild(
    storage: &Storage,
    depth: Depth,
    merge: bool,
    limit: usize,
) -> Result<Rebuild, StorageError> {
    if !merge && !storage.metadata().is_empty().await? {
        let contradictions = contradictions(storage).await?;
        if !contradictions.is_empty() {
            return Ok(Rebuild::Refused(contradictions));
        }
    }
    let mut rebuilt = Rebuilt::default();
    let mut indexes = Vec::new();
    let mut records = Box::pin(storage.blobs().records());
    while let Some(record) = records.next().await {
        rebuilt.records += 1;
        match record?.and_then(|record| parse(&record).map(|manifest| (record, manifest))) {
            Ok((record, manifest)) => {
                if !manifest.manifests.is_empty() {
                    let children = manifest.manifests.iter().map(|child| child.digest).collect();
                    indexes.push((record.repository.clone(), record.digest, children));
                }
                restore(storage, depth, (record, manifest), limit, &mut rebuilt).await?;
            }
            Err(reason) => {
                rebuilt.count += 1;
                if rebuilt.unreadable.len() < limit {
                    rebuilt.unreadable.push(reason);
                }
            }
        }
    }
    if rebuilt.records == 0 && !storage.blobs().lists_its_marker().await? {
        return Ok(Rebuild::Nothing);
    }
    // Once all manifests are there: records come in no order.
    for (repository, manifest, children) in indexes {
        let missing = storage.metadata().link_children(&repository, &manifest, children).await?;
        rebuilt.lacks(&repository, &manifest, missing, limit);
    }
    storage.rebuilt().await?;
    Ok(Rebuild::Done(rebuilt))
}

impl Rebuilt {
    fn lacks(&mut self, repository: &RepositoryName, manifest: &Digest, missing: Vec<Digest>, limit: usize) {
        for missing in missing {
            self.count += 1;
            if self.incomplete.len() < limit {
                let repository = repository.clone();
                self.incomplete.push(Incomplete { repository, manifest: *manifest, missing });
            }
        }
    }
}

async fn contradictions(storage: &Storage) -> Result<Vec<String>, StorageError> {
    let mut found = Vec::new();
    let mut records = Box::pin(storage.blobs().records());
    while let Some(record) = records.next().await {
        let Ok(record) = record? else { continue };
        found.extend(storage.metadata().contradiction(&record).await?);
        if found.len() >= NAMED {
            break;
        }
    }
    Ok(found)
}

/// It was accepted once, under whatever limits: only its length bounds it now.
fn parse(record: &RecordedManifest) -> Result<Manifest, String> {
    let limits =
        ManifestLimits { max_size: usize::MAX, max_descriptors: usize::MAX, ..ManifestLimits::default() };
    Manifest::parse(Some(&record.media_type), record.body.as_bytes(), &limits)
        .map_err(|error| format!("{} in {}: {error}", record.digest, record.repository))
}

async fn restore(
    storage: &Storage,
    depth: Depth,
    (record, manifest): (RecordedManifest, Manifest),
    limit: usize,
    rebuilt: &mut Rebuilt,
) -> Result<(), StorageError> {
    let mut blobs = Vec::with_capacity(record.blobs.len());
    for blob in &record.blobs {
        if let Some(mut found) = to_be_had(storage, depth, blob).await? {
            found.replace = is_lost(storage, &found).await?;
            blobs.push(found);
        }
    }
    let (repository, digest) = (record.repository.clone(), record.digest);
    let restored = storage.metadata().restore(record, manifest, blobs).await?;
    rebuilt.blobs += restored.blobs;
    rebuilt.manifests += u64::from(restored.manifest);
    rebuilt.tags += restored.tags;
    rebuilt.lacks(&repository, &digest, restored.missing, limit);
    Ok(())
}

/// Whether the rows have the blob in other objects than these, and one of those is gone: the database is older than the
/// record.
async fn is_lost(storage: &Storage, found: &NewBlob) -> Result<bool, StorageError> {
    let Some(stored) = storage.metadata().stored_blob(&found.digest).await? else { return Ok(false) };
    let (Content::Objects(known), BlobContent::Segments(found)) = (&stored.content, &found.content) else {
        return Ok(false);
    };
    if known.iter().zip(found.iter()).all(|(a, b)| a.key == b.key) && known.len() == found.len() {
        return Ok(false);
    }
    for object in known {
        if storage.blobs().size_of(&object.key).await? != Some(object.size) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The blob, if its bytes are where the record says.
async fn to_be_had(
    storage: &Storage,
    depth: Depth,
    blob: &RecordedBlob,
) -> Result<Option<NewBlob>, StorageError> {
    let RecordedContent::Objects(objects) = &blob.content else { return Ok(blob.to_blob()) };
    for Segment { key, size } in objects {
        if storage.blobs().size_of(key).await? != Some(*size) {
            return Ok(None);
        }
    }
    if objects.iter().map(|object| object.size).sum::<u64>() != blob.size {
        return Ok(None);
    }
    if depth == Depth::Deep {
        let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        let found = storage.blobs().digest_of(&keys, blob.digest.algorithm()).await?;
        return Ok(blob.to_blob().filter(|_| found == Some(blob.digest)));
    }
    Ok(blob.to_blob())
}
