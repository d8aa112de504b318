//! The HTTP client of object stores: what hangs ends, and is tried again like anything that fails.
//!
//! There is no longest time of a download, only a longest silence: whoever pulls may be slow, and layers are large. What
//! is sent is seen on its way: a store that takes none of it is silent too. Besides it is bounded as a whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, Error};
use tokio::time::{Instant, Sleep};

/// Time for a connection to the store.
const CONNECT: Duration = Duration::from_secs(10);
/// A body is handed on in pieces of so many bytes, so that it is seen how far it got.
const PIECE: usize = 64 << 10;
/// What was handed on may still lie in buffers of both systems, which are no larger than this, while a slow store reads
/// it: nothing is seen of that.
const BUFFERED: u64 = 8 << 20;
/// For each so many bytes of them a store is waited for `storage.answer_timeout` again.
const AGAIN: u32 = 1 << 20;
/// Before a write that is answered by "not found" is sent again.
const PAUSE: Duration = Duration::from_millis(250);

/// Nothing came.
#[derive(Debug, thiserror::Error)]
#[error("no answer for {} s ({setting})", .after.as_secs_f32())]
struct Silence {
    after: Duration,
    setting: &'static str,
}

/// The store is somewhere else.
#[derive(Debug, thiserror::Error)]
#[error("the object store answers {status} with a redirect to {to}: is it another region or endpoint?")]
struct Redirected {
    status: StatusCode,
    to: String,
}

impl Silence {
    fn error(after: Duration, setting: &'static str) -> HttpError {
        HttpError::new(HttpErrorKind::Timeout, Self { after, setting })
    }
}

/// Whether nothing came or went, rather than too slowly.
fn is_silence(error: &HttpError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Silence>());
    source.is_some_and(|silence| silence.setting == ANSWER)
}

const ANSWER: &str = "storage.answer_timeout";
const REQUEST: &str = "storage.request_timeout";

/// Makes clients that wait so long and no longer.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// For a whole request with a body, `storage.request_timeout`.
    pub(crate) request: Duration,
    /// For an answer to a request without one, for each piece of an answer, and for each piece of a request,
    /// `storage.answer_timeout`.
    pub(crate) answer: Duration,
    /// Authorities besides the system's.
    pub(crate) authorities: Vec<reqwest::Certificate>,
}

