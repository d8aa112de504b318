//! What happens when stored bytes turn out to be damaged: it is logged, counted, and the content is quarantined.

use std::sync::Arc;

use crate::error::StorageError;
use crate::metadata::{BlobRecord, MetadataStore};

/// Where damage is reported.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    metadata: Arc<MetadataStore>,
}

impl Damage {
    pub(crate) fn new(metadata: Arc<MetadataStore>) -> Self {
        Self { metadata }
    }

    /// Reports damage and gives the error to answer with. The quarantine itself happens in the background.
    pub(crate) fn report(&self, record: &BlobRecord, what: &str) -> StorageError {
        self.metadata.note_damage(&record.digest, what);
        let (metadata, id, content) = (self.metadata.clone(), record.id, record.content.clone());
        tokio::spawn(async move {
            if let Err(error) = metadata.quarantine(id, &content).await {
                tracing::error!(%error, blob = id, "could not quarantine damaged content");
            }
        });
        StorageError::Damaged { digest: record.digest, what: what.to_owned() }
    }
}
