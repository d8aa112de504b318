//! The accept loop: HTTP/1.1 and HTTP/2, with or without TLS, on one port.
//!
//! Limits on a client stand here as far as they concern connections: how many, how long a request head may
//! take and how large it may be, how long a response may stand still. Bodies are the handlers' concern.
//!
//! HTTP/2 without TLS is taken from clients that begin with its preface ("prior knowledge", RFC 9113
//! section 3.3). hyper-util's automatic builder is not used because it waits for a first byte without limit
//! and has no exact limit on the size of a head.

mod connection;
mod crowd;
mod forwarded;
mod outgoing;
mod stream;
#[cfg(test)]
mod tests;
mod untaken;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::tls::Tls;
use connection::Protocols;
use crowd::{Client, Crowd, Queue};
pub use forwarded::Proxies;

/// Pause after the process ran out of file descriptors or memory: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often it is looked whether somebody makes room for clients that wait.
const AGAIN: Duration = Duration::from_millis(250);

/// Who sent a request; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection, or whom a trusted proxy there names ([`Proxies`]).
    pub address: IpAddr,
    /// Whether its connection is encrypted.
    pub tls: bool,
}

/// Answers a request at once if nothing has to be waited for and its body does not matter, else gives `None`.
pub type Immediate = Arc<dyn Fn(Peer, &http::request::Parts) -> Option<Response> + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Site {
    /// Takes every request that `immediate` does not answer.
    pub router: axum::Router,
    /// Asked first. Content from memory is answered without the allocations that routing and a future cost, which
    /// is a fifth of such a request.
    pub immediate: Option<Immediate>,
}

impl From<axum::Router> for Site {
    fn from(router: axum::Router) -> Self {
        Self { router, immediate: None }
    }
}

/// Limits on connections.
#[derive(Clone)]
pub struct Options {
    /// Time for a request head, and between two requests of a connection.
    pub header_timeout: Duration,
    /// Longest time that a client takes nothing of a response.
    pub write_idle_timeout: Duration,
    /// Time for requests in flight after `shutdown`.
    pub shutdown_timeout: Duration,
    /// Open connections. Others wait, or take the place of one of the network that has the most.
    pub max_connections: usize,
    /// Largest request head, in bytes.
    pub max_header_bytes: usize,
    /// TLS, when connections are encrypted.
    pub tls: Option<Arc<Tls>>,
    /// Who is believed about clients.
    pub proxies: Proxies,
    /// Whether something is in work that is waited for after `shutdown` while everybody is still served: until it is
    /// done, or half of `shutdown_timeout` is over.
    pub busy: Option<Busy>,
}

/// Whether something is in work.
pub type Busy = Arc<dyn Fn() -> bool + Send + Sync>;

/// Between two looks at whether something is still in work.
const LOOK: Duration = Duration::from_millis(50);

impl Options {
    /// The limits of a configuration, for a listener at `address`.
    pub fn new(server: &config::Server, address: SocketAddr, tls: Option<Arc<Tls>>) -> Self {
        let network = !address.ip().to_canonical().is_loopback();
        let proxies = Proxies {
            trusted: server.trusted_proxies.clone(),
            tls_only: network && tls.is_none() && !server.insecure,
        };
        Self {
            header_timeout: server.header_timeout.0,
            write_idle_timeout: server.body_idle_timeout.0,
            shutdown_timeout: server.shutdown_timeout.0,
            max_connections: usize::try_from(server.max_connections).unwrap_or(usize::MAX),
            max_header_bytes: server.max_header_bytes.as_usize(),
            tls,
            proxies,
            busy: None,
        }
    }
}

/// Serves `site` until `shutdown`, then lets requests in flight finish.
///
/// # Errors
/// `TimedOut` when connections had to be cut because their requests outlasted `shutdown_timeout`.
pub async fn serve(
    listener: TcpListener,
    site: impl Into<Site>,
    options: Options,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
    let shutdown_timeout = options.shutdown_timeout;
    let deadline = drained(options.busy.clone(), shutdown_timeout / 2, shutdown, drain.clone());
    let deadline = tokio::spawn(deadline);
    let (crowd, mut queue) = (Arc::new(Crowd::default()), Queue::default());
    let protocols = Arc::new(Protocols::new(site.into(), options, drain.clone(), cut.clone()));
    while let Some(((stream, address), slot)) =
        next_client(&listener, &slots, (&crowd, &mut queue), &drain).await
    {
        let protocols = Arc::clone(&protocols);
        let place = Arc::new(crowd.add(address.ip()));
        connections.spawn(async move {
            let gone = place.gone();
            tokio::select! {
                () = protocols.serve(stream, address, place) => {}
                () = gone.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop((listener, queue));
    connections.close();
    let left =
        deadline.await.map_or(shutdown_timeout, |begun| shutdown_timeout.saturating_sub(begun.elapsed()));
    if tokio::time::timeout(left, connections.wait()).await.is_ok() {
        return Ok(());
    }
    let left = connections.len();
    cut.cancel();
    connections.wait().await;
    let message = format!("{left} connections were cut: their requests outlasted server.shutdown_timeout");
    Err(io::Error::new(io::ErrorKind::TimedOut, message))
}

/// Ends with the time at which `shutdown` began, once nothing is in work any more or `most` is over; then `drain` is
/// cancelled.
async fn drained(
    busy: Option<Busy>,
    most: Duration,
    shutdown: CancellationToken,
    drain: CancellationToken,
) -> Instant {
    shutdown.cancelled().await;
    let begun = Instant::now();
    while busy.as_ref().is_some_and(|busy| busy()) && begun.elapsed() < most {
        tokio::time::sleep(LOOK).await;
    }
    drain.cancel();
    begun
}

/// The next client that has a slot; `None` after `shutdown`.
async fn next_client(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    (crowd, queue): (&Crowd, &mut Queue),
    shutdown: &CancellationToken,
) -> Option<(Client, OwnedSemaphorePermit)> {
    let mut again = tokio::time::interval(AGAIN);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            // The semaphore is never closed.
            slot = Arc::clone(slots).acquire_owned(), if !queue.is_empty() => {
                return Some((queue.next()?, slot.ok()?));
            }
            // Somebody may have been idle for long enough meanwhile.
            _ = again.tick(), if !queue.is_empty() => {
                if queue.first().is_some_and(|first| crowd.make_room(first)) {
                    return Some((queue.next()?, Arc::clone(slots).acquire_owned().await.ok()?));
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let client = match accepted {
            Ok(client) => client,
            // The client gave up while it waited: its own affair.
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return Some((client, slot));
        }
        // Others go on being accepted: behind clients of one network that wait there may be one of another.
        if crowd.make_room(client.1.ip()) {
            return Some((client, Arc::clone(slots).acquire_owned().await.ok()?));
        }
        queue.add(client);
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
