//! Blobs by digest.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rreg_oci::{ByteRange, Digest, ErrorCode, RepositoryName};
use rreg_storage::{AuditEvent, BlobContent, BlobRecord, StorageError};

use super::{Answer, content_headers, empty, not_modified, parts, set};
use crate::app::App;
use crate::error::ApiError;
use crate::shares::Source;

/// The answer if the blob, or all that HEAD needs of it, is in memory.
pub(super) fn cached(
    app: &App,
    repository: &RepositoryName,
    digest: &Digest,
    headers: &HeaderMap,
    with_body: bool,
) -> Option<Answer> {
    let record = app.storage.metadata().cached_blob(repository, digest)?;
    if !with_body && !record.is_promised() {
        return None;
    }
    let body = match whole_inline(&record) {
        Some(bytes) => Some(bytes).filter(|_| with_body),
        None if !with_body && app.storage.was_checked(&record) => None,
        None => return None,
    };
    if headers.get(RANGE).is_some_and(|range| range.as_bytes().contains(&b',')) {
        return None;
    }
    app.metrics.blob_cache.hits.inc();
    let etag = quoted(&record.digest_text);
    if not_modified(headers, &etag) {
        return Some(Ok(unchanged(&record, etag)));
    }
    let part = if with_body { requested_part(headers, &etag, record.size) } else { Ok(None) };
    Some(part.map(|part| match body {
        Some(bytes) => {
            let body = bytes_of(app, bytes, part.clone().unwrap_or(0..record.size));
            respond(&record.digest_text, record.size, etag, part, body)
        }
        None => respond(&record.digest_text, record.size, etag, part, Body::empty()),
    }))
}

pub(super) async fn read(
    app: &Arc<App>,
    (repository, digest): (&RepositoryName, &Digest),
    source: Source,
    headers: &HeaderMap,
    with_body: bool,
) -> Answer {
    app.metrics.blob_cache.misses.inc();
    let mut found = app.storage.metadata().blob(repository, digest).await;
    if matches!(found, Err(StorageError::Damaged { .. })) && app.heals.is_due(digest) {
        // The store may have been wrong, and not the bytes.
        if app.storage.heal(digest).await? {
            found = app.storage.metadata().blob(repository, digest).await;
        }
    }
    let record = match found {
        Err(error @ (StorageError::UnknownBlob { .. } | StorageError::Damaged { .. })) => {
            let Some(copy) = app.mirror.covering(repository) else { return Err(error.into()) };
            let copy = copy.asked_by(source);
            return super::copies::blob(app, copy, digest, headers, with_body).await;
        }
        record => record?,
    };
    if !with_body {
        app.storage.metadata().promise_blob(repository, &record).await?;
    }
    let etag = quoted(&record.digest_text);
    if not_modified(headers, &etag) {
        return Ok(unchanged(&record, etag));
    }
    if !with_body {
        // A client that is told a blob is here does not push it.
        app.storage.check(&record).await?;
        return Ok(respond(&record.digest_text, record.size, etag, None, Body::empty()));
    }
    let answer = stored(app, &record, headers).await;
    if answer.as_ref().is_err_and(crate::error::ApiError::is_damage)
        && let Some(copy) = app.mirror.covering(repository)
    {
        // Its upstream has it: who notices that it is gone here need not be told so.
        app.storage.set_aside(&record).await?;
        return super::copies::blob(app, copy, digest, headers, with_body).await;
    }
    answer
}

/// A stored blob, or the part of it that is asked for.
pub(super) async fn stored(app: &App, record: &Arc<BlobRecord>, headers: &HeaderMap) -> Answer {
    let etag = quoted(&record.digest_text);
    // Object stores know one range only.
    if let Some(reads) = parts::requested(app, headers, &etag, record) {
        return parts::respond(app, record, etag, reads).await;
    }
    if let Some(address) = redirect(app, record, headers).await {
        // Whoever is sent to the store tells nobody here what it found there.
        app.storage.check(record).await?;
        let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
        set(response.headers_mut(), LOCATION, address);
        set(response.headers_mut(), super::CONTENT_DIGEST, record.digest_text.clone());
        return Ok(response);
    }
    let part = requested_part(headers, &etag, record.size)?;
    let range = part.clone().unwrap_or(0..record.size);
    let body = match whole_inline(record) {
        Some(bytes) => bytes_of(app, bytes, range),
        None => {
            app.metrics.response_bytes.inc_by(range.end - range.start);
            Body::from_stream(app.storage.open(record.clone(), range).await?.into_stream())
        }
    };
    Ok(respond(&record.digest_text, record.size, etag, part, body))
}

/// Where to fetch the blob from the store itself. Where no address can be signed the bytes go through here.
async fn redirect(app: &App, record: &BlobRecord, headers: &HeaderMap) -> Option<String> {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(ByteRange::parse);
    let from_end = matches!(range, Some(ByteRange::Suffix(_)));
    app.storage.blobs().redirect(record, from_end).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "no address can be signed for a download; serving it from here");
        None
    })
}

/// The bytes, if they are in the record and as many as they should be.
fn whole_inline(record: &BlobRecord) -> Option<&Bytes> {
    match &record.content {
        BlobContent::Inline(bytes) if bytes.len() as u64 == record.size => Some(bytes),
        _ => None,
    }
}

fn bytes_of(app: &App, bytes: &Bytes, range: Range<u64>) -> Body {
    let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
        return Body::empty();
    };
    app.metrics.response_bytes.inc_by(range.end - range.start);
    Body::from(bytes.slice(start..end))
}

fn unchanged(record: &BlobRecord, etag: Bytes) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    content_headers(&mut response, &record.digest_text, etag, 0);
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}

/// The headers of GET and HEAD, with the body that goes with them.
pub(super) fn respond(
    digest: &Bytes,
    size: u64,
    etag: Bytes,
    part: Option<Range<u64>>,
    body: Body,
) -> Response {
    let length = part.as_ref().map_or(size, |part| part.end - part.start);
    let mut response = Response::new(body);
    content_headers(&mut response, digest, etag, length);
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(part) = part {
        set(out, CONTENT_RANGE, format!("bytes {}-{}/{}", part.start, part.end - 1, size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

pub(super) fn quoted(digest: &Bytes) -> Bytes {
    let mut etag = Vec::with_capacity(digest.len() + 2);
    etag.push(b'"');
    etag.extend_from_slice(digest);
    etag.push(b'"');
    etag.into()
}

/// The part that a `Range` header asks for, unless `If-Range` names other content (RFC 9110, section 13.1.5).
pub(super) fn requested_part(
    headers: &HeaderMap,
    etag: &[u8],
    size: u64,
) -> Result<Option<Range<u64>>, ApiError> {
    if headers.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag) {
        return Ok(None);
    }
    // Of nothing there is no part: who asks for all that there is gets it.
    if size == 0 {
        return Ok(None);
    }
    let header = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some(range) = header.and_then(ByteRange::parse) else { return Ok(None) };
    let part = range.resolve(size).map_err(|error| {
        let message = format!("{error}; the blob has {} bytes", size);
        ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message)
            .with_header(CONTENT_RANGE, format!("bytes */{}", size))
    })?;
    Ok(Some(part))
}

pub(super) async fn delete(
    app: &App,
    repository: &RepositoryName,
    digest: &Digest,
    audit: AuditEvent,
) -> Answer {
    let grace = u64::try_from(app.reclaim_grace.as_millis()).unwrap_or(u64::MAX);
    app.storage.metadata().delete_blob(repository, digest, grace, Some(audit)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
