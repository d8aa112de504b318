//! One connection: TLS, which HTTP it speaks, its requests, its end.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, Either};
use futures_util::stream::FuturesUnordered;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rreg_oci::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::crowd::Place;
use super::outgoing::{Asked, NoRoom, Outgoing, own_of_connection};
use super::stream::ClientStream;
use super::untaken::Untaken;
use super::{Options, Peer, Proxies, Site};
use crate::error::ApiError;
use crate::shares::{Refused, Source};
use crate::tls;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests of one HTTP/2 connection at the same time.
const MAX_STREAMS: u32 = 128;
/// Streams that a client reset before they were accepted (CVE-2023-44487), and those that were reset for the
/// client's own errors; beyond, the connection ends.
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 256;
/// HTTP/2 clients that answer no ping are gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What all connections share.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    site: Site,
    outgoing: Arc<Outgoing>,
    options: Options,
    /// Requests in flight are finished, new ones are not taken.
    drain: CancellationToken,
    /// Connections are cut.
    cut: CancellationToken,
}

impl Protocols {
    pub(super) fn new(
        site: Site,
        options: Options,
        drain: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_header_size(options.max_header_bytes);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        // What a client may send ahead of what is read is held here: 64 KiB, and more only where it is read as fast as the
        // way to the client is long. A stranger's bodies wait unread for as long as a wrong password is told late.
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .adaptive_window(true)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2, site, outgoing: Arc::default(), options, drain, cut }
    }

    /// Serves one client to the end of its connection. What goes wrong is the client's affair: it is logged
    /// for whoever debugs it and ends here.
    pub(super) async fn serve(&self, stream: TcpStream, address: SocketAddr, place: Arc<Place>) {
        let result = match stream.set_nodelay(true) {
            Ok(()) => self.secure(stream, address, place).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::debug!(%address, %error, "connection failed");
        }
    }

    async fn secure(&self, stream: TcpStream, address: SocketAddr, place: Arc<Place>) -> io::Result<()> {
        let Some(tls) = &self.options.tls else {
            return self.negotiate(stream, Peer { address: address.ip(), tls: false }, place).await;
        };
        let handshake = timeout(tls::HANDSHAKE_TIMEOUT, tls.accept(stream));
        let stream = tokio::select! {
            result = handshake => result.map_err(|_| timed_out("TLS handshake"))??,
            () = self.drain.cancelled() => return Ok(()),
        };
        self.negotiate(stream, Peer { address: address.ip(), tls: true }, place).await
    }

    /// Finds out which HTTP the client speaks, from its first bytes.
    async fn negotiate<T>(&self, mut stream: T, peer: Peer, place: Arc<Place>) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut head = [0; PREFACE.len()];
        let first = timeout(self.options.header_timeout, first_bytes(&mut stream, &mut head));
        let length = tokio::select! {
            result = first => result.map_err(|_| timed_out("first request"))??,
            () = self.drain.cancelled() => return Ok(()),
        };
        let head = head.get(..length).unwrap_or_default();
        if head.is_empty() {
            return Ok(());
        }
        let stream = TokioIo::new(ClientStream::new(stream, head, self.options.write_idle_timeout));
        let proxies = self.options.proxies.clone();
        let outgoing = Arc::clone(&self.outgoing);
        let streams = (head == PREFACE).then(Streams::new);
        let site = self.site.clone();
        let service = Entry { site, outgoing, streams: streams.clone(), proxies, peer, place };
        let result = match streams {
            Some(streams) => {
                let mut connection = pin!(self.drive(self.http2.serve_connection(stream, service)));
                let stalled = streams.untaken.for_too_long(self.options.write_idle_timeout);
                let mut stalled: FuturesUnordered<_> = std::iter::once(stalled).collect();
                tokio::select! {
                    biased;
                    result = connection.as_mut() => result,
                    _ = stalled.next() => return Err(timed_out("taking an answer")),
                }
            }
            None => self.drive(self.http1.serve_connection(stream, service)).await,
        };
        result.map_err(io::Error::other)
    }

    async fn drive<C: GracefulConnection>(&self, connection: C) -> Result<(), C::Error> {
        let mut connection = pin!(connection);
        // A set polls its future only when that was woken; polling `cancelled` itself takes a lock that all
        // connections share, each time that one of them moves.
        let mut drained: FuturesUnordered<_> = std::iter::once(self.drain.cancelled()).collect();
        tokio::select! {
            biased;
            result = connection.as_mut() => return result,
            _ = drained.next() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            result = connection => result,
            () = self.cut.cancelled() => Ok(()),
        }
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}

