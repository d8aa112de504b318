//! What is written down once a while, however often it happens.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

/// For so long the same is not written down again.
const WHILE: Duration = Duration::from_secs(60);
/// Most that is remembered; what is forgotten is written down again.
const REMEMBERED: usize = 20_000;

/// What was written down.
pub(crate) struct Repeats {
    said: Cache<u64, Instant>,
    /// Nobody can choose what is taken for something else.
    hasher: RandomState,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { said: Cache::new(REMEMBERED), hasher: RandomState::new() }
    }
}

impl Repeats {
    /// Whether this is to be written down: it was not for a while.
    pub(crate) fn is_new(&self, what: impl Hash) -> bool {
        let what = self.hasher.hash_one(what);
        let is_new = self.said.get(&what).is_none_or(|at| at.elapsed() >= WHILE);
        if is_new {
            self.said.insert(what, Instant::now());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_new_once() {
        let repeats = Repeats::default();
        assert_eq!(["a", "a", "b", "a"].map(|what| repeats.is_new(what)), [true, false, true, false]);
    }
}
