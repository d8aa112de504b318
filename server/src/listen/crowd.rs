//! Who is connected, and who makes room: each connection holds a slot, and where all slots are taken the network that
//! has the most of them gives way to the others. Of its connections those go first in which nothing is in work: between
//! two requests, or without having asked for anything, a connection costs its client nothing. Where all have about as
//! many, only those make room in which nothing has been in work for a while: a client that has just come has not had the
//! time to ask.
//!
//! Over HTTP/2 a connection has many requests at once. All but one of each need a place of their own, of which a network has
//! a share: an answer that its client does not take holds memory and an open file for as long as that lasts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::response::Response;
use http_body::Body as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::holding;
use crate::shares::{Refused, Share, Shares, Source};

/// Clients that are kept waiting for a slot; of more, some of the network that has the most of them are let go.
const WAITING: usize = 128;
/// Over HTTP/1, an answer of so many bytes is with the kernel before anybody could want its slot.
const SMALL: u64 = 64 << 10;
/// Requests in work beside the first of their connections, in all.
const BESIDE: usize = 1024;
/// For so long a connection in which nothing is in work is let be by networks that have as many.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Member {
    source: Source,
    /// Cancelled when another client needs the slot more.
    gone: CancellationToken,
    in_work: Arc<InWork>,
}

/// What is in work for a connection.
#[derive(Debug)]
struct InWork {
    requests: AtomicUsize,
    /// When the last of them ended, or the client came.
    idle_since: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct All {
    /// In the order in which they came.
    members: BTreeMap<u64, Member>,
    next: u64,
}

/// Those of one listener.
#[derive(Debug)]
pub(super) struct Crowd {
    all: Mutex<All>,
    beside: Shares,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { all: Mutex::default(), beside: Shares::new(BESIDE) }
    }
}

/// A connection's place in it, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    gone: CancellationToken,
    in_work: Arc<InWork>,
    of: Arc<Crowd>,
}

/// Something is in work for a connection: a request, or its answer.
#[derive(Debug)]
pub(super) struct Work {
    of: Arc<InWork>,
    _beside: Option<Share>,
}

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut all = self.lock();
        let in_work = InWork { requests: AtomicUsize::new(0), idle_since: Mutex::new(Instant::now()) };
        let (number, gone, in_work) = (all.next, CancellationToken::new(), Arc::new(in_work));
        all.next += 1;
        let source = Source::of_address(Some(address));
        let member = Member { source, gone: gone.clone(), in_work: Arc::clone(&in_work) };
        all.members.insert(number, member);
        Place { number, gone, in_work, of: Arc::clone(self) }
    }

    /// Ends a connection for a client from `address`, and tells whether it found one.
    pub(super) fn make_room(&self, address: IpAddr) -> bool {
        let newcomer = Source::of_address(Some(address));
        let mut all = self.lock();
        let mut counts: HashMap<&Source, usize> = HashMap::new();
        for member in all.members.values() {
            *counts.entry(&member.source).or_default() += 1;
        }
        let own = counts.get(&newcomer).copied().unwrap_or_default();
        let most = counts.iter().max_by_key(|(_, count)| **count).filter(|(_, count)| **count > own + 1);
        let members = || all.members.iter().map(|(number, member)| (*number, member));
        let chosen = match most {
            Some((source, _)) => {
                let its = || members().filter(|(_, member)| member.source == **source);
                longest_idle(its())
                    .map(|(number, _)| number)
                    .or_else(|| its().next().map(|(number, _)| number))
            }
            // Whoever has the most takes nothing from others.
            None => longest_idle(members().filter(|(_, member)| counts.get(&member.source) >= Some(&own)))
                .filter(|(_, since)| since.elapsed() >= GRACE)
                .map(|(number, _)| number),
        };
        let Some(member) = chosen.and_then(|number| all.members.remove(&number)) else { return false };
        member.gone.cancel();
        true
    }
}

/// The one in which nothing has been in work for the longest time, and since when.
fn longest_idle<'a>(members: impl Iterator<Item = (u64, &'a Member)>) -> Option<(u64, Instant)> {
    members
        .filter_map(|(number, member)| Some((number, member.idle_since()?)))
        .min_by_key(|(_, since)| *since)
}

