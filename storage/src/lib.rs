//! Keeps bytes and their metadata.
//!
//! Two parts that know nothing of HTTP: [`BlobStore`] puts bytes into objects (a directory, S3, GCS, Azure), and
//! [`MetadataStore`] says in SQL who holds what under which name. [`Storage`] joins them where one request needs
//! both, which is writing a blob ([`Storage::append`], [`Storage::commit`]) and reading one ([`Storage::open`]).
//!
//! ```text
//! <data>/rreg.db          SQLite: everything but large bytes (manifests and small blobs included)
//! <data>/rreg.lock        held by the one process that uses this directory
//! <data>/objects/blobs/…  objects, see `blob`
//! ```
//!
//! Order of writes: bytes are made durable first, then one transaction makes them known. Order of deletes: rows
//! first, then bytes after a grace period. So a crash can leave an object nobody knows, never a row without bytes.

mod blob;
mod cache;
mod claim;
mod damage;
mod db;
mod error;
mod extra_records;
mod fact_epochs;
mod metadata;
mod records;
mod room;
mod tag_rules;
mod upload;

use std::sync::Arc;

use rreg_oci::Digest;

pub use blob::{BlobReader, BlobStore, FoundObject, FoundUpload};
pub use cache::CacheLimits;
pub use claim::Claim;
pub use db::Engine;
pub use error::StorageError;
pub use extra_records::ListedRecord;
pub use fact_epochs::FactsEpoch;
pub use metadata::{
    AuditEvent, BlobContent, BlobRecord, CatalogPage, Content, Evicted, FailedSbom, FillLease, Holder,
    Membership, MetadataStore, NewBlob, NewCredential, NewDecision, NewManifest, PolicyTexts, Presence,
    Principal, Referrer, ReferrerPage, Restored, Review, ReviewKind, SbomJob, Segment, Settled, SettledBlobs,
    Stored, StoredDecision, StoredKey, StoredManifest, StoredPolicy, StoredTrust, StoredVerification,
    TagChange, TagPage, TakenManifest, TextChange, Undecided, UploadProgress, UploadSession, Verdict,
    expiry_in,
};
pub use records::{RecordedBlob, RecordedContent, RecordedManifest, RecordedTag, RecordsPage};
pub use tag_rules::{TagRule, TagRules};
pub use upload::ChunkHeaders;

/// What uploads may be and where small ones go.
#[derive(Clone, Copy, Debug)]
pub struct StorageOptions {
    /// Blobs up to so many bytes are kept in the database: one commit instead of a file with syncs of its own.
    pub inline_max: usize,
    /// Largest blob, in bytes.
    pub max_blob_size: u64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { inline_max: 32 << 10, max_blob_size: u64::MAX }
    }
}

/// Bytes and metadata of one registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    blobs: BlobStore,
    metadata: Arc<MetadataStore>,
    options: StorageOptions,
    damage: damage::Damage,
}

impl Storage {
    /// Joins the two.
    pub fn new(blobs: BlobStore, metadata: MetadataStore, options: StorageOptions) -> Self {
        let metadata = Arc::new(metadata);
        let damage = damage::Damage::new(metadata.clone());
        Self { blobs, metadata, options, damage }
    }

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

    /// Reads what is quarantined, up to `limit` blobs, and ends the quarantine of what is right. Gives how many those were,
    /// and how many stay.
    ///
    /// # Errors
    /// When the store or the database fails; the others are read all the same.
    pub async fn heal_all(&self, limit: usize) -> Result<(usize, usize), StorageError> {
        let (mut healed, mut left, mut after, mut failure) = (0, 0, -1, None);
        while healed + left < limit {
            let page = self.metadata.quarantined(after, 100).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, digest) in &page {
                match self.heal(digest).await {
                    Ok(true) => healed += 1,
                    Ok(false) => left += 1,
                    // One that cannot be read must not keep the others from being served.
                    Err(error) => {
                        left += 1;
                        failure = failure.or(Some(error));
                    }
                }
            }
        }
        self.metadata.note_quarantine(left > 0);
        failure.map_or(Ok((healed, left)), Err)
    }

    /// The rows.
    pub fn metadata(&self) -> &MetadataStore {
        &self.metadata
    }

    /// The bytes.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// How many times stored content turned out to be damaged since the start.
    pub fn damage_count(&self) -> u64 {
        self.metadata.damage_count()
    }
}
