//! Tags, repositories, referrers: lists in pages.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rreg_auth::Permit;
use rreg_oci::{ErrorCode, Operation, Page, media_type};
use rreg_storage::{CatalogPage, StorageError};
use serde::Serialize;

use super::{Answer, copies, json, set};
use crate::app::App;
use crate::auth::Context;
use crate::error::ApiError;
use crate::shares::Source;

const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Most names in one page, and what a request without `n` gets; more is announced by `Link`.
const NAMES: u64 = 10_000;
/// Names read at once for those who may not see all.
const STEP: usize = 1_000;
/// Most referrers in one page.
const REFERRERS: u64 = 1_000;

fn limit(page: &Page, most: u64) -> usize {
    usize::try_from(page.n.unwrap_or(most).min(most)).unwrap_or(usize::MAX)
}

/// A list as an answer.
fn body(value: &impl Serialize) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unavailable, error.to_string())
    })?;
    Ok(json(Bytes::from(bytes)))
}

/// `Link: <…>; rel="next"` (RFC 8288), with the URL grammar of [`Operation::render`].
fn link(response: &mut Response, next: &Operation) {
    set(response.headers_mut(), LINK, format!("<{}>; rel=\"next\"", next.render().1));
}

pub(super) async fn tags(app: &Arc<App>, permit: &Permit, context: &Context, page: &Page) -> Answer {
    #[derive(Serialize)]
    struct Tags<'a> {
        name: &'a str,
        tags: &'a [String],
    }
    let Operation::TagList { repository, .. } = permit.operation() else {
        return Err(super::wrong_operation());
    };
    let source = Source::of(permit.caller(), context);
    let limit = limit(page, NAMES);
    let last = page.last.as_deref().unwrap_or_default();
    let (found, stale) = match app.mirror.covering(repository) {
        Some(copy) => copies::tags(app, &copy.asked_by(source), last, limit).await?,
        None => {
            let _turn = app.lists.take(source).await;
            (app.storage.metadata().tags(repository, last, limit).await?, false)
        }
    };
    let mut response = body(&Tags { name: repository.as_str(), tags: &found.tags })?;
    if stale {
        copies::warn(&mut response);
    }
    if let (true, Some(last)) = (found.more, found.tags.last()) {
        let page = Page { n: Some(limit as u64), last: Some(last.clone()) };
        link(&mut response, &Operation::TagList { repository: repository.clone(), page });
    }
    Ok(response)
}

pub(super) async fn catalog(app: &App, permit: &Permit, context: &Context, page: &Page) -> Answer {
    #[derive(Serialize)]
    struct Catalog<'a> {
        repositories: &'a [String],
    }
    let limit = limit(page, NAMES);
    let last = page.last.as_deref().unwrap_or_default();
    let source = Source::of(permit.caller(), context);
    let turn = app.lists.take(source).await;
    let found = if permit.lists_all() {
        app.storage.metadata().catalog(last, limit).await?
    } else {
        visible(app, permit, last, limit).await?
    };
    drop(turn);
    let mut response = body(&Catalog { repositories: &found.repositories })?;
    if let (true, Some(last)) = (found.more, found.repositories.last()) {
        let page = Page { n: Some(limit as u64), last: Some(last.clone()) };
        link(&mut response, &Operation::Catalog { page });
    }
    Ok(response)
}

/// The next `limit` names after `last` that the caller may see, of those that begin as theirs do: others are not read. No
/// page ends at a name that they may not see, because `Link` would tell it.
async fn visible(app: &App, permit: &Permit, last: &str, limit: usize) -> Result<CatalogPage, StorageError> {
    let mut page = CatalogPage { repositories: Vec::new(), more: false };
    if limit == 0 {
        return Ok(page);
    }
    let metadata = app.storage.metadata();
    for beginning in permit.listed_beginnings() {
        let mut place = last.to_owned();
        loop {
            let found = metadata.repositories_like(&beginning, Some(&place), STEP).await?;
            for name in found.iter().filter(|name| permit.may_list(name)) {
                if page.repositories.len() == limit {
                    page.more = true;
                    return Ok(page);
                }
                page.repositories.push(name.to_string());
            }
            match found.last() {
                Some(name) if found.len() == STEP => place = name.to_string(),
                _ => break,
            }
        }
    }
    Ok(page)
}

pub(super) async fn referrers(
    app: &Arc<App>,
    permit: &Permit,
    (headers, context): (&HeaderMap, &Context),
) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'static str,
        manifests: Vec<&'a rreg_oci::Descriptor>,
    }
    let Operation::Referrers { repository, subject, artifact_type, page } = permit.operation() else {
        return Err(super::wrong_operation());
    };
    let source = Source::of(permit.caller(), context);
    let limit = limit(page, REFERRERS);
    let wanted = artifact_type.as_deref();
    let last = page.last.as_deref();
    let (found, stale) = match app.mirror.covering(repository) {
        Some(copy) => {
            let how = (limit, copies::takes_a_part(headers));
            copies::referrers(app, &copy.asked_by(source), (subject, wanted), last, how).await?
        }
        None => {
            let _turn = app.lists.take(source).await;
            (app.storage.metadata().referrers(repository, subject, wanted, last, limit).await?, false)
        }
    };
    let mut response = body(&Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX,
        manifests: found.referrers.iter().map(|referrer| &referrer.descriptor).collect(),
    })?;
    if stale {
        copies::warn(&mut response);
    }
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type::OCI_INDEX));
    if wanted.is_some() {
        headers.insert(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(next) = found.next {
        let next = Operation::Referrers {
            repository: repository.clone(),
            subject: *subject,
            artifact_type: artifact_type.clone(),
            page: Page { n: page.n, last: Some(next) },
        };
        link(&mut response, &next);
    }
    Ok(response)
}
