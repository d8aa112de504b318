//! Bytes on their way out. What a client does not take lies in memory for as long as the client likes. So there is room for
//! so many bytes of all answers of a listener together, and each network has a share of it.
//!
//! - A stream takes room for each of its pieces before that is read, and gives it back when the piece is with the kernel.
//!   Where there is none, the stream goes on with one small piece at a time, which asks for no room: a client that takes its
//!   answer gets it, and one that does not holds [`OWN`] bytes.
//!   A stream that waits for its source has nothing in memory, and no room.
//! - What lies in memory as a whole cannot be made smaller: it has room from the beginning, or is refused. Never refused is
//!   what a refusal would come too late for, the answer to a method that changes something, and a small answer to a client
//!   that takes its answers: those of health among them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use rreg_storage::piece::{self, PIECE, Polled};
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
/// Bytes of such answers over one HTTP/2 connection; more of them ask for room.
const SMALL: usize = 4 * OWN;

/// What an HTTP/2 connection has of its own for small answers.
pub(super) fn own_of_connection() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SMALL))
}

/// The request that an answer is for.
pub(super) struct Asked<'a> {
    pub(super) source: Source,
    /// It changes nothing (RFC 9110 section 9.2.1), so that it can be sent again.
    pub(super) is_safe: bool,
    /// [`own_of_connection`]; `None` over HTTP/1, where there is one answer at a time: the next begins when this one is with
    /// the kernel.
    pub(super) own: Option<&'a Arc<Semaphore>>,
}

/// Why an answer is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// For now.
    Now(Refused),
    /// It has so many bytes, which is more than one source can have.
    Ever(usize),
}

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
    pub(super) fn with_room(&self, asked: Asked<'_>, response: Response) -> Result<Response, NoRoom> {
        // Only a body that lies in memory knows its length; a stream's is in the head alone.
        match response.body().size_hint().exact() {
            Some(0) => Ok(response),
            Some(size) => {
                let room = self.room_for(asked, usize::try_from(size).unwrap_or(usize::MAX))?;
                Ok(match room {
                    Some(room) => response.map(|body| holding(body, room)),
                    None => response,
                })
            }
            None => {
                let (room, own) = (self.pieces.clone(), PollSemaphore::new(Arc::new(Semaphore::new(1))));
                let source = asked.source;
                Ok(response.map(|body| Body::new(Pieces { body, room, source, own, next: None })))
            }
        }
    }

    /// Room for an answer in memory; `None`: it needs none.
    fn room_for(&self, asked: Asked<'_>, size: usize) -> Result<Option<Room>, NoRoom> {
        if size <= OWN {
            let Some(own) = asked.own else { return Ok(None) };
            let permits = u32::try_from(size).unwrap_or(u32::MAX);
            if let Ok(permit) = Arc::clone(own).try_acquire_many_owned(permits) {
                return Ok(Some(Room::Own { _permit: permit }));
            }
        }
        let share = match self.whole.take_many(asked.source.clone(), size) {
            Ok(share) => share,
            Err(_) if !asked.is_safe => self.whole.hold(asked.source, size),
            Err(_) if !self.whole.could_have(size) => return Err(NoRoom::Ever(size)),
            Err(refused) => return Err(NoRoom::Now(refused)),
        };
        Ok(Some(Room::Shared { _share: share }))
    }
}

/// A stream that takes room for its pieces.
struct Pieces {
    body: Body,
    room: Shares,
    source: Source,
    /// One permit, held by the piece that has no room of the network's.
    own: PollSemaphore,
    /// For the piece that is being read.
    next: Option<Room>,
}

/// Given back when it is dropped.
enum Room {
    /// Of the share of the client's network.
    Shared { _share: Share },
    /// Of the stream's or the connection's own.
    Own { _permit: OwnedSemaphorePermit },
}

impl Pieces {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<Room>> {
        if let Some(room) = self.next.take() {
            return Poll::Ready(Some(room));
        }
        match self.room.take_many(self.source.clone(), PIECE) {
            Ok(share) => Poll::Ready(Some(Room::Shared { _share: share })),
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
        let Some(room) = ready!(self.poll_room(cx)) else { return Poll::Ready(None) };
        let most = if matches!(room, Room::Own { .. }) { OWN } else { PIECE };
        let frame = match piece::poll_within(most, || Pin::new(&mut self.body).poll_frame(cx)) {
            Polled::Ready(frame) => frame,
            Polled::Reading => {
                self.next = Some(room);
                return Poll::Pending;
            }
            Polled::Waiting => return Poll::Pending,
        };
        let held = |bytes: Bytes| {
            let beyond = bytes.len().saturating_sub(most);
            let beyond = (beyond > 0).then(|| self.room.hold(self.source.clone(), beyond));
            held_with(bytes, (room, beyond))
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
