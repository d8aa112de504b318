//! What the last requests asked for, in bounded memory.
//!
//! Content (manifest bodies) may be cached by anybody, since a digest never changes its meaning. Tags and
//! memberships may be cached only where this process is the only writer ([`Engine::Sqlite`]); with PostgreSQL
//! another replica can change them at any time, so they are read each time.
//!
//! Coherence: a reader takes [`Cache::epoch`] before it reads the database and hands it back with what it read;
//! a writer raises the epoch when its transaction has committed. A value read before that commit is not kept.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache as Bounded;
use quick_cache::{Equivalent, Weighter};
use rreg_oci::{Digest, RepositoryName, Tag};

use crate::db::Engine;
use crate::metadata::{BlobRecord, StoredManifest};

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Bytes of manifests.
    pub manifests: u64,
    /// Bytes of small blobs and of the records of large ones.
    pub blobs: u64,
    /// Number of tags, of which only the digest is kept.
    pub tags: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { manifests: 8 << 20, blobs: 8 << 20, tags: 20_000 }
    }
}

/// A repository and something in it, as a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key<T>(RepositoryName, T);

/// The same by reference, to look up without copying.
#[derive(Hash)]
struct KeyRef<'a, T>(&'a RepositoryName, &'a T);

impl<T: PartialEq + std::hash::Hash> Equivalent<Key<T>> for KeyRef<'_, T> {
    fn equivalent(&self, key: &Key<T>) -> bool {
        *self.0 == key.0 && *self.1 == key.1
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

/// What an entry costs besides its content: key, maps, allocation.
const OVERHEAD: u64 = 400;

impl<K> Weighter<K, Arc<StoredManifest>> for ByBytes {
    fn weight(&self, _: &K, value: &Arc<StoredManifest>) -> u64 {
        OVERHEAD + value.body.len() as u64
    }
}

impl<K> Weighter<K, Arc<BlobRecord>> for ByBytes {
    fn weight(&self, _: &K, value: &Arc<BlobRecord>) -> u64 {
        OVERHEAD + value.memory()
    }
}

/// The caches of one store.
#[derive(Debug)]
pub(crate) struct Cache {
    exclusive: bool,
    epoch: Mutex<u64>,
    /// The digest only: bodies are in [`Self::manifests`], once each, and bounded in bytes.
    tags: Bounded<Key<Tag>, Digest>,
    manifests: Bounded<Key<Digest>, Arc<StoredManifest>, ByBytes>,
    blobs: Bounded<Key<Digest>, Arc<BlobRecord>, ByBytes>,
}

impl Cache {
    pub(crate) fn new(engine: Engine, limits: CacheLimits) -> Self {
        let items = |bytes: u64, each: u64| usize::try_from(bytes / each).unwrap_or(usize::MAX).max(16);
        let tags = usize::try_from(limits.tags).unwrap_or(usize::MAX);
        Self {
            exclusive: engine == Engine::Sqlite,
            epoch: Mutex::new(0),
            tags: Bounded::new(tags),
            manifests: Bounded::with_weighter(items(limits.manifests, 2048), limits.manifests, ByBytes),
            blobs: Bounded::with_weighter(items(limits.blobs, 2048), limits.blobs, ByBytes),
        }
    }

    /// Whether nobody else writes the database.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// To be taken before reading the database.
    pub(crate) fn epoch(&self) -> u64 {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, epoch: u64, insert: impl FnOnce()) {
        let now = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if self.exclusive && *now == epoch {
            insert();
        }
    }

    pub(crate) fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Option<Arc<StoredManifest>> {
        let digest = self.tags.get(&KeyRef(repository, tag))?;
        self.manifest(repository, &digest)
    }

    pub(crate) fn keep_tag(
        &self,
        epoch: u64,
        repository: &RepositoryName,
        tag: &Tag,
        value: &Arc<StoredManifest>,
    ) {
        self.keep(epoch, || {
            if self.manifest(repository, &value.digest).is_none() {
                self.manifests.insert(Key(repository.clone(), value.digest), value.clone());
            }
            self.tags.insert(Key(repository.clone(), tag.clone()), value.digest);
        });
    }

    pub(crate) fn manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Option<Arc<StoredManifest>> {
        self.manifests.get(&KeyRef(repository, digest))
    }

    /// Keeps a manifest. With PostgreSQL the caller has to ask the database about membership before using it.
    pub(crate) fn keep_manifest(&self, epoch: u64, repository: &RepositoryName, value: &Arc<StoredManifest>) {
        let insert = || self.manifests.insert(Key(repository.clone(), value.digest), value.clone());
        if self.exclusive { self.keep(epoch, insert) } else { insert() }
    }

    /// What the kept manifests weigh, in bytes.
    #[cfg(test)]
    pub(crate) fn manifest_bytes(&self) -> u64 {
        self.manifests.weight()
    }

    pub(crate) fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Option<Arc<BlobRecord>> {
        self.blobs.get(&KeyRef(repository, digest))
    }

    pub(crate) fn keep_blob(&self, epoch: u64, repository: &RepositoryName, value: &Arc<BlobRecord>) {
        self.keep(epoch, || self.blobs.insert(Key(repository.clone(), value.digest), value.clone()));
    }

    /// To be called once a write has committed, before its caller is told.
    pub(crate) fn committed(&self, forget: impl FnOnce(&Forget<'_>)) {
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch += 1;
        forget(&Forget(self));
    }
}

/// What a committed write makes stale. Only to be had inside [`Cache::committed`].
pub(crate) struct Forget<'a>(&'a Cache);

impl Forget<'_> {
    pub(crate) fn tag(&self, repository: &RepositoryName, tag: &Tag) {
        self.0.tags.remove(&KeyRef(repository, tag));
    }

    /// A manifest went, and with it any number of tags.
    pub(crate) fn manifest(&self, repository: &RepositoryName, digest: &Digest) {
        self.0.manifests.remove(&KeyRef(repository, digest));
        self.0.tags.clear();
    }

    /// A manifest went that had no tags.
    pub(crate) fn untagged(&self, repository: &RepositoryName, digest: &Digest) {
        self.0.manifests.remove(&KeyRef(repository, digest));
    }

    pub(crate) fn blob(&self, repository: &RepositoryName, digest: &Digest) {
        self.0.blobs.remove(&KeyRef(repository, digest));
    }

    /// A blob changed in every repository that has it.
    pub(crate) fn all_blobs(&self) {
        self.0.blobs.clear();
    }
}
