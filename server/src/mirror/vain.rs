//! What an upstream was asked for in vain. That it has no such manifest or blob is remembered for a short while, and such
//! requests are counted by who makes them: nobody can use up what an upstream grants all of us, nor make this registry ask
//! without end.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rreg_oci::RepositoryName;

use crate::budget::Budget;
use crate::lately::Lately;
use crate::shares::Source;

/// Manifests and blobs that one upstream does not have and that are remembered, some 50 bytes each; of more, some are asked
/// for again sooner.
const REMEMBERED: usize = 16_384;
/// The time that a share is for.
const MINUTE: Duration = Duration::from_secs(60);
/// All sources together have so many times the share of one.
const ALL_OF_OWN: u64 = 20;

/// What one upstream did not have a while ago.
#[derive(Debug)]
pub(super) struct Absent(Lately);

impl Absent {
    pub(super) fn new(lasts: Duration) -> Self {
        Self(Lately::new(lasts, REMEMBERED))
    }

    pub(super) fn has(&self, repository: &RepositoryName, what: impl Hash) -> bool {
        self.0.has((repository, what))
    }

    pub(super) fn note(&self, repository: &RepositoryName, what: impl Hash) {
        self.0.note((repository, what));
    }
}

/// How often each source has asked in vain in this minute, of all upstreams.
#[derive(Debug)]
pub(super) struct Vain {
    /// The share of one source; 0: any number.
    own: u64,
    minute: Mutex<(Instant, Budget)>,
}

impl Vain {
    pub(super) fn new(own: u32) -> Self {
        let own = u64::from(own);
        Self { own, minute: Mutex::new((Instant::now(), budget(own))) }
    }

    fn minute(&self) -> MutexGuard<'_, (Instant, Budget)> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.0.elapsed() >= MINUTE {
            *minute = (Instant::now(), budget(self.own));
        }
        minute
    }

    /// For how long nothing more is asked for `source`, if it has had its share.
    pub(super) fn is_over(&self, source: &Source) -> Option<Duration> {
        let minute = self.minute();
        let is_over = self.own > 0 && !minute.1.has(source);
        is_over.then(|| MINUTE.saturating_sub(minute.0.elapsed()))
    }

    /// An upstream did not have what `source` asked for, or refused it.
    pub(super) fn count(&self, source: &Source) {
        self.minute().1.take(source, source);
    }
}

fn budget(own: u64) -> Budget {
    Budget::new(own.saturating_mul(ALL_OF_OWN), own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_its_share_and_leaves_others_theirs() {
        let of = |n| Source::of_address(Some([192, 0, 2, n].into()));
        let vain = Vain::new(3);
        for _ in 0..3 {
            assert!(vain.is_over(&of(1)).is_none());
            vain.count(&of(1));
        }
        assert!(vain.is_over(&of(1)).is_some_and(|wait| wait <= MINUTE));
        assert!(vain.is_over(&of(2)).is_none());
        let any = Vain::new(0);
        any.count(&of(1));
        assert!(any.is_over(&of(1)).is_none());
    }

    #[test]
    fn what_is_absent_is_remembered_by_name() {
        let absent = Absent::new(MINUTE);
        let (one, two) = ("a/one".parse().unwrap(), "a/two".parse().unwrap());
        absent.note(&one, "1");
        assert!(absent.has(&one, "1") && !absent.has(&one, "2") && !absent.has(&two, "1"));
    }
}
