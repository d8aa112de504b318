//! Tells a watcher how far a transfer is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rreg_oci::Descriptor;

use crate::client::{BlobSource, ByteStream, SourceError};

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobOutcome {
    /// Its bytes were moved.
    Copied,
    /// The registry took it from another repository.
    Mounted,
    /// It was there.
    Present,
}

/// Watches a transfer. Called from many tasks.
pub trait Progress: Send + Sync {
    /// What lies ahead.
    fn planned(&self, _blobs: usize, _bytes: u64) {}
    /// A blob's bytes before `position` were read. A retry may step back.
    fn moved(&self, _blob: &Descriptor, _position: u64) {}
    /// A blob is done.
    fn finished(&self, _blob: &Descriptor, _outcome: BlobOutcome) {}
}

/// Nobody watches.
impl Progress for () {}

/// A source that reports what is read from it.
pub(super) struct Metered {
    pub(super) inner: Box<dyn BlobSource>,
    pub(super) descriptor: Descriptor,
    pub(super) progress: Arc<dyn Progress>,
}

impl BlobSource for Metered {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
        let (progress, descriptor) = (self.progress.clone(), self.descriptor.clone());
        Box::pin(async move {
            let mut position = from;
            let stream = self.inner.open(from).await?.inspect_ok(move |chunk| {
                position += chunk.len() as u64;
                progress.moved(&descriptor, position);
            });
            Ok(stream.boxed())
        })
    }
}
