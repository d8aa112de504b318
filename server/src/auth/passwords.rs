//! Checks of passwords. One takes tens of milliseconds and 19 MiB, and any stranger can ask for it, so that a few run
//! at a time, on threads that serve nobody else. Each network waits in a queue of its own, and the heads of these take
//! turns: who guesses waits for themselves. What was guessed wrong is told late, and later each time, so that a guess
//! costs its time whoever makes it, and nobody is locked out by others' guesses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use quick_cache::sync::Cache;
use rreg_auth::{DUMMY_HASH, Htpasswd, PasswordError, PrincipalName, hash_password, verify_password};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::shares::Source;

/// Checks at a time: 76 MiB.
const RUNNING: usize = 4;
/// Checks of one network that run or are next.
const NEXT: usize = 2;
/// Checks of one network that wait for those, and its answers that are late.
const WAITING: usize = 256;
/// Checks of all networks that wait: each is a connection at the most.
const ALL: usize = 4096;
/// Networks and names whose failures are remembered.
const FAILURES: usize = 20_000;
/// Failures that are told at once, and after how long a pause they begin anew.
const FREE: u32 = 10;
const FORGIVEN: Duration = Duration::from_secs(600);
/// The first pause, which doubles with each failure, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// Late answers of one network that are on their way together; more come one after the other.
const LATE: usize = 4;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Too many passwords are being checked.
#[derive(Debug)]
pub(super) struct Busy;

pub(super) struct Passwords {
    htpasswd: Arc<Htpasswd>,
    /// Counts the costly work, which must not depend on who has an account.
    checks: IntCounter,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// A queue for each network that has checks.
    queues: Mutex<HashMap<Source, Arc<Queue>>>,
    failures: Cache<Failing, (u32, Instant)>,
}

/// Whose failures are counted. A name that nobody can have is not kept: it may be as long as a request's head.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Failing {
    Network(Source),
    Name(PrincipalName),
}

/// The checks of one network.
struct Queue {
    waiting: Semaphore,
    next: Semaphore,
    late: Semaphore,
}

impl Passwords {
    pub(super) fn new(htpasswd: Htpasswd, checks: IntCounter) -> Self {
        Self {
            htpasswd: Arc::new(htpasswd),
            checks,
            running: Arc::new(Semaphore::new(RUNNING)),
            waiting: Semaphore::new(ALL),
            queues: Mutex::default(),
            failures: Cache::new(FAILURES),
        }
    }

    /// The queue of a network. Those in which nobody waits are not kept.
    fn queue(&self, source: &Source) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= ALL {
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let new = || {
            Arc::new(Queue {
                waiting: Semaphore::new(WAITING),
                next: Semaphore::new(NEXT),
                late: Semaphore::new(LATE),
            })
        };
        queues.entry(source.clone()).or_insert_with(new).clone()
    }

    /// Waits for as long as `name` and the network have earned by their failures, before the answer is given. A success
    /// elsewhere is not held up by it.
    pub(super) async fn failed(&self, source: &Source, name: Option<PrincipalName>) {
        let counted = |key: Failing| {
            let (count, since) = self.failures.get(&key).unwrap_or((0, Instant::now()));
            let count = if since.elapsed() > FORGIVEN { 1 } else { count.saturating_add(1) };
            self.failures.insert(key, (count, Instant::now()));
            count
        };
        let of_name = name.map_or(0, |name| counted(Failing::Name(name)));
        let count = counted(Failing::Network(source.clone())).max(of_name);
        let Some(over) = count.checked_sub(FREE + 1) else { return };
        let pause = PAUSE.saturating_mul(1 << over.min(10)).min(LONGEST);
        // It waits in a place of its own network, not of all: one that keeps guessing fills its own queue, and where
        // that is full its next guesses are not looked at.
        let queue = self.queue(source);
        if let Ok(_place) = queue.waiting.try_acquire() {
            let _turn = queue.late.acquire().await;
            tokio::time::sleep(pause).await;
        }
    }

    /// The users of the htpasswd file.
    pub(super) fn file(&self) -> &Htpasswd {
        &self.htpasswd
    }

