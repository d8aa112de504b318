//! Which images would have another outcome under another policy.
//!
//! The answer is written as it is found, so that it takes no more memory for a larger store: repositories by their names,
//! of each its manifests by pages, some looked at at once.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _, stream};
use rreg_oci::{Glob, RepositoryName, beginnings};
use rreg_policy::{Facts, Outcome, Point, Policy};
use rreg_storage::{StorageError, Undecided};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Sender};

use super::active::{Active, Asked};
use super::decide;
use super::facts::{self, Looked};
use crate::app::App;

/// Manifests read at once: what is known of one is some kilobytes, or megabytes where strangers attach much.
const PAGE: usize = 50;
/// Names of repositories read at once.
const NAMES: usize = 500;
/// Manifests looked at at once, each of which may have to be read and verified.
const AT_ONCE: usize = 8;
/// Most manifests that one request looks at, and most changes that it tells.
const MAX_LOOKED: u64 = 1_000_000;
const MAX_CHANGES: usize = 10_000;
/// Most tags that a change names, and most images that could not be looked at.
const MAX_TAGS: usize = 100;
const MAX_NOT_LOOKED: usize = 100;
/// Pieces of the answer that wait for a slow reader.
const PIECES: usize = 16;

/// What is asked: policies that hold, and the same with others in place of those of their names.
struct Question {
    app: Arc<App>,
    held: Arc<Active>,
    then: Active,
    at: Point,
}

/// The policies of both sides that are about one repository.
struct Sides {
    held: Arc<Asked>,
    then: Arc<Asked>,
    /// With the trust roots of both: what one of them trusts, the other may not.
    both: Asked,
}

/// What one look came to.
enum Came {
    /// It is gone, or no subject of policies.
    Nothing,
    Same,
    Other(Value),
    Failed(String),
}

/// Evaluates every image of the repositories that `globs` name (all, where there are none) under the policies that hold,
/// and under them with `new` in place of those of its names. The answer is JSON, in pieces; it ends by saying whether it
/// is complete.
pub(crate) fn what_if(
    app: &Arc<App>,
    new: Vec<Policy>,
    globs: Vec<Glob>,
    at: Point,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let held = app.admission.active();
    let mut policies: Vec<Policy> = held.policies.clone();
    policies.retain(|policy| new.iter().all(|other| other.name != policy.name));
    policies.extend(new);
    let then = held.with(policies);
    let question = Arc::new(Question { app: app.clone(), held, then, at });
    let (sender, pieces) = mpsc::channel(PIECES);
    app.tasks.spawn(async move {
        let gone = sender.clone();
        tokio::select! {
            // Whoever asked does not wait any more.
            () = gone.closed() => {}
            () = answer(&question, &globs, sender) => {}
        }
    });
    stream::unfold(pieces, |mut pieces| async { pieces.recv().await.map(|piece| (piece, pieces)) })
}

/// What was told so far.
struct Told {
    sender: Sender<Bytes>,
    looked: u64,
    changes: usize,
    not_looked: Vec<String>,
    missed: usize,
}

impl Told {
    /// Tells what came of a look. `false`: nobody listens.
    async fn tell(&mut self, came: Came) -> bool {
        self.looked += u64::from(!matches!(came, Came::Nothing));
        match came {
            Came::Nothing | Came::Same => true,
            Came::Failed(why) => {
                self.miss(why);
                true
            }
            Came::Other(change) => {
                let comma = if self.changes == 0 { "" } else { "," };
                self.changes += 1;
                self.sender.send(Bytes::from(format!("{comma}{change}"))).await.is_ok()
            }
        }
    }

    fn miss(&mut self, why: String) {
        self.missed += 1;
        if self.not_looked.len() < MAX_NOT_LOOKED {
            self.not_looked.push(why);
        }
    }

    fn is_full(&self) -> bool {
        self.looked >= MAX_LOOKED || self.changes >= MAX_CHANGES
    }
}

