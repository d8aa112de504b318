//! Reading a blob back, checked.
//!
//! Lengths are compared before anything is sent. Bytes are hashed while they are sent unless the objects were found
//! good before ([`super::verified`]); the last piece is held back until the digest is right, so damaged content is
//! never received whole. A part of a blob cannot be hashed on its own: on a local directory the whole blob is
//! checked first, on a remote store its own checksums have to do.

use std::fs::File;
use std::io::{IoSliceMut, Result as IoResult};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::GetResultPayload;
use rreg_oci::Hasher;
use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;

use super::BlobStore;
use super::buffers::{BUFFER, Buffers};
use super::hashing::StreamHash;
use crate::damage::Damage;
use crate::error::StorageError;
use crate::metadata::{BlobContent, BlobRecord, Segment};

/// Objects looked at together when a blob has many.
const HEADS_IN_FLIGHT: usize = 8;

/// A blob, or a part of it, about to be sent.
pub struct BlobReader {
    store: BlobStore,
    record: Arc<BlobRecord>,
    damage: Damage,
    /// Stretches still to be opened, last one first.
    waiting: Vec<(Segment, Range<u64>)>,
    source: Source,
    /// Bytes still to be sent.
    remaining: u64,
    /// Running when the content has to be checked.
    hasher: Option<StreamHash>,
    /// Entity tags of all objects, to be remembered once the content was found good.
    e_tags: Vec<Option<String>>,
}

enum Source {
    Nothing,
    Bytes(Bytes),
    File { file: Arc<File>, range: Range<u64>, ahead: ReadAhead },
    Remote(Remote),
}

/// A stretch of an object that comes over the network.
struct Remote {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    segment: Segment,
    /// What is still to come.
    range: Range<u64>,
    /// Something has come since it was opened: if the connection breaks it is worth another one.
    moved: bool,
}

impl BlobReader {
    /// Opens `range` of the blob, a non-empty stretch inside it or all of it. Once this has returned, the bytes are
    /// there in their full length.
    pub(crate) async fn open(
        store: &BlobStore,
        record: Arc<BlobRecord>,
        range: Range<u64>,
        damage: Damage,
    ) -> Result<Self, StorageError> {
        let mut reader = Self::closed(store, record, damage);
        reader.remaining = range.end - range.start;
        match &reader.record.content {
            BlobContent::Inline(bytes) => {
                let (start, end) = (to_usize(range.start), to_usize(range.end));
                let part = (end <= bytes.len()).then(|| bytes.slice(start..end));
                let damaged = || reader.damage.report(&reader.record, "the stored length is wrong");
                reader.source = Source::Bytes(part.ok_or_else(damaged)?);
            }
            BlobContent::Segments(segments) => {
                let segments = segments.clone();
                reader.open_segments(&segments, range).await?;
            }
        }
        Ok(reader)
    }

    fn closed(store: &BlobStore, record: Arc<BlobRecord>, damage: Damage) -> Self {
        Self {
            store: store.clone(),
            record,
            damage,
            waiting: Vec::new(),
            source: Source::Nothing,
            remaining: 0,
            hasher: None,
            e_tags: Vec::new(),
        }
    }

    /// Whether the blob's objects are there in their full length, without reading them: what HEAD promises.
    pub(crate) async fn check(
        store: &BlobStore,
        record: Arc<BlobRecord>,
        damage: Damage,
    ) -> Result<(), StorageError> {
        let BlobContent::Segments(segments) = record.content.clone() else { return Ok(()) };
        let first = segments.first().map_or("", |segment| segment.key.as_str());
        if store.verified.was_present(first) {
            return Ok(());
        }
        let mut reader = Self::closed(store, record, damage);
        reader.check_sum(&segments)?;
        reader.check_lengths(&segments, true).await?;
        store.verified.found_present(first);
        Ok(())
    }

    fn check_sum(&self, segments: &[Segment]) -> Result<(), StorageError> {
        if segments.iter().map(|s| s.size).sum::<u64>() != self.record.size {
            return Err(self.damage.report(&self.record, "its objects do not add up to its length"));
        }
        Ok(())
    }

