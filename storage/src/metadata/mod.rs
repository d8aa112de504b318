//! Who holds what under which name: repositories, manifests, tags, memberships, upload sessions.
//!
//! How to add a query: put it with its table's file, use `$1` placeholders, `ON CONFLICT` and `RETURNING` (both
//! engines take them), add the index that it walks to `migrations/`, and run the storage tests on both engines.

mod audit;
mod blob_writes;
mod blobs;
mod bootstrap;
mod cached;
mod changed_facts;
mod decisions;
mod due_decisions;
mod evictions;
mod extra_records;
mod holders;
mod inspect;
mod installation;
mod judge;
mod leases;
mod lists;
mod manifest_deletes;
mod manifests;
mod many;
mod memberships;
mod policies;
mod principals;
mod promises;
mod quarantine;
mod reclaim;
mod references;
mod restore;
mod reviews;
mod rule_book;
mod sbom_jobs;
mod sessions;
mod settle_blobs;
mod signing_keys;
mod tag_lists;
mod tags;
mod unrecorded;
mod uploads;
mod verifications;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

pub use audit::AuditEvent;
pub use blobs::{BlobContent, BlobRecord, NewBlob, Segment};
pub use decisions::{NewDecision, StoredDecision, Undecided};
pub use due_decisions::TakenManifest;
pub use evictions::Evicted;
pub use inspect::{Content, Stored};
pub use judge::{Holder, Presence, Verdict};
pub use leases::FillLease;
pub use lists::{CatalogPage, Referrer, ReferrerPage, TagPage};
pub use manifests::{NewManifest, StoredManifest};
pub use memberships::Membership;
pub use policies::{HistoryLimits, PolicyTexts, StoredPolicy, StoredTrust, TextChange};
pub use principals::{NewCredential, Principal, expiry_in, time_ago};
pub use restore::Restored;
pub use reviews::{Review, ReviewKind, Settled};
pub use sbom_jobs::{FailedSbom, SbomJob};
pub use settle_blobs::SettledBlobs;
pub use signing_keys::StoredKey;
pub use tags::TagChange;
pub(crate) use unrecorded::Unrecorded;
pub use uploads::{UploadProgress, UploadSession};
pub use verifications::StoredVerification;

use many::{bind_all, list, rows};
use rule_book::RuleBook;

use crate::cache::{Cache, CacheLimits};
use crate::db::{Database, Engine, now_ms};
use crate::error::StorageError;
use crate::tag_rules::TagRules;
use rreg_oci::{Digest, RepositoryName};

/// Forms whose names are remembered: a thousand tags each at most.
const NAMES_OF_FORMS: usize = 64;

/// The count of changes that they were looked up at, and the tags.
type NamesOfForm = (u64, Arc<[rreg_oci::Tag]>);

/// Rows about content. The bytes of manifests and small blobs live here too.
#[derive(Debug)]
pub struct MetadataStore {
    db: Database,
    cache: Arc<Cache>,
    /// Sessions that have no row yet, where no other process can ask for them.
    empty: Option<Arc<sessions::EmptySessions>>,
    /// Which tags never move.
    rules: Arc<RuleBook>,
    /// How many times stored content turned out to be damaged.
    damaged: AtomicU64,
    /// [`Self::records_waiting`]
    records_waiting: AtomicU64,
    /// How many quarantines were noted since nothing was found quarantined: only then is it asked for each manifest. More
    /// than none before the first look.
    quarantines: AtomicU64,
    /// The tags of all manifests of one form in a repository, as of a count of changes of names there.
    names_of_forms: quick_cache::sync::Cache<(i64, Digest), NamesOfForm>,
}

impl MetadataStore {
    /// Opens the embedded database file, creating it if need be.
    ///
    /// # Errors
    /// When it cannot be opened or its schema is newer than this binary.
    pub async fn sqlite(path: &Path, cache: CacheLimits) -> Result<Self, StorageError> {
        Ok(Self::new(Database::sqlite(path).await?, cache))
    }

