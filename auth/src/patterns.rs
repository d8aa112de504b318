//! Patterns of repository names.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use rreg_oci::RepositoryName;

/// Patterns of repository names: `*` stays within one part of a name, `**` crosses slashes.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// Compiles `texts`.
    ///
    /// # Errors
    /// The pattern that is none, and why.
    pub fn new(texts: &[String]) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for text in texts {
            let glob: Result<Glob, _> = GlobBuilder::new(text).literal_separator(true).build();
            set.add(glob.map_err(|e| format!("{text:?} is no pattern: {}", e.kind()))?);
        }
        let set = set.build().map_err(|e| format!("too many or too large patterns: {}", e.kind()))?;
        Ok(Self { texts: texts.to_vec(), set })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The patterns as they were written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Place of the first pattern that matches.
    pub(crate) fn matching(&self, repository: &RepositoryName) -> Option<usize> {
        if self.texts.is_empty() { None } else { self.set.matches(repository.as_str()).into_iter().min() }
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Patterns {}
