//! One manifest, every point: facts in, decisions out, and the row that keeps them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rreg_oci::{Digest, ImageReference, Tag, media_type};
use rreg_policy::{Decision, EvaluateContext, Facts, ImageFacts, Point, PolicySet, evaluate};
use rreg_storage::{NewDecision, NewManifest, StorageError, Undecided};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::active::{Active, Asked, Good};
use super::facts::{self, Looked, is_settled, is_whole, verifications};
use super::kept::facts_text;
use super::stage::Stage;
use super::told::{News, news};
use crate::app::App;

/// Stands for the digest of trust roots where a manifest is evidence itself, which no policy is asked about.
const EVIDENCE: &str = "evidence";
/// After which time facts that were not whole are gathered again.
const RETRY: TimeDelta = TimeDelta::minutes(5);
/// How often a decision is begun again because facts have changed under it.
const TURNS: usize = 5;

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Read(#[from] rreg_policy::ReadError),
    /// What is stored here cannot be read as it was stored.
    #[error("{0}")]
    Broken(String),
    #[error("facts kept changing while they were looked at")]
    Unsteady,
    #[error("{0}")]
    Other(String),
}

/// What is decided about one manifest of a repository.
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    /// Digest of the policies.
    pub(crate) revision: String,
    /// Pulls by tag, then by digest.
    pub(super) pull: [Decision; 2],
    /// Runs in a cluster, by tag, then by digest.
    pub(super) admit: [Decision; 2],
    /// Runs on a node, as this registry's policies have it; the node's own decide there.
    pub(super) run: [Decision; 2],
    pub(super) promote: Decision,
}

impl Decisions {
    pub(crate) fn pull(&self, by_digest: bool) -> &Decision {
        &self.pull[usize::from(by_digest)]
    }

    /// At a point; `None` for a push, which is over when a manifest is here.
    pub(crate) fn at(&self, point: Point, by_digest: bool) -> Option<&Decision> {
        let place = usize::from(by_digest);
        match point {
            Point::Push => None,
            Point::Promote => Some(&self.promote),
            Point::Pull => Some(&self.pull[place]),
            Point::Admit => Some(&self.admit[place]),
            Point::Run => Some(&self.run[place]),
        }
    }

    /// Every point and way of asking.
    pub(super) const PLACES: [(Point, bool); 7] = [
        (Point::Pull, true),
        (Point::Pull, false),
        (Point::Admit, true),
        (Point::Admit, false),
        (Point::Run, true),
        (Point::Run, false),
        (Point::Promote, false),
    ];

    /// Remembers which policies were passed.
    fn note_good(&self, asked: &Asked, whole: bool, now: DateTime<Utc>, good: &mut Good) {
        for (point, by_digest) in Self::PLACES {
            let pinned = (point != Point::Promote).then_some(by_digest);
            if let Some(decision) = self.at(point, by_digest) {
                asked.note_good(decision, pinned, (whole, now), good);
            }
        }
    }

    /// Of each pair the one by tag first.
    pub(super) fn all(&self) -> [&Decision; 7] {
        let ([pull, pinned_pull], [admit, pinned_admit], [run, pinned_run]) =
            (&self.pull, &self.admit, &self.run);
        [pull, pinned_pull, admit, pinned_admit, run, pinned_run, &self.promote]
    }

    pub(super) fn make(
        asked: &Asked,
        revision: &str,
        facts: &mut Facts,
        now: DateTime<Utc>,
        good: &Good,
    ) -> Self {
        let mut pair = |point| {
            [false, true].map(|by_digest| {
                facts.image.pinned = Some(by_digest);
                asked.decide(facts, point, now, good)
            })
        };
        let (mut pull, admit, run) = (pair(Point::Pull), pair(Point::Admit), pair(Point::Run));
        facts.image.pinned = None;
        if is_referrers_list(&facts.image) {
            pull = [nobody_asks(facts, Point::Pull, now), nobody_asks(facts, Point::Pull, now)];
        }
        let promote = asked.decide(facts, Point::Promote, now, good);
        Self { revision: revision.to_owned(), pull, admit, run, promote }
    }

