//! Pushes blobs: mount if it can be, one streaming PUT otherwise, chunks from where a broken upload stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Response, StatusCode, Url};
use rreg_oci::{ContentRange, Descriptor, Operation, RepositoryName, UploadStart};

use super::RegistryClient;
use super::error::{ClientError, ErrorKind};
use super::source::{BlobSource, ByteStream, SourceError};
use super::transport::{Request, location};

/// Length of a chunk when an upload goes on in chunks, in bytes.
const CHUNK: u64 = 16 << 20;

/// Name of all requests of an upload, see [`Operation::name`].
const UPLOAD: &str = "upload_start";

/// Another repository of the same registry that has the blob.
#[derive(Clone, Debug)]
pub struct MountHint {
    /// That repository.
    pub from: RepositoryName,
}

/// How a blob got into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The registry took it from another repository.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// One blob on its way up.
struct Upload<'a> {
    client: &'a RegistryClient,
    repository: &'a RepositoryName,
    descriptor: &'a Descriptor,
    source: &'a dyn BlobSource,
    /// Names the request in errors and decides scopes.
    operation: Operation,
}

impl RegistryClient {
    /// Pushes a blob. Does not ask whether it is there already: see [`RegistryClient::blob_exists`].
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses or `source` cannot be read; a registry's failure to read the
    /// source comes out as it is.
    pub async fn push_blob(
        &self,
        repository: &RepositoryName,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        mount: Option<&MountHint>,
    ) -> Result<Pushed, ClientError> {
        let start = UploadStart::Session { algorithm: descriptor.digest.algorithm() };
        let operation = Operation::UploadStart { repository: repository.clone(), start };
        let upload = Upload { client: self, repository, descriptor, source, operation };
        let session = match mount {
            Some(hint) => match upload.mount(hint).await? {
                Mounted::Yes => return Ok(Pushed::Mounted),
                Mounted::Session(session) => session,
                Mounted::No => upload.start().await?,
            },
            None => upload.start().await?,
        };
        upload.run(session).await.map(|()| Pushed::Uploaded)
    }
}

enum Mounted {
    Yes,
    Session(Url),
    No,
}

