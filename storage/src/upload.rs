//! From the bytes of a request to a blob that survives a power cut.
//!
//! What arrives is streamed into an object (or kept, if it is little), hashed on the way, made durable, and only
//! then entered into the database. If a client disappears, what it had sent stays in the session, and it can go on
//! from there, on any replica.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rreg_oci::{Algorithm, ContentRange, Digest, Hasher, RepositoryName, UploadId};

use crate::Storage;
use crate::blob::{Written, WrittenContent};
use crate::error::StorageError;
use crate::metadata::{AuditEvent, BlobContent, BlobRecord, NewBlob, Segment, UploadProgress, UploadSession};

/// Chunks are gathered in the session's row until they have more bytes than this (or than a blob in a row may have); only
/// then they become an object. No chunk of a few bytes is one by itself.
const GATHERED: usize = 32 << 10;
/// Objects that one upload may have, however few bytes it has.
const FREE_SEGMENTS: u64 = 10_000;
/// Beyond [`FREE_SEGMENTS`], one more object for each so many bytes of the upload.
const BYTES_OF_SEGMENT: u64 = 256 << 10;

/// What a request says about the length of its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkHeaders {
    /// `Content-Range`: where the chunk belongs.
    pub range: Option<ContentRange>,
    /// `Content-Length`.
    pub length: Option<u64>,
}

impl ChunkHeaders {
    fn check_begin(&self, session: &UploadSession) -> Result<(), StorageError> {
        match self.range {
            Some(range) if range.first != session.size => {
                Err(StorageError::OffsetMismatch { at: session.size, offset: range.first })
            }
            Some(range) => match self.length {
                Some(length) if length != range.length() => {
                    Err(StorageError::LengthMismatch { expected: range.length(), found: length })
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn check_end(&self, received: u64) -> Result<(), StorageError> {
        match self.range.map(|range| range.length()).or(self.length) {
            Some(expected) if expected != received => {
                Err(StorageError::LengthMismatch { expected, found: received })
            }
            _ => Ok(()),
        }
    }
}

/// What streaming a body gave.
struct Received {
    written: Written,
    bytes: u64,
    /// Why the body ended early, if it did. What came before is in `written`.
    broken: Option<String>,
}

/// Refuses a chunk of an upload that has too many objects for its bytes: each costs a row, and a request to the store each
/// time that the blob is read.
fn check_segments(segments: u64, size: u64) -> Result<(), StorageError> {
    match segments.saturating_sub(FREE_SEGMENTS) > size / BYTES_OF_SEGMENT {
        true => Err(StorageError::TooManyChunks { chunks: segments, least: BYTES_OF_SEGMENT }),
        false => Ok(()),
    }
}

impl Storage {
    /// Adds the body to an open session and returns how many bytes it has now. If the body ends early, what
    /// arrived is kept and the error returned.
    ///
    /// # Errors
    /// [`StorageError::UnknownUpload`], [`StorageError::OffsetMismatch`] for a chunk out of order (416),
    /// [`StorageError::LengthMismatch`], [`StorageError::TooLarge`], [`StorageError::TooManyChunks`],
    /// [`StorageError::Body`], or a failure.
    pub async fn append<B, E>(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        headers: ChunkHeaders,
        body: B,
    ) -> Result<u64, StorageError>
    where
        B: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        let session = self.metadata.upload(repository, id).await?;
        headers.check_begin(&session)?;
        check_segments(session.segments.len() as u64, session.size)?;
        let keep = self.options.inline_max.max(GATHERED);
        let received = self.receive(&session, session.hasher.clone(), keep, body).await?;
        if received.bytes > 0 {
            let (segment, tail) = match received.written.content {
                WrittenContent::Object(segment) => (Some(segment), Bytes::new()),
                WrittenContent::Tail(tail) => (None, tail),
            };
            let object = segment.clone();
            let size = session.size + received.bytes;
            let progress = UploadProgress { size, hasher: received.written.hasher, segment, tail };
            if let Err(error) = self.metadata.advance_upload(&session, progress).await {
                // After any other error the row may be there all the same (a connection lost during COMMIT), and
                // then the object must stay; an orphan is the lesser harm.
                if matches!(error, StorageError::UnknownUpload(_) | StorageError::OffsetMismatch { .. }) {
                    self.drop_object(object).await;
                }
                return Err(error);
            }
        }
        match received.broken {
            Some(why) => Err(StorageError::Body(why)),
            None => headers.check_end(received.bytes).map(|()| session.size + received.bytes),
        }
    }

    /// Adds the body, closes the session, and makes its content the blob `digest`. If the digest is wrong, the
    /// session stays as it was before this request. `audit` goes into the trail with the blob.
    ///
    /// # Errors
    /// As [`Storage::append`], and [`StorageError::DigestMismatch`].
    pub async fn commit<B, E>(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
        headers: ChunkHeaders,
        body: B,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError>
    where
        B: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        let session = self.metadata.upload(repository, id).await?;
        headers.check_begin(&session)?;
        let hasher = self.hasher_for(&session, digest.algorithm()).await?;
        let keep = if session.segments.is_empty() { self.options.inline_max } else { 0 };
        let received = self.receive(&session, hasher, keep, body).await?;
        self.finish((repository, digest), headers, received, Some(&session), audit).await
    }

    /// Stores a blob that comes in one request, without a session. `audit` goes into the trail with it.
    ///
    /// # Errors
    /// [`StorageError::DigestMismatch`], [`StorageError::LengthMismatch`], [`StorageError::TooLarge`],
    /// [`StorageError::Body`], or a failure.
    pub async fn store<B, E>(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        headers: ChunkHeaders,
        body: B,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError>
    where
        B: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        let hasher = Hasher::new(digest.algorithm());
        let nothing = UploadSession::new(UploadId::random(), repository.clone(), hasher);
        let received = self.receive(&nothing, nothing.hasher.clone(), self.options.inline_max, body).await?;
        self.finish((repository, digest), headers, received, None, audit).await
    }

    /// Takes a body. If it has, with what the session has gathered, at most `keep` bytes, they come back and are no object.
    async fn receive<B, E>(
        &self,
        session: &UploadSession,
        hasher: Hasher,
        keep: usize,
        mut body: B,
    ) -> Result<Received, StorageError>
    where
        B: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        let mut writer = self.blobs.writer(hasher, session.tail.clone());
        let (mut bytes, mut broken) = (0, None);
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => {
                    bytes += piece.len() as u64;
                    if session.size + bytes > self.options.max_blob_size {
                        return Err(StorageError::TooLarge { limit: self.options.max_blob_size });
                    }
                    writer.write(piece).await?;
                }
                Err(error) => {
                    broken = Some(error.to_string());
                    break;
                }
            }
        }
        let written = writer.finish(keep).await?;
        Ok(Received { written, bytes, broken })
    }

