//! Looking at objects without serving them.

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;
use rreg_oci::{Algorithm, Digest, Hasher};

use super::BlobStore;
use crate::error::StorageError;

/// An object in the store.
#[derive(Clone, Debug)]
pub struct FoundObject {
    /// Its key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// Since it was last written.
    pub age: Duration,
}

impl BlobStore {
    /// The object's length, or `None` if it is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn size_of(&self, key: &str) -> Result<Option<u64>, StorageError> {
        Ok(self.meta(key).await?.map(|meta| meta.size))
    }

    /// The digest of these objects' bytes, one object after the other, or `None` if one is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn digest_of(
        &self,
        keys: &[&str],
        algorithm: Algorithm,
    ) -> Result<Option<Digest>, StorageError> {
        let mut hasher = Hasher::new(algorithm);
        for key in keys {
            let Some(found) = self.get(key, None).await? else { return Ok(None) };
            let mut pieces = found.into_stream();
            while let Some(piece) = pieces.next().await {
                hasher.update(&piece?);
            }
        }
        Ok(Some(hasher.finish()))
    }

    /// Every object that this store's blobs could be in.
    pub fn list(&self) -> impl Stream<Item = Result<FoundObject, StorageError>> + Send + use<> {
        let now = SystemTime::now();
        self.listed("blobs")
            .map(move |found| {
                let meta = found?;
                if !is_ours(meta.location.as_ref()) {
                    return Ok(None);
                }
                let age = now.duration_since(SystemTime::from(meta.last_modified)).unwrap_or_default();
                Ok(Some(FoundObject { key: meta.location.to_string(), size: meta.size, age }))
            })
            .filter_map(|found| std::future::ready(found.transpose()))
    }
}

impl BlobStore {
    /// What the store lists below a folder. A store that begins again and again does not go on for ever.
    pub(crate) fn listed(
        &self,
        folder: &str,
    ) -> impl Stream<Item = Result<ObjectMeta, StorageError>> + Send + use<> {
        let mut seen = Seen::default();
        self.objects.list(Some(&Path::from(folder))).map(move |found| {
            let meta = found?;
            match seen.is_new(meta.location.as_ref()) {
                true => Ok(meta),
                false => {
                    let why = format!("the store lists {} twice: its pages do not go on", meta.location);
                    Err(object_store::Error::Generic { store: "object store", source: why.into() }.into())
                }
            }
        })
    }
}

/// Keys that were listed: the last ones, and of all before them some.
#[derive(Default)]
struct Seen {
    last: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Seen {
    const LAST: usize = 2000;
    /// Of so many keys one is remembered.
    const SOME: u64 = 256;

    fn is_new(&mut self, key: &str) -> bool {
        let mut hasher = std::hash::DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        if !self.known.insert(hash) {
            return false;
        }
        self.last.push_back(hash);
        if self.last.len() > Self::LAST
            && let Some(gone) = self.last.pop_front()
            && gone % Self::SOME != 0
        {
            self.known.remove(&gone);
        }
        true
    }
}

/// Whether a key has the form of those that are made here: what others keep beside is none of our business.
pub(super) fn is_ours(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let ["blobs", first, name] = parts[..] else { return false };
    name.len() == 32
        && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        && name.starts_with(first)
        && first.len() == 2
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn pages_that_come_again_are_noticed() {
        let key = |n: usize| format!("blobs/{n:08}");
        let mut seen = Seen::default();
        assert!((0..20_000).all(|n| seen.is_new(&key(n))));
        // A small page, and a large one.
        assert!(!seen.is_new(&key(19_999)));
        assert!((10_000..15_000).any(|n| !seen.is_new(&key(n))));
        assert!(seen.known.len() < 3_000);
    }
}