    async fn open_segments(
        &mut self,
        segments: &Arc<[Segment]>,
        range: Range<u64>,
    ) -> Result<(), StorageError> {
        self.check_sum(segments)?;
        let whole = range == (0..self.record.size);
        self.waiting = overlapping(segments, range);
        self.waiting.reverse();
        self.check_lengths(segments, whole).await?;
        let fresh = |(segment, e_tag): (&Segment, &Option<String>)| {
            self.store.verified.is_fresh(&segment.key, e_tag.as_deref())
        };
        let all_fresh = whole && segments.iter().zip(&self.e_tags).all(fresh);
        if whole && !all_fresh {
            self.hasher = Some(StreamHash::new(Hasher::new(self.record.digest.algorithm())));
        } else if !whole && self.store.local && !self.e_tags.is_empty() {
            Box::pin(self.verify_whole()).await?;
        }
        self.open_next().await
    }

    /// Compares each object's length with its row. Remembers the entity tags, except where a part of a blob
    /// consists of objects that are known to be good.
    async fn check_lengths(&mut self, segments: &Arc<[Segment]>, whole: bool) -> Result<(), StorageError> {
        let wanted: Vec<Segment> = if whole || self.store.local {
            segments.to_vec()
        } else {
            self.waiting.iter().map(|(segment, _)| segment.clone()).collect()
        };
        let store = &self.store;
        let heads = stream::iter(wanted)
            .map(|segment| async move {
                let meta = store.meta_of(&segment).await;
                (segment, meta)
            })
            .buffered(HEADS_IN_FLIGHT)
            .collect::<Vec<_>>()
            .await;
        let mut good = true;
        for (segment, meta) in heads {
            match meta? {
                Some(meta) if meta.size == segment.size => {
                    good &= self.store.verified.is_fresh(&segment.key, meta.e_tag.as_deref());
                    self.e_tags.push(meta.e_tag);
                }
                Some(meta) => {
                    let what = format!("an object has {} bytes instead of {}", meta.size, segment.size);
                    return Err(self.damage.report(&self.record, &what));
                }
                None => return Err(self.damage.report(&self.record, "an object is missing")),
            }
        }
        if good && !whole {
            self.e_tags.clear();
        }
        Ok(())
    }

    /// Reads and hashes the whole blob, sending nothing.
    async fn verify_whole(&mut self) -> Result<(), StorageError> {
        let (store, record, damage) = (&self.store, self.record.clone(), self.damage.clone());
        let all = 0..record.size;
        let mut reader = Self::open(store, record, all, damage).await?;
        while let Some(piece) = reader.next().await {
            piece?;
        }
        Ok(())
    }

    /// Opens the next stretch, if there is one.
    async fn open_next(&mut self) -> Result<(), StorageError> {
        let Some((segment, range)) = self.waiting.pop() else {
            self.source = Source::Nothing;
            return Ok(());
        };
        let Some(result) = self.store.get_of(&segment, &range).await? else {
            return Err(self.damage.report(&self.record, "an object is missing"));
        };
        if result.meta.size != segment.size || result.range != range {
            let what = format!("an object has {} bytes instead of {}", result.meta.size, segment.size);
            return Err(self.damage.report(&self.record, &what));
        }
        self.source = match result.payload {
            GetResultPayload::File(file, _) => {
                Source::File { file: Arc::new(file), range, ahead: ReadAhead::default() }
            }
            GetResultPayload::Stream(stream) => {
                Source::Remote(Remote { stream, segment, range, moved: false })
            }
        };
        Ok(())
    }

    /// The next piece, or `None` after the last. After an error nothing more comes.
    pub async fn next(&mut self) -> Option<Result<Bytes, StorageError>> {
        if self.remaining == 0 {
            return None;
        }
        let result = self.next_piece().await;
        if result.is_err() {
            self.remaining = 0;
        }
        Some(result)
    }