    /// What may be read and tagged, and is asked about like anything else where it is to run.
    fn readable(asked: &Asked, revision: &str, facts: &mut Facts, now: DateTime<Utc>, good: &Good) -> Self {
        let pull = [nobody_asks(facts, Point::Pull, now), nobody_asks(facts, Point::Pull, now)];
        let promote = nobody_asks(facts, Point::Promote, now);
        Self { pull, promote, ..Self::make(asked, revision, facts, now, good) }
    }

    fn holds_until(&self) -> Option<DateTime<Utc>> {
        self.all().into_iter().filter_map(|decision| decision.holds_until).min()
    }
}

/// Decides, and keeps the decision unless facts have changed meanwhile; then begins again. Not more decide at once than
/// `at_once` lets; it does not count who waits for the database, where those who wait together are served together.
pub(super) async fn decide_and_keep(
    app: Arc<App>,
    about: Undecided,
    active: Arc<Active>,
    at_once: Option<&Semaphore>,
    stage: &Arc<Stage>,
) -> Result<Decisions, Failure> {
    let mut about = about;
    for _ in 0..TURNS {
        let (decisions, new, news) = {
            let _turn = match at_once {
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            decide(&app, &about, &active, stage).await?
        };
        let metadata = app.storage.metadata();
        if metadata.keep_decision(&about, new).await? {
            app.admission.kept(&about, &decisions, &news);
            return Ok(decisions);
        }
        let (repository, digest) = (about.repository.clone(), about.digest);
        let again = metadata.undecided(&repository, &digest).await?;
        let unknown =
            || StorageError::UnknownManifest { repository, reference: rreg_oci::Reference::Digest(digest) };
        about = again.ok_or_else(unknown)?;
    }
    Err(Failure::Unsteady)
}

async fn decide(
    app: &Arc<App>,
    about: &Undecided,
    active: &Active,
    stage: &Arc<Stage>,
) -> Result<(Decisions, NewDecision, Vec<News>), Failure> {
    let now = Utc::now();
    let asked = active.asked(&about.repository);
    let known = known_facts(about, &asked, now);
    let gathered = known.is_none() && asked.anything() && about.trust.as_deref() != Some(EVIDENCE);
    let (looked, trust) = match known {
        Some(facts) => (Looked::Subject(Box::new(facts)), asked.trust.as_str()),
        None if gathered => match facts::of_stored(app, about, &asked, stage, now).await? {
            evidence @ Looked::Evidence(_) => (evidence, EVIDENCE),
            subject @ Looked::Subject(_) => (subject, asked.trust.as_str()),
        },
        // What is evidence once is evidence for ever; of what nobody asks about, nothing is gathered.
        None => {
            let is_evidence = about.trust.as_deref() == Some(EVIDENCE);
            (Looked::Evidence(Box::new(bare_facts(about, None))), if is_evidence { EVIDENCE } else { "" })
        }
    };
    stage.note_gathered();
    let mut good = good_of(about);
    let revision = active.revision.clone();
    let work_on = asked.clone();
    // Many policies on large facts take a while, which other requests need not wait for.
    let work = tokio::task::spawn_blocking(move || {
        let (decisions, facts, whole) = match looked {
            Looked::Evidence(mut bare) => {
                (Decisions::readable(&work_on, &revision, &mut bare, now, &good), None, true)
            }
            Looked::Subject(mut facts) => {
                let text = if gathered {
                    Some(facts_text(&facts).map_err(|error| Failure::Other(error.to_string()))?)
                } else {
                    None
                };
                let decisions = Decisions::make(&work_on, &revision, &mut facts, now, &good);
                decisions.note_good(&work_on, is_whole(&facts), now, &mut good);
                (decisions, text, is_settled(&facts))
            }
        };
        Ok::<_, Failure>((decisions, facts, whole, good))
    });
    let broke_off =
        |error: tokio::task::JoinError| Failure::Other(format!("an evaluation broke off: {error}"));
    let (decisions, facts, whole, good) = work.await.map_err(broke_off)??;
    let again = if asked.anything() { facts::look_again(app, about, now) } else { None };
    // What could not be looked at may be there the next time.
    let retry = (!whole).then(|| now + RETRY);
    let due = [decisions.holds_until(), again, retry].into_iter().flatten().min();
    // That a signature must not run is no news.
    let news = if trust == EVIDENCE { Vec::new() } else { news(about, &decisions) };
    let new = NewDecision {
        revision: active.revision.clone(),
        by_tag: decisions.pull(false).outcome.word().to_owned(),
        by_digest: decisions.pull(true).outcome.word().to_owned(),
        due_at: due.map(|time| time.timestamp_millis()),
        good: json(&good)?,
        body: decisions.to_text().map_err(|error| Failure::Other(error.to_string()))?,
        trust: trust.to_owned(),
        facts,
        audit: news.iter().map(|news| news.event.clone()).collect(),
    };
    Ok((decisions, new, news))
}

/// When each policy was last passed.
pub(super) fn good_of(about: &Undecided) -> Good {
    about.good.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn nobody_asks(facts: &Facts, at: Point, now: DateTime<Utc>) -> Decision {
    evaluate(&PolicySet::new(Vec::new()), facts, at, &EvaluateContext { now, last_good: None })
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Other(error.to_string()))
}

/// The facts of the last time, if they are still all that there is and were verified under the same roots.
pub(super) fn known_facts(about: &Undecided, asked: &Asked, now: DateTime<Utc>) -> Option<Facts> {
    facts_of_last_time(about, asked, now).filter(is_settled)
}

/// The same, though something may be missing in them that is to be looked for again in a while.
fn facts_of_last_time(about: &Undecided, asked: &Asked, now: DateTime<Utc>) -> Option<Facts> {
    if !about.facts_hold || about.trust.as_deref() != Some(&asked.trust) {
        return None;
    }
    // Time was up: of a copy its upstream may say something else, and what could not be had may be there now.
    if about.due_at <= now.timestamp_millis() {
        return None;
    }
    let facts: Facts = serde_json::from_str(about.facts.as_deref()?).ok()?;
    let asks_more = asked.of_images && !facts.image.images.is_empty() && facts.of_images.is_none();
    let ended = verifications(&facts).filter_map(|found| found.holds_until).any(|until| until <= now);
    (!ended && !asks_more).then_some(facts)
}

/// What policies say at a point about a manifest by its digest, if it had this tag as well.
pub(super) async fn under_another_name(
    app: &Arc<App>,
    about: &Undecided,
    active: &Active,
    (tag, at): (&Tag, Point),
    stage: &Arc<Stage>,
) -> Result<Decision, Failure> {
    let now = Utc::now();
    let asked = active.asked(&about.repository);
    // What was decided by the digest alone rests on the same ones. Names cost whoever makes them up nothing: nothing is
    // gathered anew for each of them.
    let mut facts = match facts_of_last_time(about, &asked, now) {
        Some(facts) => facts,
        None if about.trust.as_deref() == Some(EVIDENCE) => bare_facts(about, None),
        None => match facts::of_stored(app, about, &asked, stage, now).await? {
            Looked::Evidence(facts) | Looked::Subject(facts) => *facts,
        },
    };
    if !facts.image.tags.iter().any(|known| known == tag.as_str()) {
        facts.image.tags.push(tag.to_string());
    }
    facts.image.pinned = Some(true);
    Ok(asked.decide(&facts, at, now, &good_of(about)))
}

/// A decision by no policy.
pub(super) fn nobody_decides(about: &Undecided, at: Point) -> Decision {
    nobody_asks(&bare_facts(about, None), at, Utc::now())
}

fn bare_facts(about: &Undecided, why: Option<String>) -> Facts {
    Facts::bare(ImageFacts::bare(about.repository.as_str(), about.digest), why)
}

/// What is decided where there are no facts, for want of an answer of somebody else or for another reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undone {
    /// Somebody else did not answer: a policy's `onError` says what becomes of it.
    HeldUp(String),
    /// What is stored here is broken: as before, but nothing is let through for it that was not good lately.
    Broken(String),
    /// It was too much for this registry, or at a bad moment: it fails, since whoever asks or pushes may have made it so.
    TooMuch(String),
}

