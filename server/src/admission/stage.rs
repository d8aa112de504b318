//! How far the decisions have come that requests wait for, and what they have waited for. Where the time goes to an
//! upstream or a revocation service, the decision could not be made, and `onError` says what that means. Where it goes to
//! this registry's own work (what somebody has made too much, or asks for at the same time), nothing is let through.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::{AT_ONCE, Key};

type All = Arc<Mutex<HashMap<Key, Weak<Stage>>>>;

/// The stages of all decisions that somebody waits for.
#[derive(Default)]
pub(super) struct Stages {
    all: All,
    held_up: Arc<AtomicUsize>,
}

/// How far one decision has come: the same for all who wait for it.
#[derive(Default)]
pub(super) struct Stage {
    state: Mutex<State>,
    /// Where it is found.
    listed: Option<(Key, All)>,
    /// Decisions that wait for others now.
    held_up: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    begun: bool,
    gathered: bool,
    broken: bool,
    /// Answers of others that are waited for now, since when, and how long any were before.
    waiting: usize,
    since: Option<Instant>,
    waited: Duration,
}

impl Stages {
    /// That of the decision on `key`. Whoever makes it keeps this for as long.
    pub(super) fn of(&self, key: &Key) -> Arc<Stage> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = all.get(key).and_then(Weak::upgrade) {
            return stage;
        }
        let listed = Some((key.clone(), self.all.clone()));
        let stage = Arc::new(Stage { state: Mutex::default(), listed, held_up: self.held_up.clone() });
        all.insert(key.clone(), Arc::downgrade(&stage));
        stage
    }

    /// That of a decision for one request alone.
    pub(super) fn alone(&self) -> Arc<Stage> {
        Arc::new(Stage { state: Mutex::default(), listed: None, held_up: self.held_up.clone() })
    }
}

impl Stage {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is its turn. Not more than `AT_ONCE` begin at the same time.
    pub(super) fn note_begun(&self) {
        self.state().begun = true;
    }

    /// All facts are there. It stays so where they are gathered once more.
    pub(super) fn note_gathered(&self) {
        self.state().gathered = true;
    }

    /// What is stored here cannot be read as it was stored: nobody else was silent.
    pub(super) fn note_broken(&self) {
        self.state().broken = true;
    }

    /// Whether any of it could not be read.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Waits for the answer of somebody else.
    pub(super) async fn elsewhere<T>(&self, answer: impl Future<Output = T>) -> T {
        let _waiting = Waiting::new(self);
        answer.await
    }

    /// Whether a decision that was given `time` and is not made is held up by others: it still gathers facts, and has
    /// waited for them at least half of the time; or it has not begun because at least half of those are held up that go
    /// before it.
    pub(super) fn is_held_up(&self, time: Duration) -> bool {
        let state = self.state();
        if !state.begun {
            return self.held_up.load(Ordering::Relaxed) >= AT_ONCE.div_ceil(2);
        }
        let now = state.since.map_or(Duration::ZERO, |since| since.elapsed());
        !state.gathered && state.waited.saturating_add(now) >= time / 2
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some((key, all)) = &self.listed else { return };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have begun anew in between.
        if all.get(key).is_some_and(|stage| stage.strong_count() == 0) {
            all.remove(key);
        }
    }
}

/// One answer that is waited for; the waiting ends with it.
struct Waiting<'a>(&'a Stage);

impl<'a> Waiting<'a> {
    fn new(stage: &'a Stage) -> Self {
        let mut state = stage.state();
        if state.waiting == 0 {
            stage.held_up.fetch_add(1, Ordering::Relaxed);
        }
        state.waiting += 1;
        state.since = state.since.or_else(|| Some(Instant::now()));
        drop(state);
        Self(stage)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0 {
            self.0.held_up.fetch_sub(1, Ordering::Relaxed);
            let since = state.since.take();
            state.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use rreg_oci::Digest;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn all_who_wait_see_one_stage_and_it_goes_with_them() {
        let stages = Stages::default();
        let key =
            |revision: &str| ("team/app".parse().unwrap(), Digest::sha256(b"image"), revision.to_owned());
        let (first, second, other) = (stages.of(&key("a")), stages.of(&key("a")), stages.of(&key("b")));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        drop((first, second));
        assert_eq!(stages.all.lock().unwrap().len(), 1);
        drop(other);
        assert!(stages.all.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_waits_for_others_is_held_up() {
        let time = 5 * SECOND;
        let stages = Stages::default();
        let begun = || {
            let stage = stages.alone();
            stage.note_begun();
            stage
        };
        let slow_here = begun();
        sleep(time).await;
        slow_here.elsewhere(sleep(SECOND)).await;
        assert!(!slow_here.is_held_up(time), "its own work took the time");

        let slow_there = begun();
        let both = || async {
            tokio::join!(slow_there.elsewhere(sleep(2 * SECOND)), slow_there.elsewhere(sleep(SECOND)));
        };
        both().await;
        assert!(!slow_there.is_held_up(time), "what is waited for at the same time counts once");
        let waiting = tokio::time::timeout(SECOND, slow_there.elsewhere(sleep(time))).await;
        assert!(waiting.is_err() && slow_there.is_held_up(time));
        slow_there.note_gathered();
        assert!(!slow_there.is_held_up(time), "the policies took the rest");

        let not_begun = stages.alone();
        let waiting = vec![begun(); AT_ONCE];
        let few: Vec<_> = waiting.iter().skip(1).map(|stage| Waiting::new(stage)).collect();
        assert!(!not_begun.is_held_up(time), "one stage counts once, however often it waits");
        drop(few);
        let others: Vec<_> = (0..AT_ONCE / 2).map(|_| begun()).collect();
        let waiting: Vec<_> = others.iter().map(|stage| Waiting::new(stage)).collect();
        assert!(not_begun.is_held_up(time));
        drop(waiting);
        assert!(!not_begun.is_held_up(time));
    }
}
