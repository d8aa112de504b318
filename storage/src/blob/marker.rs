//! The marker: an object that says whose store this is. That an object is missing is believed only of the right store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions};

use super::BlobStore;
use crate::error::StorageError;

/// Its key.
const KEY: &str = "rreg-installation";
/// Before an absence is asked about a second time.
const PAUSE: Duration = Duration::from_millis(250);

impl BlobStore {
    /// From now on the store is that of this registry.
    #[must_use]
    pub(crate) fn of_installation(mut self, name: String) -> Self {
        self.installation = Some(Arc::from(name));
        self
    }

    /// Whose store it is, by its marker.
    pub(crate) async fn marker(&self) -> Result<Option<String>, StorageError> {
        match self.objects.get(&Path::from(KEY)).await {
            Ok(found) => {
                let bytes = found.bytes().await?;
                Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the marker, unless there is one.
    pub(crate) async fn mark(&self, name: &str) -> Result<(), StorageError> {
        let body = Bytes::from(format!("{name}\n"));
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&Path::from(KEY), body.clone().into(), create).await {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                self.objects.put(&Path::from(KEY), body.into()).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the store answers and is this registry's.
    ///
    /// # Errors
    /// What it answers instead, or [`StorageError::OtherStore`].
    pub async fn ping(&self) -> Result<(), StorageError> {
        let Some(own) = &self.installation else {
            return self.objects.head(&Path::from(KEY)).await.map(|_| ()).or_else(|error| match error {
                Error::NotFound { .. } => Ok(()),
                error => Err(error.into()),
            });
        };
        match self.marker().await? {
            Some(found) if *found == **own => Ok(()),
            Some(_) => Err(StorageError::OtherStore("it has the marker of another registry")),
            None => Err(StorageError::OtherStore(
                "the marker of this registry is not in it: is it the right bucket and prefix, is the directory mounted?",
            )),
        }
    }

    /// The object's description; `None` where it is not there, which is asked twice and believed of the right store only.
    pub(crate) async fn meta(&self, key: &str) -> Result<Option<ObjectMeta>, StorageError> {
        for last in [false, true] {
            match self.objects.head(&Path::from(key)).await {
                Ok(meta) => return Ok(Some(meta)),
                Err(Error::NotFound { .. }) if last => break,
                Err(Error::NotFound { .. }) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        self.ping().await?;
        Ok(None)
    }
}
