//! Manifests of upstreams: by digest fetched once, by tag confirmed again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rreg_client::FetchedManifest;
use rreg_oci::{Manifest, Reference, RepositoryName, Tag};
use rreg_storage::{NewManifest, StorageError, StoredManifest};

use super::breaker::Part;
use super::error::{MirrorError, Missing};
use super::{Copy, Mirror};
use crate::app::App;

/// Most tags that are remembered as fresh in memory; with more, all are forgotten and read from the database again.
const REMEMBERED: usize = 50_000;

/// A manifest for a client.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) manifest: Arc<StoredManifest>,
    /// Why the upstream could not confirm it, if it should have.
    pub(crate) stale: Option<Arc<MirrorError>>,
}

/// Tags that need not be confirmed yet.
#[derive(Default)]
pub(super) struct Fresh(Mutex<HashMap<RepositoryName, HashMap<Tag, Instant>>>);

impl Fresh {
    pub(super) fn has(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(repository).and_then(|tags| tags.get(tag)).is_some_and(|until| *until > Instant::now())
    }

    fn keep(&self, repository: &RepositoryName, tag: &Tag, lasts: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tags = known.values().map(HashMap::len).take(REMEMBERED).sum::<usize>();
        if tags >= REMEMBERED {
            known.clear();
        }
        known.entry(repository.clone()).or_default().insert(tag.clone(), Instant::now() + lasts);
    }
}

impl Mirror {
    /// The manifest that `reference` means at the upstream, or meant when it was asked last.
    pub(crate) async fn manifest(
        &self,
        app: &Arc<App>,
        copy: &Copy,
        reference: &Reference,
    ) -> Result<Found, Arc<MirrorError>> {
        let found = self.confirmed(app, copy, reference).await?;
        self.used(&copy.local, &found.manifest.digest);
        Ok(found)
    }

    async fn confirmed(
        &self,
        app: &Arc<App>,
        copy: &Copy,
        reference: &Reference,
    ) -> Result<Found, Arc<MirrorError>> {
        copy.upstream.permits(&copy.remote)?;
        let here = here(app, copy, reference).await?;
        if let Some(manifest) = &here
            && self.is_fresh(app, copy, reference).await?
        {
            return Ok(Found { manifest: manifest.clone(), stale: None });
        }
        if here.is_none() {
            if copy.upstream.absent.has(&copy.remote, reference) {
                let upstream = copy.upstream.name.clone();
                return Err(Arc::new(MirrorError::Absent { upstream, what: Missing::Manifest }));
            }
            self.permits(copy)?;
        }
        let key = (copy.local.clone(), reference.clone());
        let work = || {
            let (app, copy, reference) = (app.clone(), copy.clone(), reference.clone());
            async move { asked(&app, &copy, &reference).await }
        };
        let work = self.manifests.ask(app, copy, key, work);
        let about = (&copy.remote, Part::Content);
        match (copy.upstream.within_patience(about, here.is_some(), work).await, here) {
            (Ok(found), _) => Ok(found),
            (Err(error), Some(manifest)) if error.allows_stale_tag() => {
                app.metrics.mirror.stale.inc();
                tracing::warn!(repository = %copy.local, %reference, %error, "served an unconfirmed tag");
                Ok(Found { manifest, stale: Some(error) })
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn is_fresh(&self, app: &App, copy: &Copy, reference: &Reference) -> Result<bool, MirrorError> {
        let Reference::Tag(tag) = reference else { return Ok(true) };
        if self.fresh.has(&copy.local, tag) {
            return Ok(true);
        }
        let ttl = copy.upstream.tag_ttl;
        let age = app.storage.metadata().cached_tag_age(&copy.local, tag).await?;
        let left = age.and_then(|age| ttl.checked_sub(age)).filter(|left| !left.is_zero());
        if let Some(left) = left {
            self.fresh.keep(&copy.local, tag, left);
        }
        Ok(left.is_some())
    }
}

pub(super) async fn here(
    app: &App,
    copy: &Copy,
    reference: &Reference,
) -> Result<Option<Arc<StoredManifest>>, MirrorError> {
    match app.storage.metadata().manifest(&copy.local, reference).await {
        Ok(manifest) => Ok(Some(manifest)),
        // A damaged one is fetched again, which heals it.
        Err(StorageError::UnknownManifest { .. } | StorageError::DamagedManifest { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the upstream, and counts what is asked in vain, whether or not the client still waits for the answer.
async fn asked(app: &Arc<App>, copy: &Copy, reference: &Reference) -> Result<Found, MirrorError> {
    let known = here(app, copy, reference).await?;
    // The work of another may have ended between the caller's look and this one's beginning.
    if let Some(known) = &known
        && app.mirror.is_fresh(app, copy, reference).await?
    {
        return Ok(Found { manifest: known.clone(), stale: None });
    }
    let found = refresh(app, copy, reference, known.as_ref()).await;
    match (&found, &known) {
        (Err(error), None) => app.mirror.miss(copy, reference, error),
        (Err(error), Some(_)) if !error.allows_stale_tag() => app.mirror.count(copy, error),
        _ => {}
    }
    found
}

/// A tag that is here costs a HEAD, unless it has moved.
async fn refresh(
    app: &Arc<App>,
    copy: &Copy,
    reference: &Reference,
    known: Option<&Arc<StoredManifest>>,
) -> Result<Found, MirrorError> {
    let upstream = &copy.upstream;
    if let (Some(known), Reference::Tag(tag)) = (known, reference) {
        let asked = upstream.client.resolve(&copy.remote, reference);
        let there = match upstream.ask_by_head(&copy.remote, asked).await {
            Ok(there) => Some(there),
            // Upstreams, and what stands before them, refuse HEAD where they answer GET: that says what is so.
            Err(error) if error.is_answer() => None,
            Err(error) => return Err(error),
        };
        if there.is_some_and(|there| there.digest == known.digest) {
            app.storage.metadata().confirm_cached_tag(&copy.local, tag).await?;
            app.mirror.fresh.keep(&copy.local, tag, upstream.tag_ttl);
            return Ok(Found { manifest: known.clone(), stale: None });
        }
    }
    let fetched = upstream.client.fetch_manifest(&copy.remote, reference);
    let fetched = upstream.ask(&copy.remote, upstream.patience, fetched).await?;
    keep(app, copy, reference, fetched).await
}

async fn keep(
    app: &Arc<App>,
    copy: &Copy,
    reference: &Reference,
    fetched: FetchedManifest,
) -> Result<Found, MirrorError> {
    let FetchedManifest { descriptor, bytes } = fetched;
    let manifest = Manifest::parse(Some(&descriptor.media_type), &bytes, &app.limits);
    let manifest = manifest.map_err(|error| MirrorError::Manifest {
        upstream: copy.upstream.name.clone(),
        reference: reference.clone(),
        error,
    })?;
    let tags = match reference {
        Reference::Tag(tag) => vec![tag.clone()],
        Reference::Digest(_) => Vec::new(),
    };
    let digest = descriptor.digest;
    let new = NewManifest {
        repository: copy.local.clone(),
        digest,
        body: bytes,
        manifest,
        tags,
        allow_sparse: true,
        // A copy is what its upstream has, and no more.
        list_packages: false,
        audit: None,
    };
    app.storage.metadata().cache_manifest(new, &copy.upstream.name).await?;
    let stored = app.storage.metadata().manifest(&copy.local, &Reference::Digest(digest)).await?;
    if let Reference::Tag(tag) = reference {
        app.mirror.fresh.keep(&copy.local, tag, copy.upstream.tag_ttl);
    }
    Ok(Found { manifest: stored, stale: None })
}
