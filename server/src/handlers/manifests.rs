//! Manifests by tag and digest.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rreg_auth::{Action, Caller, Permit};
use rreg_oci::{Digest, ErrorCode, Manifest, Operation, Reference, RepositoryName, Tag};
use rreg_policy::{Decision, Outcome, Point};
use rreg_storage::{AuditEvent, NewManifest, StorageError, StoredManifest};

use super::{Answer, content_headers, created, empty, not_modified, set};
use crate::admission;
use crate::app::App;
use crate::auth::{Context, allowed};
use crate::body::IncomingBody;
use crate::error::ApiError;
use crate::shares::Source;
use crate::telemetry::CacheMetrics;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// The answer if the manifest is in memory.
pub(super) fn cached(
    app: &App,
    repository: &RepositoryName,
    reference: &Reference,
    headers: &HeaderMap,
    with_body: bool,
) -> Option<Answer> {
    let manifest = app.storage.metadata().cached_manifest(repository, reference)?;
    if asks_before_push(reference, with_body) && !manifest.is_promised() {
        return None;
    }
    if !with_body && (app.storage.metadata().may_lack_content() || !app.looks.was_whole(&manifest.digest)) {
        return None;
    }
    // Who is refused or warned is told why, and that is not in memory.
    if app.admission.known(repository, &manifest.digest, reference.digest().is_some()) != Some(true) {
        return None;
    }
    cache_of(app, reference).hits.inc();
    app.mirror.used(repository, &manifest.digest);
    Some(Ok(answer(app, &manifest, headers, with_body)))
}

pub(super) async fn read(
    app: &Arc<App>,
    permit: &Permit,
    (headers, context): (&HeaderMap, &Context),
    with_body: bool,
) -> Answer {
    let (Operation::ManifestGet { repository, reference }
    | Operation::ManifestHead { repository, reference }) = permit.operation()
    else {
        return Err(super::wrong_operation());
    };
    cache_of(app, reference).misses.inc();
    if let Some(copy) = app.mirror.covering(repository) {
        return super::copies::manifest(app, permit, &copy, (headers, context), with_body).await;
    }
    let manifest = app.storage.metadata().manifest(repository, reference).await?;
    // What cannot be pulled has to be pushed again, and clients push what they are told is not here.
    if !with_body
        && (app.storage.metadata().lacks_content(repository, &manifest.digest).await?
            || app.looks.lacks(&app.storage, &app.limits, repository, &manifest).await)
    {
        return Err(StorageError::DamagedManifest { digest: manifest.digest }.into());
    }
    if asks_before_push(reference, with_body) {
        app.storage.metadata().promise_manifest(repository, &manifest).await?;
    }
    let answer = answer(app, &manifest, headers, with_body);
    judged(app, permit, (headers, context), &manifest, answer).await
}

/// Whether a manifest is read in order to sign it or to judge it: by somebody who may push to the repository, with a
/// program that says so. Who could not read what is not signed yet could not sign it. The program's word keeps people
/// from pulling by mistake what they may read for this.
fn signs(app: &App, permit: &Permit, repository: &RepositoryName, headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let says_so = agent.starts_with("cosign/")
        || agent.starts_with("notation/")
        || (agent.starts_with("rreg/") && agent.ends_with(" (evidence)"));
    // Nobody signs in a copy.
    if !says_so || !app.admission.signers_may_read() || app.mirror.covering(repository).is_some() {
        return false;
    }
    // A token for the pull alone is what these programs ask for first: what counts is who they are.
    let whole = Caller { scopes: None, ..permit.caller().clone() };
    app.auth.access.judge(&whole, Action::Push, Some(repository)).is_ok()
}

/// Whether a manifest is read in order to push: a HEAD by somebody who may push there, or a token that is for pushing.
/// Who pulls asks for no such token.
fn pushes(app: &App, permit: &Permit, repository: &RepositoryName) -> bool {
    if app.mirror.covering(repository).is_some() {
        return false;
    }
    let caller = permit.caller();
    let may_push = |caller: &Caller| app.auth.access.judge(caller, Action::Push, Some(repository)).is_ok();
    match permit.operation() {
        Operation::ManifestHead { .. } => may_push(&Caller { scopes: None, ..caller.clone() }),
        Operation::ManifestGet { .. } => caller.scopes.is_some() && may_push(caller),
        _ => false,
    }
}

