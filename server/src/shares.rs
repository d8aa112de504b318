//! What many want and few can have at a time: so many places in all, and a share of them for one source, so that none
//! takes what the others need.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rreg_auth::{Caller, Identity};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Context;

/// One source may have so many times what is left free: of four places three where it is alone, fewer the more others
/// there are, so that a few of them leave something for the next.
const OF_FREE: usize = 3;

/// Who takes places: an account, or an address where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// As in the audit trail, such as `user:alice`.
    Account(String),
    /// The network of one customer: an IPv4 address, or the first 64 bits of an IPv6 one.
    Network(IpAddr),
    /// A user of a cluster, as its API server says.
    Cluster(String),
    /// This machine's own.
    Nobody,
}

impl Source {
    pub(crate) fn of(caller: &Caller, context: &Context) -> Self {
        match &caller.identity {
            Identity::Anonymous => Self::of_address(context.address),
            known => Self::Account(known.to_string()),
        }
    }

    pub(crate) fn of_address(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Nobody,
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() >> 64 << 64;
                Self::Network(IpAddr::V6(network.into()))
            }
            Some(address) => Self::Network(address),
        }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// All are taken.
    All,
    /// The source has its share.
    Own,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Sources without a place are not here.
    by: HashMap<Source, usize>,
}

impl Taken {
    fn by(&self, source: &Source) -> usize {
        self.by.get(source).copied().unwrap_or_default()
    }
}

/// Places, and who has them.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    places: usize,
    taken: Arc<Mutex<Taken>>,
}

/// A place that is held.
#[derive(Debug)]
pub(crate) struct Share {
    source: Source,
    places: usize,
    taken: Arc<Mutex<Taken>>,
}

impl Shares {
    pub(crate) fn new(places: usize) -> Self {
        Self { places, taken: Arc::default() }
    }

    pub(crate) fn take(&self, source: Source) -> Result<Share, Refused> {
        self.take_many(source, 1)
    }

    /// Takes several places at once, or none.
    pub(crate) fn take_many(&self, source: Source, places: usize) -> Result<Share, Refused> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.places.saturating_sub(taken.all);
        if places > free {
            return Err(Refused::All);
        }
        let own = taken.by(&source);
        // What one takes is not left free.
        if own + places.saturating_sub(1) >= (free - places.saturating_sub(1)).saturating_mul(OF_FREE) {
            return Err(Refused::Own);
        }
        *taken.by.entry(source.clone()).or_default() += places;
        taken.all += places;
        Ok(Share { source, places, taken: Arc::clone(&self.taken) })
    }

    /// Takes places, also where none are free: for what is in memory already and cannot be refused any more.
    pub(crate) fn hold(&self, source: Source, places: usize) -> Share {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken.by.entry(source.clone()).or_default() += places;
        taken.all += places;
        Share { source, places, taken: Arc::clone(&self.taken) }
    }

    /// Places that a source has.
    pub(crate) fn held_by(&self, source: &Source) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).by(source)
    }

    /// Whether a source can take so many places at once where all are free.
    pub(crate) fn could_have(&self, places: usize) -> bool {
        let beside = places.saturating_sub(1);
        places <= self.places && beside < (self.places - beside).saturating_mul(OF_FREE)
    }

    /// Whether nobody has a place.
    pub(crate) fn is_idle(&self) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all == 0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(self.places);
        if let Some(own) = taken.by.get_mut(&self.source) {
            *own = own.saturating_sub(self.places);
            if *own == 0 {
                taken.by.remove(&self.source);
            }
        }
    }
}

/// Turns: so many at a time for one source. More wait for each other, and for nobody else.
#[derive(Debug)]
pub(crate) struct Turns {
    each: usize,
    of: Mutex<HashMap<Source, Weak<Semaphore>>>,
}

/// Sources that are remembered before those without a turn are forgotten.
pub(crate) const REMEMBERED: usize = 1024;

impl Turns {
    pub(crate) fn new(each: usize) -> Self {
        Self { each, of: Mutex::default() }
    }

    /// Waits for a turn. It ends when this is dropped.
    pub(crate) async fn take(&self, source: Source) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.turns_of(source).acquire_owned().await.ok()
    }

    /// A turn, if the source has one now.
    pub(crate) fn try_take(&self, source: Source) -> Option<OwnedSemaphorePermit> {
        self.turns_of(source).try_acquire_owned().ok()
    }

    fn turns_of(&self, source: Source) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.len() >= REMEMBERED {
            of.retain(|_, turns| turns.strong_count() > 0);
        }
        let known = of.get(&source).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(self.each));
            of.insert(source, Arc::downgrade(&turns));
            turns
        })
    }

    /// Sources that are remembered.
    #[cfg(test)]
    pub(crate) fn sources(&self) -> usize {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Source {
        Source::of_address(Some(text.parse().unwrap()))
    }

    #[test]
    fn one_source_leaves_places_for_others() {
        let shares = Shares::new(8);
        let mut held: Vec<Share> = (0..6).map(|_| shares.take(network("192.0.2.1")).unwrap()).collect();
        assert_eq!(shares.take(network("192.0.2.1")).unwrap_err(), Refused::Own);
        held.extend((0..2).map(|_| shares.take(network("192.0.2.2")).unwrap()));
        // A few sources together leave something, too.
        let many = Shares::new(256);
        let counts = (0..4).map(|source| {
            let before = held.len();
            while let Ok(share) = many.take(network(&format!("192.0.2.{source}"))) {
                held.push(share);
            }
            held.len() - before
        });
        assert_eq!(counts.collect::<Vec<_>>(), [192, 48, 12, 3]);
        assert_eq!(many.take_many(network("192.0.2.200"), 2).unwrap_err(), Refused::All);
        held.push(many.take(network("192.0.2.200")).unwrap());
        assert_eq!(Shares::new(9).take_many(network("192.0.2.1"), 8).unwrap_err(), Refused::Own);
        for places in 0..20 {
            let taken = Shares::new(9).take_many(network("192.0.2.1"), places);
            assert_eq!(Shares::new(9).could_have(places), taken.is_ok(), "{places}");
        }
        assert_eq!(shares.take(network("192.0.2.3")).unwrap_err(), Refused::All);
        held.push(shares.hold(network("192.0.2.3"), 5));
        assert_eq!(shares.taken.lock().unwrap().all, 13);
        held.clear();
        assert!(shares.is_idle() && shares.taken.lock().unwrap().by.is_empty());
        assert!(Shares::new(1).take(Source::Nobody).is_ok());
    }

    #[tokio::test]
    async fn turns_of_one_source_are_nobody_elses() {
        use futures_util::FutureExt as _;
        let turns = Turns::new(2);
        let first = turns.take(network("192.0.2.1")).await;
        let second = turns.take(network("192.0.2.1")).await;
        assert!(turns.take(network("192.0.2.1")).now_or_never().is_none());
        assert!(turns.take(network("192.0.2.2")).now_or_never().is_some());
        drop(first);
        assert!(turns.take(network("192.0.2.1")).now_or_never().flatten().is_some());
        drop(second);
        for n in 0..3000_u32 {
            turns.take(Source::Account(n.to_string())).await;
        }
        assert!(turns.sources() <= REMEMBERED);
    }

    #[test]
    fn an_ipv6_customer_is_one_source() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
