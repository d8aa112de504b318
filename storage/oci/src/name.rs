//! Repository names, tags, and references (a tag or a digest).

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};

/// Why a text is not a name, tag or reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` separated by slashes.
    #[error(
        "a repository name is lower-case letters and digits, separated inside a component by one of . _ __ or \
         dashes, components separated by /"
    )]
    Repository,
    /// Longer than [`RepositoryName::MAX_LEN`].
    #[error("a repository name has at most 255 characters")]
    RepositoryLength,
    /// Not `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    #[error("a tag is 1 to 128 of letters, digits, _ . and -, not beginning with . or -")]
    Tag,
    /// Looks like a digest and is not one.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// A repository name that matches the specification's grammar.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);

impl RepositoryName {
    /// The longest name accepted, in bytes. Many clients count host and name against 255 together.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One path component: runs of `[a-z0-9]` with a separator `.`, `_`, `__` or `-+` between two runs.
    fn is_component(component: &str) -> bool {
        let mut rest = component.as_bytes();
        loop {
            let run = rest.iter().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).count();
            if run == 0 {
                return false;
            }
            rest = &rest[run..];
            let separator = match rest {
                [] => return true,
                [b'_', b'_', ..] => 2,
                [b'.' | b'_', ..] => 1,
                [b'-', ..] => rest.iter().take_while(|c| **c == b'-').count(),
                _ => return false,
            };
            rest = &rest[separator..];
        }
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        if s.len() > Self::MAX_LEN {
            return Err(NameError::RepositoryLength);
        }
        if s.split('/').all(Self::is_component) { Ok(Self(s.into())) } else { Err(NameError::Repository) }
    }
}

/// A tag that matches the specification's grammar.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The tag that is meant when none is written.
    pub fn latest() -> Self {
        Self("latest".into())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        match s.as_bytes() {
            [first, rest @ ..]
                if s.len() <= Self::MAX_LEN
                    && word(*first)
                    && rest.iter().all(|c| word(*c) || *c == b'.' || *c == b'-') =>
            {
                Ok(Self(s.into()))
            }
            _ => Err(NameError::Tag),
        }
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl Reference {
    /// The digest, if this is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) => Some(digest),
            Self::Tag(_) => None,
        }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    /// A colon cannot be in a tag, so a text with one is a digest or an error about digests.
    fn from_str(s: &str) -> Result<Self, NameError> {
        if s.contains(':') { Ok(Self::Digest(s.parse()?)) } else { Ok(Self::Tag(s.parse()?)) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
text_type!(RepositoryName);
text_type!(Tag);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names() {
        for good in ["a", "a/b", "a.b_c__d-e---f/0", "library/ubuntu", "x0/y1/z2/a/b/c/d/e/f/g"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a..b",
            "a._b",
            "a___b",
            "-a",
            "a-",
            "a_",
            "ä",
            "a b",
            "a/../b",
            ".",
            "..",
            "a\0b",
            "a%2fb",
            "a:b",
            long.as_str(),
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_and_references() {
        for good in ["latest", "_", "1.0", "A-b.c_D", &"x".repeat(128)] {
            assert!(matches!(good.parse::<Reference>(), Ok(Reference::Tag(_))), "{good}");
        }
        for bad in ["", ".a", "-a", "a b", "a/b", "é", &"x".repeat(129)] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        let digest = Digest::sha256(b"x").to_string();
        assert!(matches!(digest.parse::<Reference>(), Ok(Reference::Digest(_))));
        assert!(matches!("sha256:short".parse::<Reference>(), Err(NameError::Digest(_))));
    }

    proptest! {
        #[test]
        fn names_are_refused_or_read_back(text in "[a-zA-Z0-9._/:@-]{0,30}|sha(256|512):[0-9a-f]{60,130}|\\PC{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert_eq!(name.as_str(), &text);
            }
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