impl Upload<'_> {
    fn error(&self, kind: ErrorKind) -> ClientError {
        self.client.error(&self.operation, kind)
    }

    /// A refused mount is no failure: the bytes can still be sent.
    async fn mount(&self, hint: &MountHint) -> Result<Mounted, ClientError> {
        let start = UploadStart::Mount { digest: self.descriptor.digest, from: Some(hint.from.clone()) };
        let operation = Operation::UploadStart { repository: self.repository.clone(), start };
        let request = self.client.request(operation)?;
        let response = self.client.send(&request).await?;
        Ok(match response.status() {
            StatusCode::CREATED => Mounted::Yes,
            StatusCode::ACCEPTED => Mounted::Session(self.session(&response, &request.url)?),
            _ => Mounted::No,
        })
    }

    async fn start(&self) -> Result<Url, ClientError> {
        let request = self.client.request(self.operation.clone())?;
        let response = self.client.send(&request).await?;
        let response = self.client.expect(&request, response, &[202]).await?;
        self.session(&response, &request.url)
    }

    /// Where the upload goes on. It may be another server, but not over http when the registry is https.
    fn session(&self, response: &Response, base: &Url) -> Result<Url, ClientError> {
        let url = location(response, base).map_err(|why| self.error(ErrorKind::Protocol(why)))?;
        match (self.client.0.base.scheme(), url.scheme()) {
            (_, "https") | ("http", "http") => Ok(url),
            (from, to) => {
                let why = format!("the upload's Location leads from {from} to {to}");
                Err(self.error(ErrorKind::Redirect(why)))
            }
        }
    }

    async fn run(&self, mut session: Url) -> Result<(), ClientError> {
        let (mut from, mut chunked, mut attempt) = (0, false, 0);
        loop {
            let outcome = if chunked {
                self.send_chunks(&mut session, from).await
            } else {
                self.send_whole(&session).await
            };
            let Err(error) = outcome else { return Ok(()) };
            if !can_go_on(&error) || attempt >= self.client.0.retry.retries {
                return Err(error);
            }
            tokio::time::sleep(self.client.0.retry.backoff(attempt, rand::random())).await;
            attempt += 1;
            tracing::debug!(attempt, %error, "upload broke, resuming");
            // The registry may have got everything, and only its answer was lost.
            if self.client.blob_exists(self.repository, &self.descriptor.digest).await? {
                return Ok(());
            }
            chunked = true;
            match self.received(&session).await {
                Some((next, offset)) if error.status() != Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                    (session, from) = (next, offset);
                }
                _ => (session, from) = (self.start().await?, 0),
            }
        }
    }

    /// How far the registry got, if the session lives. `0-0` is what registries say of an empty session too;
    /// sending that byte again is at worst refused, and then a new session begins.
    async fn received(&self, session: &Url) -> Option<(Url, u64)> {
        let request = self.to(Method::GET, session.clone());
        let response = self.client.send(&request).await.ok()?;
        if response.status() != StatusCode::NO_CONTENT {
            return None;
        }
        let next = self.session(&response, session).ok().unwrap_or_else(|| session.clone());
        let range = response.headers().get(RANGE)?.to_str().ok()?.parse::<ContentRange>().ok()?;
        let offset = if range.last == 0 { 0 } else { range.last.saturating_add(1) };
        (offset <= self.descriptor.size).then_some((next, offset))
    }

    fn to(&self, method: Method, url: Url) -> Request {
        Request {
            operation: self.operation.clone(),
            method,
            url,
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The URL that ends the upload.
    fn commit_url(&self, session: &Url) -> Url {
        let mut url = session.clone();
        url.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        url
    }

    async fn send_whole(&self, session: &Url) -> Result<(), ClientError> {
        let request = self.to(Method::PUT, self.commit_url(session));
        let response = self.send_part(request, 0, self.descriptor.size).await?;
        self.client.expect(&self.to(Method::PUT, session.clone()), response, &[201]).await.map(|_| ())
    }

    async fn send_chunks(&self, session: &mut Url, mut from: u64) -> Result<(), ClientError> {
        while from < self.descriptor.size {
            let length = CHUNK.min(self.descriptor.size - from);
            let range = format!("{from}-{}", from + length - 1);
            let request = self.to(Method::PATCH, session.clone()).header(CONTENT_RANGE, &range);
            let response = self.send_part(request.clone(), from, length).await?;
            // 202 by the specification; 204 from some.
            let response = self.client.expect(&request, response, &[202, 204]).await?;
            *session = self.session(&response, session)?;
            from += length;
        }
        let request = self.to(Method::PUT, self.commit_url(session)).header(CONTENT_LENGTH, "0");
        self.client.expect(&request, self.client.send(&request).await?, &[201]).await.map(|_| ())
    }

    /// Sends bytes `from..from + length` as the body of `request`.
    async fn send_part(&self, request: Request, from: u64, length: u64) -> Result<Response, ClientError> {
        let opened = self.source.open(from).await.map_err(|e| self.source_error(e))?;
        let moved = Arc::new(AtomicU64::new(0));
        let failure = Arc::new(Mutex::new(None));
        let body = exactly(opened, length, moved.clone(), failure.clone());
        let request = request
            .header(CONTENT_LENGTH, &length.to_string())
            .header(CONTENT_TYPE, "application/octet-stream");
        let sent = self.client.send_stream(&request, reqwest::Body::wrap_stream(body), moved).await;
        // A source that fails breaks the request off; the reason is the source's, not the connection's.
        let failed = failure.lock().ok().and_then(|mut slot| slot.take());
        match failed {
            Some(error) => Err(self.source_error(error)),
            None => sent,
        }
    }

    fn source_error(&self, error: SourceError) -> ClientError {
        match error {
            SourceError::Registry(error) => *error,
            SourceError::Io(error) => self.error(ErrorKind::Source(error.to_string())),
        }
    }
}

/// Failures after which the rest may still be sent: transport trouble, a token that ended meanwhile, a body
/// too long for one request, a lost session.
fn can_go_on(error: &ClientError) -> bool {
    // A failure of the source has been retried where the source is read.
    if error.operation != UPLOAD {
        return false;
    }
    match &*error.kind {
        ErrorKind::Transport(_) | ErrorKind::Timeout(_) => true,
        ErrorKind::Status { status, .. } => {
            matches!(status.as_u16(), 401 | 404 | 413 | 416 | 429 | 502 | 503 | 504)
        }
        _ => false,
    }
}

/// The first `length` bytes of `source`; an error when there are fewer. The error itself is left in `failure`.
fn exactly(
    source: ByteStream,
    length: u64,
    moved: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<SourceError>>>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let limited = stream::try_unfold((source, length), async |(mut source, left)| {
        if left == 0 {
            return Ok(None);
        }
        match source.next().await {
            None => {
                let why = format!("the content ends {left} bytes early");
                Err(SourceError::Io(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why)))
            }
            Some(Err(error)) => Err(error),
            Some(Ok(mut chunk)) => {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - chunk.len() as u64;
                Ok(Some((chunk, (source, left))))
            }
        }
    });
    limited
        .inspect_ok(move |chunk| {
            moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        })
        .map_err(move |error| {
            if let Ok(mut slot) = failure.lock() {
                *slot = Some(error);
            }
            std::io::Error::other("the content could not be read")
        })
}