    /// The hash of what the session has. Under another algorithm than it was begun with everything is read again, and
    /// once more if that were not the bytes that came.
    async fn hasher_for(
        &self,
        session: &UploadSession,
        algorithm: Algorithm,
    ) -> Result<Hasher, StorageError> {
        if session.hasher.algorithm() == algorithm {
            return Ok(session.hasher.clone());
        }
        let came = session.hasher.clone().finish();
        for _ in 0..2 {
            let mut hashers = [Hasher::new(algorithm), Hasher::new(session.hasher.algorithm())];
            for segment in &*session.segments {
                self.read_segment(session, segment, &mut hashers).await?;
            }
            hashers.iter_mut().for_each(|hasher| hasher.update(&session.tail));
            let [hasher, check] = hashers;
            if check.finish() == came {
                return Ok(hasher);
            }
        }
        Err(StorageError::Corrupt(format!("the bytes of upload {} are not those that came", session.id)))
    }

    /// Hashes one object of an upload. A connection that breaks is no reason to lose the upload: it is read on from
    /// where it broke, as long as something comes.
    async fn read_segment(
        &self,
        session: &UploadSession,
        segment: &Segment,
        hashers: &mut [Hasher],
    ) -> Result<(), StorageError> {
        let (mut at, mut moved) = (0, true);
        while at < segment.size {
            let Some(found) = self.blobs.get(&segment.key, Some(at..segment.size)).await? else {
                // Cancelled or expired meanwhile; if not, the upload is there and its object is not.
                self.metadata.upload(&session.repository, &session.id).await?;
                let source = format!("an object of upload {} is missing", session.id).into();
                return Err(object_store::Error::Generic { store: "object store", source }.into());
            };
            if found.meta.size != segment.size {
                let sizes = format!("{} bytes instead of {}", found.meta.size, segment.size);
                return Err(StorageError::Corrupt(format!("an object of upload {} has {sizes}", session.id)));
            }
            let mut pieces = found.into_stream();
            let broken = loop {
                match pieces.next().await {
                    Some(Ok(piece)) => {
                        at += piece.len() as u64;
                        moved = true;
                        hashers.iter_mut().for_each(|hasher| hasher.update(&piece));
                    }
                    Some(Err(error)) => break StorageError::from(error),
                    None => {
                        break StorageError::Corrupt(format!(
                            "an object of upload {} ends early",
                            session.id
                        ));
                    }
                }
            };
            if at < segment.size && !std::mem::take(&mut moved) {
                return Err(broken);
            }
        }
        Ok(())
    }