    /// Whether `password` is right: for `hash` where there is one, else for `name` in the htpasswd file. The same work
    /// is done whether or not there is such a user, so that time does not tell.
    pub(super) async fn check(
        &self,
        source: &Source,
        hash: Option<String>,
        name: Option<PrincipalName>,
        password: String,
    ) -> Result<bool, Busy> {
        let (file, checks) = (self.htpasswd.clone(), self.checks.clone());
        self.in_turn(source, move || {
            let stored = verify_password(&password, hash.as_deref().unwrap_or(DUMMY_HASH));
            checks.inc();
            let filed = file.verify(name.as_ref(), &password);
            if hash.is_some() { stored } else { filed }
        })
        .await
    }

    /// The hash to be stored of a new password, or why it cannot be one.
    pub(super) async fn hash(
        &self,
        source: &Source,
        password: String,
    ) -> Result<Result<String, PasswordError>, Busy> {
        self.in_turn(source, move || hash_password(&password, rand::random())).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        source: &Source,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let queue = self.queue(source);
        let _own = queue.waiting.try_acquire().map_err(|_| Busy)?;
        let _next = queue.next.acquire().await.map_err(|_| Busy)?;
        let permit = tokio::time::timeout(PATIENCE, self.running.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Busy)?.map_err(|_| Busy)?;
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        work.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("checks", "checks").unwrap()
    }

    #[tokio::test]
    async fn a_stored_hash_goes_before_the_file_and_nobody_gets_in_by_the_dummy() {
        let hash = rreg_auth::hash_password("from the database", [1; 16]).unwrap();
        let file = format!("alice:$2y$04${}", ".".repeat(53));
        let passwords = Passwords::new(Htpasswd::parse(&file).unwrap(), counter());
        let name = || "alice".parse::<PrincipalName>().ok();
        assert!(passwords.file().contains(&name().unwrap()));
        let check = async |hash: Option<&String>, password: &str| {
            passwords.check(&Source::Nobody, hash.cloned(), name(), password.to_owned()).await.unwrap()
        };
        assert!(check(Some(&hash), "from the database").await);
        assert!(!check(Some(&hash), "wrong").await);
        assert!(!check(None, "from the database").await);
        assert!(!check(None, "").await);
    }

    #[tokio::test]
    async fn who_guesses_waits_for_themselves() {
        let passwords = Arc::new(Passwords::new(Htpasswd::default(), counter()));
        let source = |text: &str| Source::of_address(Some(text.parse().unwrap()));
        let guess = |from: Source| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.check(&from, None, None, "guess".into()).await.is_ok() })
        };
        // As many as may wait, and more, of one network.
        let guesses: Vec<_> = (0..WAITING + 10).map(|_| guess(source("192.0.2.1"))).collect();
        tokio::task::yield_now().await;
        for _ in 0..5 {
            assert!(guess(source("192.0.2.2")).await.unwrap(), "another network is served");
        }
        assert!(
            guesses.iter().filter(|guess| guess.is_finished()).count() < WAITING,
            "before the guesses are"
        );
        let mut refused = 0;
        for guess in guesses {
            guess.abort();
            refused += usize::from(matches!(guess.await, Ok(false)));
        }
        assert_eq!(refused, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_take_no_places_of_others() {
        let passwords = Arc::new(Passwords::new(Htpasswd::default(), counter()));
        let guesser = Source::of_address(Some("192.0.2.1".parse().unwrap()));
        for guess in 0..=FREE as usize + WAITING + 100 {
            let (passwords, guesser) = (passwords.clone(), guesser.clone());
            tokio::spawn(
                async move { passwords.failed(&guesser, format!("user{guess}").parse().ok()).await },
            );
        }
        // The scheduler runs some of them at a time.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.queue(&guesser).waiting.available_permits(), 0, "its own are full");
        assert_eq!(passwords.waiting.available_permits(), ALL);
        assert!(passwords.check(&guesser, None, None, "more".into()).await.is_err(), "not looked at");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_late_and_later_each_time() {
        let passwords = Passwords::new(Htpasswd::default(), counter());
        let mut waits = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            passwords.failed(&Source::Nobody, "alice".parse().ok()).await;
            waits.push(begun.elapsed());
        }
        assert_eq!(waits[..10], [Duration::ZERO; 10]);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[19] >= LONGEST, "{waits:?}");
        tokio::time::advance(FORGIVEN * 2).await;
        let begun = Instant::now();
        passwords.failed(&Source::Nobody, "alice".parse().ok()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
