//! `os-release` (os-release(5)): which distribution it is.

use serde::Serialize;

use super::Content;
use crate::finding::Complaint;
use crate::package::Ecosystem;

/// A distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OsRelease {
    /// `ID`, for example `debian`.
    pub id: String,
    /// `VERSION_ID`; rolling distributions have none.
    pub version: Option<String>,
    /// `VERSION_CODENAME`.
    pub codename: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
    /// `ID_LIKE`: distributions that it is made from.
    #[serde(skip)]
    pub(crate) like: Vec<String>,
}

/// Distributions, and whose packages theirs are.
const FAMILIES: [(&str, Ecosystem); 19] = [
    ("debian", Ecosystem::Deb),
    ("ubuntu", Ecosystem::Deb),
    ("alpine", Ecosystem::Apk),
    ("wolfi", Ecosystem::Apk),
    ("chainguard", Ecosystem::Apk),
    ("fedora", Ecosystem::Rpm),
    ("rhel", Ecosystem::Rpm),
    ("centos", Ecosystem::Rpm),
    ("rocky", Ecosystem::Rpm),
    ("almalinux", Ecosystem::Rpm),
    ("ol", Ecosystem::Rpm),
    ("amzn", Ecosystem::Rpm),
    ("suse", Ecosystem::Rpm),
    ("opensuse", Ecosystem::Rpm),
    ("sles", Ecosystem::Rpm),
    ("opensuse-leap", Ecosystem::Rpm),
    ("opensuse-tumbleweed", Ecosystem::Rpm),
    ("photon", Ecosystem::Rpm),
    ("azurelinux", Ecosystem::Rpm),
];

impl OsRelease {
    /// How long its texts are, in bytes.
    pub(super) fn text(&self) -> usize {
        let rest = [&self.version, &self.codename, &self.name];
        self.id.len() + rest.into_iter().flatten().chain(&self.like).map(String::len).sum::<usize>()
    }

    /// Whose packages its packages are, where that is known.
    pub(crate) fn family(&self) -> Option<Ecosystem> {
        let mut ids = std::iter::once(&self.id).chain(&self.like);
        ids.find_map(|id| FAMILIES.iter().find(|(known, _)| known == id)).map(|(_, family)| *family)
    }

    /// `debian-12`, or only the name where there is no version.
    pub(crate) fn distro(&self) -> Option<String> {
        if self.id.is_empty() {
            return None;
        }
        let version = self.version.as_deref().or(self.codename.as_deref());
        Some(version.map_or_else(|| self.id.clone(), |version| format!("{}-{version}", self.id)))
    }
}

pub(crate) fn read(bytes: &[u8]) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut os = OsRelease::default();
    let mut said = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        said = true;
        let value = Some(unquote(value)).filter(|value| !value.is_empty());
        match key {
            "ID" => os.id = value.unwrap_or_default(),
            "ID_LIKE" => {
                os.like = value.iter().flat_map(|ids| ids.split_whitespace()).map(str::to_owned).collect();
            }
            "VERSION_ID" => os.version = value,
            "VERSION_CODENAME" => os.codename = value,
            "PRETTY_NAME" => os.name = value,
            _ => {}
        }
    }
    if !said {
        let why = "an os-release that says nothing: which distribution it is is not known";
        return Content::default().complain(Complaint::malformed(why));
    }
    if os.id.is_empty() {
        // os-release(5): the value where none is set.
        os.id = "linux".to_owned();
    }
    Content { os: Some(Box::new(os)), ..Content::default() }
}

/// Shell quoting as far as os-release allows it.
fn unquote(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    let mut text = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    text
}
