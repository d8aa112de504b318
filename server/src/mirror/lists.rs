//! Tags and referrers as the upstream lists them: asked for once in a while, kept in memory, and served when the
//! upstream does not answer. Lists of tags are kept in the database too, for the time after a restart. Where nothing is
//! remembered either, nothing is known of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rreg_oci::{Descriptor, Digest, Reference, RepositoryName};

use super::breaker::Part;
use super::error::MirrorError;
use super::flights::Flights;
use super::manifests::here;
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

impl Key {
    /// About how much memory it takes, twice as it is kept.
    fn cost(&self) -> usize {
        let (Self::Tags(repository) | Self::Referrers(repository, _)) = self;
        2 * repository.as_str().len() + OVERHEAD
    }
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

    fn is_empty(&self) -> bool {
        match self {
            Self::Tags(tags) => tags.is_empty(),
            Self::Referrers(referrers) => referrers.is_empty(),
        }
    }
}

struct Known {
    list: List,
    cost: usize,
    asked_at: Instant,
    /// Its number in [`Memory::by_age`].
    number: u64,
}

/// What is remembered of all upstreams.
#[derive(Default)]
struct Memory {
    known: HashMap<Key, Known>,
    /// The same, the one asked for longest ago first.
    by_age: BTreeMap<u64, Key>,
    /// What all together cost.
    cost: usize,
    /// The number of the next.
    next: u64,
}

impl Memory {
    fn forget(&mut self, key: &Key) {
        if let Some(known) = self.known.remove(key) {
            self.by_age.remove(&known.number);
            self.cost = self.cost.saturating_sub(known.cost);
        }
    }

    fn keep(&mut self, key: Key, list: List, most: usize) {
        self.forget(&key);
        let cost = list.cost() + key.cost();
        // It would drive all others out, and go itself.
        if cost > most {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.cost += cost;
        self.by_age.insert(number, key.clone());
        self.known.insert(key, Known { list, cost, asked_at: Instant::now(), number });
        while self.cost > most {
            let Some(oldest) = self.by_age.first_key_value().map(|(_, key)| key.clone()) else { return };
            self.forget(&oldest);
        }
    }
}

/// Lists that are remembered or on their way.
#[derive(Default)]
pub(super) struct Lists {
    memory: Mutex<Memory>,
    asking: Flights<Key, Result<List, Arc<MirrorError>>>,
}

impl Lists {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &Key) -> Option<(List, Duration)> {
        self.memory().known.get(key).map(|known| (known.list.clone(), known.asked_at.elapsed()))
    }

    /// Whether it is what is remembered already.
    fn is_known(&self, key: &Key, tags: &[String]) -> bool {
        let memory = self.memory();
        matches!(memory.known.get(key), Some(Known { list: List::Tags(known), .. }) if **known == *tags)
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
        // What is of no use is no reason to ask without end, though it is remembered.
        let is_of_use = match &known {
            Some(list) => is_of_use(app, copy, &key, list).await?,
            None => false,
        };
        if !is_of_use {
            self.permits(copy)?;
        }
        let work = || {
            let (app, copy, key) = (app.clone(), copy.clone(), key.clone());
            async move { asked(&app, &copy, key).await }
        };
        let work = self.lists.asking.ask(app, copy, key.clone(), work);
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

/// Whether a list says anything about what is here. Some upstreams have an empty one for whatever they are asked about.
async fn is_of_use(app: &App, copy: &Copy, key: &Key, list: &List) -> Result<bool, MirrorError> {
    if !list.is_empty() {
        return Ok(true);
    }
    let Key::Referrers(_, subject) = key else { return Ok(false) };
    Ok(here(app, copy, &Reference::Digest(*subject)).await?.is_some())
}

/// Asks the upstream. What is asked in vain is counted, and what is gone is forgotten, whether or not the client still waits
/// for the answer.
async fn asked(app: &App, copy: &Copy, key: Key) -> Result<List, MirrorError> {
    let lists = &app.mirror.lists;
    match ask(app, copy, &key).await {
        Ok(list) => {
            let is_of_use = is_of_use(app, copy, &key, &list).await;
            lists.memory().keep(key, list.clone(), MEMORY);
            if !is_of_use? {
                app.mirror.count_vain(copy);
            }
            Ok(list)
        }
        Err(error) => {
            app.mirror.count(copy, &error);
            if error.is_gone() {
                lists.memory().forget(&key);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_asked_for_longest_ago_go_first_and_the_sum_stays_right() {
        let key = |n: usize| Key::Tags(format!("a/{n}").parse().unwrap());
        let list = |tags: usize| List::Tags(vec!["x".to_owned(); tags].into());
        let each = list(1).cost() + key(1).cost();
        let mut memory = Memory::default();
        for number in [1, 2, 3, 1, 4] {
            memory.keep(key(number), list(1), 3 * each);
        }
        let known =
            |memory: &Memory| (1..6).filter(|n| memory.known.contains_key(&key(*n))).collect::<Vec<_>>();
        assert_eq!((known(&memory), memory.cost), (vec![1, 3, 4], 3 * each));
        memory.keep(key(5), list(100), 3 * each);
        assert_eq!(known(&memory), [1, 3, 4], "one that is too long drives no other out");
        memory.keep(key(3), list(100), 3 * each);
        memory.forget(&key(4));
        assert_eq!((known(&memory), memory.cost, memory.by_age.len()), (vec![1], each, 1));
        memory.forget(&key(1));
        assert_eq!((memory.cost, memory.by_age.len()), (0, 0));
    }
}