/// Reads until the bytes are the preface of HTTP/2 or cannot become it; 0 when the client closed.
async fn first_bytes<T: AsyncRead + Unpin>(
    stream: &mut T,
    head: &mut [u8; PREFACE.len()],
) -> io::Result<usize> {
    let mut length = 0;
    while let Some(free) = head.get_mut(length..).filter(|free| !free.is_empty()) {
        let read = stream.read(free).await?;
        length += read;
        if read == 0 || head.get(..length) != PREFACE.get(..length) {
            break;
        }
    }
    Ok(length)
}

/// What the answers of one HTTP/2 connection share: they wait until their client wants them.
#[derive(Clone)]
struct Streams {
    /// [`Asked::own`]
    own: Arc<Semaphore>,
    untaken: Untaken,
}

impl Streams {
    fn new() -> Self {
        Self { own: own_of_connection(), untaken: Untaken::default() }
    }
}

/// The site as hyper calls it, for the requests of one connection.
struct Entry {
    site: Site,
    outgoing: Arc<Outgoing>,
    /// Over HTTP/2.
    streams: Option<Streams>,
    proxies: Proxies,
    /// The other end of the connection.
    peer: Peer,
    place: Arc<Place>,
}

impl hyper::service::Service<Request<Incoming>> for Entry {
    type Response = Response;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let at_once = |response| Either::Left(ready(Ok(response)));
        let client = match self.proxies.client(self.peer, &mut parts) {
            Ok(client) => client,
            Err(refused) => return at_once(refused.into_response()),
        };
        let immediate = self.site.immediate.as_ref();
        if let Some(response) = immediate.and_then(|immediate| immediate(client, &parts)) {
            let source = Source::of_address(Some(client.address));
            let asked = Asked {
                source,
                is_safe: parts.method.is_safe(),
                own: self.streams.as_ref().map(|it| &it.own),
            };
            return at_once(match self.place.answered(client.address, response, self.streams.is_some()) {
                Ok(answer) => {
                    let answer = self.outgoing.with_room(asked, answer).unwrap_or_else(without_room);
                    watched(self.streams.as_ref(), answer)
                }
                Err(refused) => without_place(refused),
            });
        }
        let work = match self.place.work(client.address) {
            Ok(work) => work,
            Err(refused) => return at_once(without_place(refused)),
        };
        let is_safe = parts.method.is_safe();
        let mut request = Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(client);
        // A router is always ready, and a clone of it is one reference count.
        let answer = self.site.router.clone().call(request);
        let (outgoing, streams) = (Arc::clone(&self.outgoing), self.streams.clone());
        let source = Source::of_address(Some(client.address));
        Either::Right(Box::pin(async move {
            let answer = answer.await?;
            let answer = outgoing
                .with_room(Asked { source, is_safe, own: streams.as_ref().map(|it| &it.own) }, answer);
            let answer = answer.unwrap_or_else(without_room);
            Ok(watched(streams.as_ref(), work.until_sent(answer, streams.is_some())))
        }))
    }
}

fn watched(streams: Option<&Streams>, answer: Response) -> Response {
    match streams {
        Some(streams) => streams.untaken.watch(answer),
        None => answer,
    }
}

/// Too much is in work for one more request.
fn without_place(refused: Refused) -> Response {
    let why = match refused {
        Refused::Own => {
            "too many requests of your network are in work at once; take their answers and try again"
        }
        Refused::All => "too many requests are in work at once; try again",
    };
    ApiError::busy(why, 1).into_response()
}

/// Too much lies in memory for one more answer.
pub(super) fn without_room(why: NoRoom) -> Response {
    let why = match why {
        NoRoom::Now(Refused::Own) => {
            "too many answers to your network are not taken yet; take them and try again"
        }
        NoRoom::Now(Refused::All) => "too many answers are not taken yet by their clients; try again",
        NoRoom::Ever(size) => {
            tracing::error!(
                size,
                "an answer is larger than what all answers to one network may have in memory"
            );
            let why = "the answer is larger than this registry sends";
            return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unavailable, why)
                .into_response();
        }
    };
    ApiError::busy(why, 1).into_response()
}