impl Undone {
    fn facts(self, image: ImageFacts) -> Facts {
        match self {
            Self::HeldUp(why) => Facts::bare(image, Some(why)),
            Self::Broken(why) => Facts { broken: true, ..Facts::bare(image, Some(why)) },
            Self::TooMuch(why) => Facts { unread: vec![why], ..Facts::bare(image, None) },
        }
    }
}

impl From<&Failure> for Undone {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Read(_) | Failure::Storage(_) => Self::HeldUp(failure.to_string()),
            Failure::Broken(_) => Self::Broken(failure.to_string()),
            Failure::Unsteady | Failure::Other(_) => Self::TooMuch(failure.to_string()),
        }
    }
}

/// What policies say when nothing is known, and why.
pub(super) fn without_facts(about: &Undecided, active: &Active, why: Undone) -> Decisions {
    let asked = active.asked(&about.repository);
    let mut facts = why.facts(ImageFacts::bare(about.repository.as_str(), about.digest));
    Decisions::make(&asked, &active.revision, &mut facts, Utc::now(), &good_of(about))
}

/// What policies say at `point` about an image of which not even the digest is known, since its upstream does not answer.
pub(super) fn unanswered(image: &ImageReference, active: &Active, point: Point, why: &str) -> Decision {
    // Facts have a digest; where there is none, that of nothing stands in its place. Whoever asks is not told it.
    let digest = image.digest.unwrap_or_else(|| Digest::sha256(b""));
    let mut facts = Undone::HeldUp(why.to_owned()).facts(ImageFacts::bare(image.repository.as_str(), digest));
    facts.image.pinned = Some(image.digest.is_some());
    active.asked(&image.repository).decide(&facts, point, Utc::now(), &Good::new())
}

