//! One handler for each operation. Each takes a [`Permit`] and what it needs of the request.

mod blobs;
mod copies;
mod lists;
mod manifests;
mod parts;
mod policies;
mod rules;
mod uploads;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rreg_auth::Permit;
use rreg_oci::{Digest, Operation};

pub use rules::tag_rule_view;

use crate::app::App;
use crate::auth::{Context, allowed};
use crate::error::ApiError;
use crate::shares::Source;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

type Answer = Result<Response, ApiError>;

/// Answers a permitted request whose content is in memory.
pub(crate) fn immediate(app: &App, permit: &Permit, headers: &HeaderMap) -> Option<Answer> {
    match permit.operation() {
        Operation::ManifestGet { repository, reference }
        | Operation::ManifestHead { repository, reference }
            if !app.mirror.is_settled(repository, reference) =>
        {
            None
        }
        Operation::ManifestGet { repository, reference } => {
            manifests::cached(app, repository, reference, headers, true)
        }
        Operation::ManifestHead { repository, reference } => {
            manifests::cached(app, repository, reference, headers, false)
        }
        Operation::BlobGet { repository, digest } => blobs::cached(app, repository, digest, headers, true),
        Operation::BlobHead { repository, digest } => blobs::cached(app, repository, digest, headers, false),
        _ => None,
    }
}

/// Hands a permitted request to its handler.
pub(crate) async fn dispatch(app: &Arc<App>, permit: Permit, context: &Context, request: Request) -> Answer {
    app.mirror.refuse_push(permit.operation())?;
    // What a change leaves in the audit trail, written in that change's own transaction.
    let audit = || allowed(&permit, context);
    match permit.operation() {
        Operation::Ping => Ok(json(Bytes::from_static(b"{}"))),
        Operation::Catalog { page } => lists::catalog(app, &permit, context, page).await,
        Operation::TagList { page, .. } => lists::tags(app, &permit, context, page).await,
        Operation::Referrers { .. } => lists::referrers(app, &permit, (request.headers(), context)).await,
        Operation::ManifestGet { .. } => {
            manifests::read(app, &permit, (request.headers(), context), true).await
        }
        Operation::ManifestHead { .. } => {
            manifests::read(app, &permit, (request.headers(), context), false).await
        }
        Operation::ManifestPut { .. } => manifests::put(app, &permit, context, audit(), request).await,
        Operation::ManifestDelete { .. } => manifests::delete(app, &permit, audit()).await,
        Operation::BlobGet { repository, digest } => {
            let source = Source::of(permit.caller(), context);
            blobs::read(app, (repository, digest), source, request.headers(), true).await
        }
        Operation::BlobHead { repository, digest } => {
            let source = Source::of(permit.caller(), context);
            blobs::read(app, (repository, digest), source, request.headers(), false).await
        }
        Operation::BlobDelete { repository, digest } => blobs::delete(app, repository, digest, audit()).await,
        Operation::UploadStart { .. } => {
            let audit = audit();
            uploads::start(app, permit, context, audit, request).await
        }
        Operation::UploadChunk { .. } | Operation::UploadCommit { .. } => {
            let audit = audit();
            uploads::receive(app, permit, context, audit, request).await
        }
        Operation::UploadStatus { repository, upload } => uploads::status(app, repository, upload).await,
        Operation::UploadCancel { repository, upload } => uploads::cancel(app, repository, upload).await,
        Operation::TagRuleList => rules::list(app).await,
        Operation::TagRulePut { .. } => rules::put(app, &permit, audit(), request).await,
        Operation::TagRuleDelete { .. } => rules::delete(app, &permit, audit()).await,
        Operation::PolicyList => policies::list(app).await,
        Operation::PolicyGet { policy } => policies::get(app, policy).await,
        Operation::PolicyPut { .. } => policies::put(app, &permit, context, audit(), request).await,
        Operation::PolicyDelete { .. } => policies::delete(app, &permit, audit()).await,
        Operation::PolicySchema => policies::schema(),
        Operation::WhatIf => policies::what_if(app, &permit, context, request).await,
        Operation::TrustList => policies::list_trust(app).await,
        Operation::TrustPut { .. } => policies::put_trust(app, &permit, context, audit(), request).await,
        Operation::TrustDelete { .. } => policies::delete_trust(app, &permit, audit()).await,
        Operation::DecisionGet { repository, reference } => {
            policies::decisions(app, repository, reference).await
        }
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn json(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A header from text that is known to be one: names, digests, numbers, media types that were headers before.
fn set(headers: &mut HeaderMap, name: HeaderName, value: impl Into<Bytes>) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        headers.insert(name, value);
    }
}

/// `201 Created` with where it is and what it is.
fn created(location: String, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(response.headers_mut(), LOCATION, location);
    set(response.headers_mut(), CONTENT_DIGEST, digest.to_string());
    response
}

/// Whether the client has this entity already (RFC 9110, section 13.1.2).
fn not_modified(headers: &HeaderMap, etag: &[u8]) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        value
            .as_bytes()
            .split(|c| *c == b',')
            .map(<[u8]>::trim_ascii)
            .any(|candidate| candidate == b"*" || candidate.strip_prefix(b"W/").unwrap_or(candidate) == etag)
    })
}

/// Headers that GET and HEAD of content share.
fn content_headers(response: &mut Response, digest: &Bytes, etag: Bytes, length: u64) {
    let headers = response.headers_mut();
    // All that will be set, at once: growing a map means hashing it again.
    headers.reserve(10);
    set(headers, CONTENT_DIGEST, digest.clone());
    set(headers, ETAG, etag);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// A handler was called for an operation that is not its own: a mistake in [`dispatch`], answered, not panicked.
fn wrong_operation() -> ApiError {
    let why = "the request reached the wrong handler; this is a defect of the registry";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, rreg_oci::ErrorCode::Unavailable, why)
}
