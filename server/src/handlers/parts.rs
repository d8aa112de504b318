//! Several parts of a blob in one answer (RFC 9110, sections 14.2 and 15.3.7.2).
//!
//! Parts that lie near each other are cut out of one read, so that a request costs an object store few reads, each of which
//! is paid for. Where it would cost more, the request is answered with the whole blob, which a server may do.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures_util::stream;
use http::header::{CONTENT_TYPE, IF_RANGE, RANGE};
use http::{HeaderMap, StatusCode};
use rreg_oci::ByteRange;
use rreg_storage::{BlobContent, BlobReader, BlobRecord, Storage, StorageError};

use super::{Answer, blobs, set};
use crate::app::App;

/// Most parts of one answer.
const MOST: usize = 1000;
/// Most reads of one answer where each is a request to an object store.
const MOST_REMOTE_READS: usize = 32;
/// Parts with no more bytes than this between them are read at once.
const GAP: u64 = 64 << 10;

/// A stretch that is read at once, and the parts that are cut out of it, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    stretch: Range<u64>,
    parts: Vec<Range<u64>>,
}

/// What has to be read for a `Range` header with several ranges. `None` where it has one, or is to be ignored: nothing of it
/// is in the content, or it asks for more than the content has, or for so much here and there that the whole costs less.
pub(super) fn requested(
    app: &App,
    headers: &HeaderMap,
    etag: &[u8],
    record: &BlobRecord,
) -> Option<Vec<Read>> {
    if headers.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag) {
        return None;
    }
    let header = headers.get(RANGE)?.to_str().ok()?;
    let is_near = app.storage.blobs().is_local() || matches!(record.content, BlobContent::Inline(_));
    reads(header, record.size, if is_near { MOST } else { MOST_REMOTE_READS })
}

fn reads(header: &str, size: u64, most: usize) -> Option<Vec<Read>> {
    let ranges = ByteRange::parse_several(header, MOST)?;
    let parts: Vec<_> = ranges.into_iter().filter_map(|range| range.resolve(size).ok()).collect();
    let sum = parts.iter().map(|part| part.end - part.start).fold(0, u64::saturating_add);
    let mut reads: Vec<Read> = Vec::new();
    for part in parts {
        match reads.last_mut() {
            Some(Read { stretch, parts })
                if part.start.checked_sub(stretch.end).is_some_and(|gap| gap <= GAP) =>
            {
                stretch.end = part.end;
                parts.push(part);
            }
            _ => reads.push(Read { stretch: part.clone(), parts: vec![part] }),
        }
    }
    (!reads.is_empty() && sum <= size && reads.len() <= most).then_some(reads)
}

/// The answer with these parts of a stored blob.
pub(super) async fn respond(app: &App, record: &Arc<BlobRecord>, etag: Bytes, reads: Vec<Read>) -> Answer {
    let (boundary, size) = (uuid::Uuid::new_v4().simple().to_string(), record.size);
    let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let (mut sent, mut around, mut steps) = (0, end.len() as u64, VecDeque::new());
    for Read { stretch, parts } in reads {
        steps.push_back(Step::Open(stretch));
        for part in parts {
            let (start, last) = (part.start, part.end - 1);
            let head = Bytes::from(format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{last}/{size}\r\n\r\n"
            ));
            sent += part.end - part.start;
            around += head.len() as u64;
            steps.extend([Step::Text(head), Step::Part(part)]);
        }
    }
    steps.push_back(Step::Text(end));
    app.storage.check(record).await?;
    app.metrics.response_bytes.inc_by(sent);
    let cutter = Cutter { storage: app.storage.clone(), of: record.clone(), steps, open: None };
    let pieces = stream::try_unfold(cutter, async |mut cutter| {
        Ok::<_, StorageError>(cutter.next().await?.map(|piece| (piece, cutter)))
    });
    let mut response =
        blobs::respond(&record.digest_text, sent + around, etag, None, Body::from_stream(pieces));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(response.headers_mut(), CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
    Ok(response)
}

/// What the answer is made of, in order.
enum Step {
    Open(Range<u64>),
    Text(Bytes),
    /// What is still to come of a part of what was opened last.
    Part(Range<u64>),
}

/// Makes the answer piece by piece.
struct Cutter {
    storage: Storage,
    of: Arc<BlobRecord>,
    steps: VecDeque<Step>,
    open: Option<Open>,
}

/// A read under way.
struct Open {
    reader: BlobReader,
    /// What was read and not sent, and where in the blob it begins.
    piece: Bytes,
    at: u64,
}

impl Cutter {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        loop {
            match self.steps.pop_front() {
                None => return Ok(None),
                Some(Step::Text(text)) => return Ok(Some(text)),
                Some(Step::Open(stretch)) => {
                    let at = stretch.start;
                    let reader = self.storage.open(self.of.clone(), stretch).await?;
                    self.open = Some(Open { reader, piece: Bytes::new(), at });
                }
                Some(Step::Part(part)) if part.is_empty() => {}
                Some(Step::Part(mut part)) => {
                    let Some(open) = &mut self.open else { return Ok(None) };
                    let piece = open.cut(&part).await?;
                    part.start += piece.len() as u64;
                    self.steps.push_front(Step::Part(part));
                    return Ok(Some(piece));
                }
            }
        }
    }
}

impl Open {
    /// Some of the bytes of `part`, from its first on; what lies before it is left out.
    async fn cut(&mut self, part: &Range<u64>) -> Result<Bytes, StorageError> {
        loop {
            let skipped = (part.start - self.at).min(self.piece.len() as u64);
            self.piece.advance(usize::try_from(skipped).unwrap_or(self.piece.len()));
            self.at += skipped;
            if !self.piece.is_empty() {
                let length = (part.end - part.start).min(self.piece.len() as u64);
                self.at += length;
                return Ok(self.piece.split_to(usize::try_from(length).unwrap_or(self.piece.len())));
            }
            self.piece = self.reader.next().await.unwrap_or(Err(StorageError::Closed))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_parts_are_one_read() {
        let read = |stretch: Range<u64>, parts: &[Range<u64>]| Read { stretch, parts: parts.to_vec() };
        let one = |part: Range<u64>| read(part.clone(), std::slice::from_ref(&part));
        let size = 100 << 20;
        assert_eq!(
            reads("bytes=0-9,20-29,30-39, 1000000-1000009,5-6,-10", size, MOST).unwrap(),
            [
                read(0..40, &[0..10, 20..30, 30..40]),
                one(1_000_000..1_000_010),
                one(5..7),
                one(size - 10..size),
            ]
        );
        assert_eq!(reads("bytes=0-9,0-9", 15, MOST), None, "more than there is");
        let far = |count: u64| {
            let parts: Vec<String> = (0..count).map(|it| format!("{0}-{0}", it * (GAP + 2))).collect();
            reads(&format!("bytes={}", parts.join(",")), size, MOST_REMOTE_READS).map(|reads| reads.len())
        };
        assert_eq!(far(32), Some(32));
        assert_eq!(far(33), None, "the whole costs less");
        let near: Vec<String> = (0..1000).map(|it| format!("{0}-{0}", it * 1000)).collect();
        assert_eq!(reads(&format!("bytes={}", near.join(",")), size, MOST_REMOTE_READS).unwrap().len(), 1);
    }
}