/// The index that clients keep where a registry has no referrers API (distribution-spec, "Referrers Tag Schema"): at no
/// other tags than those that are named after digests. It may be read whatever is decided, so that signatures are found;
/// each manifest in it is asked about by itself, and so must not be in it.
fn is_referrers_list(image: &ImageFacts) -> bool {
    let is_index = matches!(image.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST);
    is_index && !image.embeds && !image.tags.is_empty() && image.tags.iter().all(|tag| is_evidence_tag(tag))
}

/// Whether a tag is named after a digest, as those of evidence are: `sha256-<hex>`, perhaps with `.sig`, `.att` or
/// `.sbom`.
pub(super) fn is_evidence_tag(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("sha256-").or_else(|| tag.strip_prefix("sha512-")) else {
        return false;
    };
    let (hex, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    hex.len() == 64
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && matches!(suffix, "" | "sig" | "att" | "sbom")
}

/// Decides about a manifest that is on its way in.
pub(super) async fn arriving(
    app: &Arc<App>,
    new: &NewManifest,
    points: &[Point],
    asked: &Asked,
    stage: &Arc<Stage>,
) -> Result<Decision, StorageError> {
    let now = Utc::now();
    match facts::of_arriving(app, new, asked, stage, now).await {
        Ok(Looked::Evidence(facts)) => Ok(nobody_asks(&facts, Point::Push, now)),
        Ok(Looked::Subject(mut facts)) => {
            facts.image.pinned = Some(new.tags.is_empty());
            Ok(hardest(points, |point| asked.decide(&facts, point, now, &Good::new())))
        }
        Err(Failure::Storage(error)) => Err(error),
        Err(failure) => Ok(arriving_without_facts(new, points, asked, (&failure).into())),
    }
}

pub(super) fn arriving_without_facts(
    new: &NewManifest,
    points: &[Point],
    asked: &Asked,
    why: Undone,
) -> Decision {
    let facts = why.facts(ImageFacts::bare(new.repository.as_str(), new.digest));
    hardest(points, |point| asked.decide(&facts, point, Utc::now(), &Good::new()))
}

/// `points` is never empty; the first of the hardest.
fn hardest(points: &[Point], decide: impl Fn(Point) -> Decision) -> Decision {
    let mut decisions = points.iter().map(|point| decide(*point));
    let first = decisions.next().unwrap_or_else(|| decide(Point::Push));
    decisions.fold(first, |worst, next| if next.outcome > worst.outcome { next } else { worst })
}
