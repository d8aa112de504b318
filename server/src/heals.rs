//! How often content that was found damaged is read again because somebody asks for it.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use rreg_oci::Digest;

/// Between two tries of one blob: each reads it whole.
const PAUSE: Duration = Duration::from_secs(10);
/// Blobs whose last try is remembered.
const REMEMBERED: usize = 1000;

/// The last tries.
#[derive(Debug)]
pub(crate) struct Heals(Cache<Digest, Instant>);

impl Default for Heals {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Heals {
    /// Whether it is time to read this blob again.
    pub(crate) fn may_try(&self, digest: &Digest) -> bool {
        let due = self.0.get(digest).is_none_or(|last| last.elapsed() >= PAUSE);
        if due {
            self.0.insert(*digest, Instant::now());
        }
        due
    }
}
