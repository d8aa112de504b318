//! Which tags never move once they point at something.
//!
//! Rules are data here; where they come from is the caller's business. They are asked inside the transaction that
//! would change a tag, so that two replicas cannot both be first ([`crate::metadata`]).

use std::fmt;
use std::str::FromStr;

use rreg_oci::{RepositoryName, Tag};

/// Longest pattern, in bytes: no name that it could match is longer.
const MAX_PATTERN: usize = 255;

/// A pattern over names: `*` is any run of characters without `/`, `**` any run at all, `?` one character that is
/// not `/`; everything else means itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// Why a text is no [`Glob`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing matches it.
    #[error("the pattern is empty")]
    Empty,
    /// Longer than any name.
    #[error("the pattern has more than {MAX_PATTERN} characters")]
    TooLong,
    /// A character that neither names nor patterns have: the pattern would never match, silently.
    #[error(
        "{0:?} stands in no repository name and no tag; a pattern has letters, digits, . _ - / and * ** ?"
    )]
    Character(char),
}

impl Glob {
    /// The pattern for everything.
    pub fn all() -> Self {
        Self("**".into())
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

/// Where to go on when the present way fails: in the pattern after the star, in the name at the next start.
type Resume = Option<(usize, usize)>;

/// Goes back to the last star only, and to the last double star when that fails: at most quadratic for each of them,
/// whatever the pattern (names have at most 255 bytes).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Resume = None;
    let mut double: Resume = None;
    loop {
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(b'*'), _) if pattern.get(p + 1) == Some(&b'*') => {
                p += 2;
                (double, star) = (Some((p, n)), None);
                continue;
            }
            (Some(b'*'), _) => {
                p += 1;
                star = Some((p, n));
                continue;
            }
            (Some(b'?'), Some(c)) if *c != b'/' => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            (Some(a), Some(b)) if a == b && *a != b'?' => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            _ => {}
        }
        // A single star takes one more character, unless that is a slash.
        if let Some((after, start)) = star
            && name.get(start).is_some_and(|c| *c != b'/')
        {
            star = Some((after, start + 1));
            (p, n) = (after, start + 1);
        } else if let Some((after, start)) = double
            && start < name.len()
        {
            (double, star) = (Some((after, start + 1)), None);
            (p, n) = (after, start + 1);
        } else {
            return false;
        }
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let known = |c: &char| c.is_ascii_alphanumeric() || "._-/*?".contains(*c);
        if text.is_empty() {
            Err(GlobError::Empty)
        } else if text.len() > MAX_PATTERN {
            Err(GlobError::TooLong)
        } else if let Some(c) = text.chars().find(|c| !known(c)) {
            Err(GlobError::Character(c))
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

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

    /// The rule that makes `tag` immutable in `repository`.
    pub fn immutable(&self, repository: &RepositoryName, tag: &Tag) -> Option<&TagRule> {
        self.0.iter().find(|rule| rule.covers(repository, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, yes, no) in [
            ("**", &["a", "a/b", ""][..], &[][..]),
            ("*", &["a", "abc"], &["a/b"]),
            ("team/*", &["team/a"], &["team", "team/a/b", "xteam/a"]),
            ("team/**", &["team/a", "team/a/b"], &["team", "teams/a"]),
            ("**/app", &["x/app", "x/y/app"], &["app", "x/apps"]),
            ("v?.*", &["v1.0", "v2."], &["v10.0", "v/.0"]),
            ("*-rc*", &["1.0-rc1", "-rc"], &["1.0"]),
            ("a*b**c*d", &["abcd", "axxb/c/cd", "abccxd"], &["a/bcd", "abc/d"]),
            ("1.0", &["1.0"], &["1x0", "1.0.0"]),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            for name in yes {
                assert!(glob.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!glob.matches(name), "{pattern} {name}");
            }
        }
        for bad in ["", "a b", "é", "[ab]", "{a,b}", &"a".repeat(256)] {
            assert!(bad.parse::<Glob>().is_err(), "{bad}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let glob: Glob = "*a**a*".repeat(42).parse().unwrap();
        assert!(!glob.matches(&"b/".repeat(127)));
        assert!(!glob.matches(&"a".repeat(41)));
    }

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
