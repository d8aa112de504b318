//! The result: what is in an image, in one order for one content.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::catalog::Catalog;
use crate::catalog::license_file;
use crate::catalog::os_release::OsRelease;
use crate::files::Seen;
use crate::finding::{Complaint, Finding, FindingKind};
use crate::output::is_spdx;
use crate::package::{Ecosystem, Location, Package};
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

impl Subject {
    /// An image by its manifest's digest and its configuration, as much as that says.
    pub fn image(name: String, digest: String, config: &[u8]) -> Self {
        let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
        let text = |key: &str| {
            config.get(key).and_then(|v| v.as_str()).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let parts: Vec<String> =
            ["os", "architecture", "variant"].iter().filter_map(|key| text(key)).collect();
        Self {
            name,
            digest: Some(digest),
            platform: Some(parts.join("/")).filter(|platform| platform.contains('/')),
            created: text("created"),
        }
    }
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
        let (names, broken) = self.files.linked();
        self.apply_logs(&names);
        broken.into_iter().for_each(|(path, complaint)| self.complain(Some(&path), complaint));
        let os = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| {
            let real = self.files.resolve(path)?;
            self.files.get(&real)?.content.os.as_deref().cloned()
        });
        self.tell_of_linked(&names);
        let licenses = Written { copyrights: self.copyrights(), files: self.license_files() };
        let (packages, owned_by_distro) = self.packages(&names, &licenses, os.as_ref());
        let distro = packages.iter().any(|package| package.ecosystem.is_distro());
        let family = os.as_ref().and_then(OsRelease::family);
        // Some other tool's few packages do not stand for those of the distribution.
        let own = family.map_or(distro, |family| packages.iter().any(|package| package.ecosystem == family));
        if let Some(os) = os.as_ref().filter(|_| !own) {
            let why =
                format!("an image of {}, and no database of its packages: those are not in the list", os.id);
            self.complain(None, Complaint::new(FindingKind::NoPackages, why));
        }
        if os.is_none() && distro {
            let why = "no os-release: distribution packages have no namespace in their URLs";
            self.complain(None, Complaint::new(FindingKind::Unsupported, why));
        }
        let (findings, findings_left_out) = (self.findings, self.findings_left_out);
        Sbom { subject, os, packages, owned_by_distro, findings, findings_left_out }
    }

    /// Each package once, ordered by its URL, and how many were left to a distribution's package that owns their files.
    fn packages(
        &mut self,
        names: &BTreeMap<String, String>,
        licenses: &Written,
        os: Option<&OsRelease>,
    ) -> (Vec<Package>, usize) {
        let listed = |path: &str, seen: &Seen| seen.counts || names.contains_key(path);
        let counting = self.files.iter().filter(|(path, seen)| listed(path, seen));
        let mut owned: Vec<u64> = counting.flat_map(|(_, seen)| seen.content.owned.iter().copied()).collect();
        owned.sort_unstable();
        let is_owned = |path: &String| owned.binary_search(&crate::owned::hash(path)).is_ok();
        let (mut packages, mut owned_by_distro) = (Vec::new(), 0);
        for (path, seen) in std::mem::take(&mut self.files).into_iter() {
            if !listed(&path, &seen) {
                continue;
            }
            let name = names.get(&path);
            let installed = is_owned(&path) || name.is_some_and(is_owned);
            let content = match name {
                None => seen.content,
                Some(name) => seen.content.renamed(name),
            };
            // Another name may make more packages of it; those came with the file.
            let since = seen.since.into_iter().chain(std::iter::repeat(seen.layer));
            let file = path.clone();
            for (found, since) in content.packages.into_iter().zip(since) {
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
                if name.is_some() {
                    package.in_spdx_words();
                }
                let file = name.unwrap_or(&file);
                licenses.add_to(&mut package, file);
                package.purl = purl::of(&package, os);
                package.locations = vec![Location { path, layer: self.layers.get(since).cloned().flatten() }];
                packages.push(package);
            }
        }
        (each_once(packages), owned_by_distro)
    }

    /// The licences in Debian's `copyright` files, by the package: its directory may be a link to another's.
    fn copyrights(&self) -> HashMap<String, Vec<String>> {
        let packages = self.files.iter().flat_map(|(_, seen)| &seen.content.packages);
        let names = packages
            .filter(|found| found.package.ecosystem == Ecosystem::Deb)
            .map(|found| &found.package.name);
        let licenses = |name: &String| {
            let real = self.files.resolve(&format!("usr/share/doc/{name}/copyright"))?;
            Some((name.clone(), self.files.get(&real)?.content.licenses.clone()))
        };
        names.filter_map(licenses).collect()
    }

    /// The licences in files beside packages' metadata, by the directory of that.
    fn license_files(&self) -> HashMap<String, Vec<String>> {
        let mut found = HashMap::<String, Vec<String>>::new();
        for (path, seen) in self.files.iter().filter(|(_, seen)| seen.kind == Some(Catalog::License)) {
            if let Some(owner) = license_file::owner(path) {
                found.entry(owner.to_owned()).or_default().extend(seen.content.licenses.iter().cloned());
            }
        }
        found
    }

    /// Databases say what their logs say.
    fn apply_logs(&mut self, names: &BTreeMap<String, String>) {
        for logged in self.files.with_logs(names, &self.limits) {
            match logged.content {
                Err(complaint) => self.complain(Some(&logged.log), complaint),
                Ok(mut content) => {
                    // What was wrong with the file alone is not with what one sees who opens it.
                    self.findings.retain(|finding| finding.path.as_deref() != Some(&logged.database));
                    content.raw = None;
                    let (kind, layer) = (Some(Catalog::Rpm), logged.layer);
                    for complaint in self.files.keep(&logged.database, layer, kind, content, &self.limits) {
                        self.complain(Some(&logged.database), complaint);
                    }
                }
            }
        }
    }

    /// What is wrong with files that count because of a link.
    fn tell_of_linked(&mut self, names: &BTreeMap<String, String>) {
        for (real, name) in names {
            let complaints = self.files.get(real).map(|seen| seen.content.complaints.clone());
            complaints.into_iter().flatten().for_each(|complaint| self.complain(Some(name), complaint));
        }
    }
}

/// Licences that are not in packages' own metadata.
struct Written {
    /// Of Debian's, by the name of the package.
    copyrights: HashMap<String, Vec<String>>,
    /// By the directory of the metadata.
    files: HashMap<String, Vec<String>>,
}

impl Written {
    /// What a package does not say itself, or only in words that nobody knows.
    fn add_to(&self, package: &mut Package, file: &str) {
        if package.licenses.iter().any(|license| is_spdx(license)) {
            return;
        }
        let more = match package.ecosystem {
            Ecosystem::Deb if package.licenses.is_empty() => self.copyrights.get(&package.name),
            Ecosystem::Npm | Ecosystem::Pypi => {
                file.rsplit_once('/').and_then(|(directory, _)| self.files.get(directory))
            }
            _ => None,
        };
        package.licenses.extend(more.into_iter().flatten().cloned());
        package.in_spdx_words();
    }
}

/// Of packages with one URL the first, with the places of all.
fn each_once(mut packages: Vec<Package>) -> Vec<Package> {
    packages.sort_by(|a, b| a.purl.cmp(&b.purl));
    packages.dedup_by(|next, first| {
        let same = next.purl == first.purl;
        if same {
            first.locations.append(&mut next.locations);
        }
        same
    });
    for package in &mut packages {
        package.locations.sort();
        package.locations.dedup();
    }
    packages
}
