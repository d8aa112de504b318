//! Policies, trust material, and what is decided, over the API.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;
use rreg_auth::Permit;
use rreg_oci::{ErrorCode, Glob, Operation, Reference, RepositoryName, Tag};
use rreg_policy::{Point, Policy};
use rreg_storage::{AuditEvent, PolicyTexts, TextChange};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use super::{Answer, empty, json as json_answer};
use crate::admission::{Active, LoadError, Seen, SetTrust};
use crate::app::App;
use crate::auth::Context;
use crate::body::{IncomingBody, within};
use crate::error::ApiError;
use crate::shares::{Share, Source};

/// Longest policy, in bytes.
const MAX_POLICY: usize = 1 << 20;
/// Longest trust material, in bytes.
const MAX_TRUST: usize = 1 << 20;
/// Earlier texts that are shown.
const MAX_HISTORY: usize = 100;
/// Most policies, and most trust materials.
const MAX_TEXTS: usize = 1000;
/// Most bytes of both together.
const MAX_BYTES: usize = 32 << 20;

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
}

fn unknown(message: String) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, message)
}

fn view(policy: &Policy, source: &str) -> Value {
    json!({
        "name": policy.name,
        "source": source,
        "revision": policy.revision,
        "at": policy.at,
        "mode": policy.mode,
        "repositories": policy.matches.repos.iter().map(Glob::to_string).collect::<Vec<_>>(),
        "warnings": policy.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// All policies that hold, and how far decisions are.
pub(super) async fn list(app: &App) -> Answer {
    let active = app.admission.active();
    let metadata = app.storage.metadata();
    let (set, _turn) = texts(app).await?;
    let source = |policy: &Policy| {
        let is_set = set.policies.iter().any(|text| text.name == policy.name);
        if is_set { "database" } else { "directory" }
    };
    let policies: Vec<Value> = active.policies.iter().map(|policy| view(policy, source(policy))).collect();
    let undecided = if policies.is_empty() { 0 } else { metadata.undecided_count(&active.revision).await? };
    let all = json!({"revision": active.revision, "policies": policies, "undecided": undecided});
    Ok(json_answer(Bytes::from(all.to_string())))
}

pub(super) async fn get(app: &App, policy: &Tag) -> Answer {
    let metadata = app.storage.metadata();
    let history = metadata.policy_history(policy.as_str(), MAX_HISTORY).await?;
    let (set, _turn) = texts(app).await?;
    let Some(text) = set.policies.iter().find(|text| text.name == policy.as_str()) else {
        let why = if app.admission.active().policies.iter().any(|it| it.name == policy.as_str()) {
            format!("policy {policy} is a file of policy.directory; look there")
        } else {
            format!("there is no policy {policy}")
        };
        return Err(unknown(why));
    };
    let history: Vec<Value> = history
        .into_iter()
        .map(|(document, at, by)| json!({"document": document, "changedAt": at, "changedBy": by}))
        .collect();
    let view = json!({
        "name": text.name,
        "document": text.document,
        "changedAt": text.changed_at,
        "changedBy": text.changed_by,
        "history": history,
    });
    Ok(json_answer(Bytes::from(view.to_string())))
}

async fn body(
    app: &App,
    (permit, context): (&Permit, &Context),
    request: Request,
    limit: usize,
) -> Result<(Bytes, Vec<Share>), ApiError> {
    let body = IncomingBody::new(request.into_body(), &app.pace, app.metrics.request_bytes.clone());
    let source = Source::of(permit.caller(), context);
    let (body, room) = body.collect_in(limit, &app.arriving, &source).await?;
    within(limit, &body)?;
    Ok((body, room))
}

/// All texts, read by one request after another: together they are large.
async fn texts(app: &App) -> Result<(PolicyTexts, SemaphorePermit<'_>), ApiError> {
    let turn =
        app.admission.texts.acquire().await.map_err(|_| ApiError::unavailable("the server is stopping"))?;
    Ok((app.storage.metadata().policy_texts().await?, turn))
}

/// Whether there is room for all of them: each decision holds them in memory.
fn few(texts: &PolicyTexts) -> Result<(), ApiError> {
    let count = texts.policies.len().max(texts.trust.len());
    let policies = texts.policies.iter().map(|text| text.document.len());
    let bytes: usize = policies.chain(texts.trust.iter().map(|one| one.content.len())).sum();
    if count > MAX_TEXTS || bytes > MAX_BYTES {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::SizeInvalid,
            format!(
                "there may be {MAX_TEXTS} policies and as many trust materials, of {MAX_BYTES} bytes together"
            ),
        ));
    }
    Ok(())
}

/// Whether all policies can still be read with these texts: what would break one is refused.
fn readable(app: &App, texts: &PolicyTexts) -> Result<(), ApiError> {
    let files = app.admission.active().of_directory();
    match Active::of(texts, files, Seen::default()) {
        Ok(_) => Ok(()),
        Err(LoadError::Storage(error)) => Err(error.into()),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Makes the change, if what it leaves is good. Tells whether there was anything to take away.
async fn change(
    app: &App,
    mut texts: PolicyTexts,
    change: TextChange,
    audit: AuditEvent,
) -> Result<bool, ApiError> {
    texts.apply(&change);
    match &change {
        TextChange::PutPolicy(..) | TextChange::PutTrust(..) => {
            few(&texts)?;
            readable(app, &texts)?;
        }
        // Fewer are never too many, however many there were.
        TextChange::DeleteTrust(_) => readable(app, &texts)?,
        // Whatever else is wrong, taking a policy away breaks no other.
        TextChange::DeletePolicy(_) => {}
    }
    let history = app.admission.config.history();
    Ok(app.storage.metadata().change_texts(change, texts.version, history, audit).await?)
}

/// What was changed holds when the answer is on its way, here at once and on other replicas after a second.
async fn changed(app: &App, status: StatusCode) -> Answer {
    app.admission.reload().await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    Ok(empty(status))
}

pub(super) async fn put(
    app: &App,
    permit: &Permit,
    context: &Context,
    audit: AuditEvent,
    request: Request,
) -> Answer {
    let Operation::PolicyPut { policy } = permit.operation() else { return Err(super::wrong_operation()) };
    let (document, _room) = body(app, (permit, context), request, MAX_POLICY).await?;
    let document = std::str::from_utf8(&document).map_err(|_| bad("a policy is YAML in UTF-8"))?;
    let (texts, _turn) = texts(app).await?;
    let parsed =
        Policy::parse(document, &SetTrust::new(&texts.trust)).map_err(|errors| bad(errors.to_string()))?;
    match parsed.as_slice() {
        [one] if one.name == policy.as_str() => {}
        [one] => return Err(bad(format!("the policy is called {:?} and not {policy}", one.name))),
        _ => return Err(bad("one policy is set at a time; send each document by itself")),
    }
    let put = TextChange::PutPolicy(policy.to_string(), document.to_owned());
    change(app, texts, put, audit).await?;
    changed(app, StatusCode::CREATED).await
}

pub(super) async fn delete(app: &App, permit: &Permit, audit: AuditEvent) -> Answer {
    let Operation::PolicyDelete { policy } = permit.operation() else { return Err(super::wrong_operation()) };
    let (texts, _turn) = texts(app).await?;
    if change(app, texts, TextChange::DeletePolicy(policy.to_string()), audit).await? {
        return changed(app, StatusCode::ACCEPTED).await;
    }
    Err(if app.admission.active().policies.iter().any(|it| it.name == policy.as_str()) {
        let message = format!("policy {policy} is a file of policy.directory; remove it there");
        ApiError::new(StatusCode::CONFLICT, ErrorCode::Denied, message)
    } else {
        unknown(format!("there is no policy {policy}"))
    })
}

pub(super) fn schema() -> Answer {
    Ok(json_answer(Bytes::from(rreg_policy::policy_schema().to_string())))
}

pub(super) async fn list_trust(app: &App) -> Answer {
    let (texts, _turn) = texts(app).await?;
    let trust: Vec<Value> = texts
        .trust
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "digest": rreg_oci::Digest::sha256(&one.content),
                "size": one.content.len(),
                "changedAt": one.changed_at,
                "changedBy": one.changed_by,
            })
        })
        .collect();
    Ok(json_answer(Bytes::from(json!({"trust": trust}).to_string())))
}

