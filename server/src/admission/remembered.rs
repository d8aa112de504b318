//! Decisions kept in memory, bounded in bytes, where no other replica can change them.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rreg_oci::{Digest, RepositoryName};
use rreg_storage::{FactsEpoch, MetadataStore, StoredDecision};

use super::active::Active;
use super::decide::Decisions;

/// Bytes of decisions remembered in memory, where no other replica can change them.
pub(super) const REMEMBERED: u64 = 24 << 20;
/// The same of those with reasons to be told, which are some kilobytes each.
pub(super) const TOLD: u64 = 8 << 20;
/// What is remembered of one decision besides the name of its repository, in bytes.
pub(super) const EACH: u64 = 400;

#[derive(Clone)]
pub(super) struct Remembered {
    pub(super) epoch: FactsEpoch,
    pub(super) decision: Arc<StoredDecision>,
}

/// A refusal or warning with its reasons: a client that is refused comes again.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) remembered: Remembered,
    pub(super) decisions: Arc<Decisions>,
    /// Length of the decisions as text.
    pub(super) bytes: u64,
}

/// Bounds what is remembered in bytes: names and reasons are of others' making.
#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<(RepositoryName, Digest), Remembered> for ByBytes {
    fn weight(&self, (repository, _): &(RepositoryName, Digest), _: &Remembered) -> u64 {
        EACH + repository.as_str().len() as u64
    }
}

impl Weighter<(RepositoryName, Digest), Told> for ByBytes {
    fn weight(&self, (repository, _): &(RepositoryName, Digest), told: &Told) -> u64 {
        // Read out of its text, it takes about twice as much.
        EACH + repository.as_str().len() as u64 + 2 * told.bytes
    }
}

pub(super) fn bounded<V>(bytes: u64, each: u64) -> Cache<(RepositoryName, Digest), V, ByBytes>
where
    V: Clone,
    ByBytes: Weighter<(RepositoryName, Digest), V>,
{
    Cache::with_weighter(usize::try_from(bytes / each).unwrap_or(usize::MAX), bytes, ByBytes)
}

impl Remembered {
    pub(super) fn holds(&self, metadata: &MetadataStore, active: &Active) -> bool {
        metadata.is_now(&self.epoch) && self.decision.holds(&active.revision)
    }
}
