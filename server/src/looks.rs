//! Whether what a manifest needs is in the store, before a client is told that the manifest is here: who is told so pushes
//! nothing, and content that the store has lost would stay lost.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rreg_oci::{Descriptor, Digest, Manifest, ManifestLimits, Reference, RepositoryName};
use rreg_storage::{Storage, StorageError, StoredManifest};

use crate::lately::Lately;

/// Between two looks at what one manifest needs.
const PAUSE: Duration = Duration::from_secs(60);
/// Manifests whose last look is remembered.
const REMEMBERED: usize = 10_000;
/// Blobs and children that are looked at for one answer.
const MOST: usize = 500;
/// Blobs looked at together.
const AT_ONCE: usize = 8;
/// How long a client waits for it: a store that is slow is no reason to say nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last looks.
#[derive(Debug)]
pub(crate) struct Looks(Lately);

impl Default for Looks {
    fn default() -> Self {
        Self(Lately::new(PAUSE, REMEMBERED))
    }
}

impl Looks {
    /// Whether what this manifest needs was there a while ago.
    pub(crate) fn was_whole(&self, digest: &Digest) -> bool {
        self.0.has(digest)
    }

    /// Whether something that the manifest needs is known to be gone. What could not be asked is not.
    pub(crate) async fn lacks(
        &self,
        storage: &Storage,
        limits: &ManifestLimits,
        repository: &RepositoryName,
        manifest: &StoredManifest,
    ) -> bool {
        if self.was_whole(&manifest.digest) {
            return false;
        }
        let look = Look { storage, limits, repository };
        match tokio::time::timeout(PATIENCE, look.at(manifest)).await {
            Ok(Ok(())) => {
                self.0.note(manifest.digest);
                false
            }
            Ok(Err(StorageError::Damaged { .. } | StorageError::DamagedManifest { .. })) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, digest = %manifest.digest, "what it needs could not be looked at");
                false
            }
            Err(_) => false,
        }
    }
}

struct Look<'a> {
    storage: &'a Storage,
    limits: &'a ManifestLimits,
    repository: &'a RepositoryName,
}

impl Look<'_> {
    async fn at(&self, manifest: &StoredManifest) -> Result<(), StorageError> {
        let (mut seen, mut waiting, mut blobs) = (HashSet::new(), Vec::new(), Vec::new());
        self.add(manifest, &mut waiting, &mut blobs);
        while let Some(child) = waiting.pop() {
            if seen.len() >= MOST || !seen.insert(child.digest) {
                continue;
            }
            match self.storage.metadata().manifest(self.repository, &Reference::Digest(child.digest)).await {
                Ok(child) => self.add(&child, &mut waiting, &mut blobs),
                // An index may name what is not here.
                Err(StorageError::UnknownManifest { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut digests: Vec<Digest> = blobs.into_iter().map(|blob| blob.digest).collect();
        digests.sort_by_key(Digest::to_string);
        digests.dedup();
        digests.truncate(MOST);
        let mut looks = stream::iter(digests).map(|digest| self.blob(digest)).buffer_unordered(AT_ONCE);
        while let Some(found) = looks.next().await {
            found?;
        }
        Ok(())
    }

    fn add(&self, manifest: &StoredManifest, children: &mut Vec<Descriptor>, blobs: &mut Vec<Descriptor>) {
        let media_type = std::str::from_utf8(&manifest.media_type).ok();
        // What is stored was understood once.
        if let Ok(parsed) = Manifest::parse(media_type, &manifest.body, self.limits) {
            children.extend(parsed.manifests);
            blobs.extend(parsed.config.into_iter().chain(parsed.layers));
        }
    }

    async fn blob(&self, digest: Digest) -> Result<(), StorageError> {
        match self.storage.metadata().blob(self.repository, &digest).await {
            Ok(record) => self.storage.check(&record).await,
            // A layer that is kept elsewhere.
            Err(StorageError::UnknownBlob { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