impl HttpConnector for Patience {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = reqwest::Client::builder()
            .user_agent(concat!("rreg/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            // Whoever a redirect leads to is not the store that was asked.
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_merge(self.authorities.iter().cloned())
            .http1_only()
            // What is compressed on the way has not the length that it is stored with.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .https_only(http.as_deref() != Some("true"))
            .build()
            .map_err(|error| Error::Generic { store: "HTTP client", source: Box::new(error) })?;
        Ok(HttpClient::new(Service { client, request: self.request, answer: self.answer }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    request: Duration,
    answer: Duration,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let again = matches!(*request.method(), Method::PUT | Method::POST).then(|| request.clone());
        let answer = self.send(request).await;
        match (&answer, again) {
            // A write finds what it writes to, its bucket or its upload, or there is none: one answer is not believed.
            (Ok(found), Some(request)) if found.status() == StatusCode::NOT_FOUND => {
                tokio::time::sleep(PAUSE).await;
                self.send(request).await
            }
            // Until it is known that a write hangs `storage.retry_for` may be over. Every write here may be sent twice:
            // keys are random, parts are numbered, and what is there already is asked for.
            (Err(error), Some(request)) if is_silence(error) => self.send(request).await,
            _ => answer,
        }
    }
}

impl Service {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url =
            parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let sent = Arc::new(Progress::new(body.content_length() as u64));
        *request.body_mut() = Some(match body.content_length() {
            0 => reqwest::Body::from(Bytes::new()),
            _ => reqwest::Body::wrap(Sent { body, piece: Bytes::new(), progress: Arc::clone(&sent) }),
        });
        let answer = self.heard(self.client.execute(request), &sent).await?;
        let (mut parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        if parts.status.is_redirection() && parts.status != StatusCode::NOT_MODIFIED {
            let to = parts.headers.get(http::header::LOCATION).and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| reqwest::Url::parse(to).ok());
            let host = to.and_then(|to| to.host_str().map(str::to_owned));
            let to = host.unwrap_or_else(|| "nowhere".to_owned());
            return Err(HttpError::new(HttpErrorKind::Request, Redirected { status: parts.status, to }));
        }
        if parts.status == StatusCode::NOT_IMPLEMENTED {
            // What a store does not know today it does not know in a minute: no reason to ask until then.
            parts.status = StatusCode::METHOD_NOT_ALLOWED;
        }
        let body = HttpResponseBody::new(Heard { body, patience: self.answer, silence: None });
        Ok(HttpResponse::from_parts(parts, body))
    }

    /// The answer, if it comes in time, and something of the request goes until then.
    async fn heard(
        &self,
        answer: impl Future<Output = reqwest::Result<reqwest::Response>>,
        sent: &Progress,
    ) -> Result<reqwest::Response, HttpError> {
        let (mut answer, began) = (std::pin::pin!(answer), Instant::now());
        let end = (sent.whole > 0).then(|| began + self.request);
        let (mut before, mut heard) = (0, began);
        loop {
            let now = sent.bytes();
            if now != before {
                (before, heard) = (now, Instant::now());
            }
            let buffered = u32::try_from(now.min(BUFFERED)).unwrap_or(u32::MAX);
            let due = heard + self.answer + self.answer.mul_f64(f64::from(buffered) / f64::from(AGAIN));
            let until = end.map_or(due, |end| end.min(due));
            // Looked at often enough to see whether something goes.
            let next = until.min(Instant::now() + self.answer / 8);
            match tokio::time::timeout_at(next, &mut answer).await {
                Ok(answer) => return answer.map_err(failed),
                Err(_) if end.is_some_and(|end| Instant::now() >= end) => {
                    return Err(Silence::error(self.request, REQUEST));
                }
                Err(_) if Instant::now() >= due && sent.bytes() == before => {
                    return Err(Silence::error(due - heard, ANSWER));
                }
                Err(_) => {}
            }
        }
    }
}

/// How much of a request was taken from us.
#[derive(Debug)]
struct Progress {
    taken: AtomicU64,
    whole: u64,
}

impl Progress {
    fn new(whole: u64) -> Self {
        Self { taken: AtomicU64::new(0), whole }
    }

    fn bytes(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A request's body that tells how far it got: the connection asks for the next piece when it has room for it.
struct Sent {
    body: HttpRequestBody,
    /// What is left of a piece of the body.
    piece: Bytes,
    progress: Arc<Progress>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        while self.piece.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let length = self.piece.len().min(PIECE);
        let piece = self.piece.split_to(length);
        self.progress.taken.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.progress.bytes() == self.progress.whole
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.progress.whole - self.progress.bytes())
    }
}

/// A body whose next piece is waited for so long. The time begins when somebody waits.
struct Heard {
    body: reqwest::Body,
    patience: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Body for Heard {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(failed)));
        }
        let patience = self.patience;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Silence::error(patience, ANSWER)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What kind of failure it was decides whether it is tried again; `object_store` tells them apart like this too.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        cause(&error)
    };
    HttpError::new(kind, error.without_url())
}

fn cause(error: &reqwest::Error) -> HttpErrorKind {
    use std::io::ErrorKind;
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            if cause.is_closed() || cause.is_incomplete_message() || cause.is_body_write_aborted() {
                return HttpErrorKind::Request;
            }
            if cause.is_timeout() {
                return HttpErrorKind::Timeout;
            }
        }
        match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::TimedOut) => return HttpErrorKind::Timeout,
            Some(
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof,
            ) => return HttpErrorKind::Interrupted,
            _ => {}
        }
        next = cause.source();
    }
    HttpErrorKind::Unknown
}
