//! How good an SBOM is: a score from 0 to 10 and what it misses.
//!
//! Each of these elements counts alike, by the share of packages that have it: who wrote the list, when it was written,
//! and of each package its name, its version, its URL, its licence, and its supplier. Of the NTIA's minimum elements
//! ("The Minimum Elements For a Software Bill of Materials", 2021) the relations between packages are not read, and
//! suppliers only of lists that rreg made; what is not read counts neither way.

use rreg_sbom::Sbom;
use rreg_sbom::read::{Document, DocumentFormat};

use crate::facts::SbomFacts;

/// The licence that packages without one are listed under, as SPDX has it.
pub const NO_LICENSE: &str = "NOASSERTION";
/// Most packages that are named for one licence: what is more says no more to anybody.
const MAX_NAMED: usize = 20;

/// A score and what it misses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// 0 to 10, in tenths, never rounded up.
    pub score: f64,
    /// What is missing, such as `version: 3 of 120 packages`.
    pub missing: Vec<String>,
}

struct Tally {
    packages: u64,
    parts: u64,
    shares: f64,
    missing: Vec<String>,
}

impl Tally {
    fn new(packages: u64) -> Self {
        Self { packages, parts: 0, shares: 0.0, missing: Vec::new() }
    }

    /// An element of the list as a whole.
    fn whole(&mut self, name: &str, there: bool) {
        self.parts += 1;
        if there {
            self.shares += 1.0;
        } else {
            self.missing.push(name.into());
        }
    }

    /// An element that each package should have.
    fn each(&mut self, name: &str, having: u64) {
        self.parts += 1;
        if self.packages == 0 {
            return;
        }
        self.shares += having as f64 / self.packages as f64;
        if having < self.packages {
            self.missing.push(format!("{name}: {} of {} packages", self.packages - having, self.packages));
        }
    }

    fn finish(mut self) -> Quality {
        if self.packages == 0 {
            self.missing.push("packages".into());
        }
        let score = if self.parts == 0 { 0.0 } else { 10.0 * self.shares / self.parts as f64 };
        Quality { score: (score * 10.0 + 1e-9).floor() / 10.0, missing: self.missing }
    }
}

fn count<T>(packages: &[T], having: impl Fn(&T) -> bool) -> u64 {
    packages.iter().filter(|package| having(package)).count() as u64
}

fn is_said(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// The quality of a list that rreg made. Who made it and when are known.
pub fn of_sbom(sbom: &Sbom) -> Quality {
    let mut tally = Tally::new(sbom.packages.len() as u64);
    tally.whole("author", true);
    tally.whole("timestamp", true);
    tally.each("name", count(&sbom.packages, |package| !package.name.is_empty()));
    tally.each("version", count(&sbom.packages, |package| is_said(&package.version)));
    tally.each("purl", count(&sbom.packages, |package| !package.purl.is_empty()));
    tally.each("license", count(&sbom.packages, |package| !package.licenses.is_empty()));
    tally.each("supplier", count(&sbom.packages, |package| is_said(&package.supplier)));
    tally.finish()
}

/// The quality of a list that somebody attached.
pub fn of_document(document: &Document) -> Quality {
    let mut tally = Tally::new(document.packages.len() as u64);
    tally.whole("author", document.creators.iter().any(|creator| !creator.is_empty()));
    tally.whole("timestamp", is_said(&document.created));
    tally.each("name", count(&document.packages, |package| !package.name.is_empty()));
    tally.each("version", count(&document.packages, |package| is_said(&package.version)));
    tally.each("purl", count(&document.packages, |package| is_said(&package.purl)));
    tally.each("license", count(&document.packages, |package| !package.licenses.is_empty()));
    tally.finish()
}

impl SbomFacts {
    /// The facts of a list that rreg made, in the format that it is given out in (`cyclonedx` or `spdx`).
    pub fn of(sbom: &Sbom, format: &str) -> Self {
        let quality = of_sbom(sbom);
        let mut facts = Self::new(format, sbom.packages.len(), quality);
        for package in &sbom.packages {
            facts.add(&package.purl, &package.licenses);
        }
        facts
    }

    /// The facts of a list that somebody attached; [`Self::evidence`] is the caller's to set.
    pub fn of_document(document: &Document) -> Self {
        let format = match document.format {
            DocumentFormat::CycloneDx => "cyclonedx",
            DocumentFormat::Spdx | DocumentFormat::SpdxTagValue => "spdx",
            DocumentFormat::Syft => "syft",
        };
        let mut facts = Self::new(format, document.packages.len(), of_document(document));
        for package in &document.packages {
            facts.add(package.purl.as_deref().unwrap_or(&package.name), &package.licenses);
        }
        for (license, names) in &document.other_licenses {
            names.iter().for_each(|name| facts.add(name, std::slice::from_ref(license)));
        }
        facts
    }

    fn new(format: &str, packages: usize, quality: Quality) -> Self {
        let Quality { score, missing } = quality;
        Self { format: format.into(), packages: packages as u64, quality: score, missing, ..Self::default() }
    }

    fn add(&mut self, package: &str, licenses: &[String]) {
        let none = [NO_LICENSE.to_owned()];
        for license in if licenses.is_empty() { &none } else { licenses } {
            let packages = self.licenses.entry(license.clone()).or_default();
            if packages.len() < MAX_NAMED {
                packages.push(package.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(json: &str) -> Document {
        let attached =
            rreg_sbom::read::attached("application/vnd.cyclonedx+json", json.as_bytes().to_vec(), &[]);
        attached.unwrap().unwrap().document
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = document(
            r#"{"bomFormat":"CycloneDX","specVersion":"1.5","metadata":{"timestamp":"2026-01-01T00:00:00Z","authors":[{"name":"a"}],"tools":[{"name":"t"}]},
            "components":[{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1","licenses":[{"license":{"id":"MIT"}}]}]}"#,
        );
        assert_eq!(of_document(&whole), Quality { score: 10.0, missing: vec![] });
        let poor = document(
            r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","name":"a"},
            {"type":"library","name":"b","version":"1","purl":"pkg:npm/b@1"}]}"#,
        );
        let quality = of_document(&poor);
        assert_eq!(quality.score, 3.3);
        assert_eq!(
            quality.missing,
            [
                "author",
                "timestamp",
                "version: 1 of 2 packages",
                "purl: 1 of 2 packages",
                "license: 2 of 2 packages"
            ]
        );
        let facts = SbomFacts::of_document(&poor);
        assert_eq!((facts.format.as_str(), facts.packages), ("cyclonedx", 2));
        assert_eq!(facts.licenses[NO_LICENSE], ["a", "pkg:npm/b@1"]);
        let empty = document(r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[]}"#);
        assert!(of_document(&empty).score < 1.0);
        assert!(of_document(&empty).missing.contains(&"packages".to_owned()));
    }

    #[test]
    fn a_list_of_our_own_has_facts() {
        let subject = rreg_sbom::Subject::default();
        let sbom = Sbom {
            subject,
            os: None,
            packages: vec![],
            owned_by_distro: 0,
            findings: vec![],
            findings_left_out: 0,
        };
        let facts = SbomFacts::of(&sbom, "spdx");
        assert_eq!((facts.format.as_str(), facts.packages, facts.evidence), ("spdx", 0, None));
        assert!(facts.quality < 3.0);
    }
}
