//! What may be had so often in a time: so much in all, less for one source, so that none takes what the others need.

use std::collections::HashMap;

use crate::shares::Source;

/// One source may have one in so many of what is left free, so that a few leave something for the next.
const OF_FREE: u64 = 4;
/// Those within one network or account may have so many times what is left free.
const WITHIN_OF_FREE: u64 = 3;

/// What is left of it. Made anew for each stretch of time.
#[derive(Debug)]
pub(crate) struct Budget {
    all: u64,
    own: u64,
    taken: u64,
    /// By source and by what it is within. Not more of them than twice `taken`.
    by: HashMap<Source, u64>,
}

impl Budget {
    /// `all` for everybody together, `own` for one source at most.
    pub(crate) fn new(all: u64, own: u64) -> Self {
        Self { all, own, taken: 0, by: HashMap::new() }
    }

    /// Whether there is one for `source` by itself.
    pub(crate) fn has(&self, source: &Source) -> bool {
        let free = self.all.saturating_sub(self.taken);
        let own = self.by.get(source).copied().unwrap_or_default();
        free > 0 && own < self.own.min((free / OF_FREE).max(1))
    }

    /// Takes one for `source`, which is one `within` another; within itself where it is no part of any. Returns whether there
    /// was one.
    pub(crate) fn take(&mut self, within: &Source, source: &Source) -> bool {
        if !self.has(source) {
            return false;
        }
        if within != source {
            let free = self.all.saturating_sub(self.taken);
            if self.by.get(within).copied().unwrap_or_default() >= free.saturating_mul(WITHIN_OF_FREE) {
                return false;
            }
            *self.by.entry(within.clone()).or_default() += 1;
        }
        *self.by.entry(source.clone()).or_default() += 1;
        self.taken += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u8) -> Source {
        Source::of_address(Some([192, 0, 2, n].into()))
    }

    fn user(name: usize) -> Source {
        Source::Cluster(name.to_string())
    }

    fn taken(budget: &mut Budget, network: &Source, source: &Source) -> usize {
        (0..1000).filter(|_| budget.take(network, source)).count()
    }

    #[test]
    fn one_source_leaves_something_for_others() {
        let mut budget = Budget::new(100, 10);
        assert_eq!(taken(&mut budget, &network(1), &network(1)), 10);
        let many: Vec<usize> = (0..15).map(|n| taken(&mut budget, &user(n), &user(n))).collect();
        assert!(many[0] == 10 && many.iter().all(|taken| *taken > 0), "{many:?}");
    }

    #[test]
    fn who_makes_names_up_leaves_something_for_other_networks() {
        let mut budget = Budget::new(100, 10);
        let made_up: usize = (0..1000).map(|n| taken(&mut budget, &network(66), &user(n))).sum();
        assert_eq!(made_up, 75);
        assert_eq!(taken(&mut budget, &network(1), &user(2000)), 5);
        assert_eq!(taken(&mut Budget::new(0, 0), &network(1), &user(1)), 0);
    }
}
