//! Uploads in parts that were begun and never ended, because the server was killed or an answer was lost: objects that
//! no listing shows and that cost as much as others, until somebody aborts them.
//!
//! The requests are S3's own (`GET /?uploads`, `DELETE /key?uploadId=…`), which Google's storage understands too.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::Method;
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

use super::BlobStore;
use super::inspect::is_ours;
use crate::error::StorageError;

/// An address is used at once.
const EXPIRY: Duration = Duration::from_secs(60);
/// Pages that are read at most: a store that begins again and again must not be listened to for ever.
const MOST_PAGES: usize = 10_000;

/// How they are found.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    signer: Arc<dyn Signer>,
    client: HttpClient,
    /// What the object store puts before every key.
    prefix: Option<String>,
}

/// An upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUpload {
    /// The object that it would become.
    pub key: String,
    /// Since it was begun.
    pub age: Duration,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default)]
    upload: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
    initiated: String,
}

/// What the store answered, and what time it has.
struct Said {
    text: String,
    now: Option<DateTime<Utc>>,
}

/// For how long an upload has been under way. The store wrote down when it began: a clock of ours that is ahead must not
/// make it old.
fn age(initiated: &str, ours: DateTime<Utc>, stores: Option<DateTime<Utc>>) -> Duration {
    let now = stores.map_or(ours, |stores| stores.min(ours));
    // One whose time nobody can read is not old.
    let begun = DateTime::parse_from_rfc3339(initiated).map_or(now, |time| time.with_timezone(&Utc));
    (now - begun).to_std().unwrap_or_default()
}

fn failed(what: &str, why: impl std::fmt::Display) -> StorageError {
    let source = format!("{what}: {why}").into();
    StorageError::Object(object_store::Error::Generic { store: "object store", source })
}

impl Unfinished {
    fn whole(&self, key: &str) -> String {
        self.prefix.as_ref().map_or_else(|| key.to_owned(), |prefix| format!("{prefix}/{key}"))
    }

    async fn ask(
        &self,
        method: Method,
        key: &str,
        query: Vec<(String, String)>,
    ) -> Result<Said, StorageError> {
        let what = if method == Method::GET { "listing unfinished uploads" } else { "aborting an upload" };
        let mut options = SignedUrlOptions::default();
        options.extra_query = query;
        let url = self.signer.signed_url_opts(method.clone(), &Path::from(key), EXPIRY, &options).await?;
        let request =
            http::Request::builder().method(method).uri(url.as_str()).body(HttpRequestBody::empty());
        let request = request.map_err(|error| failed(what, error))?;
        let answer = self.client.execute(request).await.map_err(|error| failed(what, error))?;
        let (parts, body) = answer.into_parts();
        let bytes = body.bytes().await.map_err(|error| failed(what, error))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if parts.status.is_success() || (parts.status == 404 && text.contains("NoSuchUpload")) {
            let date = parts.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
            let now = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
            return Ok(Said { text, now: now.map(|now| now.with_timezone(&Utc)) });
        }
        let said: String = text.chars().take(300).collect();
        Err(failed(what, format_args!("the store answered {}: {said}", parts.status)))
    }

    /// A page, and what time the store has.
    async fn page(
        &self,
        markers: Option<(String, String)>,
    ) -> Result<(Listing, Option<DateTime<Utc>>), StorageError> {
        let mut query =
            vec![("uploads".to_owned(), String::new()), ("prefix".to_owned(), self.whole("blobs/"))];
        if let Some((key, id)) = markers {
            query.push(("key-marker".to_owned(), key));
            query.push(("upload-id-marker".to_owned(), id));
        }
        let Said { text, now } = self.ask(Method::GET, "", query).await?;
        // What is no listing at all, such as a proxy's page, would be read as an empty one.
        if !text.contains("<ListMultipartUploadsResult") {
            let said: String = text.chars().take(100).collect();
            return Err(failed(
                "listing unfinished uploads",
                format_args!("the answer is no list: {said:?}"),
            ));
        }
        let listing =
            quick_xml::de::from_str(&text).map_err(|error| failed("listing unfinished uploads", error))?;
        Ok((listing, now))
    }
}

