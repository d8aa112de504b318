//! The pull-through cache: repositories whose content is fetched from an upstream registry when it is first asked for.
//!
//! A repository below an upstream's prefix is a copy. What is here is served like anything else; what is not is
//! fetched, checked and kept ([`fill`] for blobs, [`manifests`] for manifests and tags). Content by digest is never
//! asked for twice; a tag is confirmed by HEAD once its time to live has passed, and served with a warning when the
//! upstream does not answer ([`upstream`], [`breaker`]).
//!
//! Replicas share what is cached, and the lease on a blob that one of them fetches ([`lease`]). What was not asked for
//! in a long time is evicted when there is more than a limit allows ([`uses`]).

mod asking;
mod breaker;
mod credential;
mod error;
mod fill;
mod flights;
mod lease;
mod lists;
mod manifests;
mod sizes;
mod slots;
mod spool;
mod upstream;
mod uses;
mod vain;

use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rreg_client::ClientError;
use rreg_oci::{Digest, Operation, Reference, RepositoryName};
use rreg_storage::StorageError;

pub(crate) use error::{Meaning, MirrorError, Missing};
pub(crate) use flights::Flights;
pub(crate) use manifests::Found;
pub(crate) use sizes::Asker;

use crate::config::Config;
use crate::hosts;
use crate::shares::Source;

use manifests::Fresh;
use upstream::Upstream;

/// All upstreams, and what is being fetched from them.
pub(crate) struct Mirror {
    /// Longest prefix first.
    upstreams: Vec<Arc<Upstream>>,
    fills: fill::Fills,
    sizes: sizes::Sizes,
    manifests: Flights<(RepositoryName, Reference), Result<Found, Arc<MirrorError>>>,
    fresh: Fresh,
    lists: lists::Lists,
    /// Where growing files lie.
    spool: PathBuf,
    max_blob_size: u64,
    uses: uses::Uses,
    vain: vain::Vain,
    /// This process, as the holder of leases.
    holder: String,
}

/// A repository here that is a copy of one there.
#[derive(Clone)]
pub(crate) struct Copy {
    pub(crate) upstream: Arc<Upstream>,
    /// The name here.
    pub(crate) local: RepositoryName,
    /// The name there.
    pub(crate) remote: RepositoryName,
    /// For whom it is asked, where that is a client.
    source: Option<Source>,
}

impl Copy {
    /// The same, asked for a client: what it asks in vain counts against its share.
    pub(crate) fn asked_by(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }
}

impl Mirror {
    /// The configured upstreams. Nothing is sent to them yet.
    pub(crate) fn new(config: &Config) -> Result<Self, ClientError> {
        let upstreams = config.upstreams.0.iter().map(|upstream| Upstream::new(upstream).map(Arc::new));
        let mut upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
        upstreams.sort_by_key(|upstream| std::cmp::Reverse(upstream.prefix.len()));
        Ok(Self {
            upstreams,
            fills: fill::Fills::default(),
            sizes: sizes::Sizes::default(),
            manifests: Flights::default(),
            fresh: Fresh::default(),
            lists: lists::Lists::default(),
            uses: uses::Uses::new(uses::Limits {
                all: config.mirror.max_size.0,
                each: config.upstreams.0.iter().map(|it| (it.name().to_owned(), it.max_size.0)).collect(),
                keep: config.mirror.keep.0,
                reclaimed_after: config.reclaim.blobs_after.0,
            }),
            vain: vain::Vain::new(config.mirror.misses),
            spool: config.storage.data.join("fills"),
            holder: uuid::Uuid::new_v4().to_string(),
            max_blob_size: match config.uploads.max_blob_size.0 {
                0 => u64::MAX,
                limit => limit,
            },
        })
    }

    /// Makes the directory of growing files, if there are upstreams.
    pub(crate) fn prepare(&self) -> Result<(), StorageError> {
        let failed = |source| StorageError::Io { what: format!("creating {}", self.spool.display()), source };
        if self.upstreams.is_empty() { Ok(()) } else { std::fs::create_dir_all(&self.spool).map_err(failed) }
    }

    /// The upstream of a repository, if it has one.
    pub(crate) fn covering(&self, local: &RepositoryName) -> Option<Copy> {
        let (upstream, remote) =
            self.upstreams.iter().find_map(|upstream| Some((upstream, upstream.remote(local)?)))?;
        Some(Copy { upstream: upstream.clone(), local: local.clone(), remote, source: None })
    }

