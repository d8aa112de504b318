//! Writing one object while it streams in, hashed on the way.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use rreg_oci::Hasher;
use tokio::task::JoinSet;

use super::BlobStore;
use super::hashing::StreamHash;
use crate::error::StorageError;
use crate::metadata::Segment;

/// Parts written at once.
const PARTS_IN_FLIGHT: usize = 3;
/// What became of the bytes that were written.
#[derive(Debug)]
pub(crate) struct Written {
    /// Hash over everything the session has seen.
    pub(crate) hasher: Hasher,
    /// The bytes themselves if they are few, else the durable object.
    pub(crate) content: WrittenContent,
}

/// Where written bytes are.
#[derive(Debug)]
pub(crate) enum WrittenContent {
    /// In memory still.
    Tail(Bytes),
    /// In a durable object.
    Object(Segment),
}

/// Takes pieces in order. Nothing is visible to anybody before [`SegmentWriter::finish`].
pub(crate) struct SegmentWriter {
    store: BlobStore,
    hash: StreamHash,
    /// Bytes taken, the tail it began with included.
    taken: u64,
    pending: Vec<Bytes>,
    pending_len: usize,
    object: Option<Object>,
}

struct Object {
    key: String,
    upload: Box<dyn MultipartUpload>,
    parts: JoinSet<object_store::Result<()>>,
}

impl SegmentWriter {
    /// Begins with `tail`, which `hasher` has seen already.
    pub(super) fn new(store: BlobStore, hasher: Hasher, tail: Bytes) -> Self {
        let pending_len = tail.len();
        let pending = if tail.is_empty() { Vec::new() } else { vec![tail] };
        Self {
            store,
            hash: StreamHash::new(hasher),
            taken: pending_len as u64,
            pending,
            pending_len,
            object: None,
        }
    }

    /// Takes the next piece.
    pub(crate) async fn write(&mut self, mut piece: Bytes) -> Result<(), StorageError> {
        self.taken += piece.len() as u64;
        self.hash.update(&piece).await?;
        let part = self.store.part_size();
        while self.pending_len + piece.len() >= part {
            let rest = piece.split_off(part - self.pending_len);
            self.push(piece);
            piece = rest;
            self.flush_part().await?;
        }
        self.push(piece);
        Ok(())
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pending_len += piece.len();
            self.pending.push(piece);
        }
    }

    async fn flush_part(&mut self) -> Result<(), StorageError> {
        let object = match &mut self.object {
            Some(object) => object,
            None => {
                let key = self.store.fresh_key();
                let upload = self.store.objects().put_multipart(&Path::from(key.as_str())).await?;
                self.object.insert(Object { key, upload, parts: JoinSet::new() })
            }
        };
        while object.parts.len() >= PARTS_IN_FLIGHT {
            join_part(&mut object.parts).await?;
        }
        // Of all uploads together only so many parts are in memory on their way; the clients of the others wait.
        let place = self.store.places.clone().acquire_owned().await.map_err(|_| StorageError::Closed)?;
        let payload: PutPayload = std::mem::take(&mut self.pending).into_iter().collect();
        self.pending_len = 0;
        let part = object.upload.put_part(payload);
        object.parts.spawn(async move {
            let written = part.await;
            drop(place);
            written
        });
        Ok(())
    }

    /// Ends the object and makes it durable. Up to `keep` bytes are not worth an object and come back as they are.
    pub(crate) async fn finish(mut self, keep: usize) -> Result<Written, StorageError> {
        let content = if self.object.is_some() {
            self.finish_object().await?
        } else if self.pending_len <= keep {
            WrittenContent::Tail(concat(&self.pending, self.pending_len))
        } else {
            self.put_small().await?
        };
        if let WrittenContent::Object(segment) = &content {
            self.store.must_be_ours().await?;
            if !self.store.local {
                // A gateway or a cache may have said that it was, and lost it: what is acknowledged is there.
                self.store.must_be_there(std::slice::from_ref(segment)).await?;
            }
        }
        let idle = StreamHash::new(Hasher::new(rreg_oci::Algorithm::Sha256));
        let hasher = std::mem::replace(&mut self.hash, idle).finish().await?;
        Ok(Written { hasher, content })
    }

    async fn finish_object(&mut self) -> Result<WrittenContent, StorageError> {
        if self.pending_len > 0 {
            self.flush_part().await?;
        }
        let Some(mut object) = self.object.take() else { return Err(StorageError::Closed) };
        while !object.parts.is_empty() {
            join_part(&mut object.parts).await?;
        }
        let segment = Segment { key: object.key, size: self.taken };
        if let Err(error) = object.upload.complete().await {
            self.store.must_be_written(&segment, error).await?;
        }
        Ok(WrittenContent::Object(segment))
    }

    async fn put_small(&mut self) -> Result<WrittenContent, StorageError> {
        let key = self.store.fresh_key();
        let payload: PutPayload = std::mem::take(&mut self.pending).into_iter().collect();
        let segment = Segment { key, size: self.taken };
        // Keys are random: nobody else writes there. Over a network the same request may have to be sent again because
        // its answer was lost, and then what it meets is its own object.
        let mode = if self.store.local { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, ..PutOptions::default() };
        if let Err(error) =
            self.store.objects().put_opts(&Path::from(segment.key.as_str()), payload, options).await
        {
            self.store.must_be_written(&segment, error).await?;
        }
        Ok(WrittenContent::Object(segment))
    }
}

impl BlobStore {
    /// Whether a write whose last word was `error` was carried out all the same: its answer was lost, and when it was
    /// sent again there was nothing left to do. Object stores show an object whole or not at all; a directory does not.
    async fn must_be_written(&self, segment: &Segment, error: Error) -> Result<(), StorageError> {
        if self.local {
            return Err(error.into());
        }
        match self.meta(&segment.key).await {
            Ok(Some(meta)) if meta.size == segment.size => {
                tracing::debug!(%error, key = segment.key, "written although its answer was lost");
                Ok(())
            }
            Ok(_) | Err(_) => Err(error.into()),
        }
    }
}

impl Drop for SegmentWriter {
    /// Given up half-way: takes back what was written, as far as that is possible. What is left after a crash is
    /// an object without a row.
    fn drop(&mut self) {
        let (Some(mut object), Ok(runtime)) = (self.object.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            object.parts.shutdown().await;
            if let Err(error) = object.upload.abort().await {
                tracing::warn!(%error, key = object.key, "could not remove an unfinished object");
            }
        });
    }
}

async fn join_part(parts: &mut JoinSet<object_store::Result<()>>) -> Result<(), StorageError> {
    match parts.join_next().await {
        Some(Ok(result)) => Ok(result?),
        Some(Err(_)) => Err(StorageError::Closed),
        None => Ok(()),
    }
}

fn concat(pieces: &[Bytes], len: usize) -> Bytes {
    match pieces {
        [one] => one.clone(),
        _ => {
            let mut all = Vec::with_capacity(len);
            pieces.iter().for_each(|piece| all.extend_from_slice(piece));
            all.into()
        }
    }
}
