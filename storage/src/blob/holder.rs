//! Which database holds the store. A copy of a database has its name, and would be taken for it by the marker: each time
//! a database is opened on a store it takes the store over under a new name. Replicas share a database, which knows the
//! names of all of them; of a database and its copy the one that was opened first finds a name that it does not know, and
//! writes and deletes nothing more.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::BlobStore;
use crate::error::StorageError;
use crate::metadata::MetadataStore;

/// The object that says it.
const KEY: &str = "rreg-holder";

/// The database that opened the store.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    metadata: Arc<MetadataStore>,
    /// Names that are known to be its own.
    own: Arc<Mutex<HashSet<String>>>,
    /// The store was taken over since it was opened.
    taken: Arc<AtomicBool>,
}

impl Holder {
    async fn is_own(&self, name: &str) -> Result<bool, StorageError> {
        if self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return Ok(true);
        }
        let known = self.metadata.was_holder(name).await?;
        if known {
            self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        }
        Ok(known)
    }
}

impl BlobStore {
    /// From now on the store is held by this database. [`BlobStore::take_over`] says so to others.
    pub(crate) fn held_by(mut self, metadata: Arc<MetadataStore>) -> Self {
        self.holder = Some(Holder { metadata, own: Arc::default(), taken: Arc::default() });
        self
    }

    /// Takes the store over from whoever held it, once.
    ///
    /// # Errors
    /// When database or store fail. That they have no room is no error: what is there can still be deleted, and the next
    /// write tries it again.
    pub(crate) async fn take_over(&self) -> Result<(), StorageError> {
        let Some(holder) = &self.holder else { return Ok(()) };
        if holder.taken.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.say_so(holder).await {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "no room to take the store over from a copy of this database, if there is one");
                Ok(())
            }
            said => said,
        }
    }

    async fn say_so(&self, holder: &Holder) -> Result<(), StorageError> {
        // The reserve is for deletions.
        holder.metadata.room()?;
        self.room()?;
        let name = uuid::Uuid::new_v4().to_string();
        // Replicas that read it in the store find it in their database.
        holder.metadata.add_holder(name.clone()).await?;
        self.objects.put(&Path::from(KEY), Bytes::from(format!("{name}\n")).into()).await?;
        holder.taken.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether no other database has taken the store over; that one has is asked twice.
    pub(super) async fn is_held(&self) -> Result<(), StorageError> {
        let Some(holder) = &self.holder else { return Ok(()) };
        for last in [false, true] {
            match self.read_note(KEY).await? {
                Some(name) if holder.is_own(&name).await? => return Ok(()),
                // Nobody has said so yet.
                None if last => return Ok(()),
                _ if last => break,
                _ => self.pause().await,
            }
        }
        Err(StorageError::OtherStore(
            "another copy of this registry's database was opened on this store later and has taken it over: stop that one \
             and start this one again, or give the copy a store of its own",
        ))
    }
}
