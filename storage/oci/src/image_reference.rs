//! `host[:port]/repository[:tag][@digest]`, as people write images on a command line.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::name::{NameError, Reference, RepositoryName, Tag};

/// Why a text is no image reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageReferenceError {
    /// No registry host in front.
    #[error(
        "{0:?} names no registry; write host[:port]/repository[:tag][@digest], for example 127.0.0.1:5000/team/app:1.0"
    )]
    NoHost(String),
    /// The host has characters that no host has.
    #[error("{0:?} is not a registry host")]
    Host(String),
    /// The rest does not parse.
    #[error("{text:?}: {source}")]
    Name {
        /// The part at fault.
        text: String,
        /// Why.
        source: NameError,
    },
}

/// An image on some registry. Without tag and digest it means the tag `latest`, or the whole repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// `host[:port]`, lower-cased by nobody: kept as written.
    pub host: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The tag, if written.
    pub tag: Option<Tag>,
    /// The digest, if written; it wins over the tag.
    pub digest: Option<Digest>,
}

impl ImageReference {
    /// What to ask the registry for: the digest, or the tag, or `latest`.
    pub fn reference(&self) -> Reference {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Reference::Digest(*digest),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => Reference::Tag(Tag::latest()),
        }
    }

    /// Docker's rule: the first component is a host if it has a dot or a colon or is `localhost`.
    fn is_host(first: &str) -> bool {
        first.contains(['.', ':']) || first == "localhost"
    }

    fn check_host(host: &str) -> Result<(), ImageReferenceError> {
        let bad = || ImageReferenceError::Host(host.to_owned());
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or_else(bad)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                (None, port.strip_prefix(':'))
            }
            None => host.split_once(':').map_or((Some(host), None), |(name, port)| (Some(name), Some(port))),
        };
        let name_ok = name.is_none_or(|n| {
            !n.is_empty() && n.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
        });
        let port_ok = port.is_none_or(|p| p.bytes().all(|c| c.is_ascii_digit()) && p.parse::<u16>().is_ok());
        if name_ok && port_ok { Ok(()) } else { Err(bad()) }
    }
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(s: &str) -> Result<Self, ImageReferenceError> {
        let named = |text: &str, source| ImageReferenceError::Name { text: text.to_owned(), source };
        let (host, rest) = s
            .split_once('/')
            .filter(|(host, _)| Self::is_host(host))
            .ok_or_else(|| ImageReferenceError::NoHost(s.to_owned()))?;
        Self::check_host(host)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(|e| named(digest, e.into()))?))
            }
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse::<Tag>().map_err(|e| named(tag, e))?)),
            None => (rest, None),
        };
        let repository = repository.parse().map_err(|e| named(repository, e))?;
        Ok(Self { host: host.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trips() {
        let digest = Digest::sha256(b"x");
        for good in [
            "127.0.0.1:5000/team/app:1.0".to_owned(),
            "localhost/app".to_owned(),
            "[::1]:5000/a/b".to_owned(),
            format!("registry.example.org/a/b:t@{digest}"),
        ] {
            assert_eq!(good.parse::<ImageReference>().unwrap().to_string(), good);
        }
        let by_digest: ImageReference = format!("h.x/a:t@{digest}").parse().unwrap();
        assert_eq!(by_digest.reference(), Reference::Digest(digest));
        assert_eq!("h.x/a".parse::<ImageReference>().unwrap().reference().to_string(), "latest");
    }

    #[test]
    fn refusals() {
        for bad in [
            "",
            "app",
            "team/app",
            "h.x/",
            "h.x/A",
            "h.x/a:",
            "h.x/a@sha256:0",
            "h.x:x/a",
            "[::g]:1/a",
            "h y.x/a",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn refused_or_read_back(text in "[a-z0-9.\\[\\]:-]{1,12}/[a-z0-9/._-]{1,12}(:[A-Za-z0-9._-]{0,6})?(@sha256:[0-9a-f]{64})?|\\PC{0,60}") {
            if let Ok(image) = text.parse::<ImageReference>() {
                prop_assert_eq!(image.to_string(), text);
            }
        }
    }
}
