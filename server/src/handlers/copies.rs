//! Content of upstreams that is not here yet, or has to be confirmed.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::WARNING;
use http::{HeaderMap, HeaderValue};
use rreg_oci::{Digest, Reference};

use super::{Answer, blobs, manifests};
use crate::app::App;
use crate::error::ApiError;
use crate::mirror::Copy;

/// A manifest of an upstream.
pub(super) async fn manifest(
    app: &Arc<App>,
    copy: &Copy,
    reference: &Reference,
    headers: &HeaderMap,
    with_body: bool,
) -> Answer {
    let found = app.mirror.manifest(app, copy, reference).await.map_err(ApiError::from_shared)?;
    let mut response = manifests::answer(app, &found.manifest, headers, with_body);
    if found.stale.is_some() {
        // RFC 7234, section 5.5.2. What exactly went wrong is in the log.
        let warning = HeaderValue::from_static("111 rreg \"Revalidation Failed\"");
        response.headers_mut().insert(WARNING, warning);
    }
    Ok(response)
}

/// A blob of an upstream that is not here: served while it comes in.
pub(super) async fn blob(
    app: &Arc<App>,
    copy: Copy,
    digest: &Digest,
    headers: &HeaderMap,
    with_body: bool,
) -> Answer {
    let text: Bytes = digest.to_string().into();
    let etag = blobs::quoted(&text);
    if !with_body {
        let size = app.mirror.blob_size(app, &copy, digest).await.map_err(ApiError::from_shared)?;
        return Ok(blobs::respond(&text, size, etag, None, Body::empty()));
    }
    let repository = copy.local.clone();
    let fill = app.mirror.fill(app, copy, *digest);
    let Some((growing, fill)) = fill.begun().await.map_err(ApiError::from_shared)? else {
        let record = app.storage.metadata().blob(&repository, digest).await?;
        return blobs::stored(app, &record, headers).await;
    };
    let part = blobs::requested_part(headers, &etag, growing.size)?;
    let range = part.clone().unwrap_or(0..growing.size);
    app.metrics.response_bytes.inc_by(range.end - range.start);
    let size = growing.size;
    let body = Body::from_stream(fill.read(growing, range));
    Ok(blobs::respond(&text, size, etag, part, body))
}
