//! Which tags never move once they point at something.
//!
//! Rules are data here; where they come from is the caller's business. They are asked inside the transaction that
//! would change a tag, so that two replicas cannot both be first ([`crate::metadata`]).

use rreg_oci::{Glob, RepositoryName, Tag};

/// Tags that are immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRule {
    /// What refusals call it.
    pub name: String,
    /// In which repositories.
    pub repositories: Vec<Glob>,
    /// Which tags.
    pub tags: Vec<Glob>,
    /// But not these.
    pub except: Vec<Glob>,
}

impl TagRule {
    fn covers(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        let any = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
        any(&self.repositories, repository.as_str())
            && any(&self.tags, tag.as_str())
            && !any(&self.except, tag.as_str())
    }
}

/// All rules. An exception of one does not lift another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRules(Vec<TagRule>);

impl TagRules {
    /// From a list; the first that covers a tag is the one that refusals name.
    pub fn new(rules: Vec<TagRule>) -> Self {
        Self(rules)
    }

    /// With more rules, asked after these.
    #[must_use]
    pub fn followed_by(mut self, rules: Vec<TagRule>) -> Self {
        self.0.extend(rules);
        self
    }

    /// Each of them.
    pub fn all(&self) -> &[TagRule] {
        &self.0
    }

    /// The rule that makes `tag` immutable in `repository`.
    pub fn immutable(&self, repository: &RepositoryName, tag: &Tag) -> Option<&TagRule> {
        self.0.iter().find(|rule| rule.covers(repository, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_of_their_own_rule() {
        let glob = |text: &str| vec![text.parse::<Glob>().unwrap()];
        let rule = |name: &str, tags, except| TagRule {
            name: name.into(),
            repositories: glob("team/**"),
            tags: glob(tags),
            except,
        };
        let rules =
            TagRules::new(vec![rule("releases", "v*", glob("v*-rc*")), rule("two", "v2*", Vec::new())]);
        let named = |repository: &str, tag: &str| {
            rules.immutable(&repository.parse().unwrap(), &tag.parse().unwrap()).map(|r| r.name.clone())
        };
        assert_eq!(named("team/app", "v1.0").as_deref(), Some("releases"));
        assert_eq!(named("team/app", "v1.0-rc1"), None);
        assert_eq!(named("team/app", "v2.0-rc1").as_deref(), Some("two"));
        assert_eq!(named("other/app", "v1.0"), None);
    }
}