impl BlobStore {
    /// Lets uploads that were never ended be found. `prefix` is what the object store puts before every key.
    #[must_use]
    pub fn with_unfinished(
        mut self,
        signer: Arc<dyn Signer>,
        client: HttpClient,
        prefix: Option<String>,
    ) -> Self {
        self.unfinished = Some(Unfinished { signer, client, prefix });
        self
    }

    /// Uploads of ours that were begun at least `after` ago and neither completed nor aborted. None where the store
    /// keeps no such thing.
    ///
    /// # Errors
    /// When the store fails or does not list them.
    pub async fn unfinished(&self, after: Duration) -> Result<Vec<FoundUpload>, StorageError> {
        let Some(unfinished) = &self.unfinished else { return Ok(Vec::new()) };
        let ours = Utc::now();
        let (mut found, mut markers, mut before) = (Vec::new(), None, None);
        for _ in 0..MOST_PAGES {
            let (page, now) = unfinished.page(markers.take()).await?;
            for Listed { key, upload_id, initiated } in page.upload {
                let key = match &unfinished.prefix {
                    Some(prefix) => key.strip_prefix(prefix).and_then(|key| key.strip_prefix('/')),
                    None => Some(key.as_str()),
                };
                let age = age(&initiated, ours, now);
                if let Some(key) = key.filter(|key| is_ours(key) && age >= after) {
                    found.push(FoundUpload { key: key.to_owned(), age, id: upload_id });
                }
            }
            match (page.is_truncated, page.next_key_marker, page.next_upload_id_marker) {
                (true, Some(key), id) => {
                    let next = (key, id.unwrap_or_default());
                    // Keys are in order (S3, "ListMultipartUploads"): a store that does not look at markers never ends.
                    if before
                        .as_ref()
                        .is_some_and(|before: &(String, String)| *before == next || before.0 > next.0)
                    {
                        return Err(failed("listing unfinished uploads", "the store's pages do not go on"));
                    }
                    before = Some(next.clone());
                    markers = Some(next);
                }
                _ => return Ok(found),
            }
        }
        Err(failed("listing unfinished uploads", format_args!("there were more after {MOST_PAGES} pages")))
    }

    /// Gives up an upload, with its parts. One that is gone already is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn abort(&self, upload: &FoundUpload) -> Result<(), StorageError> {
        let Some(unfinished) = &self.unfinished else { return Ok(()) };
        self.must_be_ours().await?;
        let query = vec![("uploadId".to_owned(), upload.id.clone())];
        unfinished.ask(Method::DELETE, &unfinished.whole(&upload.key), query).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_makes_nothing_old() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc);
        let (noon, later) = (at("2026-01-02T12:00:00Z"), at("2026-01-04T12:00:00Z"));
        let hour = Duration::from_secs(3600);
        // Ours is two days ahead, the store's is, neither is; and the store says no time.
        assert_eq!(age("2026-01-02T11:00:00Z", later, Some(noon)), hour);
        assert_eq!(age("2026-01-04T11:00:00Z", noon, Some(later)), Duration::ZERO);
        assert_eq!(age("2026-01-02T11:00:00Z", noon, Some(noon)), hour);
        assert_eq!(age("2026-01-02T11:00:00Z", noon, None), hour);
        assert_eq!(age("soon", noon, None), Duration::ZERO);
    }

    #[test]
    fn answers_of_several_stores() {
        let none: Listing = quick_xml::de::from_str("<ListMultipartUploadsResult/>").unwrap();
        assert!(none.upload.is_empty() && !none.is_truncated);
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket>
            <KeyMarker></KeyMarker><UploadIdMarker/><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>
            <MaxUploads>2</MaxUploads><IsTruncated>true</IsTruncated>
            <Upload><Key>blobs/ab/x</Key><UploadId>1</UploadId><StorageClass>STANDARD</StorageClass>
            <Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>
            <Upload><Key>blobs/ab/y</Key><UploadId>2</UploadId><Initiated>2010-11-10T20:48:33Z</Initiated></Upload>
            </ListMultipartUploadsResult>"#;
        let two: Listing = quick_xml::de::from_str(text).unwrap();
        assert_eq!(two.upload.len(), 2);
        assert_eq!((two.is_truncated, two.next_key_marker.as_deref()), (true, Some("k")));
        assert_eq!(two.upload[1].upload_id, "2");
    }
}
