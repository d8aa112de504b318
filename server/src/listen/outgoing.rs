//! Bytes on their way out. What a client does not take lies in memory for as long as the client likes. So there is room for
//! so many bytes of all answers of a listener together, and each network has a share of it.
//!
//! - A stream takes room for each of its pieces before that is read, and gives it back when the piece is with the kernel.
//!   Where there is none, the stream goes on with one small piece at a time, which asks for no room: a client that takes its
//!   answer gets it, and one that does not holds [`OWN`] bytes.
//! - What lies in memory as a whole cannot be made smaller: it has room from the beginning, or is refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use rreg_storage::piece::{self, PIECE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use crate::body::{held_with, holding};
use crate::shares::{Refused, Share, Shares, Source};

/// Bytes of pieces of all streams.
const ROOM: usize = 64 << 20;
/// Bytes of all answers that lie in memory as a whole.
const WHOLE: usize = 128 << 20;
/// So many bytes of an answer ask for no room.
const OWN: usize = 16 << 10;

/// Room for the answers of one listener.
#[derive(Debug)]
pub(super) struct Outgoing {
    pieces: Shares,
    whole: Shares,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { pieces: Shares::new(ROOM), whole: Shares::new(WHOLE) }
    }
}

impl Outgoing {
    /// The same answer, which has room.
    ///
    /// # Errors
    /// It lies in memory, and there is no room for it.
    pub(super) fn with_room(
        &self,
        source: Source,
        version: Version,
        response: Response,
    ) -> Result<Response, Refused> {
        // Only a body that lies in memory knows its length; a stream's is in the head alone.
        match response.body().size_hint().exact() {
            Some(0) => Ok(response),
            // Over HTTP/1 there is one of these for each connection: the next begins when this one is with the kernel.
            Some(size) if size <= OWN as u64 && version < Version::HTTP_2 => Ok(response),
            Some(size) => {
                let share = self.whole.take_many(source, usize::try_from(size).unwrap_or(usize::MAX))?;
                Ok(response.map(|body| holding(body, share)))
            }
            None => {
                let (room, own) = (self.pieces.clone(), PollSemaphore::new(Arc::new(Semaphore::new(1))));
                Ok(response.map(|body| Body::new(Pieces { body, room, source, own, next: None })))
            }
        }
    }
}

/// A stream that takes room for its pieces.
struct Pieces {
    body: Body,
    room: Shares,
    source: Source,
    /// One permit, held by the piece that has no room.
    own: PollSemaphore,
    /// For the piece that is being read.
    next: Option<Room>,
}

enum Room {
    Shared(Share),
    Own { _permit: OwnedSemaphorePermit },
}

impl Pieces {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<Room>> {
        if let Some(room) = self.next.take() {
            return Poll::Ready(Some(room));
        }
        match self.room.take_many(self.source.clone(), PIECE) {
            Ok(share) => Poll::Ready(Some(Room::Shared(share))),
            Err(_) => {
                self.own.poll_acquire(cx).map(|permit| permit.map(|permit| Room::Own { _permit: permit }))
            }
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The semaphore is never closed.
        let Some(mut room) = ready!(self.poll_room(cx)) else { return Poll::Ready(None) };
        let most = if matches!(room, Room::Own { .. }) { OWN } else { PIECE };
        let Poll::Ready(frame) = piece::within(most, || Pin::new(&mut self.body).poll_frame(cx)) else {
            self.next = Some(room);
            return Poll::Pending;
        };
        let held = |bytes: Bytes| {
            if let Room::Shared(share) = &mut room {
                share.grow(bytes.len().saturating_sub(PIECE));
            }
            held_with(bytes, room)
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
