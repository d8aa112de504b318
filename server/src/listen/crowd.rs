//! Who is connected, and who makes room: each connection holds a slot, and where all slots are taken the network that
//! has the most of them gives way to the others. First go connections in which nothing is in work: between two requests,
//! or without having asked for anything, a connection costs its client nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::shares::Source;

/// Clients that are kept waiting for a slot; of more, some of the network that has the most of them are let go.
const WAITING: usize = 128;
/// An answer of so many bytes is with the kernel before anybody could want its slot.
const SMALL: u64 = 64 << 10;

#[derive(Debug)]
struct Member {
    source: Source,
    /// Cancelled when another client needs the slot more.
    gone: CancellationToken,
    in_work: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct All {
    /// In the order in which they came.
    members: BTreeMap<u64, Member>,
    next: u64,
}

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<All>);

/// A connection's place in it, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    gone: CancellationToken,
    in_work: Arc<AtomicUsize>,
    of: Arc<Crowd>,
}

/// Something is in work for a connection: a request, or its answer.
#[derive(Debug)]
pub(super) struct Work(Arc<AtomicUsize>);

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut all = self.lock();
        let (number, gone, in_work) = (all.next, CancellationToken::new(), Arc::default());
        all.next += 1;
        let source = Source::of_address(Some(address));
        all.members.insert(number, Member { source, gone: gone.clone(), in_work: Arc::clone(&in_work) });
        Place { number, gone, in_work, of: Arc::clone(self) }
    }

    /// Ends a connection for a client from `address`, and tells whether it found one: the oldest idle one of the network
    /// with the most idle ones; where none is idle, the oldest of the network that has the most, if that has more than
    /// the client's with this one would have.
    pub(super) fn make_room(&self, address: IpAddr) -> bool {
        let newcomer = Source::of_address(Some(address));
        let mut all = self.lock();
        let mut counts: HashMap<&Source, (usize, usize)> = HashMap::new();
        for member in all.members.values() {
            let (idle, every) = counts.entry(&member.source).or_default();
            *idle += usize::from(member.is_idle());
            *every += 1;
        }
        let own = counts.get(&newcomer).map_or(0, |(_, every)| *every);
        let most_idle = counts.iter().max_by_key(|(_, (idle, _))| *idle).filter(|(_, (idle, _))| *idle > 0);
        let most = counts.iter().max_by_key(|(_, (_, every))| *every).filter(|(_, (_, all))| *all > own + 1);
        let (source, only_idle) = match (most_idle, most) {
            (Some((source, _)), _) => ((*source).clone(), true),
            (None, Some((source, _))) => ((*source).clone(), false),
            (None, None) => return false,
        };
        let chosen = all
            .members
            .iter()
            .find(|(_, member)| member.source == source && (!only_idle || member.is_idle()))
            .map(|(number, _)| *number);
        let Some(member) = chosen.and_then(|number| all.members.remove(&number)) else { return false };
        member.gone.cancel();
        true
    }
}

impl Member {
    fn is_idle(&self) -> bool {
        self.in_work.load(Ordering::Relaxed) == 0
    }
}

impl Place {
    /// Cancelled when another client needs the slot more.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Something begins; it ends when this is dropped.
    pub(super) fn work(&self) -> Work {
        self.in_work.fetch_add(1, Ordering::Relaxed);
        Work(Arc::clone(&self.in_work))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.lock().members.remove(&self.number);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Work {
    /// It goes on for as long as the answer's body is sent.
    pub(super) fn until_sent(self, response: Response) -> Response {
        match response.body().size_hint().exact() {
            Some(size) if size <= SMALL => response,
            _ => response.map(|body| Body::new(Sending { body, _work: self })),
        }
    }
}

struct Sending {
    body: Body,
    _work: Work,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client that has connected.
pub(super) type Client = (TcpStream, SocketAddr);

/// Clients that wait for a slot, the first first.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Client>);

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Client> {
        self.0.pop_front()
    }

    /// Takes one more. Where there are too many, the last of the network that has the most is let go.
    pub(super) fn add(&mut self, client: Client) {
        self.0.push_back(client);
        if self.0.len() <= WAITING {
            return;
        }
        let source = |(_, address): &Client| Source::of_address(Some(address.ip()));
        let mut counts: HashMap<Source, usize> = HashMap::new();
        self.0.iter().for_each(|client| *counts.entry(source(client)).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source);
        let last = self.0.iter().rposition(|client| Some(source(client)) == most);
        last.and_then(|place| self.0.remove(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_idle_one_of_the_greediest_goes() {
        let crowd = Arc::new(Crowd::default());
        let add = |text: &str| crowd.add(address(text));
        let (honest, first, second) = (add("192.0.2.1"), add("192.0.2.2"), add("192.0.2.2"));
        let work = first.work();
        let third = add("192.0.2.2");
        assert!(crowd.make_room(address("192.0.2.3")));
        let gone = [&honest, &first, &second, &third].map(|place| place.gone.is_cancelled());
        assert_eq!(gone, [false, false, true, false]);
        // Between two requests a connection is idle again.
        drop(work);
        let fourth = add("192.0.2.2");
        assert!(crowd.make_room(address("192.0.2.3")));
        assert!(first.gone.is_cancelled());
        drop((honest, first, second, third, fourth));
        assert!(!crowd.make_room(address("192.0.2.3")) && crowd.lock().members.is_empty());
    }

    #[test]
    fn who_has_the_most_gives_way_at_work_too() {
        let crowd = Arc::new(Crowd::default());
        let busy = |text: &str| {
            let place = crowd.add(address(text));
            let work = place.work();
            (place, work)
        };
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"].map(busy);
        assert!(!crowd.make_room(address("192.0.2.2")), "whoever has the most takes nothing from others");
        assert!(crowd.make_room(address("192.0.2.1")));
        assert!(crowd.make_room(address("192.0.2.3")));
        assert!(!crowd.make_room(address("192.0.2.3")), "each has one");
        assert_eq!(all.map(|(place, _)| place.gone.is_cancelled()), [false, true, true, false]);
    }
}
