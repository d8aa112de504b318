//! Blobs: does it exist, read it verified, delete it.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Response, StatusCode};
use rreg_oci::{ContentRange, Descriptor, Digest, Hasher, Operation, RepositoryName, media_type};

use super::error::{ClientError, ErrorKind};
use super::limits::Limits;
use super::source::ByteStream;
use super::{RegistryClient, body};

/// A download that came this far since its last failure counts as working again, in bytes.
const PROGRESS: u64 = 1 << 20;

/// What a header says of the blob's length; an answer to HEAD has no body that could tell. That of a web page, or of what was
/// packed on the way, is none.
fn stated_length(response: &Response) -> Option<u64> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_page = text(CONTENT_TYPE).map(media_type::essence) == Some("text/html");
    let is_packed = text(CONTENT_ENCODING).is_some_and(|it| !it.eq_ignore_ascii_case("identity"));
    if is_page || is_packed { None } else { text(CONTENT_LENGTH)?.parse().ok() }
}

/// The length of the whole of which a part came.
fn whole_length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}

impl RegistryClient {
    /// Whether the repository has the blob.
    ///
    /// # Errors
    /// [`ClientError`] for every answer but yes and no.
    pub async fn blob_exists(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let operation = Operation::BlobHead { repository: repository.clone(), digest: *digest };
        let request = self.request(operation)?;
        let response = self.send(&request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.expect(&request, response, &[200]).await.map(|_| true)
    }

    /// A blob's length, by a HEAD request. A registry that does not say it gives no blob of unknown length.
    ///
    /// # Errors
    /// [`ClientError`], with [`ClientError::is_not_found`] when the repository does not have it.
    pub async fn blob_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<u64, ClientError> {
        let operation = Operation::BlobHead { repository: repository.clone(), digest: *digest };
        let request = self.request(operation)?;
        let response = self.send(&request).await?;
        let is_empty = *digest == Digest::of(digest.algorithm(), b"");
        let can_be = |length: &u64| *length > 0 || is_empty;
        let stated = stated_length(&response).filter(can_be);
        if let (StatusCode::OK, Some(length)) = (response.status(), stated) {
            return Ok(length);
        }
        if response.status() == StatusCode::NOT_FOUND {
            return Err(self.refusal(&request.operation, response).await);
        }
        // HEAD may be refused, or its length left out or nothing, where GET says it.
        let operation = Operation::BlobGet { repository: repository.clone(), digest: *digest };
        let request = self.request(operation)?.header(RANGE, "bytes=0-0");
        let response = self.send(&request).await?;
        let response = self.expect(&request, response, &[200, 206]).await?;
        let length = match response.status() {
            StatusCode::PARTIAL_CONTENT => whole_length(&response),
            _ => stated_length(&response),
        };
        let unknown = || ErrorKind::Protocol("it does not say how long the blob is".into());
        length.filter(can_be).ok_or_else(|| self.error(&request.operation, unknown()))
    }

    /// Opens a blob for reading. Length and digest of `descriptor` are checked; a broken connection is resumed.
    ///
    /// # Errors
    /// [`ClientError`] when the registry does not give it.
    pub async fn read_blob(
        &self,
        repository: &RepositoryName,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, ClientError> {
        self.read_blob_from(repository, descriptor, 0).await
    }

    /// The same from byte `from` on; then only the length is checked.
    pub(crate) async fn read_blob_from(
        &self,
        repository: &RepositoryName,
        descriptor: &Descriptor,
        from: u64,
    ) -> Result<BlobReader, ClientError> {
        let operation = Operation::BlobGet { repository: repository.clone(), digest: descriptor.digest };
        let mut reader = BlobReader {
            client: self.clone(),
            operation,
            expected: descriptor.digest,
            size: descriptor.size,
            position: from,
            hasher: (from == 0).then(|| Hasher::new(descriptor.digest.algorithm())),
            connection: None,
            failures: 0,
            failed_at: from,
            pace: Pace::default(),
            done: false,
        };
        reader.connect().await?;
        Ok(reader)
    }

    /// A whole blob in memory, refused when its descriptor says more than `limit` bytes.
    ///
    /// # Errors
    /// [`ClientError`], also when the content does not match.
    pub async fn fetch_blob(
        &self,
        repository: &RepositoryName,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, ClientError> {
        if descriptor.size > limit {
            let operation = Operation::BlobGet { repository: repository.clone(), digest: descriptor.digest };
            return Err(self.error(&operation, ErrorKind::TooLarge { what: "blob", limit }));
        }
        let mut reader = self.read_blob(repository, descriptor).await?;
        let mut whole = Vec::new();
        while let Some(chunk) = reader.next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// A whole blob of which only the digest is known, refused past `limit` bytes.
    ///
    /// # Errors
    /// [`ClientError`], also when the content does not match.
    pub async fn fetch_blob_by_digest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, ClientError> {
        let operation = Operation::BlobGet { repository: repository.clone(), digest: *digest };
        let request = self.request(operation)?;
        let response = self.expect(&request, self.send(&request).await?, &[200]).await?;
        let bytes = self.read(&request.operation, response, limit, "blob").await?;
        let found = Digest::of(digest.algorithm(), &bytes);
        if found != *digest {
            return Err(self.error(&request.operation, ErrorKind::Digest { expected: *digest, found }));
        }
        Ok(bytes)
    }

    /// Deletes a blob from the repository.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), ClientError> {
        let operation = Operation::BlobDelete { repository: repository.clone(), digest: *digest };
        let request = self.request(operation)?;
        self.expect(&request, self.send(&request).await?, &[202, 200, 204]).await.map(|_| ())
    }
}

/// A blob on its way. The last bytes come out only after the whole is verified.
pub struct BlobReader {
    client: RegistryClient,
    operation: Operation,
    expected: Digest,
    size: u64,
    /// Bytes handed on so far, those before the start included.
    position: u64,
    hasher: Option<Hasher>,
    connection: Option<Connection>,
    failures: u32,
    failed_at: u64,
    pace: Pace,
    done: bool,
}

/// What came while it was waited for.
#[derive(Default)]
struct Pace {
    waited: Duration,
    received: u64,
}

impl Pace {
    /// Counts a piece. Fails once a stretch of `limits.idle` had fewer bytes than it should. Only the time spent
    /// waiting counts: a reader that pauses is no fault of the registry.
    fn count(&mut self, waited: Duration, received: usize, limits: &Limits) -> Result<(), ErrorKind> {
        self.waited += waited;
        self.received = self.received.saturating_add(received as u64);
        if self.waited < limits.idle {
            return Ok(());
        }
        let Self { waited, received } = std::mem::take(self);
        let seconds = waited.as_secs().max(1);
        let least = limits.min_rate;
        if received >= least.saturating_mul(seconds) {
            return Ok(());
        }
        Err(ErrorKind::TooSlow { received, seconds, least })
    }
}

struct Connection {
    response: Response,
    /// Bytes to drop first: the registry ignored the range.
    skip: u64,
}

impl BlobReader {
    /// The next bytes, `None` after the last.
    ///
    /// # Errors
    /// [`ClientError`]: the content does not match its descriptor, or the connection broke once too often.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while !self.done {
            if self.size == self.position {
                self.verify()?;
                return Ok(None);
            }
            match self.receive().await {
                Ok(Some(chunk)) => return self.accept(chunk).map(Some),
                Ok(None) => {}
                Err(error) => {
                    self.connection = None;
                    self.pause_or_fail(error).await?;
                }
            }
        }
        Ok(None)
    }

    /// As a stream.
    pub fn into_stream(self) -> ByteStream {
        stream::try_unfold(self, async |mut reader| Ok(reader.next().await?.map(|chunk| (chunk, reader))))
            .boxed()
    }

    /// Bytes that are new, or nothing yet.
    async fn receive(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.connection.is_none() {
            self.connect().await?;
        }
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let (limits, started) = (&self.client.0.limits, Instant::now());
        let idle = limits.idle;
        let received = tokio::time::timeout(idle, connection.response.chunk()).await;
        let failed = |kind| Err(self.client.error(&self.operation, kind));
        let mut chunk = match received {
            Err(_) => return failed(ErrorKind::Timeout(idle.as_secs())),
            Ok(Err(e)) => return failed(ErrorKind::Transport(body::transport_text(&e))),
            Ok(Ok(None)) => return failed(ErrorKind::Transport("the body ended early".into())),
            Ok(Ok(Some(chunk))) => chunk,
        };
        if let Err(kind) = self.pace.count(started.elapsed(), chunk.len(), limits) {
            return failed(kind);
        }
        let skipped = connection.skip.min(chunk.len() as u64);
        connection.skip -= skipped;
        chunk.advance(usize::try_from(skipped).unwrap_or(chunk.len()));
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn accept(&mut self, chunk: Bytes) -> Result<Bytes, ClientError> {
        self.position += chunk.len() as u64;
        if self.position > self.size {
            let kind = ErrorKind::Length { expected: self.size, found: self.position };
            return Err(self.client.error(&self.operation, kind));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        if self.position == self.size {
            self.verify()?;
        }
        Ok(chunk)
    }

    fn verify(&mut self) -> Result<(), ClientError> {
        self.done = true;
        self.connection = None;
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.expected => {
                let kind = ErrorKind::Digest { expected: self.expected, found };
                Err(self.client.error(&self.operation, kind))
            }
            _ => Ok(()),
        }
    }

    async fn pause_or_fail(&mut self, error: ClientError) -> Result<(), ClientError> {
        if self.position - self.failed_at >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.position;
        let wait = self.client.0.retry.after_error(self.failures, &error, rand::random()).ok_or(error)?;
        self.failures += 1;
        tracing::debug!(position = self.position, ?wait, "download broke, resuming");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut request = self.client.request(self.operation.clone())?;
        if self.position > 0 {
            request = request.header(RANGE, &format!("bytes={}-", self.position));
        }
        let response = self.client.send(&request).await?;
        let response = self.client.expect(&request, response, &[200, 206]).await?;
        let failed = |kind| Err(self.client.error(&self.operation, kind));
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let start = if partial {
            let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            match range.and_then(|text| text.parse::<ContentRange>().ok()) {
                Some(range) if range.first == self.position => range.first,
                _ => return failed(ErrorKind::Protocol("206 for a range that was not asked for".into())),
            }
        } else {
            0
        };
        // A wrong length is known before the first byte; retrying would not change it.
        match response.content_length() {
            Some(length) if start.saturating_add(length) != self.size => {
                failed(ErrorKind::Length { expected: self.size, found: start.saturating_add(length) })
            }
            _ => {
                self.connection = Some(Connection { response, skip: self.position - start });
                Ok(())
            }
        }
    }
}
