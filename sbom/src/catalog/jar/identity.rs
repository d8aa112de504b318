//! Which packages an archive is: its own, and those whose Maven files it carries.

use std::collections::BTreeMap;

use super::groups;
use super::manifest::{Manifest, is_name};
use super::pom::Pom;
use crate::output::is_spdx;
use crate::package::{Ecosystem, Package};

/// Ends of a version in a file's name that are no part of it: what Maven calls classifiers.
const CLASSIFIERS: [&str; 14] = [
    "all", "android", "exec", "javadoc", "jakarta", "jdk", "linux", "natives", "no_aop", "osx", "shaded",
    "sources", "tests", "windows",
];

/// What an archive says about itself, whatever its file is called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(super) manifest: Manifest,
    /// By their directory.
    pub(super) poms: BTreeMap<String, Pom>,
    /// Of the files with its licence.
    pub(super) licenses: Vec<String>,
    /// What all classes have in front, with slashes.
    pub(super) prefix: Option<String>,
}

impl Facts {
    /// How long its texts are, in bytes.
    pub(in crate::catalog) fn text(&self) -> usize {
        let poms = self.poms.iter().map(|(directory, pom)| directory.len() + pom.text());
        let licenses = self.licenses.iter().map(String::len);
        licenses.sum::<usize>()
            + self.manifest.text()
            + poms.sum::<usize>()
            + self.prefix.as_ref().map_or(0, String::len)
    }

    /// Every artifact with Maven's files is a package: shaded archives carry those of what they contain. Without any
    /// that fits the file's name, the archive itself is one more.
    pub(super) fn packages(&self, file: &str) -> Vec<Package> {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let (name, version) = split_version(stem);
        let mut own = self.own_pom(stem, name, version.is_some());
        let mut found: Vec<Package> = Vec::new();
        for (at, pom) in self.poms.values().enumerate() {
            let Some(mut package) = package(pom) else { continue };
            if own == Some(at) {
                self.add_own(&mut package, version);
            }
            found.push(package);
        }
        if own.take().is_none() {
            found.extend(self.own(name, version));
        }
        found
    }

    /// Which of the Maven files are the archive's own: those of the file's name, of the longest where several fit.
    fn own_pom(&self, stem: &str, name: &str, versioned: bool) -> Option<usize> {
        let fits = |artifact: &str| {
            let rest = stem.strip_prefix(artifact);
            name == artifact || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
        };
        let artifacts =
            self.poms.values().enumerate().filter_map(|(at, pom)| Some((at, pom.artifact.as_deref()?)));
        let best = artifacts
            .clone()
            .filter(|(_, artifact)| fits(artifact))
            .max_by_key(|(_, artifact)| artifact.len());
        // A file may be called anything: then the archive may say which of them it is.
        let mut said = self.poms.values().enumerate().filter(|(_, pom)| self.says(pom)).map(|(at, _)| at);
        let says = self.manifest.name().or(self.manifest.symbolic_name());
        let other = versioned && says.is_some_and(|says| says == name || groups::ends_with_name(says, name));
        let only = (self.poms.len() == 1 && !other).then_some(0);
        best.map(|(at, _)| at).or_else(|| said.next()).or(only)
    }

    /// Whether the manifest calls the archive by this name.
    fn says(&self, pom: &Pom) -> bool {
        let (Some(group), Some(artifact)) = (&pom.group, &pom.artifact) else { return false };
        let bundle = self.manifest.symbolic_name().unwrap_or_default();
        self.manifest.name() == Some(artifact)
            || bundle.starts_with(group.as_str()) && groups::ends_with_name(bundle, artifact)
    }

    /// The name of an archive whose file has no version in its name. Who strips the version keeps the name, mostly.
    fn better_name<'f>(&'f self, stem: &'f str) -> &'f str {
        let Some(says) = self.manifest.name() else { return stem };
        if says.strip_suffix(stem).is_some_and(|rest| rest.ends_with('-')) {
            return says;
        }
        let manifest = &self.manifest;
        let heard = [
            Some(says),
            manifest.symbolic_name(),
            manifest.get("Automatic-Module-Name"),
            manifest.coordinates().map(|(group, _)| group),
            self.prefix.as_deref(),
        ];
        let mut parts = stem.split(['-', '_', '.']).filter(|part| part.len() > 2);
        let related = parts.any(|part| heard.into_iter().flatten().any(|heard| heard.contains(part)));
        if related || groups::known(stem).is_some() { stem } else { says }
    }