    /// Judges what was received and enters it into the database.
    async fn finish(
        &self,
        (repository, digest): (&RepositoryName, &Digest),
        headers: ChunkHeaders,
        received: Received,
        session: Option<&UploadSession>,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError> {
        let (object, tail) = match received.written.content {
            WrittenContent::Object(segment) => (Some(segment), Bytes::new()),
            WrittenContent::Tail(tail) => (None, tail),
        };
        let before = session.map_or(0, |s| s.size);
        let found = received.written.hasher.finish();
        let verdict = match received.broken {
            Some(why) => Err(StorageError::Body(why)),
            None => headers.check_end(received.bytes),
        };
        let verdict = verdict.and_then(|()| {
            if found == *digest {
                Ok(())
            } else {
                Err(StorageError::DigestMismatch { expected: *digest, found })
            }
        });
        if let Err(error) = verdict {
            self.drop_object(object).await;
            return Err(error);
        }
        let segments = session.map_or(&[][..], |s| &s.segments[..]);
        let content = if segments.is_empty() && object.is_none() {
            BlobContent::Inline(tail)
        } else {
            BlobContent::Segments(segments.iter().cloned().chain(object.clone()).collect())
        };
        if let BlobContent::Segments(segments) = &content {
            self.blobs.written_well(segments).await;
        }
        let replace = self.is_doubtful(digest).await?;
        if let (true, BlobContent::Segments(segments)) = (replace, &content) {
            // What takes the place of others has to be there: a store may have lost it with a good answer.
            self.blobs.must_be_there(segments).await?;
        }
        let blob = NewBlob { digest: *digest, size: before + received.bytes, content, replace };
        let upload = session.map(|s| (s.id, s.size));
        let result = self.metadata.commit_blob(repository, blob, upload, audit).await;
        if matches!(result, Err(StorageError::UnknownUpload(_))) {
            self.drop_object(object).await;
        }
        result
    }

    /// Whether the content is known, but its objects are not known to be good: then new ones take their place.
    async fn is_doubtful(&self, digest: &Digest) -> Result<bool, StorageError> {
        match self.metadata.stored_segments(digest).await? {
            Some(segments) => Ok(!self.blobs.are_good(&segments).await?),
            None => Ok(false),
        }
    }

    /// An object whose row will never come. If it cannot be put on the list it stays as an orphan.
    async fn drop_object(&self, object: Option<Segment>) {
        let Some(object) = object else { return };
        if let Err(error) = self.metadata.reclaim_object(object.key).await {
            tracing::warn!(%error, "an object without a row stays behind");
        }
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if the stored bytes are missing or have the wrong length, or a failure.
    pub async fn open(
        &self,
        record: Arc<BlobRecord>,
        range: std::ops::Range<u64>,
    ) -> Result<crate::BlobReader, StorageError> {
        crate::BlobReader::open(&self.blobs, record, range, self.damage.clone()).await
    }

    /// Whether [`Storage::check`] would find the blob good without asking the store.
    pub fn was_checked(&self, record: &BlobRecord) -> bool {
        self.blobs.was_checked(record)
    }

    /// Whether a blob's bytes are there in their full length, without reading them. Asks the
    /// store at most once a second for the same blob.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if they are not, or a failure.
    pub async fn check(&self, record: &Arc<BlobRecord>) -> Result<(), StorageError> {
        crate::BlobReader::check(&self.blobs, record.clone(), self.damage.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_chunks_end_and_any_number_of_large_ones_goes_on() {
        let small = GATHERED as u64 + 1;
        assert!(check_segments(FREE_SEGMENTS, FREE_SEGMENTS * small).is_ok());
        let refused = (FREE_SEGMENTS..).find(|segments| check_segments(*segments, segments * small).is_err());
        assert!(refused.is_some_and(|segments| segments < 12_000), "{refused:?}");
        for segments in [1, 20_000, 1_000_000] {
            assert!(check_segments(segments, segments * BYTES_OF_SEGMENT).is_ok(), "{segments}");
        }
    }
}
