//! What happens when stored bytes turn out to be damaged: it is logged, counted, and the content is quarantined.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StorageError;
use crate::metadata::{BlobRecord, MetadataStore};

/// Where damage is reported.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    metadata: Arc<MetadataStore>,
    count: Arc<AtomicU64>,
}

impl Damage {
    pub(crate) fn new(metadata: Arc<MetadataStore>) -> Self {
        Self { metadata, count: Arc::default() }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Reports damage and gives the error to answer with. The quarantine itself happens in the background.
    pub(crate) fn report(&self, record: &BlobRecord, what: &str) -> StorageError {
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(digest = %record.digest, what, "stored content is damaged; it is quarantined");
        let (metadata, id) = (self.metadata.clone(), record.id);
        tokio::spawn(async move {
            if let Err(error) = metadata.quarantine(id).await {
                tracing::error!(%error, blob = id, "could not quarantine damaged content");
            }
        });
        StorageError::Damaged { digest: record.digest, what: what.to_owned() }
    }
}