    /// The archive itself, by its manifest, its classes and the file's name.
    fn own(&self, name: &str, version: Option<&str>) -> Option<Package> {
        // A name with a version is what a repository had it under; else the archive knows better.
        let name = match version {
            Some(_) => name,
            None => self.better_name(name),
        };
        let group = self.group(name);
        // Without version or group it may be any archive with such an extension.
        let known = version.is_some() || group.is_some() || self.manifest.versions().next().is_some();
        if !known || name.is_empty() {
            return None;
        }
        let mut own = Package::new(Ecosystem::Maven, name, None);
        own.namespace = group;
        self.add_own(&mut own, version);
        Some(own)
    }

    /// What is true of the archive's own package.
    fn add_own(&self, package: &mut Package, version: Option<&str>) {
        if package.version.is_none() {
            let mut versions = self.manifest.versions();
            package.version = match version {
                Some(version) => Some(without_classifier(version, versions).to_owned()),
                None => versions.next().map(str::to_owned),
            };
        }
        if package.supplier.is_none() {
            package.supplier = self.manifest.vendor().map(str::to_owned);
        }
        if package.licenses.is_empty() {
            let said =
                ["Bundle-License", "Plugin-License-Name"].into_iter().find_map(|key| self.manifest.get(key));
            package.licenses = said.map(crate::license::bundle).unwrap_or_default();
        }
        if !package.licenses.iter().any(|license| is_spdx(&crate::license::normal(license))) {
            package.licenses.extend(self.licenses.iter().cloned());
        }
    }

    fn group(&self, name: &str) -> Option<String> {
        let manifest = &self.manifest;
        let vendor = manifest.get("Implementation-Vendor-Id").filter(|id| id.contains('.') && is_name(id));
        let symbolic = manifest.symbolic_name();
        let certain = symbolic.filter(|symbolic| groups::ends_with_name(symbolic, name));
        let dotted = |dotted: &str| groups::of_dotted(dotted, name);
        let classes = self.prefix.as_ref().map(|prefix| prefix.replace('/', "."));
        let own = manifest.get("Group-Id").filter(|group| is_name(group)).map(str::to_owned);
        own.or_else(|| manifest.coordinates().map(|(group, _)| group.to_owned()))
            .or_else(|| groups::known(name).map(str::to_owned))
            .or_else(|| certain.and_then(dotted))
            .or_else(|| vendor.map(str::to_owned))
            .or_else(|| symbolic.and_then(dotted))
            .or_else(|| manifest.get("Automatic-Module-Name").and_then(dotted))
            .or_else(|| groups::otherwise(name).map(str::to_owned))
            .or_else(|| classes.as_deref().and_then(dotted))
    }

    /// Notes where a class is.
    pub(super) fn class(&mut self, entry: &str) {
        let Some((package, _)) = entry.strip_suffix(".class").and_then(|class| class.rsplit_once('/')) else {
            return;
        };
        if ["META-INF/", "BOOT-INF/", "WEB-INF/"].iter().any(|other| entry.starts_with(other)) {
            return;
        }
        match &mut self.prefix {
            None => self.prefix = Some(package.to_owned()),
            Some(prefix) => {
                let same = prefix.split('/').zip(package.split('/')).take_while(|(a, b)| a == b);
                let length: usize = same.map(|(part, _)| part.len() + 1).sum();
                prefix.truncate(length.saturating_sub(1));
            }
        }
    }
}

fn package(pom: &Pom) -> Option<Package> {
    let mut package = Package::new(Ecosystem::Maven, pom.artifact.clone()?, pom.version.clone());
    package.namespace = pom.group.clone();
    package.licenses = pom.licenses.clone();
    package.supplier = pom.vendor.clone();
    Some(package)
}

/// `commons-lang3-3.12.0` → its name and, from the first part that begins with a digit on, its version. Bundles have
/// an underscore in between.
fn split_version(stem: &str) -> (&str, Option<&str>) {
    let digit = |at: &usize| stem.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    let mut dashes = stem.match_indices(['-', '_']).map(|(at, _)| at);
    let at = dashes.find(digit);
    match at.and_then(|at| Some((stem.get(..at)?, stem.get(at + 1..)?))) {
        Some((name, version)) if !name.is_empty() => (name, Some(version)),
        _ => (stem, None),
    }
}

/// The version in a file's name, without the classifier behind it.
fn without_classifier<'v>(version: &'v str, mut said: impl Iterator<Item = &'v str>) -> &'v str {
    let classifier = |rest: &str| CLASSIFIERS.iter().any(|known| rest.starts_with(known));
    let is_in_front = |said: &&str| {
        version.strip_prefix(said).and_then(|rest| rest.strip_prefix('-')).is_some_and(classifier)
    };
    said.find(is_in_front).unwrap_or(version)
}
