//! Bodies to which something happens.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::Harm;

/// A body to which something happens.
pub(crate) struct Harmed {
    /// Instead of a body.
    text: Option<Bytes>,
    body: Option<Incoming>,
    harm: Option<Harm>,
    passed: usize,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Harmed {
    /// This text, or nothing, whatever the store says.
    pub(super) fn saying(text: Option<Bytes>) -> Self {
        Self { text, body: None, harm: None, passed: 0, pause: None }
    }

    pub(super) fn new(body: Incoming, harm: Option<Harm>) -> Self {
        Self { text: None, body: Some(body), harm, passed: 0, pause: None }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        loop {
            match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(std::io::Error::other(error)))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Body for Harmed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        if let Some(Harm::Truncate(at) | Harm::Stall(at) | Harm::Shorter(at)) = self.harm
            && self.passed >= at
        {
            return match self.harm {
                Some(Harm::Shorter(_)) => Poll::Ready(None),
                Some(Harm::Truncate(_)) => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
                _ => Poll::Pending,
            };
        }
        if self.harm == Some(Harm::Slow) {
            let pause =
                self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(500))));
            std::task::ready!(pause.as_mut().poll(cx));
        }
        let mut piece = match std::task::ready!(self.next(cx)) {
            Some(Ok(piece)) => piece,
            other => return Poll::Ready(other.map(|other| other.map(Frame::data))),
        };
        self.pause = None;
        match self.harm {
            Some(Harm::Truncate(at) | Harm::Stall(at) | Harm::Shorter(at)) => {
                piece.truncate(at - self.passed)
            }
            Some(Harm::Flip) if self.passed == 0 && !piece.is_empty() => {
                let mut bytes = piece.to_vec();
                bytes[0] ^= 1;
                piece = bytes.into();
            }
            _ => {}
        }
        self.passed += piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none() && self.harm.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(text) = &self.text {
            return SizeHint::with_exact(text.len() as u64);
        }
        match (self.harm, &self.body) {
            (_, None) => SizeHint::with_exact(0),
            (Some(Harm::Shorter(length)), _) => SizeHint::with_exact(length as u64),
            (_, Some(body)) => body.size_hint(),
        }
    }
}
