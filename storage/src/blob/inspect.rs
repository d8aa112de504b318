//! Looking at objects without serving them.

use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _};
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
        self.objects
            .list(Some(&Path::from("blobs")))
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

/// Whether a key has the form of those that are made here: what others keep beside is none of our business.
pub(super) fn is_ours(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let ["blobs", first, name] = parts[..] else { return false };
    name.len() == 32
        && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        && name.starts_with(first)
        && first.len() == 2
}
