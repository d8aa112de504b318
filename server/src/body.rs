//! Request bodies: bounded in length or in how long they may stand still. And answers that hold something until they are
//! sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use prometheus::IntCounter;
use rreg_oci::ErrorCode;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::ApiError;
use crate::shares::{Share, Shares, Source};

/// After a refusal so much of the rest is read and thrown away, so that the client gets to see the answer.
const DRAINED: usize = 16 << 20;
/// So much is kept of the beginning of a body that there is no room or no time for.
const BEGINNING: usize = 4 << 10;
/// So much of each body asks for no room: most manifests have less.
const FREE: usize = 64 << 10;
/// Room is taken by so many bytes.
const STEP: usize = 256 << 10;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("nothing arrived for {} seconds", .0.as_secs())]
    Stalled(Duration),
    #[error("less than {0} bytes a second arrived (server.body_min_rate)")]
    Slow(u64),
    #[error("the server is stopping; what has arrived is kept, and the upload can go on from there")]
    Stopping,
    #[error("the connection broke ({0})")]
    Broken(axum::Error),
}

/// How a body has to arrive.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Longest time in which nothing arrives.
    pub(crate) idle: Duration,
    /// Fewest bytes a second, over as long a time as that. 0: any.
    pub(crate) min_rate: u64,
    /// The server stops: whoever is slow now would hold it up.
    pub(crate) stopping: CancellationToken,
}

/// A body as a stream that fails when nothing, or too little, arrives for too long. The time that we take ourselves does
/// not count.
pub(crate) struct IncomingBody {
    stream: BodyDataStream,
    pace: Pace,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Since when a piece is waited for.
    since: Instant,
    /// How long pieces were waited for since the rate was looked at, and what arrived meanwhile.
    waited: Duration,
    arrived: u64,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer has been set since the last piece.
    waiting: bool,
    received: IntCounter,
}

impl IncomingBody {
    pub(crate) fn new(body: Body, pace: &Pace, received: IntCounter) -> Self {
        Self {
            stream: body.into_data_stream(),
            pace: pace.clone(),
            stopping: Box::pin(pace.stopping.clone().cancelled_owned()),
            since: Instant::now(),
            waited: Duration::ZERO,
            arrived: 0,
            timer: Box::pin(sleep(pace.idle)),
            waiting: false,
            received,
        }
    }

    /// Whether what has arrived is enough for the time that it was waited for.
    fn is_in_time(&mut self, piece: usize) -> bool {
        if std::mem::take(&mut self.waiting) {
            self.waited += self.since.elapsed();
        }
        self.arrived += piece as u64;
        if self.waited < self.pace.idle {
            return true;
        }
        let enough = self.arrived >= self.pace.min_rate.saturating_mul(self.waited.as_secs());
        (self.waited, self.arrived) = (Duration::ZERO, 0);
        enough
    }

    /// The whole body, of at most `limit` bytes. For a small `limit`.
    pub(crate) async fn collect(self, limit: usize) -> Result<Bytes, ApiError> {
        let body = self.collect_if(limit, None, |_| Ok(())).await.map_err(|unread| unread.error)?;
        within(limit, &body)?;
        Ok(body)
    }

    /// The body if it has at most `limit` bytes, else as many as show that it has more, as long as there is room for it in
    /// memory with all others. The room is held for as long as what comes with the body.
    pub(crate) async fn collect_in(
        self,
        limit: usize,
        room: &Shares,
        source: &Source,
    ) -> Result<(Bytes, Vec<Share>), ApiError> {
        self.collect_or_begin(limit, (room, source), None).await.map_err(|unread| unread.error)
    }

    /// The same `until` then at the latest, with the beginning of a body that there is no room or no time for.
    pub(crate) async fn collect_or_begin(
        self,
        limit: usize,
        (room, source): (&Shares, &Source),
        until: Option<Instant>,
    ) -> Result<(Bytes, Vec<Share>), Unread> {
        let (mut held, mut holds) = (Vec::new(), FREE);
        let body = self.collect_if(limit, until, |length| {
            while length > holds {
                let share = room.take_many(source.clone(), STEP).map_err(|_| {
                    ApiError::busy("too much is arriving at once that has to be held in memory; try again", 1)
                })?;
                held.push(share);
                holds += STEP;
            }
            Ok(())
        });
        let body = body.await?;
        Ok((body, held))
    }

    async fn collect_if(
        mut self,
        limit: usize,
        until: Option<Instant>,
        mut fits: impl FnMut(usize) -> Result<(), ApiError>,
    ) -> Result<Bytes, Unread> {
        let mut all = Vec::new();
        loop {
            let Ok(piece) = by(until, self.next()).await else {
                let why = "the request did not arrive in the time that there is for its answer";
                let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::SizeInvalid, why);
                all.truncate(BEGINNING);
                return Err(Unread { error, beginning: all.into() });
            };
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| {
                let message = format!("the request body ended early: {error}");
                let error = ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message);
                Unread { error, beginning: Bytes::new() }
            })?;
            if let Err(error) = fits(all.len() + piece.len()) {
                all.extend_from_slice(piece.get(..BEGINNING).unwrap_or(&piece));
                all.truncate(BEGINNING);
                all.shrink_to_fit();
                let _ = by(until, self.drain()).await;
                return Err(Unread { error, beginning: all.into() });
            }
            all.extend_from_slice(&piece);
            if all.len() > limit {
                let _ = by(until, self.drain()).await;
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

/// What is done until then, if that is in time.
async fn by<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    match until {
        Some(until) => timeout_at(until, work).await,
        None => Ok(work.await),
    }
}

/// Why a body was not read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) error: ApiError,
    /// How it begins, if there was no room or no time for it.
    pub(crate) beginning: Bytes,
}

/// Refuses a body of which so much was read that it shows to be larger than `limit`.
pub(crate) fn within(limit: usize, body: &Bytes) -> Result<(), ApiError> {
    if body.len() <= limit {
        return Ok(());
    }
    let why = format!("the request's body has more than {limit} bytes");
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, why))
}

impl Stream for IncomingBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.stream.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.received.inc_by(piece.len() as u64);
                if !self.is_in_time(piece.len()) {
                    return Poll::Ready(Some(Err(BodyError::Slow(self.pace.min_rate))));
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Broken(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if !self.waiting {
                    self.waiting = true;
                    self.since = Instant::now();
                    let deadline = self.since + self.pace.idle;
                    self.timer.as_mut().reset(deadline);
                }
                if self.stopping.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(BodyError::Stopping)));
                }
                match self.timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Stalled(self.pace.idle)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

/// The same answer, which holds something until it is sent or given up: for as long as there is the body, or any piece of it
/// that is not with the kernel yet. Hyper takes pieces before it can send them, and drops the body once it has the last.
pub(crate) fn holding<T: Send + Sync + 'static>(body: Body, held: T) -> Body {
    Body::new(Holding { body, held: Arc::new(held) })
}

struct Holding<T> {
    body: Body,
    held: Arc<T>,
}

impl<T: Send + Sync + 'static> http_body::Body for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let held = |bytes| held_with(bytes, Arc::clone(&self.held));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The same bytes, which hold something until nobody has them any more.
pub(crate) fn held_with<T: Send + 'static>(bytes: Bytes, held: T) -> Bytes {
    Bytes::from_owner(HeldWith { bytes, _held: held })
}

struct HeldWith<T> {
    bytes: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for HeldWith<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
