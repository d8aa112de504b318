//! The byte stream under HTTP: what was read ahead, a limit on standing still, and an orderly end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest time that a closed connection goes on discarding what its client still sends.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes discarded in one read.
const DISCARD: usize = 4096;

/// A client's stream.
pub(super) struct ClientStream<T> {
    inner: T,
    /// Bytes that were read to find the protocol, last first.
    ahead: Vec<u8>,
    /// Longest time that the client takes nothing of what it is sent.
    write_idle: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Closing,
}

enum Closing {
    Open,
    /// Our side is closed; what the client still sends is discarded.
    Lingering(Option<Pin<Box<Sleep>>>),
    Done,
}

impl<T> ClientStream<T> {
    /// `ahead` is read again before the rest of `inner`.
    pub(super) fn new(inner: T, ahead: &[u8], write_idle: Duration) -> Self {
        let ahead = ahead.iter().rev().copied().collect();
        Self { inner, ahead, write_idle, stalled: None, closing: Closing::Open }
    }

    /// Passes on progress; fails when there was none for too long.
    fn watch<R>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let write_idle = self.write_idle;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(write_idle)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of the response")))
    }
}

impl<T: AsyncRead + Unpin> ClientStream<T> {
    /// Reads and drops what the client still sends. Closing a socket with unread bytes makes the kernel send
    /// a reset, and that would take away an error response from a client in the middle of its body.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering(timer) = &mut self.closing else { return Poll::Ready(()) };
        let mut bytes = [0; DISCARD];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                    if timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                // Nothing was on its way when we closed: nothing to wait for.
                Poll::Pending => return timer.as_mut().map_or(Poll::Ready(()), |t| t.as_mut().poll(cx)),
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buffer);
        }
        while buffer.remaining() > 0
            && let Some(byte) = this.ahead.pop()
        {
            buffer.put_slice(&[byte]);
        }
        if this.ahead.is_empty() {
            this.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.watch(cx, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_flush(cx);
        this.watch(cx, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.closing, Closing::Open) {
            let poll = Pin::new(&mut this.inner).poll_shutdown(cx);
            ready!(this.watch(cx, poll))?;
            this.closing = Closing::Lingering(None);
        }
        ready!(this.poll_linger(cx));
        this.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }
}
