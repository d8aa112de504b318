//! Reading a blob whole before a part of it is served: bytes that were changed in the store must not be served because
//! nobody has asked for all of them yet.
//!
//! However many ask for parts of a blob, it is read once. The reading goes on when they leave: a client that did not wait
//! long enough finds it done when it comes again. Few blobs are read at a time, and who waits for a place and leaves
//! takes none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use rreg_oci::Digest;
use tokio::sync::{Semaphore, watch};

use super::{BlobReader, BlobStore};
use crate::damage::Damage;
use crate::error::StorageError;
use crate::metadata::BlobRecord;

/// Blobs that are read at a time.
const AT_A_TIME: usize = 4;

/// What a reading came to, for all who wait for it; nothing as long as it goes on.
type Outcome = Option<Result<(), Arc<StorageError>>>;

/// Which blobs are being read.
#[derive(Clone, Debug)]
pub(super) struct Verifying {
    running: Arc<Mutex<HashMap<Digest, watch::Receiver<Outcome>>>>,
    places: Arc<Semaphore>,
}

impl Default for Verifying {
    fn default() -> Self {
        Self { running: Arc::default(), places: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl BlobStore {
    /// Reads and hashes the whole blob, or waits for somebody who does.
    ///
    /// # Errors
    /// What the reading failed with; [`StorageError::Damaged`] where the bytes are not the right ones.
    pub(super) async fn verify(&self, record: Arc<BlobRecord>, damage: Damage) -> Result<(), StorageError> {
        let digest = record.digest;
        let mut outcome = match self.verifying.running(&digest) {
            Some(outcome) => outcome,
            None => self.begin(record, damage).await?,
        };
        let ended = outcome.wait_for(Option::is_some).await;
        // Without an outcome the runtime is shutting down.
        match ended.map(|outcome| outcome.clone()) {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(error))) => Err(again(&digest, &error)),
            Ok(None) | Err(_) => Err(StorageError::Closed),
        }
    }

    async fn begin(
        &self,
        record: Arc<BlobRecord>,
        damage: Damage,
    ) -> Result<watch::Receiver<Outcome>, StorageError> {
        let place = self.verifying.places.clone().acquire_owned().await.map_err(|_| StorageError::Closed)?;
        let (sender, receiver) = watch::channel(None);
        match self.verifying.running.lock().unwrap_or_else(PoisonError::into_inner).entry(record.digest) {
            // Somebody else began while this one waited for a place.
            Entry::Occupied(running) => return Ok(running.get().clone()),
            Entry::Vacant(free) => free.insert(receiver.clone()),
        };
        let store = self.clone();
        tokio::spawn(async move {
            let entry = Running { of: store.verifying.clone(), digest: record.digest };
            let outcome = store.read_whole(record, damage).await.map_err(Arc::new);
            // Whoever asks from now on sees what was found, or reads again.
            drop(entry);
            sender.send_replace(Some(outcome));
            drop(place);
        });
        Ok(receiver)
    }

    // Boxed, since opening a part of a blob leads here again.
    fn read_whole(
        &self,
        record: Arc<BlobRecord>,
        damage: Damage,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        let store = self.clone();
        Box::pin(async move {
            let all = 0..record.size;
            let mut reader = BlobReader::open(&store, record, all, damage).await?;
            while let Some(piece) = reader.next().await {
                piece?;
            }
            Ok(())
        })
    }
}

impl Verifying {
    fn running(&self, digest: &Digest) -> Option<watch::Receiver<Outcome>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }
}

/// A blob that is being read, as long as it is.
struct Running {
    of: Verifying,
    digest: Digest,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.of.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

/// The error once more, for another request.
fn again(digest: &Digest, error: &StorageError) -> StorageError {
    match error {
        StorageError::Damaged { what, .. } => StorageError::Damaged { digest: *digest, what: what.clone() },
        StorageError::OtherStore(why) => StorageError::OtherStore(why),
        error => {
            let source = format!("{digest} could not be read whole: {error}").into();
            StorageError::Object(object_store::Error::Generic { store: "object store", source })
        }
    }
}
