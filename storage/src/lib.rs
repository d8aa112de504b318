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
mod heal;
mod metadata;
mod records;
mod room;
mod tag_rules;
mod upload;

use std::sync::Arc;

pub use blob::{BlobReader, BlobStore, FoundObject, FoundUpload, piece};
pub use cache::CacheLimits;
pub use claim::Claim;
pub use db::Engine;
pub use error::StorageError;
pub use extra_records::ListedRecord;
pub use fact_epochs::FactsEpoch;
pub use metadata::{
    AuditEvent, BlobContent, BlobRecord, CatalogPage, Content, Evicted, FailedSbom, FillLease, HistoryLimits,
    Holder, Membership, MetadataStore, NewBlob, NewCredential, NewDecision, NewManifest, PolicyTexts,
    Presence, Principal, Referrer, ReferrerPage, Restored, Review, ReviewKind, SbomJob, Segment, Settled,
    SettledBlobs, Stored, StoredDecision, StoredKey, StoredManifest, StoredPolicy, StoredTrust,
    StoredVerification, TagChange, TagPage, TakenManifest, TextChange, Undecided, UploadProgress,
    UploadSession, Verdict, expiry_in, time_ago,
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
