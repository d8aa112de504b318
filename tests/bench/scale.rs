//! How much of everything: the whole benchmark, or `--quick` to see that it works.

use std::time::Duration;

use super::peers::Kind;

/// Sizes and times.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) rounds: u32,
    /// Of a load that is measured, and of the one before it that warms up.
    pub(crate) load: Duration,
    pub(crate) warm_up: Duration,
    /// Small blobs of 4 KiB.
    pub(crate) blobs: u64,
    /// Bytes of the large blob.
    pub(crate) large: usize,
    pub(crate) images: u64,
    /// Tags in one repository: rreg's, and the peers', which take minutes for what rreg does in seconds.
    tags: (u64, u64),
    repositories: (u64, u64),
    /// Requests of a load that is about latency.
    pub(crate) pages: u64,
    pub(crate) deletes: u64,
    /// Blobs that are reclaimed at once.
    pub(crate) reclaimed: u64,
    /// Longest wait for a server to become idle after its start.
    pub(crate) settle: Duration,
    /// Longest time that filling a store may take.
    pub(crate) fill: Duration,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        load: Duration::from_secs(3),
        warm_up: Duration::from_millis(700),
        blobs: 1000,
        large: 1 << 30,
        images: 200,
        tags: (1_000_000, 10_000),
        repositories: (100_000, 1_000),
        pages: 2_000,
        deletes: 30,
        reclaimed: 20_000,
        settle: Duration::from_secs(5),
        fill: Duration::from_secs(600),
    };

    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        load: Duration::from_millis(800),
        warm_up: Duration::from_millis(200),
        blobs: 200,
        large: 256 << 20,
        images: 100,
        tags: (50_000, 300),
        repositories: (5_000, 200),
        pages: 300,
        deletes: 10,
        reclaimed: 4_000,
        settle: Duration::from_secs(1),
        fill: Duration::from_secs(60),
    };

    pub(crate) fn tags(&self, kind: Kind) -> u64 {
        if kind == Kind::Rreg { self.tags.0 } else { self.tags.1 }
    }

    pub(crate) fn repositories(&self, kind: Kind) -> u64 {
        if kind == Kind::Rreg { self.repositories.0 } else { self.repositories.1 }
    }
}
