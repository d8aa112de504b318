//! How many requests for manifests, lists and lengths of blobs one upstream is sent at a time. Each is a task with a
//! connection, and goes on when nobody waits for it any more, so that whoever asks for many things has had as many places
//! for as long as the upstream takes. Who joins what is under way takes none.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::MirrorError;
use super::{Copy, Flights};
use crate::app::App;
use crate::shares::{Refused, Share, Shares, Source};

/// The places of one upstream.
pub(super) struct Places {
    clients: Shares,
    /// For what this registry asks of its own accord, to decide about images: clients cannot take these.
    own: Arc<Semaphore>,
}

/// A place that is held.
#[derive(Debug)]
pub(super) enum Place {
    Client(#[expect(dead_code, reason = "held")] Share),
    Own(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl Places {
    /// So many for clients, and as many again for this registry itself.
    pub(super) fn new(places: usize) -> Self {
        Self { clients: Shares::new(places), own: Arc::new(Semaphore::new(places)) }
    }

    /// A place for `source`; `None`: for this registry itself.
    pub(super) fn take(&self, source: Option<&Source>) -> Result<Place, Refused> {
        match source {
            Some(source) => self.clients.take(source.clone()).map(Place::Client),
            None => self.own.clone().try_acquire_owned().map(Place::Own).map_err(|_| Refused::All),
        }
    }
}

impl<K, T> Flights<K, Result<T, Arc<MirrorError>>>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// As [`Flights::join`]: what is begun for `copy` has a place of its upstream until it has ended, and is not begun where
    /// there is none.
    pub(super) async fn ask<F>(
        &self,
        app: &App,
        copy: &Copy,
        key: K,
        work: impl FnOnce() -> F,
    ) -> Option<Result<T, Arc<MirrorError>>>
    where
        F: Future<Output = Result<T, MirrorError>> + Send + 'static,
    {
        let placed = || {
            let place = copy.upstream.places.take(copy.source.as_ref())?;
            let work = work();
            Ok(async move {
                let _place = place;
                work.await.map_err(Arc::new)
            })
        };
        match self.join_if(&app.tasks, key, placed).await {
            Ok(result) => result,
            Err(refused) => {
                let upstream = copy.upstream.name.clone();
                Some(Err(Arc::new(MirrorError::Full { upstream, refused })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_places_and_clients_leave_the_registrys_own() {
        let places = Places::new(8);
        let of = |n| Source::of_address(Some([192, 0, 2, n].into()));
        let mut held: Vec<Place> = (0..6).map(|_| places.take(Some(&of(1))).unwrap()).collect();
        assert_eq!(places.take(Some(&of(1))).unwrap_err(), Refused::Own);
        held.extend((2..4).map(|n| places.take(Some(&of(n))).unwrap()));
        assert_eq!(places.take(Some(&of(4))).unwrap_err(), Refused::All);
        held.extend((0..8).map(|_| places.take(None).unwrap()));
        assert_eq!(places.take(None).unwrap_err(), Refused::All);
        held.clear();
        assert!(places.take(Some(&of(1))).is_ok() && places.take(None).is_ok());
    }
}
