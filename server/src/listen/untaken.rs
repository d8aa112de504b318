//! Answers over HTTP/2 that their clients do not take. A stream waits for as long as its client likes, with nothing to
//! write and every ping answered, so that no limit of the connection ends it. Here each answer of a connection says since
//! when it waits for its client to take a step of it; the connection ends when one has waited for too long. Over HTTP/1 the
//! stream under the connection knows ([`super::stream`]).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::held_with;

/// So many bytes have to be taken in the time that there is: whoever takes less takes nothing.
const STEP: usize = 16 << 10;

#[derive(Debug, Default)]
struct All {
    /// Since when each waits for its client.
    since: HashMap<u64, Instant>,
    next: u64,
}

/// The answers of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Untaken(Arc<Mutex<All>>);

impl Untaken {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same answer, of which is known since when it waits for its client.
    pub(super) fn watch(&self, response: Response) -> Response {
        if response.body().is_end_stream() {
            return response;
        }
        let number = {
            let mut all = self.lock();
            all.next += 1;
            let number = all.next;
            all.since.insert(number, Instant::now());
            number
        };
        let entry = Arc::new(Entry { number, of: self.clone() });
        response.map(|body| Body::new(Watched { body, rest: Bytes::new(), entry }))
    }

    /// Ends when an answer has waited for `patience`.
    pub(super) async fn for_too_long(&self, patience: Duration) {
        loop {
            let oldest = self.lock().since.values().min().copied();
            let left = oldest.map_or(patience, |since| patience.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// An answer, until its last byte is with the kernel.
#[derive(Debug)]
struct Entry {
    number: u64,
    of: Untaken,
}

impl Entry {
    fn waits(&self, for_the_client: bool) {
        let mut all = self.of.lock();
        if for_the_client {
            all.since.insert(self.number, Instant::now());
        } else {
            all.since.remove(&self.number);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.waits(false);
    }
}

/// Hands out one step at a time: hyper asks for the next when the client has room for it.
struct Watched {
    body: Body,
    rest: Bytes,
    entry: Arc<Entry>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            // What waits for us does not wait for the client.
            self.entry.waits(false);
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            match frame?.into_data() {
                Ok(bytes) => self.rest = bytes,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        self.entry.waits(true);
        let step = self.rest.len().min(STEP);
        let step = held_with(self.rest.split_to(step), Arc::clone(&self.entry));
        Poll::Ready(Some(Ok(Frame::data(step))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
