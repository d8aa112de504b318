//! Blobs by digest.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rreg_oci::{ByteRange, Digest, ErrorCode, RepositoryName};
use rreg_storage::{BlobContent, BlobRecord};

use super::{Answer, content_headers, empty, not_modified, set};
use crate::app::App;
use crate::error::ApiError;

pub(super) async fn read(
    app: &App,
    repository: &RepositoryName,
    digest: &Digest,
    headers: &HeaderMap,
    with_body: bool,
) -> Answer {
    let record = match app.storage.metadata().cached_blob(repository, digest) {
        Some(record) => {
            app.metrics.blob_cache.hits.inc();
            record
        }
        None => {
            app.metrics.blob_cache.misses.inc();
            app.storage.metadata().blob(repository, digest).await?
        }
    };
    let etag = quoted(&record.digest_text);
    if not_modified(headers, &etag) {
        let mut response = empty(StatusCode::NOT_MODIFIED);
        content_headers(&mut response, &record.digest_text, etag, 0);
        response.headers_mut().remove(CONTENT_LENGTH);
        return Ok(response);
    }
    if with_body && let Some(address) = app.storage.blobs().redirect(&record).await? {
        let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
        set(response.headers_mut(), LOCATION, address);
        set(response.headers_mut(), super::CONTENT_DIGEST, record.digest_text.clone());
        return Ok(response);
    }
    let part = if with_body { requested_part(headers, &etag, &record)? } else { None };
    let range = part.clone().unwrap_or(0..record.size);
    let length = range.end - range.start;
    let body = if with_body {
        body_of(app, &record, range).await?
    } else {
        // A client that is told a blob is here does not push it.
        app.storage.check(&record).await?;
        Body::empty()
    };
    let mut response = Response::new(body);
    content_headers(&mut response, &record.digest_text, etag, length);
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(part) = part {
        set(out, CONTENT_RANGE, format!("bytes {}-{}/{}", part.start, part.end - 1, record.size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn quoted(digest: &Bytes) -> Bytes {
    let mut etag = Vec::with_capacity(digest.len() + 2);
    etag.push(b'"');
    etag.extend_from_slice(digest);
    etag.push(b'"');
    etag.into()
}

/// The part that a `Range` header asks for, unless `If-Range` names other content (RFC 9110, section 13.1.5).
fn requested_part(
    headers: &HeaderMap,
    etag: &[u8],
    record: &BlobRecord,
) -> Result<Option<Range<u64>>, ApiError> {
    if headers.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag) {
        return Ok(None);
    }
    let header = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some(range) = header.and_then(ByteRange::parse) else { return Ok(None) };
    let part = range.resolve(record.size).map_err(|error| {
        let message = format!("{error}; the blob has {} bytes", record.size);
        ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message)
            .with_header(CONTENT_RANGE, format!("bytes */{}", record.size))
    })?;
    Ok(Some(part))
}

async fn body_of(app: &App, record: &Arc<BlobRecord>, range: Range<u64>) -> Result<Body, ApiError> {
    app.metrics.response_bytes.inc_by(range.end - range.start);
    if let BlobContent::Inline(bytes) = &record.content
        && bytes.len() as u64 == record.size
    {
        let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
            return Ok(Body::empty());
        };
        return Ok(Body::from(bytes.slice(start..end)));
    }
    let reader = app.storage.open(record.clone(), range).await?;
    Ok(Body::from_stream(reader.into_stream()))
}

pub(super) async fn delete(app: &App, repository: &RepositoryName, digest: &Digest) -> Answer {
    let grace = u64::try_from(app.reclaim_grace.as_millis()).unwrap_or(u64::MAX);
    app.storage.metadata().delete_blob(repository, digest, grace).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
