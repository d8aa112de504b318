//! Reading a blob back, checked.
//!
//! Lengths are compared before anything is sent. Bytes are hashed while they are sent unless the objects were found
//! good before ([`super::verified`]); the last piece is held back until the digest is right, so damaged content is
//! never received whole. A part of a blob cannot be hashed on its own: before one is sent the whole blob is read once
//! ([`super::verifying`]). What is sent unhashed comes from an object with the entity tag that was found good.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::GetResultPayload;
use rreg_oci::Hasher;

use super::BlobStore;
use super::ahead::{ReadAhead, read_file};
use super::breaks::Breaks;
use super::hashing::StreamHash;
use super::piece;
use super::presence::same_tag;
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
    /// Still to be opened, last one first.
    waiting: Vec<Stretch>,
    source: Source,
    /// Bytes still to be sent.
    remaining: u64,
    /// Running when the content has to be checked.
    hasher: Option<StreamHash>,
    /// Entity tags of all objects, to be remembered once the content was found good.
    e_tags: Vec<Option<String>>,
    breaks: Breaks,
}

enum Source {
    Nothing,
    Bytes(Bytes),
    File { file: Arc<File>, range: Range<u64>, ahead: ReadAhead },
    Remote(Remote),
}

/// A part of an object.
#[derive(Clone)]
struct Stretch {
    segment: Segment,
    /// What is still to come.
    range: Range<u64>,
    /// The object's entity tag, where the store gives any.
    e_tag: Option<String>,
}

/// A stretch that comes over the network.
struct Remote {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    of: Stretch,
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
            breaks: Breaks::default(),
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
        reader.check_lengths(&segments).await?;
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
        let stretches = overlapping(segments, range);
        // Where it costs nothing all objects are looked at, also for a part.
        let looked: Vec<Segment> = match self.store.local {
            true => segments.to_vec(),
            false => stretches.iter().map(|(segment, _)| segment.clone()).collect(),
        };
        self.check_lengths(&looked).await?;
        if !self.are_fresh(&looked) {
            if whole {
                self.hasher = Some(StreamHash::new(Hasher::new(self.record.digest.algorithm())));
            } else {
                Box::pin(self.store.verify(self.record.clone(), self.damage.clone())).await?;
                self.check_lengths(&looked).await?;
                // A store without entity tags: what was read is all that can be known.
                let told = self.e_tags.iter().all(Option::is_some);
                if told && !self.are_fresh(&looked) {
                    let source = format!("{} changes while it is read", self.record.digest).into();
                    return Err(object_store::Error::Generic { store: "object store", source }.into());
                }
            }
        }
        // The objects of a part follow one another.
        let first = stretches.first().map(|(segment, _)| segment.key.as_str());
        let skipped = looked.iter().take_while(|segment| Some(segment.key.as_str()) != first).count();
        let e_tags = self.e_tags[skipped..].to_vec();
        self.waiting = stretches
            .into_iter()
            .zip(e_tags)
            .map(|((segment, range), e_tag)| Stretch { segment, range, e_tag })
            .rev()
            .collect();
        self.open_next().await
    }

    /// Whether the objects have the entity tags with which they were found good.
    fn are_fresh(&self, looked: &[Segment]) -> bool {
        let fresh = |(segment, e_tag): (&Segment, &Option<String>)| {
            self.store.verified.is_fresh(&segment.key, e_tag.as_deref())
        };
        looked.iter().zip(&self.e_tags).all(fresh)
    }

    /// Compares each object's length with its row. Remembers the entity tags.
    async fn check_lengths(&mut self, looked: &[Segment]) -> Result<(), StorageError> {
        let store = &self.store;
        let heads = stream::iter(looked.to_vec())
            .map(|segment| async move {
                let meta = store.meta_of(&segment).await;
                (segment, meta)
            })
            .buffered(HEADS_IN_FLIGHT)
            .collect::<Vec<_>>()
            .await;
        self.e_tags.clear();
        for (segment, meta) in heads {
            match meta? {
                Some(meta) if meta.size == segment.size => self.e_tags.push(meta.e_tag),
                Some(meta) => {
                    let what = format!("an object has {} bytes instead of {}", meta.size, segment.size);
                    return Err(self.damage.report(&self.record, &what));
                }
                None => return Err(self.damage.report(&self.record, "an object is missing")),
            }
        }
        Ok(())
    }

    /// Opens the next stretch, if there is one.
    async fn open_next(&mut self) -> Result<(), StorageError> {
        let Some(stretch) = self.waiting.pop() else {
            self.source = Source::Nothing;
            return Ok(());
        };
        let Stretch { segment, range, e_tag } = &stretch;
        let Some(result) = self.store.get_of(segment, range, e_tag.as_deref()).await? else {
            return Err(self.damage.report(&self.record, "an object is missing"));
        };
        if result.meta.size != segment.size {
            let what = format!("an object has {} bytes instead of {}", result.meta.size, segment.size);
            return Err(self.damage.report(&self.record, &what));
        }
        let same = same_tag(&result, e_tag.as_deref());
        if !same {
            // It is not known which of the two was found good, if it is.
            self.e_tags.clear();
        }
        if result.range != *range || (!same && self.hasher.is_none()) {
            // Not what was asked for, which says nothing about what is there.
            let what = format!("{} was answered with another range or another object", segment.key);
            return Err(object_store::Error::Generic { store: "object store", source: what.into() }.into());
        }
        self.source = match result.payload {
            GetResultPayload::File(file, _) => {
                Source::File { file: Arc::new(file), range: stretch.range, ahead: ReadAhead::default() }
            }
            GetResultPayload::Stream(stream) => Source::Remote(Remote { stream, of: stretch, moved: false }),
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
            self.shorten();
            let piece = match &mut self.source {
                Source::Nothing => None,
                Source::Bytes(bytes) => {
                    let length = piece::most().unwrap_or(usize::MAX).min(bytes.len());
                    Some(bytes.split_to(length)).filter(|bytes| !bytes.is_empty())
                }
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
                        let range = &mut remote.of.range;
                        range.start = (range.start + piece.len() as u64).min(range.end);
                        remote.moved = true;
                        Some(piece)
                    }
                    // The client of the store tries again for a while from the first byte on; what takes longer than
                    // that goes on here, and so does an answer that ends too early and says nothing.
                    broken if remote.moved && !remote.of.range.is_empty() => {
                        let why =
                            broken.map_or_else(|error| error.to_string(), |_| "it ended early".to_owned());
                        if !self.breaks.count(self.remaining) {
                            let source = format!("answers break off again and again: {why}").into();
                            let store = "object store";
                            return Err(object_store::Error::Generic { store, source }.into());
                        }
                        tracing::info!(why, digest = %self.record.digest, "reading on after a broken answer");
                        self.waiting.push(remote.of.clone());
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

    /// The store chooses how large the pieces are that come over the network, and sends more than was taken: that lies in
    /// memory too. Where pieces are to be small, each is therefore a request of its own.
    fn shorten(&mut self) {
        let Source::Remote(Remote { of, .. }) = &self.source else { return };
        let Some(most) = piece::most().filter(|most| of.range.end - of.range.start > *most as u64) else {
            return;
        };
        let (mut first, mut rest) = (of.clone(), of.clone());
        first.range.end = first.range.start + most as u64;
        rest.range.start = first.range.end;
        self.waiting.extend([rest, first]);
        self.source = Source::Nothing;
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

/// Lengths inside one blob's memory: they fit, or the blob would not be there.
pub(super) fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
