//! The bytes of blobs, in objects under random keys.
//!
//! ```text
//! blobs/<2 hex>/<uuid>     one segment of one blob, or of an upload that is still open
//! ```
//!
//! What belongs to which blob stands in the database only. An object gets its row after it is durable, so a crash
//! leaves an object without a row and never a row without an object.

mod ahead;
mod breaks;
mod buffers;
mod directory;
mod hashing;
mod holder;
mod inspect;
mod marker;
pub mod piece;
mod presence;
mod reader;
mod unfinished;
mod verified;
mod verifying;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ObjectStore, ObjectStoreExt as _};
use rreg_oci::Hasher;
use tokio::sync::Semaphore;

pub use inspect::FoundObject;
pub(crate) use marker::Owner;
pub use reader::BlobReader;
pub use unfinished::FoundUpload;
pub(crate) use writer::{SegmentWriter, Written, WrittenContent};

use crate::error::StorageError;
use crate::metadata::{BlobContent, BlobRecord, Segment};
use crate::room::Volume;
use verified::Verified;
use verifying::Verifying;

/// Part size on a local directory: small, so that writing starts early and buffers stay few.
const DIRECTORY_PART: usize = 2 << 20;
/// Bytes of all uploads together that are on their way to a remote store: a slow one must not fill the memory.
const ON_THE_WAY: usize = 64 << 20;
/// The fewest parts on their way, however large they are.
const FEWEST_PARTS: usize = 2;

/// How download addresses at the store itself are made.
#[derive(Clone, Debug)]
struct Redirects {
    signer: Arc<dyn Signer>,
    /// The signer sees whole keys; the object store may add this to them by itself.
    prefix: Option<String>,
    expiry: Duration,
    /// Whether the store understands a range that counts from the end.
    suffix_ranges: bool,
}

/// An object store with what rreg needs to know of it.
#[derive(Clone, Debug)]
pub struct BlobStore {
    objects: Arc<dyn ObjectStore>,
    /// Signs download addresses, where redirects are wanted.
    redirects: Option<Redirects>,
    /// How uploads that were never ended are found.
    unfinished: Option<unfinished::Unfinished>,
    part_size: usize,
    /// Places for parts on their way.
    places: Arc<Semaphore>,
    /// Whether asking costs nothing, and what it answers is never wrong for a moment.
    local: bool,
    verified: Verified,
    verifying: Verifying,
    buffers: buffers::Buffers,
    /// The disk with the directory that it is.
    volume: Option<Arc<Volume>>,
    /// Whose store it has to be.
    installation: Option<Arc<str>>,
    /// Which database opened it, to write.
    holder: Option<holder::Holder>,
    /// When that was last found to be so.
    found_ours: Arc<Mutex<Option<Instant>>>,
}

