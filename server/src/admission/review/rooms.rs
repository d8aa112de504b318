//! What reviews have together, and shares of it: memory, places, turns, and what upstreams may be asked for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::budget::Budget;
use crate::error::ApiError;
use crate::shares::{Share, Shares, Source, Turns};

/// Reviews that are answered at the same time; more wait. Each may have 8 MiB.
const PLACES: usize = 32;
/// Those that are answered, arrive or wait.
const IN_ALL: usize = 512;
/// Bytes of those that arrive, wait or are answered.
const BYTES: usize = 64 << 20;
/// Those of one user that are answered at the same time, and those that are answered or wait.
const TURNS: usize = 8;
const WAITING: usize = 64;
/// Those of all users whom one network or account names that are answered at the same time.
const TURNS_WITHIN: usize = 24;
/// For so long a budget of fetches lasts.
const MINUTE: Duration = Duration::from_secs(60);
/// All users together may have as much as so many of them.
const ALL_OF_OWN: u64 = 5;

/// What reviews have together.
pub(crate) struct Rooms {
    /// A byte for each that reviews hold in memory.
    pub(super) bytes: Shares,
    senders: Shares,
    places: Semaphore,
    /// Of one user those that are answered, and those that are answered or wait; and of one network or account those that
    /// are answered for all whom it names.
    answered: Turns,
    waiting: Turns,
    within: Turns,
    fetches: Mutex<Fetches>,
}

/// What is left of this minute for those that have proved to be API servers, and for others.
struct Fetches {
    own: u64,
    begun: Instant,
    left: [Budget; 2],
}

/// Why a review gets no place.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooMany(pub(super) &'static str);

/// A place at which a review is answered.
pub(super) struct Place<'a> {
    _waits: OwnedSemaphorePermit,
    _turns: [OwnedSemaphorePermit; 2],
    _place: SemaphorePermit<'a>,
}

impl Rooms {
    /// `fetches` is `policy.admission_fetches`.
    pub(crate) fn new(fetches: u32) -> Self {
        let own = u64::from(fetches);
        Self {
            bytes: Shares::new(BYTES),
            senders: Shares::new(IN_ALL),
            places: Semaphore::new(PLACES),
            answered: Turns::new(TURNS),
            waiting: Turns::new(WAITING),
            within: Turns::new(TURNS_WITHIN),
            fetches: Mutex::new(Fetches { own, begun: Instant::now(), left: of_a_minute(own) }),
        }
    }

    /// Counts a review that begins to arrive: one network's many must not stand before all others'.
    pub(super) fn sender(&self, network: &Source) -> Result<Share, ApiError> {
        self.senders.take(network.clone()).map_err(|_| {
            ApiError::unavailable("too many reviews of this network are being answered, or of all together")
        })
    }

    /// Waits for a place for a review that has arrived. Nobody waits behind more than a few of each other user, and of each
    /// other network or account that names users.
    ///
    /// # Errors
    /// Too many reviews of the user wait.
    pub(super) async fn place(&self, within: &Source, user: &Source) -> Result<Place<'_>, TooMany> {
        let waits = self.waiting.try_take(user.clone());
        let waits = waits.ok_or(TooMany("too much of what this user asks for is waiting; try again"))?;
        let closed = TooMany("the registry is stopping; try again");
        let own = self.answered.take(user.clone()).await.ok_or(closed)?;
        let shared = self.within.take(within.clone()).await.ok_or(closed)?;
        let place = self.places.acquire().await.map_err(|_| closed)?;
        Ok(Place { _waits: waits, _turns: [own, shared], _place: place })
    }

    /// Whether an upstream may be asked for something that is not here, for a user who is one `within` a network or account.
    pub(super) fn may_fetch(&self, is_proved: bool, within: &Source, user: &Source) -> bool {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if fetches.begun.elapsed() >= MINUTE {
            fetches.begun = Instant::now();
            fetches.left = of_a_minute(fetches.own);
        }
        fetches.left[usize::from(is_proved)].take(within, user)
    }
}

fn of_a_minute(own: u64) -> [Budget; 2] {
    std::array::from_fn(|_| Budget::new(own.saturating_mul(ALL_OF_OWN), own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::REMEMBERED;

    fn user(name: &str) -> Source {
        Source::Cluster(name.to_owned())
    }

    #[tokio::test]
    async fn one_user_leaves_places_and_is_not_waited_behind() {
        let rooms = Rooms::new(1);
        let (server, mallory, alice) = (Source::Nobody, user("mallory"), user("alice"));
        let mut held = Vec::new();
        for _ in 0..TURNS {
            held.push(rooms.place(&server, &mallory).await.unwrap());
        }
        let mut waiting: Vec<_> =
            (TURNS..WAITING).map(|_| Box::pin(rooms.place(&server, &mallory))).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert!(rooms.place(&server, &mallory).await.is_err(), "as many wait as may");
        // Nobody has left, and the next one has a place.
        let mut next = Box::pin(rooms.place(&server, &alice));
        assert!(futures_util::poll!(&mut next).is_ready());
        // Who is within nobody else has turns of their own alone.
        let bob = user("bob");
        let mut own = Vec::new();
        for _ in 0..TURNS {
            own.push(rooms.place(&bob, &bob).await.unwrap());
        }
        assert!(futures_util::poll!(Box::pin(rooms.place(&bob, &bob))).is_pending());
        drop((held, waiting, own));
        assert!(rooms.place(&server, &mallory).await.is_ok());
        for n in 0..3 * REMEMBERED {
            rooms.place(&server, &user(&n.to_string())).await.unwrap();
        }
        let remembered = [&rooms.answered, &rooms.waiting, &rooms.within].map(Turns::sources);
        assert!(remembered.iter().all(|sources| *sources <= REMEMBERED), "{remembered:?}");
    }

    /// Whoever knows a path can name as many users as they like.
    #[tokio::test]
    async fn who_makes_users_up_leaves_places_for_other_networks() {
        let rooms = Rooms::new(1);
        let network = |n| Source::of_address(Some([192, 0, 2, n].into()));
        let (theirs, others) = (network(66), network(1));
        let made_up: Vec<Source> = (0..300).map(|n| user(&n.to_string())).collect();
        let mut all: Vec<_> = made_up.iter().map(|user| Box::pin(rooms.place(&theirs, user))).collect();
        let mut held = Vec::new();
        for one in &mut all {
            if let std::task::Poll::Ready(place) = futures_util::poll!(one) {
                held.push(place.unwrap());
            }
        }
        assert_eq!(held.len(), TURNS_WITHIN);
        // The runtime lets a task take so many permits at a stretch.
        tokio::task::yield_now().await;
        let alice = user("alice");
        let mut next = Box::pin(rooms.place(&others, &alice));
        assert!(futures_util::poll!(&mut next).is_ready());
    }

    #[test]
    fn fetches_are_shared() {
        let rooms = Rooms::new(4);
        let network = Source::Nobody;
        let taken = |is_proved, name: &str| {
            (0..100).filter(|_| rooms.may_fetch(is_proved, &network, &user(name))).count()
        };
        assert_eq!(taken(false, "mallory"), 4);
        assert!(taken(false, "alice") > 0);
        // Who only knows a path takes nothing from API servers.
        let made_up: usize = (0..100).map(|n| taken(false, &format!("m{n}"))).sum();
        assert!(made_up < 15 && taken(false, "bob") == 0 && taken(true, "bob") == 4, "{made_up}");
        assert!(!Rooms::new(0).may_fetch(true, &network, &user("alice")));
    }
}
