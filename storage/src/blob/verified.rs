//! Which objects were read whole and found good.
//!
//! Hashing runs at about 2 GB/s, reading at three times that, so hashing on each download would triple its price.
//! An object is therefore hashed the first time it is read, and again whenever the store says that it has changed
//! (its entity tag: inode, modification time and length on a directory) or the interval has passed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

/// Objects remembered.
const REMEMBERED: usize = 20_000;

/// HEAD asks the store whether a blob's objects are there at most so often for each blob.
const PRESENT_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Verified {
    interval: Duration,
    seen: Arc<Cache<String, (String, Instant)>>,
    present: Arc<Cache<String, Instant>>,
}

impl Verified {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, seen: Arc::new(Cache::new(REMEMBERED)), present: Arc::new(Cache::new(REMEMBERED)) }
    }

    /// Whether the object was found good with this entity tag, not too long ago.
    pub(super) fn is_fresh(&self, key: &str, e_tag: Option<&str>) -> bool {
        let Some(e_tag) = e_tag else { return false };
        self.seen.get(key).is_some_and(|(tag, at)| tag == e_tag && at.elapsed() < self.interval)
    }

    pub(super) fn found_good(&self, key: &str, e_tag: Option<&str>) {
        if let Some(e_tag) = e_tag {
            self.seen.insert(key.to_owned(), (e_tag.to_owned(), Instant::now()));
        }
    }

    /// Whether the blob that begins with this object had all its objects a moment ago.
    pub(super) fn was_present(&self, key: &str) -> bool {
        self.present.get(key).is_some_and(|at| at.elapsed() < PRESENT_FOR)
    }

    pub(super) fn found_present(&self, key: &str) {
        self.present.insert(key.to_owned(), Instant::now());
    }
}
