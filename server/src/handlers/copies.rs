//! Content of upstreams that is not here yet, or has to be confirmed.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, WARNING};
use http::{HeaderMap, HeaderValue};
use rreg_auth::Permit;
use rreg_oci::{Descriptor, Digest, Operation, Reference, RepositoryName};
use rreg_storage::{Referrer, ReferrerPage, StorageError, TagPage};

use super::{Answer, blobs, manifests};
use crate::app::App;
use crate::auth::Context;
use crate::error::ApiError;
use crate::mirror::{Asker, Copy};
use crate::shares::Source;

/// A manifest of an upstream.
pub(super) async fn manifest(
    app: &Arc<App>,
    permit: &Permit,
    copy: &Copy,
    (headers, context): (&HeaderMap, &Context),
    with_body: bool,
) -> Answer {
    let (Operation::ManifestGet { reference, .. } | Operation::ManifestHead { reference, .. }) =
        permit.operation()
    else {
        return Err(super::wrong_operation());
    };
    let copy = copy.clone().asked_by(Source::of(permit.caller(), context));
    let found = app.mirror.manifest(app, &copy, reference).await.map_err(ApiError::from_shared)?;
    let mut response = manifests::answer(app, &found.manifest, headers, with_body);
    if found.stale.is_some() {
        warn(&mut response);
    }
    manifests::judged(app, permit, (headers, context), &found.manifest, response).await
}

/// What exactly went wrong is in the log (RFC 7234, section 5.5.2).
pub(super) fn warn(response: &mut Response) {
    let warning = HeaderValue::from_static("111 rreg \"Revalidation Failed\"");
    response.headers_mut().insert(WARNING, warning);
}

/// A page of the upstream's tags, and whether it could not be confirmed.
pub(super) async fn tags(
    app: &Arc<App>,
    copy: &Copy,
    last: &str,
    limit: usize,
) -> Result<(TagPage, bool), ApiError> {
    let listed = app.mirror.tags(app, copy).await.map_err(ApiError::from_shared)?;
    let all = listed.entries;
    let rest = all.get(all.partition_point(|tag| tag.as_str() <= last)..).unwrap_or_default();
    let page = TagPage { tags: rest.iter().take(limit).cloned().collect(), more: rest.len() > limit };
    Ok((page, listed.stale.is_some()))
}

/// Whether a client takes what is cached for an answer, though it is a part of what there is (RFC 9111, 5.2.1.7).
pub(super) fn takes_a_part(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("only-if-cached"))
}

/// The same of what the upstream has about `subject`. With `takes_a_part`, what is cached stands for a list that was
/// never known while the upstream is out of reach; for anybody else that would be an empty list in place of an unknown one.
pub(super) async fn referrers(
    app: &Arc<App>,
    copy: &Copy,
    (subject, artifact_type): (&Digest, Option<&str>),
    last: Option<&str>,
    (limit, takes_a_part): (usize, bool),
) -> Result<(ReferrerPage, bool), ApiError> {
    let listed = match app.mirror.referrers(app, copy, subject).await {
        Ok(listed) => listed,
        Err(error) if takes_a_part && error.allows_stale() => {
            let metadata = app.storage.metadata();
            return Ok((metadata.referrers(&copy.local, subject, artifact_type, last, limit).await?, true));
        }
        Err(error) => return Err(ApiError::from_shared(error)),
    };
    let all = listed.entries;
    // A page ends at a digest. If the list has changed and it is gone, so is the rest.
    let after = match last {
        None => 0,
        Some(last) => {
            let place = all.iter().position(|it| it.digest.to_string() == last);
            place.map_or(all.len(), |place| place + 1)
        }
    };
    let wanted =
        |it: &&Descriptor| artifact_type.is_none_or(|kind| it.artifact_type.as_deref() == Some(kind));
    let mut rest = all.get(after..).unwrap_or_default().iter().filter(wanted);
    let referrers: Vec<Referrer> =
        rest.by_ref().take(limit).map(|it| Referrer { descriptor: it.clone() }).collect();
    let place = referrers.last().map(|it| it.descriptor.digest.to_string());
    Ok((ReferrerPage { next: place.filter(|_| rest.next().is_some()), referrers }, listed.stale.is_some()))
}

/// How often a blob that another has put into the store may be found damaged there by one request.
const TIMES: u32 = 3;

/// A blob that was put into the store meanwhile. What is damaged is set aside, so that it is fetched again.
async fn elsewhere(app: &App, repository: &RepositoryName, digest: &Digest, headers: &HeaderMap) -> Answer {
    let record = app.storage.metadata().blob(repository, digest).await?;
    let answer = blobs::stored(app, &record, headers).await;
    if answer.as_ref().is_err_and(ApiError::is_damage) {
        app.storage.set_aside(&record).await?;
    }
    answer
}

/// A blob of an upstream that is not here: served while it comes in.
pub(super) async fn blob(
    app: &Arc<App>,
    copy: Copy,
    digest: &Digest,
    headers: &HeaderMap,
    with_body: bool,
) -> Answer {
    // Some upstreams serve manifests as blobs too; clients would keep one as bytes of no type.
    let known = app.storage.metadata().manifest(&copy.local, &Reference::Digest(*digest)).await;
    if known.is_ok() {
        return Err(StorageError::UnknownBlob { repository: copy.local, digest: *digest }.into());
    }
    let text: Bytes = digest.to_string().into();
    let etag = blobs::quoted(&text);
    if !with_body {
        let size =
            app.mirror.blob_size(app, &copy, digest, Asker::Client).await.map_err(ApiError::from_shared)?;
        return Ok(blobs::respond(&text, size, etag, None, Body::empty()));
    }
    let mut times = 0;
    let (growing, fill) = loop {
        let fill = app.mirror.fill(app, copy.clone(), *digest);
        if let Some(begun) = fill.begun().await.map_err(ApiError::from_shared)? {
            break begun;
        }
        times += 1;
        let answer = elsewhere(app, &copy.local, digest, headers).await;
        // It was put into the store and is gone again: the upstream still has it.
        if times == TIMES || !answer.as_ref().is_err_and(ApiError::is_damage) {
            return answer;
        }
    };
    let part = blobs::requested_part(headers, &etag, growing.size)?;
    let range = part.clone().unwrap_or(0..growing.size);
    app.metrics.response_bytes.inc_by(range.end - range.start);
    let size = growing.size;
    let body = Body::from_stream(fill.read(growing, range));
    Ok(blobs::respond(&text, size, etag, part, body))
}
