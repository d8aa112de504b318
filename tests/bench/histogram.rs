//! Latencies in buckets of at most 1.6 % width.

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 64;
/// Doublings above the first [`STEPS`] microseconds: the last bucket lies beyond a day.
const DOUBLINGS: u64 = 32;

/// How often which latency occurred, in microseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; usize::try_from(STEPS * (DOUBLINGS + 1)).unwrap_or_default()], count: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let last = self.buckets.len() - 1;
        let index = usize::try_from(index(micros)).unwrap_or(last).min(last);
        self.buckets[index] += 1;
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The latency that `share` (0 to 1) of all were not above.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return Duration::from_micros(value(index as u64));
            }
        }
        Duration::ZERO
    }
}

fn index(micros: u64) -> u64 {
    if micros < STEPS {
        return micros;
    }
    let doubling = u64::from(micros.ilog2() - STEPS.ilog2());
    (doubling + 1) * STEPS + ((micros >> doubling) - STEPS)
}

/// Upper end of a bucket.
fn value(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let doubling = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << doubling) - 1
}
