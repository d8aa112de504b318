//! Registries and images as people name them on a command line: `[http[s]://]host[:port][/repository[:tag][@digest]]`.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use rreg_oci::ImageReference;

/// The schemes that decide how a registry is spoken to.
const SCHEMES: [&str; 2] = ["https://", "http://"];

/// A registry. Without a scheme the client decides: http for this machine, https for all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host {
    /// One of [`SCHEMES`], or nothing.
    scheme: &'static str,
    name: String,
}

impl Host {
    /// As the client takes it.
    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.scheme, self.name)
    }

    /// `host[:port]`, under which credentials are kept and policies know it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The host and what follows its first slash.
    pub(crate) fn split(text: &str) -> Result<(Self, Option<&str>), String> {
        let (scheme, rest) = scheme_of(text)?;
        let (name, path) = match rest.split_once('/') {
            Some((name, path)) => (name, Some(path)),
            None => (rest, None),
        };
        Ok((Self { scheme, name: name.to_owned() }, path))
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Self::split(text.trim_end_matches('/'))? {
            (host, None) => Ok(host),
            (host, Some(_)) => {
                Err(format!("{text:?} is no registry; name the registry alone: {}", host.url()))
            }
        }
    }
}

/// Without the scheme.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An image of a registry; all of it but the scheme is an [`ImageReference`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageName {
    pub(crate) host: Host,
    reference: ImageReference,
}

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = scheme_of(text)?;
        // After a scheme comes a host, also one without a dot.
        let reference = match (rest.parse::<ImageReference>(), rest.split_once('/')) {
            (Err(rreg_oci::ImageReferenceError::NoHost(_)), Some((host, path)))
                if !scheme.is_empty() && !host.is_empty() =>
            {
                let dotted = format!("{host}.:1/{path}").parse::<ImageReference>();
                dotted.map(|found| ImageReference { host: host.to_owned(), ..found })
            }
            (parsed, _) => parsed,
        };
        let reference = reference.map_err(|error| error.to_string())?;
        Ok(Self { host: Host { scheme, name: reference.host.clone() }, reference })
    }
}

impl Deref for ImageName {
    type Target = ImageReference;

    fn deref(&self) -> &ImageReference {
        &self.reference
    }
}

/// Without the scheme.
impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

fn scheme_of(text: &str) -> Result<(&'static str, &str), String> {
    for scheme in SCHEMES {
        if let Some(start) = text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)) {
            return Ok((scheme, &text[start.len()..]));
        }
    }
    match text.split_once("://") {
        Some((other, rest)) => {
            Err(format!("{other}:// is no scheme of registries; write {rest}, or https://{rest}"))
        }
        None => Ok(("", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_understood_before_any_host() {
        for (text, url, shown) in [
            ("h.x", "h.x", "h.x"),
            ("h.x/", "h.x", "h.x"),
            ("https://127.0.0.1:5000/", "https://127.0.0.1:5000", "127.0.0.1:5000"),
            ("HTTP://registry", "http://registry", "registry"),
            ("http://[::1]:5000", "http://[::1]:5000", "[::1]:5000"),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!((host.url().as_str(), host.to_string().as_str()), (url, shown), "{text}");
        }
        for (text, url, shown) in [
            ("h.x/a:1", "h.x", "h.x/a:1"),
            ("https://127.0.0.1:5000/team/app:1", "https://127.0.0.1:5000", "127.0.0.1:5000/team/app:1"),
            ("http://registry/team/app", "http://registry", "registry/team/app"),
        ] {
            let image: ImageName = text.parse().unwrap();
            assert_eq!((image.host.url().as_str(), image.to_string().as_str()), (url, shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_registry_is_said() {
        for text in ["docker://h.x/a", "oci://h.x/a", "https:///a", "http://", "https://h.x", "team/app"] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
        assert!("h.x/a".parse::<Host>().unwrap_err().contains("name the registry alone: h.x"));
        assert!("docker://h.x".parse::<Host>().unwrap_err().contains("write h.x, or https://h.x"));
    }
}
