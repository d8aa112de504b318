//! Patterns over names: the one pattern language of settings and rules.
//!
//! `*` is any run of characters that crosses no separator, `**` any run at all, `?` one character that is no
//! separator, and everything else stands for itself. There are no sets and no alternatives: a list of patterns says
//! the same, and a pattern that means less than its author thinks is the worse danger in a rule.

use std::fmt;
use std::str::FromStr;

/// Longest pattern in bytes; no repository name or tag is longer.
pub const MAX_PATTERN: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Run,
    AnyRun,
}

/// A compiled pattern over text whose parts are set apart by some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcards {
    parts: Box<[Part]>,
    separators: &'static [u8],
}

impl Wildcards {
    /// The first [`MAX_PATTERN`] bytes of `pattern` count.
    pub fn new(pattern: &str, separators: &'static [u8]) -> Self {
        let mut parts: Vec<Part> = Vec::with_capacity(pattern.len());
        for byte in pattern.bytes().take(MAX_PATTERN) {
            match (byte, parts.last_mut()) {
                (b'*', Some(last @ Part::Run)) => *last = Part::AnyRun,
                (b'*', Some(Part::AnyRun)) => {}
                (b'*', _) => parts.push(Part::Run),
                (b'?', _) => parts.push(Part::One),
                (byte, _) => parts.push(Part::Byte(byte)),
            }
        }
        Self { parts: parts.into(), separators }
    }

    /// Whether the whole of `text` matches. The set of places in the pattern that the text so far can have led to is
    /// kept, so a byte of text costs at most one step for each part of the pattern, whatever they are.
    pub fn matches(&self, text: &str) -> bool {
        let end = self.parts.len();
        let mut places = [false; MAX_PATTERN + 1];
        places[0] = true;
        self.skip_runs(&mut places);
        for &byte in text.as_bytes() {
            let separator = self.separators.contains(&byte);
            let mut next = [false; MAX_PATTERN + 1];
            for (place, part) in self.parts.iter().enumerate().filter(|(place, _)| places[*place]) {
                match part {
                    Part::Byte(expected) if *expected == byte => next[place + 1] = true,
                    Part::One if !separator => next[place + 1] = true,
                    Part::AnyRun => next[place] = true,
                    Part::Run if !separator => next[place] = true,
                    _ => {}
                }
            }
            self.skip_runs(&mut next);
            places = next;
        }
        places[end]
    }

    /// A run may be empty.
    fn skip_runs(&self, places: &mut [bool; MAX_PATTERN + 1]) {
        for (place, part) in self.parts.iter().enumerate() {
            if places[place] && matches!(part, Part::Run | Part::AnyRun) {
                places[place + 1] = true;
            }
        }
    }

    /// What stands before the first wildcard; all of it where there is none.
    pub fn fixed(&self) -> impl Iterator<Item = u8> {
        self.parts.iter().map_while(|part| match part {
            Part::Byte(byte) => Some(*byte),
            _ => None,
        })
    }

    /// Whether it has no wildcard.
    pub fn is_fixed(&self) -> bool {
        self.fixed().count() == self.parts.len()
    }
}

/// A pattern over repository names or tags; the separator is `/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    wildcards: Wildcards,
}

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
        Self::compiled("**")
    }

    fn compiled(text: &str) -> Self {
        Self { text: text.into(), wildcards: Wildcards::new(text, b"/") }
    }

    /// How every name begins that matches: what comes before the first character that stands for others, and perhaps less.
    pub fn beginning(&self) -> String {
        let text = self.to_string();
        let fixed = text.split(|c: char| !c.is_ascii_alphanumeric() && !"._-/".contains(c)).next();
        fixed.unwrap_or_default().trim_end_matches('/').to_owned()
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.wildcards.matches(name)
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
            Ok(Self::compiled(text))
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The same beginnings in order, without those that begin with another.
pub fn beginnings(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = all.into_iter().collect();
    all.sort();
    // What begins with another comes after it.
    all.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_may_be_meant_begin_so() {
        let of =
            |globs: &[&str]| beginnings(globs.iter().map(|glob| glob.parse::<Glob>().unwrap().beginning()));
        assert_eq!(of(&["team/**"]), ["team"]);
        assert_eq!(of(&["team/app"]), ["team/app"]);
        assert_eq!(of(&["team/app", "team/*", "other-*/x", "team-b/x"]), ["other-", "team"]);
        assert_eq!(of(&["**/app", "team/x"]), [""]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn globs() {
        for (pattern, yes, no) in [
            ("**", &["a", "a/b", ""][..], &[][..]),
            ("*", &["a", "abc", ""], &["a/b"]),
            ("team/*", &["team/a"], &["team", "team/a/b", "xteam/a"]),
            ("team/**", &["team/a", "team/a/b"], &["team", "teams/a"]),
            ("**/app", &["x/app", "x/y/app"], &["app", "x/apps"]),
            ("v?.*", &["v1.0", "v2."], &["v10.0", "v/.0"]),
            ("*-rc*", &["1.0-rc1", "-rc"], &["1.0"]),
            ("a*b**c*d", &["abcd", "axxb/c/cd", "abccxd"], &["a/bcd", "abc/d"]),
            ("a***b", &["ab", "a/b"], &["a", "abc"]),
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
    fn the_longest_patterns_match() {
        let long = "a".repeat(MAX_PATTERN);
        assert!(long.parse::<Glob>().unwrap().matches(&long));
        assert!(!"*a".repeat(127).parse::<Glob>().unwrap().matches(&"a".repeat(126)));
    }

    /// The definition, word for word, and as slow as that.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|n| by_definition(rest, &text[n..])),
            [b'*', rest @ ..] => (0..=text.len())
                .take_while(|n| !text[..*n].contains(&b'/'))
                .any(|n| by_definition(rest, &text[n..])),
            [b'?', rest @ ..] => text.first().is_some_and(|c| *c != b'/') && by_definition(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_as_defined(pattern in "[ab/*?]{1,8}", text in "[ab/]{0,8}") {
            let glob: Glob = pattern.parse().unwrap();
            prop_assert_eq!(glob.matches(&text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