impl Member {
    /// Since when nothing is in work; `None`: something is.
    fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.in_work.requests.load(Ordering::Relaxed) == 0;
        is_idle.then(|| *self.in_work.idle_since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InWork {
    fn ended(&self) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Place {
    /// Something was asked for and answered at once, from memory.
    ///
    /// # Errors
    /// As [`Self::work`], where it is more than a connection takes by itself.
    pub(super) fn answered(
        &self,
        client: IpAddr,
        response: Response,
        waits: bool,
    ) -> Result<Response, Refused> {
        if is_sent_at_once(&response, waits) {
            self.in_work.ended();
            return Ok(response);
        }
        Ok(self.work(client)?.until_sent(response, waits))
    }

    /// Cancelled when another client needs the slot more.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Something begins for `client`, who is behind the connection; it ends when this is dropped.
    ///
    /// # Errors
    /// The connection has others in work, and the client's network no place for more.
    pub(super) fn work(&self, client: IpAddr) -> Result<Work, Refused> {
        let is_first = self.in_work.requests.fetch_add(1, Ordering::Relaxed) == 0;
        let take = || self.of.beside.take(Source::of_address(Some(client)));
        let beside = if is_first { Ok(None) } else { take().map(Some) };
        let beside = beside.inspect_err(|_| {
            self.in_work.requests.fetch_sub(1, Ordering::Relaxed);
        })?;
        Ok(Work { of: Arc::clone(&self.in_work), _beside: beside })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.lock().members.remove(&self.number);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.of.ended();
        self.of.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Work {
    /// It goes on for as long as the answer's body is sent. With `waits`, a small one too is sent when its client likes.
    pub(super) fn until_sent(self, response: Response, waits: bool) -> Response {
        if is_sent_at_once(&response, waits) { response } else { response.map(|body| holding(body, self)) }
    }
}

fn is_sent_at_once(response: &Response, waits: bool) -> bool {
    let most = if waits { 0 } else { SMALL };
    response.body().size_hint().exact().is_some_and(|size| size <= most)
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

    /// The address of the first.
    pub(super) fn first(&self) -> Option<IpAddr> {
        self.0.front().map(|(_, address)| address.ip())
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

    impl Place {
        fn is_gone(&self) -> bool {
            self.gone.is_cancelled()
        }

        /// As if nothing had been in work for longer than others are let be.
        fn long_idle(self) -> Self {
            *self.in_work.idle_since.lock().unwrap() = Instant::now().checked_sub(GRACE).unwrap();
            self
        }
    }

    #[test]
    fn an_idle_one_of_the_greediest_goes() {
        let crowd = Arc::new(Crowd::default());
        let add = |text: &str| crowd.add(address(text));
        let (honest, first, second) = (add("192.0.2.1").long_idle(), add("192.0.2.2"), add("192.0.2.2"));
        let work = first.work(address("192.0.2.2")).unwrap();
        let third = add("192.0.2.2");
        assert!(crowd.make_room(address("192.0.2.3")));
        assert_eq!([&honest, &first, &second, &third].map(Place::is_gone), [false, false, true, false]);
        // Between two requests a connection is idle again: not for as long as the other.
        drop(work);
        assert!(crowd.make_room(address("192.0.2.3")));
        assert!(third.is_gone() && !first.is_gone());
        // Now all have one.
        assert!(crowd.make_room(address("192.0.2.3")) && honest.is_gone());
        assert!(!crowd.make_room(address("192.0.2.3")), "it may be about to ask");
        drop((honest, first, second, third));
        assert!(!crowd.make_room(address("192.0.2.3")) && crowd.lock().members.is_empty());
    }

    #[test]
    fn a_network_has_a_share_of_what_is_in_work_beside() {
        let crowd = Arc::new(Crowd::default());
        let greedy: Vec<Place> = (0..20).map(|_| crowd.add(address("192.0.2.1"))).collect();
        let mut held: Vec<Work> = Vec::new();
        for place in &greedy {
            held.extend((0..128).map_while(|_| place.work(address("192.0.2.1")).ok()));
        }
        assert_eq!(
            held.len(),
            BESIDE * 3 / 4 + greedy.len(),
            "one for each connection, and a share of the rest"
        );
        let honest = crowd.add(address("192.0.2.2"));
        let its: Vec<Work> = (0..100).map(|_| honest.work(address("192.0.2.2")).unwrap()).collect();
        assert!(greedy[0].work(address("192.0.2.1")).is_err());
        drop((held, its));
        assert!(crowd.beside.is_idle());
        assert!(greedy.iter().all(|place| place.in_work.requests.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn who_has_the_most_gives_way_at_work_too() {
        let crowd = Arc::new(Crowd::default());
        let busy = |text: &str| {
            let place = crowd.add(address(text));
            let work = place.work(address(text)).unwrap();
            (place, work)
        };
        let fresh = crowd.add(address("192.0.2.1")).long_idle();
        let all = ["192.0.2.2", "192.0.2.2", "192.0.2.2", "192.0.2.2"].map(busy);
        assert!(!crowd.make_room(address("192.0.2.2")), "whoever has the most takes nothing from others");
        assert!(crowd.make_room(address("192.0.2.1")));
        assert!(crowd.make_room(address("192.0.2.3")));
        assert_eq!(all.map(|(place, _)| place.is_gone()), [true, true, false, false]);
        assert!(!fresh.is_gone());
    }
}
