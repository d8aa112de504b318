//! Which policies hold: those of the directory and those set through the API, as of the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;
use rreg_oci::{Digest, RepositoryName};
use rreg_policy::{
    Decision, EvaluateContext, Facts, OnError, Outturn, Point, Policy, PolicySet, TrustRoot, evaluate,
};
use rreg_storage::{PolicyTexts, Storage, StorageError};

use super::sources::{self, SetTrust};

/// Repositories of which it is remembered which of the policies are about them.
const REPOSITORIES: usize = 10_000;
/// Different shares of the policies that are ready to be asked. Repositories with the same share have one together.
const SHARES: usize = 256;

/// When each policy was last passed, by point and revision, in milliseconds since the Unix epoch.
pub(crate) type Good = BTreeMap<String, i64>;

/// Which facts are gathered and what is made of them: another word here has all of them gathered anew, and everything
/// decided again.
const FACTS: &str = "facts-7";

/// Names policies together with what this version makes of facts.
fn revision(policies: &[Policy]) -> String {
    let revision = PolicySet::new(policies.to_vec()).revision();
    Digest::sha256(format!("{FACTS} {revision}").as_bytes()).to_string()
}

fn good_key(at: Point, pinned: Option<bool>, revision: &Digest) -> String {
    let how = match pinned {
        None => "",
        Some(true) => "by digest ",
        Some(false) => "by tag ",
    };
    format!("{at:?} {how}{revision}")
}