    /// Refuses what would make a copy differ from its original.
    pub(crate) fn refuse_push(&self, operation: &Operation) -> Result<(), MirrorError> {
        let (Operation::ManifestPut { repository, .. }
        | Operation::UploadStart { repository, .. }
        | Operation::UploadChunk { repository, .. }
        | Operation::UploadCommit { repository, .. }) = operation
        else {
            return Ok(());
        };
        let covered = |upstream: &&Arc<Upstream>| upstream.covers(repository);
        match self.upstreams.iter().find(covered) {
            Some(upstream) => Err(MirrorError::Push {
                repository: repository.clone(),
                upstream: upstream.name.clone(),
                host: upstream.host().to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The name here of a repository of another host: one of `upstreams.ns`. Hosts are looked up among the configured
    /// upstreams; none is ever an address to ask.
    ///
    /// # Errors
    /// No upstream has this host, or this repository of it has no name here.
    pub(crate) fn named(&self, host: &str, remote: &RepositoryName) -> Result<RepositoryName, MirrorError> {
        let upstream = self.of_host(host)?;
        let local = upstream.local(remote);
        // Below a longer prefix it would be a repository of another upstream.
        let local = local.filter(|local| {
            self.upstreams.iter().find(|it| it.covers(local)).is_some_and(|it| Arc::ptr_eq(it, upstream))
        });
        local.ok_or_else(|| MirrorError::NotCovered {
            repository: remote.clone(),
            upstream: upstream.name.clone(),
        })
    }

    fn of_host(&self, host: &str) -> Result<&Arc<Upstream>, MirrorError> {
        let upstream = self.upstreams.iter().find(|upstream| upstream.is_named(host));
        upstream.ok_or_else(|| MirrorError::Namespace { ns: host.chars().take(100).collect() })
    }

    /// containerd names the registry it wants in `?ns=`: the repository's name here follows from that.
    ///
    /// `own` is the request's host: for its own name the repository is what it says.
    pub(crate) fn in_namespace(
        &self,
        operation: Operation,
        query: Option<&str>,
        own: Option<&str>,
    ) -> Result<Operation, MirrorError> {
        let value = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("ns=")));
        let (false, Some(value)) = (self.upstreams.is_empty(), value) else { return Ok(operation) };
        let ns = percent_decode_str(value).decode_utf8_lossy();
        if own.is_some_and(|own| hosts::plain(own) == hosts::plain(&ns)) {
            return Ok(operation);
        }
        let Some(remote) = operation.repository() else { return self.of_host(&ns).map(|_| operation) };
        let covering = self.upstreams.iter().find(|upstream| upstream.covers(remote));
        match self.of_host(&ns) {
            // The path is that of a repository here already (containerd's `override_path`, BuildKit's mirrors).
            Ok(upstream)
                if !upstream.prefix.is_empty() && covering.is_some_and(|it| Arc::ptr_eq(it, upstream)) =>
            {
                Ok(operation)
            }
            Ok(_) => {
                let local = self.named(&ns, remote)?;
                Ok(operation.in_repository(local))
            }
            // A name of this registry that it does not know, as any registry that knows no `ns` takes it. What all
            // repositories are copies of has other names.
            Err(_) if covering.is_none_or(|upstream| !upstream.prefix.is_empty()) => Ok(operation),
            Err(error) => Err(error),
        }
    }

    /// Whether an answer about this manifest may come out of memory.
    pub(crate) fn is_settled(&self, repository: &RepositoryName, reference: &Reference) -> bool {
        match reference {
            Reference::Digest(_) => true,
            Reference::Tag(tag) => {
                !self.upstreams.iter().any(|upstream| upstream.covers(repository))
                    || self.fresh.has(repository, tag)
            }
        }
    }

    /// Refuses to ask an upstream for a client that has asked too often in vain.
    fn permits(&self, copy: &Copy) -> Result<(), MirrorError> {
        let over = copy.source.as_ref().and_then(|source| self.vain.is_over(source));
        let upstream = || copy.upstream.name.clone();
        over.map_or(Ok(()), |wait| Err(MirrorError::Vain { upstream: upstream(), wait }))
    }

    /// Counts a request for what an upstream does not have, or does not give to us. It is for the work that asks to say so:
    /// whoever began it may be gone by then.
    fn count(&self, copy: &Copy, error: &MirrorError) {
        if matches!(error, MirrorError::Upstream { .. }) && error.is_unknown() {
            self.count_vain(copy);
        }
    }

    /// Counts a request that an upstream has answered with nothing that anybody here has a use for.
    fn count_vain(&self, copy: &Copy) {
        if let Some(source) = &copy.source {
            self.vain.count(source);
        }
    }

    /// Counts it as [`Self::count`] does, and remembers that the upstream does not have `what`, if it says so.
    fn miss(&self, copy: &Copy, what: impl Hash, error: &MirrorError) {
        self.count(copy, error);
        if error.is_absent() {
            copy.upstream.absent.note(&copy.remote, what);
        }
    }

    fn spool(&self) -> &Path {
        &self.spool
    }
}

/// What identifies a fill: the same content in two repositories is fetched for each, since only the upstream knows
/// whether it belongs to both.
type BlobKey = (RepositoryName, Digest);

#[cfg(test)]
mod tests;
