//! One package, as its database or metadata describes it.

use std::collections::HashSet;

use serde::Serialize;

/// Whose package it is. The names are those of package URL types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// dpkg.
    Deb,
    /// Alpine's apk.
    Apk,
    /// rpm.
    Rpm,
    /// npm, and what installs like it.
    Npm,
    /// Python distributions.
    Pypi,
    /// Go modules, read from binaries.
    Golang,
    /// Rust crates, read from binaries built with cargo-auditable.
    Cargo,
    /// Java archives.
    Maven,
}

impl Ecosystem {
    /// The type in a package URL.
    pub fn purl_type(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Golang => "golang",
            Self::Cargo => "cargo",
            Self::Maven => "maven",
        }
    }

    /// Whether a distribution's package manager installs it.
    pub fn is_distro(self) -> bool {
        matches!(self, Self::Deb | Self::Apk | Self::Rpm)
    }

    /// Whether it is linked into a binary rather than a file of its own. Such a package is listed even where a
    /// distribution's package owns the binary, as that one does not stand for it.
    pub(crate) fn is_embedded(self) -> bool {
        matches!(self, Self::Golang | Self::Cargo)
    }
}

/// Most licences of one package.
const MAX_LICENSES: usize = 1000;

/// The source package that a distribution built a package from. Advisories speak of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Source {
    /// Its name, of an rpm the whole file name.
    pub name: String,
    /// Its version where it is not the package's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Where a package was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// Path in the image, without a leading slash; `!/` leads into an archive.
    pub path: String,
    /// Digest of the layer that brought it; none in a directory tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Whose.
    #[serde(rename = "type")]
    pub ecosystem: Ecosystem,
    /// Maven's group, npm's scope without its `@`; distributions' namespace is their `ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version; some binaries do not know theirs.
    pub version: Option<String>,
    /// For which architecture, in the words of the package manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// rpm's epoch, which its version does not contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Licences as declared, unchecked, in SPDX's words where it is clear which is meant; all of them count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
    /// Who made it, as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Package URL.
    pub purl: String,
    /// Where it was found, in order, never empty.
    pub locations: Vec<Location>,
}

impl Package {
    /// A package that has yet to learn where it is; its URL comes with the image's distribution.
    pub(crate) fn new(ecosystem: Ecosystem, name: impl Into<String>, version: Option<String>) -> Self {
        Self {
            ecosystem,
            namespace: None,
            name: name.into(),
            version: version.filter(|v| !v.is_empty()),
            architecture: None,
            epoch: None,
            source: None,
            licenses: Vec::new(),
            supplier: None,
            purl: String::new(),
            locations: Vec::new(),
        }
    }

    /// How long its texts are, in bytes.
    pub(crate) fn text(&self) -> usize {
        let source = self.source.as_ref();
        let source =
            source.map_or(0, |source| source.name.len() + source.version.as_ref().map_or(0, String::len));
        let rest = [&self.namespace, &self.version, &self.architecture, &self.supplier];
        let rest = rest.into_iter().flatten().chain(&self.licenses).map(String::len);
        self.name.len() + source + rest.sum::<usize>()
    }

    /// Its licences in SPDX's words, each once. Says whether some were left out.
    pub(crate) fn in_spdx_words(&mut self) -> bool {
        let written = std::mem::take(&mut self.licenses);
        let mut known = HashSet::new();
        for license in written.iter().take(MAX_LICENSES).map(|license| crate::license::normal(license)) {
            if !license.is_empty() && known.insert(license.clone()) {
                self.licenses.push(license);
            }
        }
        written.len() > MAX_LICENSES
    }
}
