//! Request bodies: bounded in length or in how long they may stand still.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use prometheus::IntCounter;
use rreg_oci::ErrorCode;
use tokio::time::{Instant, Sleep, sleep};

use crate::error::ApiError;

/// After a refusal so much of the rest is read and thrown away, so that the client gets to see the answer.
const DRAINED: usize = 16 << 20;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("nothing arrived for {} seconds", .0.as_secs())]
    Stalled(Duration),
    #[error("the connection broke ({0})")]
    Broken(axum::Error),
}

/// A body as a stream that fails when nothing arrives for too long.
pub(crate) struct IncomingBody {
    stream: BodyDataStream,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer has been set since the last piece.
    waiting: bool,
    received: IntCounter,
}

impl IncomingBody {
    pub(crate) fn new(body: Body, idle: Duration, received: IntCounter) -> Self {
        Self { stream: body.into_data_stream(), idle, timer: Box::pin(sleep(idle)), waiting: false, received }
    }

    /// The whole body if it has at most `limit` bytes, else as many as show that it has more.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes, ApiError> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece.map_err(|error| {
                let message = format!("the request body ended early: {error}");
                ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message)
            })?;
            all.extend_from_slice(&piece);
            if all.len() > limit {
                self.drain().await;
                break;
            }
        }
        Ok(all.into())
    }

    /// Reads on to nowhere.
    async fn drain(&mut self) {
        let mut drained = 0;
        while let Some(Ok(piece)) = self.next().await {
            drained += piece.len();
            if drained > DRAINED {
                return;
            }
        }
    }
}

impl Stream for IncomingBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.stream.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.waiting = false;
                self.received.inc_by(piece.len() as u64);
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Broken(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if !self.waiting {
                    self.waiting = true;
                    let deadline = Instant::now() + self.idle;
                    self.timer.as_mut().reset(deadline);
                }
                match self.timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Stalled(self.idle)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}