    async fn next_piece(&mut self) -> Result<Bytes, StorageError> {
        let piece = loop {
            let piece = match &mut self.source {
                Source::Nothing => None,
                Source::Bytes(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
                Source::File { range, .. } if range.is_empty() => None,
                Source::File { file, range, ahead } => {
                    let read = read_file(&self.store.buffers, file, range.clone(), ahead).await;
                    let piece = read.map_err(StorageError::io(format!("reading {}", self.record.digest)))?;
                    if piece.is_empty() {
                        return Err(self.damage.report(&self.record, "an object is shorter than it was"));
                    }
                    range.start += piece.len() as u64;
                    Some(piece)
                }
                Source::Remote(remote) => match remote.stream.try_next().await {
                    Ok(Some(piece)) if !piece.is_empty() => {
                        remote.range.start = (remote.range.start + piece.len() as u64).min(remote.range.end);
                        remote.moved = true;
                        Some(piece)
                    }
                    // The client of the store tries again for a while from the first byte on; what takes longer than
                    // that goes on here, and so does an answer that ends too early and says nothing.
                    broken if remote.moved && !remote.range.is_empty() => {
                        let why =
                            broken.map_or_else(|error| error.to_string(), |_| "it ended early".to_owned());
                        tracing::info!(why, digest = %self.record.digest, "reading on after a broken answer");
                        self.waiting.push((remote.segment.clone(), remote.range.clone()));
                        None
                    }
                    Ok(_) => None,
                    Err(error) => return Err(error.into()),
                },
            };
            match piece {
                Some(piece) => break piece,
                None if self.waiting.is_empty() => {
                    return Err(self.damage.report(&self.record, "its objects are shorter than they were"));
                }
                None => self.open_next().await?,
            }
        };
        let length = piece.len() as u64;
        if length > self.remaining {
            return Err(self.damage.report(&self.record, "an object is longer than it was"));
        }
        self.remaining -= length;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece).await?;
            if self.remaining == 0 {
                self.check_digest().await?;
            }
        }
        Ok(piece)
    }

    async fn check_digest(&mut self) -> Result<(), StorageError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.digest().await?;
        if found != self.record.digest {
            return Err(self.damage.report(&self.record, &format!("its bytes have the digest {found}")));
        }
        if let BlobContent::Segments(segments) = &self.record.content {
            for (segment, e_tag) in segments.iter().zip(&self.e_tags) {
                self.store.verified.found_good(&segment.key, e_tag.as_deref());
            }
        }
        Ok(())
    }

    /// The pieces as a stream, which may be asked again after its end.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StorageError>> + Send {
        stream::unfold(self, |mut reader| async move { reader.next().await.map(|piece| (piece, reader)) })
            .fuse()
    }
}

/// The stretches of `segments` that make up `range` of the blob, in order.
fn overlapping(segments: &[Segment], range: Range<u64>) -> Vec<(Segment, Range<u64>)> {
    let mut at = 0;
    let mut out = Vec::new();
    for segment in segments {
        let (begin, end) = (range.start.max(at), range.end.min(at + segment.size));
        if begin < end {
            out.push((segment.clone(), begin - at..end - at));
        }
        at += segment.size;
    }
    out
}

/// How far the kernel has been asked to read ahead. It is asked only once a read had to wait for the disk: content
/// in the page cache costs nothing extra.
#[derive(Default)]
struct ReadAhead {
    /// A read had to wait.
    cold: bool,
    /// The kernel was asked for everything before this offset.
    asked: u64,
}

/// Bytes that the kernel is asked for at once, and how early it is asked for the next ones.
const AHEAD: u64 = 8 << 20;

impl ReadAhead {
    /// Asks for more when the bytes asked for before are half used up. Off the runtime: the kernel allocates pages
    /// while it is asked.
    fn ask(&mut self, file: &Arc<File>, range: &Range<u64>) {
        if !self.cold || range.start + AHEAD / 2 < self.asked {
            return;
        }
        let begin = self.asked.max(range.start);
        self.asked = (range.start + AHEAD).min(range.end).max(begin);
        if let Some(length) = NonZeroU64::new(self.asked - begin) {
            let file = file.clone();
            // An advice that is not taken only means slower reads.
            tokio::task::spawn_blocking(move || {
                let _ = rustix::fs::fadvise(&*file, begin, Some(length), Advice::WillNeed);
            });
        }
    }
}

/// Reads the next stretch of `range`: at once if the page cache has it, on a blocking thread if not, so that a cold
/// disk never stalls the runtime.
async fn read_file(
    buffers: &Buffers,
    file: &Arc<File>,
    range: Range<u64>,
    ahead: &mut ReadAhead,
) -> IoResult<Bytes> {
    ahead.ask(file, &range);
    let length = to_usize(range.end - range.start).min(BUFFER);
    let mut buffer = buffers.take();
    let part = &mut [IoSliceMut::new(&mut buffer[..length])];
    if let Ok(read @ 1..) = rustix::io::preadv2(&**file, part, range.start, ReadWriteFlags::NOWAIT) {
        return Ok(buffers.share(buffer, read));
    }
    ahead.cold = true;
    ahead.ask(file, &range);
    let file = file.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let read = file.read_at(&mut buffer[..length], range.start);
        (buffer, read)
    });
    match reading.await {
        Ok((buffer, Ok(read))) => Ok(buffers.share(buffer, read)),
        Ok((buffer, Err(error))) => {
            buffers.give_back(buffer);
            Err(error)
        }
        Err(error) => Err(std::io::Error::other(error)),
    }
}

/// Lengths inside one blob's memory: they fit, or the blob would not be there.
fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