/// Why policies cannot be used. Those that held before go on to hold.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory cannot be read.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A policy set through the API is none any more: trust material that it names is gone, or this version knows
    /// less than the one that took it.
    #[error("policy {name}: {why}")]
    Set {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Two policies of one name.
    #[error("there are two policies called {0:?}; a name says who decided, so give one of them another")]
    Twice(String),
    /// The database failed.
    #[error("policies: {0}")]
    Storage(#[from] StorageError),
}

/// The part of the policies that is about one repository.
#[derive(Debug)]
pub(crate) struct Asked {
    policies: Vec<Policy>,
    /// Those without a last good time, which are asked together.
    together: PolicySet,
    /// The others, each of which has a time of its own.
    alone: Vec<PolicySet>,
    /// Under which their evidence is verified.
    pub(crate) roots: Vec<TrustRoot>,
    /// Digest of the roots.
    pub(crate) trust: String,
    /// Whether what was attached to the images of an index decides about it.
    pub(crate) of_images: bool,
    points: BTreeSet<Point>,
}

/// All policies that hold.
pub(crate) struct Active {
    /// Digest of all of them and of what is made of facts.
    pub(crate) revision: String,
    /// [`PolicyTexts::version`].
    pub(crate) version: i64,
    /// What the directory looked like.
    pub(crate) seen: sources::Seen,
    pub(crate) policies: Vec<Policy>,
    /// Names of those that were set through the API.
    set: BTreeSet<String>,
    by_repository: Cache<RepositoryName, Arc<[u32]>>,
    by_share: Cache<Arc<[u32]>, Arc<Asked>>,
}

impl Active {
    /// Reads them all.
    pub(crate) async fn load(storage: &Storage, directory: Option<&Path>) -> Result<Self, LoadError> {
        let texts = storage.metadata().policy_texts().await?;
        let Some(directory) = directory.map(Path::to_owned) else {
            return Self::of(&texts, Vec::new(), sources::Seen::default());
        };
        // Files may be on a disk that is slow to answer.
        let read = tokio::task::spawn_blocking(move || {
            // Before the files are read: a change meanwhile is seen the next time.
            let seen = sources::Seen::now(&directory);
            sources::load_directory(&directory).map(|files| (seen, files))
        });
        let (seen, files) = read.await.map_err(|_| StorageError::Closed)??;
        Self::of(&texts, files, seen)
    }

    /// The policies of `texts` together with those of files.
    pub(crate) fn of(
        texts: &PolicyTexts,
        files: Vec<Policy>,
        seen: sources::Seen,
    ) -> Result<Self, LoadError> {
        let trust = SetTrust::new(&texts.trust);
        let (mut policies, mut set) = (files, BTreeSet::new());
        for text in &texts.policies {
            let broken = |why: String| LoadError::Set { name: text.name.clone(), why };
            let parsed =
                Policy::parse(&text.document, &trust).map_err(|errors| broken(errors.to_string()))?;
            set.extend(parsed.iter().map(|policy| policy.name.clone()));
            policies.extend(parsed);
        }
        let mut names = BTreeSet::new();
        for policy in &policies {
            if !names.insert(policy.name.clone()) {
                return Err(LoadError::Twice(policy.name.clone()));
            }
        }
        let revision = revision(&policies);
        let (by_repository, by_share) = (Cache::new(REPOSITORIES), Cache::new(SHARES));
        Ok(Self { revision, version: texts.version, seen, policies, set, by_repository, by_share })
    }

    /// The same with other policies.
    pub(crate) fn with(&self, policies: Vec<Policy>) -> Self {
        Self {
            revision: revision(&policies),
            version: self.version,
            seen: self.seen.clone(),
            policies,
            set: self.set.clone(),
            by_repository: Cache::new(REPOSITORIES),
            by_share: Cache::new(SHARES),
        }
    }

    /// Those of the directory.
    pub(crate) fn of_directory(&self) -> Vec<Policy> {
        self.policies.iter().filter(|policy| !self.set.contains(&policy.name)).cloned().collect()
    }

    /// The part of them that is about a repository.
    pub(crate) fn asked(&self, repository: &RepositoryName) -> Arc<Asked> {
        let share = self.by_repository.get(repository).unwrap_or_else(|| {
            let share = self.share_of(repository);
            self.by_repository.insert(repository.clone(), share.clone());
            share
        });
        if let Some(asked) = self.by_share.get(&share) {
            return asked;
        }
        let policies = share.iter().filter_map(|place| self.policies.get(usize::try_from(*place).ok()?));
        let policies: Vec<Policy> = policies.cloned().collect();
        let roots = PolicySet::new(policies.clone()).trust_roots();
        let asked = Arc::new(Asked::new(policies, roots));
        self.by_share.insert(share, asked.clone());
        asked
    }

    /// The places of the policies that are about a repository.
    fn share_of(&self, repository: &RepositoryName) -> Arc<[u32]> {
        let about = |policy: &Policy| {
            let globs = &policy.matches.repos;
            globs.is_empty() || globs.iter().any(|glob| glob.matches(repository.as_str()))
        };
        (0..).zip(&self.policies).filter(|(_, policy)| about(policy)).map(|(place, _)| place).collect()
    }
}

impl Asked {
    pub(super) fn new(policies: Vec<Policy>, mut roots: Vec<TrustRoot>) -> Self {
        roots.sort_by_key(TrustRoot::id);
        roots.dedup_by_key(|root| root.id());
        let mut named: Vec<String> = roots.iter().map(|root| root.id().to_string()).collect();
        named.push(FACTS.to_owned());
        let trust = Digest::sha256(named.join(" ").as_bytes()).to_string();
        let of_images = policies.iter().any(Policy::asks_of_images);
        let points = policies.iter().flat_map(|policy| policy.at.iter().copied()).collect();
        let (alone, together): (Vec<Policy>, Vec<Policy>) =
            policies.iter().cloned().partition(|policy| matches!(policy.on_error, OnError::LastGood(_)));
        let alone = alone.into_iter().map(|policy| PolicySet::new(vec![policy])).collect();
        Self { policies, together: PolicySet::new(together), alone, roots, trust, of_images, points }
    }

    /// With the roots of others as well, and what they ask about images of an index.
    pub(crate) fn also(&self, other: &Self) -> Self {
        let roots = self.roots.iter().chain(&other.roots).cloned().collect();
        let both = Self::new(self.policies.clone(), roots);
        Self { of_images: self.of_images || other.of_images, ..both }
    }

    /// Asks every policy.
    pub(crate) fn decide(&self, facts: &Facts, at: Point, now: DateTime<Utc>, good: &Good) -> Decision {
        let mut decision = evaluate(&self.together, facts, at, &EvaluateContext { now, last_good: None });
        for one in &self.alone {
            let Some(policy) = one.policies().first() else { continue };
            let last_good = good.get(&good_key(at, facts.image.pinned, &policy.revision)).copied();
            let last_good = last_good.and_then(DateTime::from_timestamp_millis);
            let more = evaluate(one, facts, at, &EvaluateContext { now, last_good });
            decision.outcome = decision.outcome.max(more.outcome);
            decision.holds_until = [decision.holds_until, more.holds_until].into_iter().flatten().min();
            decision.policies.extend(more.policies);
        }
        decision.policies.sort_by(|a, b| a.policy.cmp(&b.policy));
        decision
    }

    /// Remembers which policies were passed on facts that were `whole`, for the time when they cannot be asked. What was
    /// let through for another reason, by another text of the policy or at another point is no pass, and a policy that
    /// was failed since has no last good time.
    pub(crate) fn note_good(
        &self,
        decision: &Decision,
        pinned: Option<bool>,
        (whole, now): (bool, DateTime<Utc>),
        good: &mut Good,
    ) {
        for policy in self.alone.iter().flat_map(PolicySet::policies) {
            let Some(found) = decision.policies.iter().find(|it| it.revision == policy.revision) else {
                continue;
            };
            let key = good_key(decision.at, pinned, &policy.revision);
            match found.result {
                Outturn::Pass if whole => {
                    good.insert(key, now.timestamp_millis());
                }
                Outturn::Pass | Outturn::Error => {}
                Outturn::Fail => {
                    good.remove(&key);
                }
            }
        }
    }

    /// Whether any policy asks at a point.
    pub(crate) fn at(&self, point: Point) -> bool {
        self.points.contains(&point)
    }

    /// Whether any policy asks anything.
    pub(crate) fn anything(&self) -> bool {
        !self.points.is_empty()
    }
}