/// The answer, if policies let it be given.
pub(super) async fn judged(
    app: &Arc<App>,
    permit: &Permit,
    (headers, context): (&HeaderMap, &Context),
    manifest: &StoredManifest,
    mut answer: Response,
) -> Answer {
    let (Operation::ManifestGet { repository, reference }
    | Operation::ManifestHead { repository, reference }) = permit.operation()
    else {
        return Err(super::wrong_operation());
    };
    match app.admission.pull(app, repository, &manifest.digest, reference.digest().is_some()).await? {
        admission::Answer::Allow => {}
        admission::Answer::Warn(decision) => warn(app, &mut answer, &decision),
        // Clients ask what is there before they push, and read what they push to. The answer to a HEAD is no content.
        admission::Answer::Deny(_) if pushes(app, permit, repository) => {
            if matches!(permit.operation(), Operation::ManifestGet { .. }) {
                write_down(app, permit, context, &manifest.digest, "read in order to push").await?;
            }
        }
        admission::Answer::Deny(_) if signs(app, permit, repository, headers) => {
            write_down(app, permit, context, &manifest.digest, "policy.signers_may_read").await?;
        }
        admission::Answer::Deny(decision) => return Err(denied(app, &decision)),
    }
    Ok(answer)
}

/// A row in the trail for a read of what nobody may pull; one a minute of the same by one caller, who may ask as often as
/// they like.
async fn write_down(
    app: &App,
    permit: &Permit,
    context: &Context,
    digest: &Digest,
    rule: &str,
) -> Result<(), ApiError> {
    let mut event = allowed(permit, context);
    rule.clone_into(&mut event.rule);
    if app.reads.is_due((&event.actor, &event.repository, digest, rule)) {
        app.storage.metadata().audit(vec![event]).await?;
    }
    Ok(())
}

/// The policies that warn.
fn by(decision: &Decision) -> String {
    let names = decision.with_outcome(Outcome::Warn).map(|policy| policy.policy.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// 403 with what a person reads in their client, and beside it the decision for programs.
fn denied(app: &App, decision: &Decision) -> ApiError {
    app.admission.metrics.denied.inc();
    let message = format!("{} may not be {}: {}", decision.digest, done(decision.at), decision.message());
    ApiError::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message).with_detail(serde_json::json!(decision))
}

fn done(point: Point) -> &'static str {
    match point {
        Point::Push => "pushed",
        Point::Promote => "tagged",
        Point::Pull => "pulled",
        Point::Admit => "admitted",
        Point::Run => "run",
    }
}

/// Warnings of one answer: what is more is in the registry's own decision.
const MAX_WARNINGS: usize = 5;

/// What clients show their users (distribution-spec, "Warnings"): code 299, no agent, one header for each.
fn warn(app: &App, response: &mut Response, decision: &Decision) {
    app.admission.warned(decision);
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    for warning in decision.warnings().iter().take(MAX_WARNINGS) {
        let text: String = warning.chars().map(plain).filter(|c| !matches!(c, '"' | '\\')).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
}

/// Whether a client may want to know if it has to push this manifest as a child of an index.
fn asks_before_push(reference: &Reference, with_body: bool) -> bool {
    !with_body && reference.digest().is_some()
}

fn cache_of<'a>(app: &'a App, reference: &Reference) -> &'a CacheMetrics {
    match reference {
        Reference::Tag(_) => &app.metrics.tag_cache,
        Reference::Digest(_) => &app.metrics.manifest_cache,
    }
}

