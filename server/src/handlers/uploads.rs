//! Uploads: sessions, chunks, whole blobs, mounts.
//!
//! Receiving runs in a task of its own: when the client leaves, what it has sent is still made durable.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, StatusCode};
use rreg_auth::Permit;
use rreg_oci::{Algorithm, Digest, ErrorCode, Operation, RepositoryName, UploadId, UploadStart};
use rreg_storage::{AuditEvent, ChunkHeaders, StorageError};

use super::{Answer, created, empty, set};
use crate::app::App;
use crate::auth::Context;
use crate::body::IncomingBody;
use crate::error::ApiError;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Where an upload stands, for the client to go on from.
fn progress(status: StatusCode, repository: &RepositoryName, upload: &UploadId, size: u64) -> Response {
    let mut response = empty(status);
    let headers = response.headers_mut();
    let location = Operation::UploadStatus { repository: repository.clone(), upload: *upload };
    set(headers, LOCATION, location.render().1);
    set(headers, RANGE, format!("0-{}", size.saturating_sub(1)));
    set(headers, UPLOAD_UUID, upload.to_string());
    response
}

fn blob_created(repository: &RepositoryName, digest: &Digest) -> Response {
    created(format!("/v2/{repository}/blobs/{digest}"), digest)
}

pub(super) async fn start(
    app: &Arc<App>,
    permit: Permit,
    context: &Context,
    audit: AuditEvent,
    request: Request,
) -> Answer {
    let Operation::UploadStart { repository, start } = permit.operation() else {
        return Err(super::wrong_operation());
    };
    match start {
        UploadStart::Session { algorithm } => begin(app, repository, *algorithm).await,
        UploadStart::Monolithic { .. } => receive(app, permit, context, audit, request).await,
        UploadStart::Mount { digest, from } => {
            let may_read = |name: &RepositoryName| permit.may_read(name);
            let metadata = app.storage.metadata();
            match metadata.mount(digest, from.as_ref(), repository, may_read, Some(audit)).await {
                Ok(()) => Ok(blob_created(repository, digest)),
                // Nothing to mount: the client uploads it (distribution-spec, end-11).
                Err(StorageError::UnknownBlob { .. }) => begin(app, repository, digest.algorithm()).await,
                Err(error) => Err(error.into()),
            }
        }
    }
}

async fn begin(app: &App, repository: &RepositoryName, algorithm: Algorithm) -> Answer {
    let upload = app.storage.metadata().begin_upload(repository, algorithm).await?;
    Ok(progress(StatusCode::ACCEPTED, repository, &upload, 0))
}

/// Takes the body of a chunk, a closing request or a single POST.
pub(super) async fn receive(
    app: &Arc<App>,
    permit: Permit,
    context: &Context,
    audit: AuditEvent,
    request: Request,
) -> Answer {
    let slot = app.upload_slot(permit.caller(), context)?;
    let (parts, body) = request.into_parts();
    let headers = chunk_headers(&parts.headers)?;
    let body = IncomingBody::new(body, &app.pace, app.metrics.request_bytes.clone());
    let task_app = app.clone();
    let work = async move {
        task_app.metrics.uploads_in_progress.inc();
        let answer = store(&task_app, &permit, audit, headers, body).await;
        task_app.metrics.uploads_in_progress.dec();
        drop(slot);
        answer
    };
    app.tasks.spawn(work).await.unwrap_or_else(|_| Err(StorageError::Closed.into()))
}

async fn store(
    app: &App,
    permit: &Permit,
    audit: AuditEvent,
    headers: ChunkHeaders,
    body: IncomingBody,
) -> Answer {
    let audit = Some(audit);
    match permit.operation() {
        Operation::UploadChunk { repository, upload } => {
            match app.storage.append(repository, upload, headers, body).await {
                Ok(size) => Ok(progress(StatusCode::ACCEPTED, repository, upload, size)),
                Err(error) => Err(with_place(error, repository, upload)),
            }
        }
        Operation::UploadCommit { repository, upload, digest } => {
            match app.storage.commit(repository, upload, digest, headers, body, audit).await {
                Ok(()) => Ok(blob_created(repository, digest)),
                // Sent again because the answer was lost: what it was to do is done.
                Err(StorageError::UnknownUpload(_))
                    if app.storage.metadata().blob(repository, digest).await.is_ok() =>
                {
                    Ok(blob_created(repository, digest))
                }
                Err(error) => Err(with_place(error, repository, upload)),
            }
        }
        Operation::UploadStart { repository, start: UploadStart::Monolithic { digest } } => {
            app.storage.store(repository, digest, headers, body, audit).await?;
            Ok(blob_created(repository, digest))
        }
        _ => Err(super::wrong_operation()),
    }
}

/// A chunk out of order is answered with where the upload stands.
fn with_place(error: StorageError, repository: &RepositoryName, upload: &UploadId) -> ApiError {
    let StorageError::OffsetMismatch { at, .. } = error else { return error.into() };
    let location = Operation::UploadStatus { repository: repository.clone(), upload: *upload };
    ApiError::from(error)
        .with_header(LOCATION, location.render().1)
        .with_header(RANGE, format!("0-{}", at.saturating_sub(1)))
        .with_header(UPLOAD_UUID, upload.to_string())
}

fn chunk_headers(headers: &HeaderMap) -> Result<ChunkHeaders, ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("not ASCII"));
    let bad = |message: String| {
        ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BlobUploadInvalid, message)
    };
    let range = text(CONTENT_RANGE)
        .map(|text| text.parse().map_err(|error| bad(format!("Content-Range {text:?}: {error}"))))
        .transpose()?;
    Ok(ChunkHeaders { range, length: text(CONTENT_LENGTH).and_then(|text| text.parse().ok()) })
}

pub(super) async fn status(app: &App, repository: &RepositoryName, upload: &UploadId) -> Answer {
    let session = app.storage.metadata().upload(repository, upload).await?;
    Ok(progress(StatusCode::NO_CONTENT, repository, upload, session.size))
}

pub(super) async fn cancel(app: &App, repository: &RepositoryName, upload: &UploadId) -> Answer {
    app.storage.metadata().cancel_upload(repository, upload).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