async fn answer(question: &Arc<Question>, globs: &[Glob], sender: Sender<Bytes>) {
    let mut told = Told { sender, looked: 0, changes: 0, not_looked: Vec::new(), missed: 0 };
    if told.sender.send(Bytes::from_static(b"{\"changes\":[")).await.is_err() {
        return;
    }
    let complete = match everywhere(question, globs, &mut told).await {
        Ok(complete) => complete,
        Err(error) => {
            told.miss(format!("what comes after these: {error}"));
            false
        }
    };
    let rest = format!(
        "],\"looked\":{},\"complete\":{},\"notLooked\":{}}}",
        told.looked,
        complete && told.missed == 0,
        json!(told.not_looked)
    );
    // Nobody may be listening any more.
    let _ = told.sender.send(Bytes::from(rest)).await;
}

/// Looks at all of it; `false` where there was too much.
async fn everywhere(question: &Arc<Question>, globs: &[Glob], told: &mut Told) -> Result<bool, StorageError> {
    let metadata = question.app.storage.metadata();
    let all = globs.is_empty().then(String::new);
    for beginning in beginnings(globs.iter().map(Glob::beginning).chain(all)) {
        let mut after = None;
        loop {
            let names = metadata.repositories_like(&beginning, after.as_deref(), NAMES).await?;
            for name in &names {
                let meant = globs.is_empty() || globs.iter().any(|glob| glob.matches(name.as_str()));
                if meant && !repository(question, name, told).await? {
                    return Ok(false);
                }
            }
            match names.into_iter().last() {
                Some(last) => after = Some(last.to_string()),
                None => break,
            }
        }
    }
    Ok(true)
}

/// Looks at the manifests of a repository; `false` where there is too much, or nobody listens.
async fn repository(
    question: &Arc<Question>,
    name: &RepositoryName,
    told: &mut Told,
) -> Result<bool, StorageError> {
    let (held, then) = (question.held.asked(name), question.then.asked(name));
    let sides = Arc::new(Sides { both: then.also(&held), held, then });
    let mut after = None;
    loop {
        let metadata = question.app.storage.metadata();
        let page = metadata.judged_manifests(name, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(true) };
        after = Some(last.digest);
        let looks = page.into_iter().map(|about| {
            let (question, sides) = (question.clone(), sides.clone());
            async move {
                let name = format!("{}@{}", about.repository, about.digest);
                let look = tokio::spawn(async move { question.look(&about, &sides).await });
                look.await.unwrap_or_else(|error| Came::Failed(format!("{name}: {error}")))
            }
        });
        let mut looks = std::pin::pin!(stream::iter(looks).buffered(AT_ONCE));
        while let Some(came) = looks.next().await {
            if told.is_full() || !told.tell(came).await {
                return Ok(false);
            }
        }
    }
}

impl Question {
    async fn look(&self, about: &Undecided, sides: &Sides) -> Came {
        let now = Utc::now();
        let facts = match decide::known_facts(about, &sides.both, now) {
            Some(facts) => facts,
            None => match facts::of_stored(&self.app, about, &sides.both, &Arc::default(), now).await {
                Ok(Looked::Subject(facts)) => *facts,
                Ok(Looked::Evidence(_))
                | Err(decide::Failure::Storage(StorageError::UnknownManifest { .. })) => {
                    return Came::Nothing;
                }
                Err(failure) => {
                    return Came::Failed(format!("{}@{}: {failure}", about.repository, about.digest));
                }
            },
        };
        change(about, facts, (&sides.held, &sides.then), self.at, now).map_or(Came::Same, Came::Other)
    }
}

fn change(
    about: &Undecided,
    mut facts: Facts,
    (held, then): (&Asked, &Asked),
    at: Point,
    now: DateTime<Utc>,
) -> Option<Value> {
    let good = decide::good_of(about);
    facts.image.pinned = Some(true);
    let before = held.decide(&facts, at, now, &good);
    let after = then.decide(&facts, at, now, &good);
    (before.outcome != after.outcome).then(|| {
        let reason = if after.outcome == Outcome::Allow { before.message() } else { after.message() };
        facts.image.tags.truncate(MAX_TAGS);
        json!({
            "repository": about.repository.as_str(),
            "digest": about.digest,
            "tags": facts.image.tags,
            "before": before.outcome,
            "after": after.outcome,
            "reason": reason,
        })
    })
}
