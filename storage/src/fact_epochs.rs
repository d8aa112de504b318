//! What is remembered of decisions stays good until something changes that they were made on. Changes are counted by
//! digest, in a fixed number of counters: one manifest's change lets few others be read again.
//!
//! Whoever remembers takes [`FactEpochs::now`] before reading the database. A transaction notes what it changes
//! ([`note`]), and once it has committed, before its caller hears of it, the counters are raised.

use std::cell::RefCell;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use rreg_oci::Digest;

const COUNTERS: usize = 4096;

tokio::task_local! {
    /// What the transaction of this task has changed so far. The functions that change facts are deep inside others,
    /// and have nothing but the connection.
    static CHANGED: RefCell<Vec<Digest>>;
}

/// Counts of changes.
#[derive(Debug)]
pub(crate) struct FactEpochs {
    counters: Box<[AtomicU64]>,
    /// Nobody can choose digests that share a counter.
    hasher: RandomState,
}

impl Default for FactEpochs {
    fn default() -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self { counters, hasher: RandomState::new() }
    }
}

/// How often a manifest and its form had changed at some time, and where that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactsEpoch {
    places: [usize; 2],
    counts: [u64; 2],
}

impl FactEpochs {
    fn place(&self, digest: &Digest) -> usize {
        usize::try_from(self.hasher.hash_one(digest) % (COUNTERS as u64)).unwrap_or_default()
    }

    fn count(&self, place: usize) -> u64 {
        self.counters.get(place).map_or(0, |counter| counter.load(Ordering::SeqCst))
    }

    /// To be taken before reading what is known of something.
    pub(crate) fn of(&self, digest: &Digest) -> u64 {
        self.count(self.place(digest))
    }

    /// To be taken before reading what is known of a manifest whose form in its repository stands for `form`
    /// ([`form_in`]).
    pub(crate) fn now(&self, digest: &Digest, form: &Digest) -> FactsEpoch {
        let places = [self.place(digest), self.place(form)];
        FactsEpoch { places, counts: places.map(|place| self.count(place)) }
    }

    /// Whether nothing has changed since.
    pub(crate) fn is_now(&self, epoch: &FactsEpoch) -> bool {
        epoch.places.map(|place| self.count(place)) == epoch.counts
    }

    /// To be called once the changes have committed.
    pub(crate) fn raise(&self, changed: &[Digest]) {
        for counter in changed.iter().filter_map(|digest| self.counters.get(self.place(digest))) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Runs a transaction's write and gives which manifests it noted as changed.
pub(crate) async fn noting<T>(write: impl Future<Output = T>) -> (T, Vec<Digest>) {
    CHANGED
        .scope(RefCell::default(), async {
            let result = write.await;
            (result, CHANGED.with(RefCell::take))
        })
        .await
}

/// This transaction changes what is known of a manifest. Where nobody remembers, nobody listens.
pub(crate) fn note(digest: Digest) {
    let _ = CHANGED.try_with(|changed| changed.borrow_mut().push(digest));
}

/// Stands for the names in a repository: tags, and which index has which manifest.
pub(crate) fn names_in(repository: i64) -> Digest {
    Digest::sha256(format!("names in {repository}").as_bytes())
}

/// Stands for all of one form in a repository.
pub(crate) fn form_in(repository: i64, form: &str) -> Digest {
    Digest::sha256(format!("{form} in {repository}").as_bytes())
}