    /// Opens the existing embedded database file to read it, also while a server writes it.
    ///
    /// # Errors
    /// When it is not there, cannot be opened, or its schema is not this binary's.
    pub async fn sqlite_to_read(path: &Path) -> Result<Self, StorageError> {
        // Caches would be told nothing of what the other process writes.
        let none = CacheLimits { manifests: 0, blobs: 0, tags: 0 };
        Ok(Self::new(Database::sqlite_to_read(path).await?, none))
    }

    /// Whether a registry has been in this PostgreSQL database. Nothing is made there.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_in_postgres(url: &str) -> Result<bool, StorageError> {
        Database::is_in_postgres(url).await
    }

    /// Connects to PostgreSQL, shared with other replicas.
    ///
    /// # Errors
    /// When it does not answer or its schema is newer than this binary.
    pub async fn postgres(url: &str, max_connections: u32, cache: CacheLimits) -> Result<Self, StorageError> {
        Ok(Self::new(Database::postgres(url, max_connections).await?, cache))
    }

    fn new(db: Database, limits: CacheLimits) -> Self {
        let cache = Arc::new(Cache::new(db.engine(), limits));
        let rules = Arc::new(RuleBook::new(db.engine(), TagRules::default()));
        let empty = (db.engine() == Engine::Sqlite).then(Arc::default);
        Self {
            db,
            cache,
            empty,
            rules,
            damaged: AtomicU64::new(0),
            records_waiting: AtomicU64::new(0),
            quarantines: AtomicU64::new(1),
            names_of_forms: quick_cache::sync::Cache::new(NAMES_OF_FORMS),
        }
    }

    /// Makes tags immutable by these rules, before those in the database.
    #[must_use]
    pub fn with_tag_rules(mut self, rules: TagRules) -> Self {
        self.rules = Arc::new(RuleBook::new(self.db.engine(), rules));
        self
    }

    /// Which database it is.
    pub fn engine(&self) -> Engine {
        self.db.engine()
    }

    /// Whether the database answers, to readers and to writers.
    ///
    /// # Errors
    /// What it answers instead.
    pub async fn ping(&self) -> Result<(), StorageError> {
        sqlx::query("SELECT 1").execute(&mut *self.db.read().await?).await?;
        self.db.write((), |_, ()| Box::pin(async { Ok(()) }), |(), ()| {}).await
    }

    /// Whether there is room for new content, where that can be told.
    ///
    /// # Errors
    /// [`StorageError::Full`].
    pub fn room(&self) -> Result<(), StorageError> {
        self.db.room()
    }

    /// Logs and counts that stored content is not what was stored.
    pub(crate) fn note_damage(&self, digest: &Digest, what: &str) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%digest, what, "stored content is damaged; it is not served");
    }

    pub(crate) fn damage_count(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether the repository exists: something was pushed to it once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_repository(&self, repository: &RepositoryName) -> Result<bool, StorageError> {
        Ok(find_repository(&mut *self.db.read().await?, repository).await?.is_some())
    }

    /// Finishes queued writes and closes all connections.
    pub async fn close(&self) {
        self.keep_empty_sessions().await;
        self.db.close().await;
    }
}

async fn find_repository(
    conn: &mut AnyConnection,
    name: &RepositoryName,
) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT id FROM repositories WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The repository's row, made if it is the first push.
async fn ensure_repository(conn: &mut AnyConnection, name: &RepositoryName) -> Result<i64, StorageError> {
    if let Some(id) = find_repository(conn, name).await? {
        return Ok(id);
    }
    sqlx::query("INSERT INTO repositories (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name.as_str())
        .bind(now_ms())
        .execute(&mut *conn)
        .await?;
    find_repository(conn, name).await?.ok_or(StorageError::Conflict)
}

fn text_column<T: std::str::FromStr>(row: &AnyRow, column: usize) -> Result<T, StorageError>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|e| StorageError::Corrupt(format!("{text:?}: {e}")))
}

fn digest_column(row: &AnyRow, column: usize) -> Result<Digest, StorageError> {
    text_column(row, column)
}

fn size_column(row: &AnyRow, column: usize) -> Result<u64, StorageError> {
    let size: i64 = row.try_get(column)?;
    u64::try_from(size).map_err(|_| StorageError::Corrupt(format!("negative size {size}")))
}

/// Sizes are stored as signed integers; nothing larger than 8 EiB is ever accepted.
fn to_sql(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
