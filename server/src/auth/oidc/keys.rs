//! An issuer's keys, kept. Any stranger can present a token that names a key which nobody has: how often that makes us
//! ask the issuer is bounded here, and so is how long its last word counts when it does not answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys are read again after so long.
const FRESH: Duration = Duration::from_secs(3600);
/// Between two attempts to read them, whatever the reason.
const PAUSE: Duration = Duration::from_secs(30);
/// Keys that cannot be read again count for so long. A key that the issuer has withdrawn counts no longer either.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// The keys cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unavailable(pub(super) String);

/// The last answer, and the last attempt.
struct State<T> {
    keys: Option<(Arc<T>, Instant)>,
    tried: Option<Instant>,
    why: String,
}

pub(super) struct KeyCache<T> {
    state: Mutex<State<T>>,
    /// Held by whoever reads the keys; the others wait for that one.
    reading: tokio::sync::Mutex<()>,
}

impl<T> Default for KeyCache<T> {
    fn default() -> Self {
        let state = State { keys: None, tried: None, why: String::new() };
        Self { state: Mutex::new(state), reading: tokio::sync::Mutex::new(()) }
    }
}

impl<T> KeyCache<T> {
    /// The keys, after `read` where they are old or do not have (`has`) the one that is looked for. They may lack it
    /// still.
    pub(super) async fn get(
        &self,
        now: Instant,
        has: impl Fn(&T) -> bool,
        read: impl AsyncFnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, Unavailable> {
        if let Some(answer) = self.kept(now, &has) {
            return answer;
        }
        let _reading = self.reading.lock().await;
        if let Some(answer) = self.kept(now, &has) {
            return answer;
        }
        let result = read().await;
        let mut state = self.state();
        state.tried = Some(now);
        match result {
            Ok(keys) => state.keys = Some((Arc::new(keys), now)),
            Err(why) => {
                tracing::warn!(why, "keys of an OIDC issuer cannot be read");
                state.why = why;
            }
        }
        state.last(now)
    }

    /// The answer, where it is not the time to read.
    fn kept(&self, now: Instant, has: impl Fn(&T) -> bool) -> Option<Result<Arc<T>, Unavailable>> {
        let state = self.state();
        let good = state.keys.as_ref().filter(|(keys, read)| now < *read + FRESH && has(keys));
        match (good, state.tried) {
            (Some((keys, _)), _) => Some(Ok(Arc::clone(keys))),
            (None, Some(tried)) if now < tried + PAUSE => Some(state.last(now)),
            (None, _) => None,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn last(&self, now: Instant) -> Result<Arc<T>, Unavailable> {
        match &self.keys {
            Some((keys, read)) if now < *read + STALE => Ok(Arc::clone(keys)),
            _ => Err(Unavailable(self.why.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Keys are words here, and a source counts how often it is asked.
    struct Issuer {
        cache: KeyCache<Vec<&'static str>>,
        asked: AtomicU32,
        start: Instant,
    }

    impl Issuer {
        fn new() -> Self {
            Self { cache: KeyCache::default(), asked: AtomicU32::new(0), start: Instant::now() }
        }

        /// Looks for `key` `at` seconds after the start, when the issuer would answer `answer`.
        async fn look(
            &self,
            at: u64,
            key: &str,
            answer: Result<&[&'static str], &str>,
        ) -> (Result<bool, Unavailable>, u32) {
            let answer = answer.map(<[_]>::to_vec).map_err(str::to_owned);
            let has = |keys: &Vec<&str>| keys.contains(&key);
            let read = async || {
                self.asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                answer
            };
            let found = self.cache.get(self.start + Duration::from_secs(at), has, read).await;
            (found.map(|keys| keys.contains(&key)), self.asked.load(Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn unknown_keys_make_us_ask_now_and_then_only() {
        let issuer = Issuer::new();
        assert_eq!(issuer.look(0, "a", Ok(&["a"])).await, (Ok(true), 1));
        for at in 1..30 {
            assert_eq!(issuer.look(at, "b", Ok(&["a", "b"])).await, (Ok(false), 1), "{at}");
        }
        assert_eq!(issuer.look(30, "b", Ok(&["a", "b"])).await, (Ok(true), 2));
        assert_eq!(issuer.look(100, "a", Ok(&[])).await, (Ok(true), 2));
        // A key that was withdrawn is gone within an hour.
        assert_eq!(issuer.look(3630, "a", Ok(&["b"])).await, (Ok(false), 3));
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_is_believed_for_a_day() {
        let issuer = Issuer::new();
        let down = || Unavailable("down".into());
        assert_eq!(issuer.look(0, "a", Err("down")).await, (Err(down()), 1));
        assert_eq!(issuer.look(29, "a", Ok(&["a"])).await, (Err(down()), 1), "a failure is remembered too");
        assert_eq!(issuer.look(30, "a", Ok(&["a"])).await, (Ok(true), 2));
        assert_eq!(issuer.look(3700, "a", Err("down")).await, (Ok(true), 3));
        assert_eq!(issuer.look(3701, "a", Err("down")).await, (Ok(true), 3));
        assert_eq!(issuer.look(30 + 86_400, "a", Err("down")).await, (Err(down()), 4));
    }

    #[tokio::test]
    async fn many_at_once_ask_once() {
        let issuer = Issuer::new();
        let looks = (0..50).map(|_| issuer.look(0, "a", Ok(&["a"])));
        let found = futures_util::future::join_all(looks).await;
        assert!(found.iter().all(|(keys, _)| *keys == Ok(true)));
        assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
    }
}