pub(super) async fn put_trust(
    app: &App,
    permit: &Permit,
    context: &Context,
    audit: AuditEvent,
    request: Request,
) -> Answer {
    let Operation::TrustPut { trust } = permit.operation() else { return Err(super::wrong_operation()) };
    let (content, _room) = body(app, (permit, context), request, MAX_TRUST).await?;
    if content.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        return Err(bad("this is a private key; trust is given to its public half (`rreg key public`)"));
    }
    let (texts, _turn) = texts(app).await?;
    let put = TextChange::PutTrust(trust.to_string(), content.to_vec());
    change(app, texts, put, audit).await?;
    changed(app, StatusCode::CREATED).await
}

/// In every PEM of a private key, encrypted or not.
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

pub(super) async fn delete_trust(app: &App, permit: &Permit, audit: AuditEvent) -> Answer {
    let Operation::TrustDelete { trust } = permit.operation() else { return Err(super::wrong_operation()) };
    let (texts, _turn) = texts(app).await?;
    if change(app, texts, TextChange::DeleteTrust(trust.to_string()), audit).await? {
        return changed(app, StatusCode::ACCEPTED).await;
    }
    Err(unknown(format!("there is no trust material {trust}")))
}

/// Everything that is decided about one image.
pub(super) async fn decisions(app: &Arc<App>, repository: &RepositoryName, reference: &Reference) -> Answer {
    let stored = match app.mirror.covering(repository) {
        Some(copy) => {
            let found = app.mirror.manifest(app, &copy, reference).await.map_err(ApiError::from_shared)?;
            found.manifest
        }
        None => app.storage.metadata().manifest(repository, reference).await?,
    };
    let decisions = app.admission.decisions(app, repository, &stored.digest).await?;
    let by_digest = reference.digest().is_some();
    let at = |point| json!(decisions.at(point, by_digest));
    let view = json!({
        "repository": repository.as_str(),
        "digest": stored.digest,
        "revision": decisions.revision,
        "decisions": {
            "pull": at(Point::Pull),
            "admit": at(Point::Admit),
            "run": at(Point::Run),
            "promote": at(Point::Promote),
        },
    });
    Ok(json_answer(Bytes::from(view.to_string())))
}

