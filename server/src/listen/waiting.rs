//! Connections that have not asked for anything yet. They cost a client nothing, and each holds a slot: where all slots
//! are taken, one of these makes room, of the address that has the most of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::shares::Source;

#[derive(Debug, Default)]
struct All {
    /// In the order in which they came.
    connections: BTreeMap<u64, (Source, CancellationToken)>,
    by: HashMap<Source, usize>,
    next: u64,
}

impl All {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (source, token) = self.connections.remove(&number)?;
        if let Some(count) = self.by.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by.remove(&source);
            }
        }
        Some(token)
    }
}

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<All>);

/// One of them, until it has asked for something.
#[derive(Clone, Debug)]
pub(super) struct Place {
    number: u64,
    evicted: CancellationToken,
    of: Arc<Waiting>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut all = self.lock();
        let (number, evicted) = (all.next, CancellationToken::new());
        all.next += 1;
        let source = Source::of_address(Some(address));
        *all.by.entry(source.clone()).or_default() += 1;
        all.connections.insert(number, (source, evicted.clone()));
        Place { number, evicted, of: Arc::clone(self) }
    }

    /// Ends the oldest of the address that has the most.
    pub(super) fn evict(&self) {
        let mut all = self.lock();
        let Some(most) = all.by.iter().max_by_key(|(_, count)| **count).map(|(source, _)| source.clone())
        else {
            return;
        };
        let oldest =
            all.connections.iter().find(|(_, (source, _))| *source == most).map(|(number, _)| *number);
        if let Some(token) = oldest.and_then(|number| all.remove(number)) {
            token.cancel();
        }
    }
}

impl Place {
    /// Cancelled when another client needs the slot more.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// It has asked for something, or has ended.
    pub(super) fn asked(&self) {
        self.of.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_greediest_goes() {
        let waiting = Arc::new(Waiting::default());
        let add = |text: &str| waiting.add(text.parse().unwrap());
        let (honest, first, second) = (add("192.0.2.1"), add("192.0.2.2"), add("192.0.2.2"));
        first.asked();
        let third = add("192.0.2.2");
        waiting.evict();
        let gone = [&honest, &first, &second, &third].map(|place| place.evicted.is_cancelled());
        assert_eq!(gone, [false, false, true, false]);
        [honest, first, second, third].iter().for_each(Place::asked);
        waiting.evict();
        assert!(waiting.lock().by.is_empty());
    }
}
