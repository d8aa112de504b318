//! The result: what is in an image, in one order for one content.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::catalog::os_release::OsRelease;
use crate::finding::{Complaint, Finding, FindingKind};
use crate::package::{Location, Package};
use crate::purl;
use crate::scan::Scanner;

/// What a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// What a person calls it: an image reference or a path.
    pub name: String,
    /// The image manifest's digest; a directory tree has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `os/architecture[/variant]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When the image was made, as its configuration says (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// What is in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sbom {
    /// What it is about.
    pub subject: Subject,
    /// The distribution, where it says which.
    pub os: Option<OsRelease>,
    /// Each package once, ordered by its URL.
    pub packages: Vec<Package>,
    /// Packages of languages that a distribution's package installed and that are therefore not listed again.
    pub owned_by_distro: usize,
    /// What could not be read.
    pub findings: Vec<Finding>,
    /// How many findings more there are.
    pub findings_left_out: usize,
}

impl Sbom {
    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Scanner {
    /// What was found, in layers as they were given.
    pub fn finish(mut self, subject: Subject) -> Sbom {
        let os = ["etc/os-release", "usr/lib/os-release"]
            .iter()
            .find_map(|path| self.files.get(*path)?.content.os.clone());
        let owned: HashSet<u64> =
            self.files.values().flat_map(|seen| seen.content.owned.iter().copied()).collect();
        let mut packages: BTreeMap<String, Package> = BTreeMap::new();
        let mut owned_by_distro = 0;
        for (path, seen) in std::mem::take(&mut self.files) {
            let installed = owned.contains(&crate::owned::hash(&path));
            for (found, since) in seen.content.packages.into_iter().zip(seen.since) {
                let mut package = found.package;
                let own = package.ecosystem.is_distro() || package.ecosystem.is_embedded();
                if installed && !own {
                    owned_by_distro += 1;
                    continue;
                }
                let path = match found.inside.as_str() {
                    "" => path.clone(),
                    inside => format!("{path}!/{inside}"),
                };
                let location = Location { path, layer: self.layers.get(since).cloned().flatten() };
                package.purl = purl::of(&package, os.as_ref());
                let known = packages.entry(package.purl.clone()).or_insert(package);
                known.locations.push(location);
            }
        }
        let mut packages: Vec<Package> = packages.into_values().collect();
        for package in &mut packages {
            package.locations.sort();
            package.locations.dedup();
        }
        if os.is_none() && packages.iter().any(|package| package.ecosystem.is_distro()) {
            let why = "no os-release: distribution packages have no namespace in their URLs";
            self.complain(None, Complaint::new(FindingKind::Unsupported, why));
        }
        let (findings, findings_left_out) = (self.findings, self.findings_left_out);
        Sbom { subject, os, packages, owned_by_distro, findings, findings_left_out }
    }
}