/// A look at what other policies would do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatIf {
    /// YAML. A policy takes the place of the one of its name.
    policy: String,
    /// Globs; all repositories where there are none.
    #[serde(default)]
    repositories: Vec<String>,
    /// Where. A pull, where nothing is said.
    #[serde(default)]
    at: Option<Point>,
}

pub(super) async fn what_if(app: &Arc<App>, permit: &Permit, context: &Context, request: Request) -> Answer {
    let (sent, _room) = body(app, (permit, context), request, MAX_POLICY + (64 << 10)).await?;
    let sent: WhatIf = serde_json::from_slice(&sent)
        .map_err(|error| bad(format!("send {{\"policy\": YAML, \"repositories\": [GLOB, …]}}: {error}")))?;
    let globs = sent
        .repositories
        .iter()
        .map(|text| text.parse::<Glob>().map_err(|error| bad(format!("repositories: {text:?}: {error}"))));
    let globs = globs.collect::<Result<Vec<Glob>, _>>()?;
    let (texts, _turn) = texts(app).await?;
    let new = Policy::parse(&sent.policy, &SetTrust::new(&texts.trust))
        .map_err(|errors| bad(errors.to_string()))?;
    let pieces = crate::admission::what_if(app, new, globs, sent.at.unwrap_or(Point::Pull));
    let mut response = json_answer(Bytes::new());
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    *response.body_mut() = Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>));
    Ok(response)
}
