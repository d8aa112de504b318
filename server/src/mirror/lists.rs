//! Tags and referrers as the upstream lists them: asked for once in a while, kept in memory, and served when the
//! upstream does not answer. Lists of tags are kept in the database too, for the time after a restart. Where nothing is
//! remembered either, nothing is known of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rreg_oci::{Descriptor, Digest, RepositoryName};

use super::breaker::Part;
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

    fn forget(&self, key: &Key) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Whether it is what is remembered already.
    fn is_known(&self, key: &Key, tags: &[String]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(known.get(key), Some(Known { list: List::Tags(known), .. }) if **known == *tags)
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
        let known = match known {
            Some((list, _)) => Some(list),
            None => kept(app, copy, &key).await?,
        };
        if known.is_none() {
            self.permits(copy)?;
        }
        let work = || {
            let (app, copy, key) = (app.clone(), copy.clone(), key.clone());
            async move { asked(&app, &copy, key).await.map_err(Arc::new) }
        };
        let work = self.lists.asking.join(&app.tasks, key.clone(), work);
        let about = (&copy.remote, Part::Lists);
        match copy.upstream.within_patience(about, known.is_some(), work).await {
            Ok(list) => Ok((list, None)),
            Err(error) if error.is_gone() => Err(error),
            // What is cached is a part of what there is, and would be taken for all.
            Err(error) => match known.filter(|_| error.allows_stale()) {
                Some(list) => {
                    app.metrics.mirror.stale.inc();
                    tracing::warn!(repository = %copy.local, %error, "served an unconfirmed list");
                    Ok((list, Some(error)))
                }
                None => Err(error),
            },
        }
    }
}

/// What the database has of a list.
async fn kept(app: &App, copy: &Copy, key: &Key) -> Result<Option<List>, MirrorError> {
    let Key::Tags(repository) = key else { return Ok(None) };
    let tags = app.storage.metadata().kept_tag_list(repository, &source(copy)).await?;
    Ok(tags.map(|tags| List::Tags(tags.into())))
}

/// What is asked for the tags of a copy.
fn source(copy: &Copy) -> String {
    format!("{}/{}", copy.upstream.host(), copy.remote)
}

/// Asks the upstream. What is asked in vain is counted, and what is gone is forgotten, whether or not the client still waits
/// for the answer.
async fn asked(app: &App, copy: &Copy, key: Key) -> Result<List, MirrorError> {
    let lists = &app.mirror.lists;
    match ask(app, copy, &key).await {
        Ok(list) => {
            lists.keep(key, list.clone());
            Ok(list)
        }
        Err(error) => {
            app.mirror.count(copy, &error);
            if error.is_gone() {
                lists.forget(&key);
                if let Key::Tags(repository) = &key {
                    app.storage.metadata().forget_tag_list(repository).await?;
                }
            }
            Err(error)
        }
    }
}

async fn ask(app: &App, copy: &Copy, key: &Key) -> Result<List, MirrorError> {
    let upstream = &copy.upstream;
    let client = &upstream.client;
    Ok(match key {
        Key::Tags(_) => {
            let mut tags = upstream.ask_for_list(&copy.remote, client.tags(&copy.remote)).await?;
            tags.sort_unstable();
            tags.dedup();
            if !app.mirror.lists.is_known(key, &tags) {
                let source = source(copy);
                let keep = app.storage.metadata().keep_tag_list(&copy.local, &source, &tags);
                if let Err(error) = keep.await {
                    tracing::warn!(repository = %copy.local, %error, "a list of tags is not kept for a restart");
                }
            }
            List::Tags(tags.into())
        }
        Key::Referrers(_, subject) => {
            let asked = client.referrers(&copy.remote, subject, None);
            let asked = upstream.ask_for_list(&copy.remote, asked);
            List::Referrers(asked.await?.into())
        }
    })
}
