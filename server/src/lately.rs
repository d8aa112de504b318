//! What was done lately is not done again at once, however often somebody asks for it.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

/// When each of a bounded number of things was last done.
#[derive(Debug)]
pub(crate) struct Lately {
    pause: Duration,
    last: Cache<u64, Instant>,
    /// Nobody can choose what is taken for something else.
    hasher: RandomState,
}

impl Lately {
    /// Between two times of the same lies `pause`. Of more than `remembered` things some are done again sooner.
    pub(crate) fn new(pause: Duration, remembered: usize) -> Self {
        Self { pause, last: Cache::new(remembered), hasher: RandomState::new() }
    }

    /// Whether it was done within the pause.
    pub(crate) fn has(&self, what: impl Hash) -> bool {
        self.last.get(&self.hasher.hash_one(what)).is_some_and(|at| at.elapsed() < self.pause)
    }

    /// It is done now.
    pub(crate) fn note(&self, what: impl Hash) {
        self.last.insert(self.hasher.hash_one(what), Instant::now());
    }

    /// Whether it is to be done now, which is noted.
    pub(crate) fn is_due(&self, what: impl Hash) -> bool {
        let due = !self.has(&what);
        if due {
            self.note(what);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_due_once() {
        let lately = Lately::new(Duration::from_secs(60), 100);
        assert_eq!(["a", "a", "b", "a"].map(|what| lately.is_due(what)), [true, false, true, false]);
        assert!(lately.has("a") && !lately.has("c"));
        let at_once = Lately::new(Duration::ZERO, 100);
        assert!(at_once.is_due("a") && at_once.is_due("a"));
    }
}
