//! Which policies hold: those of the directory and those set through the API, as of the last look.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use quick_cache::sync::Cache;
use rreg_oci::{Digest, RepositoryName};
use rreg_policy::{Point, Policy, PolicySet, TrustRoot};
use rreg_storage::{PolicyTexts, Storage, StorageError};

use super::sources::{self, SetTrust};

/// Repositories whose share of the policies is remembered.
const REPOSITORIES: usize = 10_000;

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
    pub(crate) policies: PolicySet,
    /// Under which their evidence is verified.
    pub(crate) roots: Vec<TrustRoot>,
    /// Digest of the roots.
    pub(crate) trust: String,
    points: BTreeSet<Point>,
}

/// All policies that hold.
pub(crate) struct Active {
    /// Digest of all of them.
    pub(crate) revision: String,
    /// [`PolicyTexts::version`].
    pub(crate) version: i64,
    /// What the directory looked like.
    pub(crate) seen: sources::Seen,
    pub(crate) policies: Vec<Policy>,
    /// Names of those that were set through the API.
    set: BTreeSet<String>,
    by_repository: Cache<RepositoryName, Arc<Asked>>,
}

impl Active {
    /// Reads them all.
    pub(crate) async fn load(storage: &Storage, directory: Option<&Path>) -> Result<Self, LoadError> {
        let texts = storage.metadata().policy_texts().await?;
        let (seen, files) = match directory {
            // Before the files are read: a change meanwhile is seen the next time.
            Some(directory) => (sources::Seen::now(directory), sources::load_directory(directory)?),
            None => (sources::Seen::default(), Vec::new()),
        };
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
        let by_repository = Cache::new(REPOSITORIES);
        let revision = PolicySet::new(policies.clone()).revision().to_string();
        Ok(Self { revision, version: texts.version, seen, policies, set, by_repository })
    }

    /// The same with other policies.
    pub(crate) fn with(&self, policies: Vec<Policy>) -> Self {
        Self {
            revision: PolicySet::new(policies.clone()).revision().to_string(),
            version: self.version,
            seen: self.seen.clone(),
            policies,
            set: self.set.clone(),
            by_repository: Cache::new(REPOSITORIES),
        }
    }

    /// Those of the directory.
    pub(crate) fn from_files(&self) -> Vec<Policy> {
        self.policies.iter().filter(|policy| !self.set.contains(&policy.name)).cloned().collect()
    }

    /// The part of them that is about a repository.
    pub(crate) fn asked(&self, repository: &RepositoryName) -> Arc<Asked> {
        if let Some(asked) = self.by_repository.get(repository) {
            return asked;
        }
        let about = |policy: &&Policy| {
            let globs = &policy.matches.repos;
            globs.is_empty() || globs.iter().any(|glob| glob.matches(repository.as_str()))
        };
        let policies: Vec<Policy> = self.policies.iter().filter(about).cloned().collect();
        let points = policies.iter().flat_map(|policy| policy.at.iter().copied()).collect();
        let policies = PolicySet::new(policies);
        let roots = policies.trust_roots();
        let asked = Arc::new(Asked::new(policies, roots, points));
        self.by_repository.insert(repository.clone(), asked.clone());
        asked
    }
}

impl Asked {
    fn new(policies: PolicySet, mut roots: Vec<TrustRoot>, points: BTreeSet<Point>) -> Self {
        roots.sort_by_key(TrustRoot::id);
        roots.dedup_by_key(|root| root.id());
        let ids: Vec<String> = roots.iter().map(|root| root.id().to_string()).collect();
        let trust = Digest::sha256(ids.join(" ").as_bytes()).to_string();
        Self { policies, roots, trust, points }
    }

    /// With the roots of others as well.
    pub(crate) fn also(&self, other: &Self) -> Self {
        let roots = self.roots.iter().chain(&other.roots).cloned().collect();
        Self::new(self.policies.clone(), roots, self.points.clone())
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
