//! The layers of a stored image, as streams, to the scanner.

use std::io::{self, Read};
use std::pin::Pin;
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use rreg_oci::{Descriptor, Manifest, RepositoryName, media_type};
use rreg_sbom::{FindingKind, Limits, Scanner};
use rreg_storage::{BlobContent, Storage, StorageError};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Failure;

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, StorageError>> + Send>>;

/// What ends a scan before its time.
#[derive(Clone)]
pub(super) struct Until {
    pub(super) deadline: Instant,
    pub(super) stop: CancellationToken,
}

/// Reads all layers, bottom first. Blocks: the scanner is no part of the asynchronous world.
pub(super) fn scan(
    storage: &Storage,
    repository: &RepositoryName,
    manifest: &Manifest,
    until: &Until,
    handle: &Handle,
) -> Result<Scanner, Failure> {
    let mut scanner = Scanner::new(Limits::default());
    for layer in &manifest.layers {
        let name = Some(layer.digest.to_string());
        if layer.is_external() {
            let why = "the layer is not distributed by registries";
            scanner.skip_layer(name, FindingKind::LayerAbsent, why);
        } else if !media_type::is_layer(&layer.media_type) {
            let why = format!("a layer of type {} is no file system", layer.media_type);
            scanner.skip_layer(name, FindingKind::LayerUnsupported, &why);
        } else {
            let pieces = handle.block_on(open(storage, repository, layer))?;
            let mut body = Body { handle, pieces, ready: Bytes::new(), until, failed: None };
            // What the scanner did not need belongs to the digest too, which the storage checks at the end.
            let read = scanner.layer(name, &mut body).and_then(|()| io::copy(&mut body, &mut io::sink()));
            read.map_err(|e| body.failed.take().unwrap_or_else(|| other(&e)))?;
        }
    }
    Ok(scanner)
}

fn other(error: &io::Error) -> Failure {
    Failure { name: "unreadable", message: error.to_string(), again: true }
}

/// A blob's bytes, wherever they are; their digest is checked on the way.
pub(super) async fn open(
    storage: &Storage,
    repository: &RepositoryName,
    blob: &Descriptor,
) -> Result<Pieces, StorageError> {
    let record = storage.metadata().blob(repository, &blob.digest).await?;
    Ok(match &record.content {
        BlobContent::Inline(bytes) => Box::pin(stream::iter([Ok(bytes.clone())])),
        BlobContent::Segments(_) => {
            let size = record.size;
            Box::pin(storage.open(record, 0..size).await?.into_stream())
        }
    })
}

/// A stream as a blocking reader.
struct Body<'a> {
    handle: &'a Handle,
    pieces: Pieces,
    ready: Bytes,
    until: &'a Until,
    /// Why it broke off: a reader can only say that it did.
    failed: Option<Failure>,
}

impl Body<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let left = self.until.deadline.saturating_duration_since(Instant::now());
        let late = || {
            let message = "the image was not read in time (sbom.timeout)".to_owned();
            Failure { name: "too-slow", message, again: false }
        };
        if left.is_zero() {
            return Err(late());
        }
        let piece = self.handle.block_on(async {
            tokio::select! {
                () = self.until.stop.cancelled() => None,
                piece = tokio::time::timeout(left, self.pieces.next()) => Some(piece),
            }
        });
        match piece {
            None => Err(Failure { name: "interrupted", message: "the server stops".into(), again: true }),
            Some(Err(_)) => Err(late()),
            Some(Ok(piece)) => Ok(piece.transpose()?),
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            match self.next() {
                Ok(None) => return Ok(0),
                Ok(Some(piece)) => self.ready = piece,
                Err(failure) => {
                    self.failed = Some(failure);
                    return Err(io::Error::other("the layer broke off"));
                }
            }
        }
        let length = self.ready.len().min(into.len());
        self.ready.copy_to_slice(into.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}
