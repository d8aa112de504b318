//! The HTTP client of object stores: what hangs ends, and is tried again like anything that fails.
//!
//! There is no longest time of a download, only a longest silence: whoever pulls may be slow, and layers are large.
//! What is sent is bounded as a whole, because nobody sees how far a request has got before it is answered.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use tokio::time::Sleep;

/// Nothing came.
#[derive(Debug, thiserror::Error)]
#[error("no answer for {} s ({setting})", .after.as_secs_f32())]
struct Silence {
    after: Duration,
    setting: &'static str,
}

impl Silence {
    fn error(after: Duration, setting: &'static str) -> HttpError {
        HttpError::new(HttpErrorKind::Timeout, Self { after, setting })
    }
}

/// Makes clients that wait so long and no longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For an answer to a request with a body, `storage.request_timeout`.
    pub(crate) request: Duration,
    /// For an answer to a request without one, and for each piece of an answer, `storage.answer_timeout`.
    pub(crate) answer: Duration,
}

impl HttpConnector for Patience {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(&options.clone().with_timeout_disabled())?;
        Ok(HttpClient::new(Service { inner, patience: *self }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    patience: Patience,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Patience { request: whole, answer } = self.patience;
        let (limit, setting) = if request.body().content_length() == 0 {
            (answer, "storage.answer_timeout")
        } else {
            (whole, "storage.request_timeout")
        };
        let answered = tokio::time::timeout(limit, self.inner.execute(request)).await;
        let (parts, body) = answered.map_err(|_| Silence::error(limit, setting))??.into_parts();
        let body = HttpResponseBody::new(Heard { body, patience: answer, silence: None });
        Ok(HttpResponse::from_parts(parts, body))
    }
}

/// A body whose next piece is waited for so long. The time begins when somebody waits.
struct Heard {
    body: HttpResponseBody,
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
            return Poll::Ready(frame);
        }
        let patience = self.patience;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Silence::error(patience, "storage.answer_timeout")))),
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