pub(super) fn answer(app: &App, manifest: &StoredManifest, headers: &HeaderMap, with_body: bool) -> Response {
    let unchanged = not_modified(headers, &manifest.etag);
    let length = manifest.body.len() as u64;
    let body = if with_body && !unchanged { Body::from(manifest.body.clone()) } else { Body::empty() };
    let mut response = Response::new(body);
    content_headers(&mut response, &manifest.digest_text, manifest.etag.clone(), length);
    set(response.headers_mut(), CONTENT_TYPE, manifest.media_type.clone());
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
    } else if with_body {
        app.metrics.response_bytes.inc_by(length);
    }
    response
}

pub(super) async fn put(
    app: &Arc<App>,
    permit: &Permit,
    context: &Context,
    mut audit: AuditEvent,
    request: Request,
) -> Answer {
    let Operation::ManifestPut { repository, reference, tags } = permit.operation() else {
        return Err(super::wrong_operation());
    };
    // Manifests are collected in memory, so their number is bounded like that of uploads.
    let _slot = app.upload_slot(permit.caller(), context)?;
    let (parts, body) = request.into_parts();
    let content_type = match parts.headers.get(CONTENT_TYPE).map(|value| value.to_str()) {
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => {
            let why = "the Content-Type is not printable ASCII";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, why));
        }
        None => None,
    };
    let body = IncomingBody::new(body, &app.pace, app.metrics.request_bytes.clone());
    let source = Source::of(permit.caller(), context);
    let (body, _room) = body.collect_in(app.limits.max_size, &app.arriving, &source).await?;
    let manifest = Manifest::parse(content_type, &body, &app.limits)?;
    let (digest, tags) = match reference {
        Reference::Tag(tag) => (Digest::sha256(&body), vec![tag.clone()]),
        Reference::Digest(expected) => {
            let found = Digest::of(expected.algorithm(), &body);
            if found != *expected {
                let error = rreg_storage::StorageError::DigestMismatch { expected: *expected, found };
                return Err(error.into());
            }
            (found, tags.clone())
        }
    };
    let subject = manifest.subject.as_ref().map(|subject| subject.digest);
    let accepted = if reference.digest().is_some() { tag_list(&tags) } else { None };
    let list_packages = manifest.is_container() && app.sbom.covers(repository);
    audit.target = Some(target(&tags, &digest));
    let mut new = NewManifest {
        repository: repository.clone(),
        digest,
        body,
        manifest,
        tags,
        allow_sparse: app.allow_sparse,
        audit: Some(audit),
        list_packages,
    };
    let warning = match app.admission.push(app, &new).await? {
        admission::Answer::Allow => None,
        admission::Answer::Warn(decision) => {
            let (digest, reason) = (&decision.digest, decision.message());
            tracing::warn!(%repository, %digest, reason, "stored with a warning");
            if let Some(audit) = &mut new.audit {
                audit.rule = format!("{}; warned by {}", audit.rule, by(&decision));
            }
            Some(decision)
        }
        admission::Answer::Deny(decision) => return Err(denied(app, &decision)),
    };
    app.storage.metadata().put_manifest(new).await?;
    let mut response = created(format!("/v2/{repository}/manifests/{reference}"), &digest);
    if let Some(subject) = subject {
        set(response.headers_mut(), OCI_SUBJECT, subject.to_string());
    }
    if let Some(tags) = accepted {
        set(response.headers_mut(), OCI_TAG, tags);
    }
    if let Some(decision) = warning {
        warn(app, &mut response, &decision);
    }
    Ok(response)
}

/// What the trail says was pushed: `v1,latest@sha256:…`.
fn target(tags: &[Tag], digest: &Digest) -> String {
    let tags = tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",");
    if tags.is_empty() { digest.to_string() } else { format!("{tags}@{digest}") }
}

fn tag_list(tags: &[Tag]) -> Option<String> {
    (!tags.is_empty()).then(|| tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", "))
}

pub(super) async fn delete(app: &App, permit: &Permit, audit: AuditEvent) -> Answer {
    let Operation::ManifestDelete { repository, reference } = permit.operation() else {
        return Err(super::wrong_operation());
    };
    app.storage.metadata().delete_manifest(repository, reference, Some(audit)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
