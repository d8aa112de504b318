//! The marker: an object that says whose store this is. That an object is missing is believed only of the right store.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _, PutMode, PutOptions};

use super::BlobStore;
use crate::error::StorageError;

/// Its key.
const KEY: &str = "rreg-installation";
/// How long a remote store is taken for ours before it is asked again: what is written to another that takes its place
/// meanwhile is acknowledged.
const BELIEVED: Duration = Duration::from_secs(2);
/// Whatever is longer, in bytes, is no marker.
const MOST: u64 = 1000;

/// Whose store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Us,
    Others,
    /// There is no marker.
    Nobody,
}

impl BlobStore {
    /// From now on the store is that of this registry.
    #[must_use]
    pub(crate) fn of_installation(mut self, name: String) -> Self {
        self.installation = Some(name.into());
        self
    }

    /// What the marker says; that there is none is asked twice.
    pub(crate) async fn marker(&self) -> Result<Option<String>, StorageError> {
        if let Some(found) = self.read_note(KEY).await? {
            return Ok(Some(found));
        }
        self.pause().await;
        self.read_note(KEY).await
    }

    /// One line that the store keeps under this key.
    pub(super) async fn read_note(&self, key: &str) -> Result<Option<String>, StorageError> {
        match self.objects.get(&Path::from(key)).await {
            Ok(found) => {
                if found.meta.size > MOST {
                    return Ok(Some("no line".to_owned()));
                }
                let bytes = found.bytes().await?;
                Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a listing shows the marker: one that does not is no listing of this store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lists_its_marker(&self) -> Result<bool, StorageError> {
        let top = self.objects.list_with_delimiter(None).await?;
        Ok(top.objects.iter().any(|meta| meta.location.as_ref() == KEY))
    }

    /// Whose store it is, to the registry of this name; that it is not ours is asked twice.
    pub(crate) async fn owner(&self, name: &str) -> Result<Owner, StorageError> {
        if self.read_note(KEY).await?.is_some_and(|found| found == name) {
            return Ok(Owner::Us);
        }
        self.pause().await;
        Ok(match self.read_note(KEY).await? {
            Some(found) if found == name => Owner::Us,
            Some(_) => Owner::Others,
            None => Owner::Nobody,
        })
    }

    /// Writes the marker, unless there is one. Whose it is then has to be asked.
    pub(crate) async fn mark(&self, name: &str) -> Result<(), StorageError> {
        let body = Bytes::from(format!("{name}\n"));
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let error = match self.objects.put_opts(&Path::from(KEY), body.clone().into(), create).await {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => return Ok(()),
            Err(error) => error,
        };
        match error {
            // Stores that have no writes which only create say so in many ways.
            Error::NotImplemented { .. } | Error::NotSupported { .. } | Error::Generic { .. } => {}
            error => return Err(error.into()),
        }
        if self.marker().await?.is_some() {
            return Ok(());
        }
        tracing::debug!(%error, "the marker is written by a plain write");
        self.objects.put(&Path::from(KEY), body.into()).await?;
        // Somebody else may be doing the same at this moment: whoever writes last is told apart from who asks now.
        self.pause().await;
        Ok(())
    }

    /// Writes the marker, whatever there is.
    pub(crate) async fn mark_anew(&self, name: &str) -> Result<(), StorageError> {
        self.objects.put(&Path::from(KEY), Bytes::from(format!("{name}\n")).into()).await?;
        Ok(())
    }

    /// Before a write is acknowledged, and before a deletion: whether the store is this registry's. S3 deletes with
    /// success what is not there, and a directory that is no longer mounted takes writes that the next mount hides. A
    /// remote store is asked again after a while; a directory, where it costs nothing, each time.
    ///
    /// # Errors
    /// As [`BlobStore::ping`].
    pub(crate) async fn must_be_ours(&self) -> Result<(), StorageError> {
        if self.installation.is_none() {
            return Ok(());
        }
        let last = *self.found_ours.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.local && last.is_some_and(|last| last.elapsed() < BELIEVED) {
            return Ok(());
        }
        let asked = Instant::now();
        self.ping().await?;
        self.take_over().await?;
        *self.found_ours.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        Ok(())
    }

    /// Whether the store answers and is this registry's, and no copy of its database has taken it over.
    ///
    /// # Errors
    /// What it answers instead, or [`StorageError::OtherStore`].
    pub async fn ping(&self) -> Result<(), StorageError> {
        let found = self.ask_whose().await;
        if found.is_err() {
            // Whoever was told otherwise a moment ago asks again.
            *self.found_ours.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        found
    }

    async fn ask_whose(&self) -> Result<(), StorageError> {
        let Some(own) = &self.installation else {
            return self.objects.head(&Path::from(KEY)).await.map(|_| ()).or_else(|error| match error {
                Error::NotFound { .. } => Ok(()),
                error => Err(error.into()),
            });
        };
        match self.owner(own).await? {
            Owner::Us => self.is_held().await,
            Owner::Others => Err(StorageError::OtherStore("it has the marker of another registry")),
            Owner::Nobody => Err(StorageError::OtherStore(
                "the marker of this registry is not in it: is it the right bucket and prefix, is the directory mounted?",
            )),
        }
    }
}