impl BlobStore {
    /// Whether it is a directory of this machine, where a read costs next to nothing.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// A local directory, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(root: PathBuf, verify_interval: Duration) -> Result<Self, StorageError> {
        std::fs::create_dir_all(&root).map_err(StorageError::io(format!("creating {}", root.display())))?;
        let objects = Arc::new(directory::Directory::new(root)?);
        let volume = Some(objects.volume());
        Ok(Self {
            part_size: DIRECTORY_PART,
            places: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            local: true,
            volume,
            ..Self::new(objects, DIRECTORY_PART, verify_interval)
        })
    }

    /// Any object store. `part_size` is the length of a multipart upload's parts (S3: at least 5 MiB);
    /// `verify_interval` how long an object that was read once and found good, and has not changed since by what
    /// the store says, is taken to be good.
    pub fn new(objects: Arc<dyn ObjectStore>, part_size: usize, verify_interval: Duration) -> Self {
        Self {
            objects,
            redirects: None,
            unfinished: None,
            part_size: part_size.max(1),
            places: Arc::new(Semaphore::new((ON_THE_WAY / part_size.max(1)).max(FEWEST_PARTS))),
            local: false,
            verified: Verified::new(verify_interval),
            verifying: Verifying::default(),
            buffers: buffers::Buffers::default(),
            volume: None,
            installation: None,
            holder: None,
            found_ours: Arc::default(),
        }
    }

    /// Whether there is room for new content, where that can be told.
    ///
    /// # Errors
    /// [`StorageError::Full`].
    pub fn room(&self) -> Result<(), StorageError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        volume.room().map(|_| ()).map_err(|error| StorageError::Full(error.to_string()))
    }

    /// Wraps the object store, for fault injection or throttling.
    #[must_use]
    pub fn wrapped(mut self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        self.objects = wrap(self.objects);
        self
    }

    /// Lets clients fetch from the store directly, with addresses that are good for `expiry`. `prefix` is what the
    /// object store puts before every key, `suffix_ranges` whether it understands ranges that count from the end.
    #[must_use]
    pub fn with_redirects(
        mut self,
        signer: Arc<dyn Signer>,
        prefix: Option<String>,
        expiry: Duration,
        suffix_ranges: bool,
    ) -> Self {
        self.redirects = Some(Redirects { signer, prefix, expiry, suffix_ranges });
        self
    }

    pub(crate) fn objects(&self) -> &dyn ObjectStore {
        &*self.objects
    }

    pub(crate) fn part_size(&self) -> usize {
        self.part_size
    }

    fn fresh_key(&self) -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        format!("blobs/{}/{id}", &id[..2])
    }

    /// Writes a new object: `tail` first, which `hasher` has seen.
    pub(crate) fn writer(&self, hasher: Hasher, tail: Bytes) -> SegmentWriter {
        SegmentWriter::new(self.clone(), hasher, tail)
    }

    pub(crate) fn was_checked(&self, record: &BlobRecord) -> bool {
        match &record.content {
            BlobContent::Inline(_) => true,
            BlobContent::Segments(segments) => {
                segments.first().is_some_and(|first| self.verified.was_present(&first.key))
            }
        }
    }

    /// Remembers that these objects hold what was hashed while it was written, so that their first reader need not
    /// hash them again. Only where asking for their entity tags costs nothing.
    pub(crate) async fn written_well(&self, segments: &[Segment]) {
        if !self.local {
            return;
        }
        for segment in segments {
            if let Ok(meta) = self.objects.head(&Path::from(segment.key.as_str())).await {
                self.verified.found_good(&segment.key, meta.e_tag.as_deref());
            }
        }
    }

    /// Whether each of these objects is there, has its length, and was found good lately.
    ///
    /// # Errors
    /// When the store fails or is not the right one: there an object is not gone, only out of sight.
    pub(crate) async fn are_good(&self, segments: &[Segment]) -> Result<bool, StorageError> {
        for segment in segments {
            match self.meta_of(segment).await? {
                Some(meta)
                    if meta.size == segment.size
                        && self.verified.is_fresh(&segment.key, meta.e_tag.as_deref()) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A signed address of the whole blob at the store itself, where redirects are on, it is one object, and the store
    /// understands the range that is asked for (`from_end`: one that counts from the end).
    ///
    /// # Errors
    /// When the address cannot be signed.
    pub async fn redirect(
        &self,
        record: &BlobRecord,
        from_end: bool,
    ) -> Result<Option<String>, StorageError> {
        let (Some(redirects), BlobContent::Segments(segments)) = (&self.redirects, &record.content) else {
            return Ok(None);
        };
        let [segment] = &segments[..] else { return Ok(None) };
        if from_end && !redirects.suffix_ranges {
            return Ok(None);
        }
        let path = match &redirects.prefix {
            Some(prefix) => Path::from(format!("{prefix}/{}", segment.key)),
            None => Path::from(segment.key.as_str()),
        };
        let url = redirects.signer.signed_url(http::Method::GET, &path, redirects.expiry).await?;
        Ok(Some(url.into()))
    }
}
