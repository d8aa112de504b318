//! `os-release` (os-release(5)): which distribution it is.

use serde::Serialize;

use super::Content;

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
}

impl OsRelease {
    /// How long its texts are, in bytes.
    pub(super) fn text(&self) -> usize {
        let rest = [&self.version, &self.codename, &self.name];
        self.id.len() + rest.into_iter().flatten().map(String::len).sum::<usize>()
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
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = Some(unquote(value)).filter(|value| !value.is_empty());
        match key {
            "ID" => os.id = value.unwrap_or_default(),
            "VERSION_ID" => os.version = value,
            "VERSION_CODENAME" => os.codename = value,
            "PRETTY_NAME" => os.name = value,
            _ => {}
        }
    }
    Content { os: Some(os).filter(|os| !os.id.is_empty()).map(Box::new), ..Content::default() }
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
