//! Tags and referrers as the upstream lists them: asked for once in a while, kept in memory, and served when the
//! upstream does not answer. Where nothing is remembered either, nothing is known of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rreg_oci::{Descriptor, Digest, RepositoryName};

use super::error::MirrorError;
use super::flights::Flights;
use super::{Copy, Mirror};
use crate::app::App;

/// Memory that all lists together may take, in bytes. Those asked for longest ago go first.
const MEMORY: usize = 64 << 20;
/// What a list and an entry cost beside their texts.
const OVERHEAD: usize = 200;

/// Which list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
}

/// A list of an upstream.
#[derive(Clone)]
enum List {
    Tags(Arc<[String]>),
    Referrers(Arc<[Descriptor]>),
}

impl List {
    /// About how much memory it takes.
    fn cost(&self) -> usize {
        let texts: usize = match self {
            Self::Tags(tags) => tags.iter().map(|tag| tag.len() + OVERHEAD / 4).sum(),
            Self::Referrers(referrers) => {
                let pair = |(key, value): (&String, &String)| key.len() + value.len() + OVERHEAD;
                let annotations = |it: &Descriptor| it.annotations.iter().flatten().map(pair).sum::<usize>();
                referrers.iter().map(|it| annotations(it) + it.media_type.len() + 2 * OVERHEAD).sum()
            }
        };
        texts + OVERHEAD
    }
}

struct Known {
    list: List,
    cost: usize,
    asked_at: Instant,
}

/// Lists that are remembered or on their way.
#[derive(Default)]
pub(super) struct Lists {
    known: Mutex<HashMap<Key, Known>>,
    asking: Flights<Key, Result<List, Arc<MirrorError>>>,
}

impl Lists {
    fn get(&self, key: &Key) -> Option<(List, Duration)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|known| (known.list.clone(), known.asked_at.elapsed()))
    }

    fn keep(&self, key: Key, list: List) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = list.cost();
        known.insert(key, Known { list, cost, asked_at: Instant::now() });
        let mut all: usize = known.values().map(|known| known.cost).sum();
        while all > MEMORY {
            let oldest = known.iter().min_by_key(|(_, known)| known.asked_at).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|oldest| known.remove(&oldest)) else { return };
            all -= gone.cost;
        }
    }
}

/// A list for a client.
pub(crate) struct Listed<T> {
    /// What the upstream said last.
    pub(crate) entries: Arc<[T]>,
    /// Why the upstream could not be asked again, if it should have been.
    pub(crate) stale: Option<Arc<MirrorError>>,
}

impl Mirror {
    /// All tags of the upstream's repository, in the order of their bytes.
    pub(crate) async fn tags(&self, app: &Arc<App>, copy: &Copy) -> Result<Listed<String>, Arc<MirrorError>> {
        let (list, stale) = self.list(app, copy, Key::Tags(copy.local.clone())).await?;
        match list {
            List::Tags(entries) => Ok(Listed { entries, stale }),
            List::Referrers(_) => Err(Arc::new(MirrorError::Ended)),
        }
    }

    /// All that the upstream has about `subject`, in its order.
    pub(crate) async fn referrers(
        &self,
        app: &Arc<App>,
        copy: &Copy,
        subject: &Digest,
    ) -> Result<Listed<Descriptor>, Arc<MirrorError>> {
        let (list, stale) = self.list(app, copy, Key::Referrers(copy.local.clone(), *subject)).await?;
        match list {
            List::Referrers(entries) => Ok(Listed { entries, stale }),
            List::Tags(_) => Err(Arc::new(MirrorError::Ended)),
        }
    }

    async fn list(
        &self,
        app: &Arc<App>,
        copy: &Copy,
        key: Key,
    ) -> Result<(List, Option<Arc<MirrorError>>), Arc<MirrorError>> {
        copy.upstream.permits(&copy.remote)?;
        let known = self.lists.get(&key);
        if let Some((list, age)) = &known
            && *age < copy.upstream.tag_ttl
        {
            return Ok((list.clone(), None));
        }
        let within = if known.is_some() { copy.upstream.revalidate } else { copy.upstream.patience };
        let work = || {
            let (app, copy, key) = (app.clone(), copy.clone(), key.clone());
            async move { ask(&app, &copy, key, within).await.map_err(Arc::new) }
        };
        let result = self.lists.asking.join(&app.tasks, key.clone(), work).await;
        match result.unwrap_or_else(|| Err(Arc::new(MirrorError::Ended))) {
            Ok(list) => Ok((list, None)),
            // What is cached is a part of what there is, and would be taken for all.
            Err(error) => match known.filter(|_| error.allows_stale()) {
                Some((list, _)) => {
                    app.metrics.mirror.stale.inc();
                    tracing::warn!(repository = %copy.local, %error, "served an unconfirmed list");
                    Ok((list, Some(error)))
                }
                None => Err(error),
            },
        }
    }
}

async fn ask(app: &Arc<App>, copy: &Copy, key: Key, within: Duration) -> Result<List, MirrorError> {
    let upstream = &copy.upstream;
    let (client, within) = (&upstream.client, Some(within));
    let list = match &key {
        Key::Tags(_) => {
            let mut tags = upstream.ask(within, client.tags(&copy.remote)).await?;
            tags.sort_unstable();
            tags.dedup();
            List::Tags(tags.into())
        }
        Key::Referrers(_, subject) => {
            let asked = upstream.ask_for_more(within, client.referrers(&copy.remote, subject, None));
            List::Referrers(asked.await?.into())
        }
    };
    app.mirror.lists.keep(key, list.clone());
    Ok(list)
}
