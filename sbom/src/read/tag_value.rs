//! SPDX 2.x as lines of tag and value (SPDX 2.3, clause 5 and annex).

use std::collections::HashSet;
use std::str::Lines;

use super::extracted::{Extracted, Info};
use super::licensed::{Licenses, Others};
use super::spdx::{say, wanted};
use super::{Document, DocumentFormat, Listed, MAX_PACKAGES, finding, malformed, unsupported};
use crate::finding::{Finding, FindingKind};

/// The tags that are read. In another case they are none, but other readers may take them for that.
const TAGS: [&str; 24] = [
    "SPDXVersion",
    "SPDXID",
    "DocumentName",
    "Creator",
    "Created",
    "Relationship",
    "PackageName",
    "PackageVersion",
    "PrimaryPackagePurpose",
    "PackageLicenseDeclared",
    "PackageLicenseConcluded",
    "PackageLicenseInfoFromFiles",
    "ExternalRef",
    "FileName",
    "LicenseConcluded",
    "LicenseInfoInFile",
    "SnippetSPDXID",
    "SnippetLicenseConcluded",
    "LicenseInfoInSnippet",
    "LicenseID",
    "LicenseName",
    "ExtractedText",
    "LicenseCrossReference",
    "SnippetName",
];

/// Something whose lines are read.
#[derive(Default)]
struct Thing {
    id: String,
    purpose: Option<String>,
    listed: Listed,
    licenses: Licenses,
}

/// What lines are about: each goes on until the next begins. A licence of the document has the tags of no other.
#[derive(Default)]
struct Reading {
    packages: Vec<Thing>,
    /// The file or snippet that is being read, if one is.
    file: Option<Thing>,
    others: Vec<(String, Vec<String>)>,
    infos: Vec<Info>,
    described: HashSet<String>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, Finding> {
    let text = String::from_utf8_lossy(bytes);
    let mut document = Document::new(DocumentFormat::SpdxTagValue, "");
    let mut reading = Reading::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((tag, value)) = line.split_once(':') else { continue };
        let (tag, value) = (tag.trim(), value_of(value.trim(), &mut lines)?);
        if let Some(known) = TAGS.iter().find(|known| known.eq_ignore_ascii_case(tag) && **known != tag) {
            return Err(malformed(format!(
                "the tag {tag:?} is not {known:?}, but other readers take it for that"
            )));
        }
        let owned = || Some(value.clone()).filter(|text| !text.is_empty());
        match tag {
            "SPDXVersion" => document.version = value.trim_start_matches("SPDX-").to_owned(),
            "DocumentName" => document.name = owned(),
            "Creator" => document.creators.extend(owned()),
            "Created" => document.created = owned(),
            "PackageName" if reading.packages.len() == MAX_PACKAGES => {
                let why = format!("more than {MAX_PACKAGES} packages; the rest is left out");
                document.complain(finding(FindingKind::TooMany, why));
                break;
            }
            tag => reading.tag(tag, value),
        }
    }
    if !document.version.starts_with("2.") {
        return Err(unsupported(format!("SPDX {}", document.version)));
    }
    reading.give(&mut document);
    Ok(document.finished())
}

/// A value; one in `<text>` may go on for many lines.
fn value_of(first: &str, lines: &mut Lines<'_>) -> Result<String, Finding> {
    let Some(begin) = first.strip_prefix("<text>") else { return Ok(first.to_owned()) };
    if let Some((text, _)) = begin.split_once("</text>") {
        return Ok(text.trim().to_owned());
    }
    let mut text = begin.to_owned();
    for line in lines {
        let end = line.split_once("</text>");
        text.push('\n');
        text.push_str(end.map_or(line, |(last, _)| last));
        if end.is_some() {
            return Ok(text);
        }
    }
    Err(finding(FindingKind::Truncated, "a text has no end"))
}

impl Reading {
    fn tag(&mut self, tag: &str, value: String) {
        match tag {
            "Relationship" => {
                if let [_, "DESCRIBES", what] = value.split_whitespace().collect::<Vec<_>>().as_slice() {
                    self.described.insert((*what).to_owned());
                }
            }
            "PackageName" => {
                self.end_file();
                let listed = Listed { name: value, ..Listed::default() };
                self.packages.push(Thing { listed, ..Thing::default() });
            }
            "FileName" | "SnippetSPDXID" => {
                self.end_file();
                let listed = Listed { name: value, ..Listed::default() };
                self.file = Some(Thing { listed, ..Thing::default() });
            }
            "LicenseID" => self.infos.push(Info { license_id: Some(value), ..Info::default() }),
            "LicenseName" | "ExtractedText" | "LicenseCrossReference" => {
                let Some(info) = self.infos.last_mut() else { return };
                match tag {
                    "LicenseName" => info.name = Some(value),
                    "ExtractedText" => info.extracted_text = Some(value),
                    _ => info.see_alsos.get_or_insert_default().push(value),
                }
            }
            _ => {
                if let Some(thing) = self.file.as_mut().or(self.packages.last_mut()) {
                    thing.tag(tag, value);
                }
            }
        }
    }

    fn end_file(&mut self) {
        if let Some(file) = self.file.take() {
            let licenses = file.licenses.all();
            if !licenses.is_empty() {
                self.others.push((file.listed.name, licenses));
            }
        }
    }

    fn give(mut self, document: &mut Document) {
        self.end_file();
        let mut extracted = Extracted::new(self.infos);
        let mut others = Others::default();
        for package in self.packages {
            let meant = package.licenses.all().iter().flat_map(|license| extracted.meant(license)).collect();
            if wanted(self.described.contains(&package.id), package.purpose.as_deref()) {
                document.packages.push(Listed { licenses: meant, ..package.listed });
            } else {
                others.add(&package.listed.name, meant);
            }
        }
        for (name, licenses) in self.others {
            licenses.iter().for_each(|license| others.add(&name, extracted.meant(license)));
        }
        extracted.rest(&mut others);
        document.other_licenses = others.give(document);
    }
}

impl Thing {
    fn tag(&mut self, tag: &str, value: String) {
        match tag {
            "SPDXID" => self.id = value,
            "PackageVersion" => self.listed.version = Some(value).filter(|v| !v.is_empty()),
            "PrimaryPackagePurpose" => self.purpose = Some(value),
            "PackageLicenseDeclared"
            | "PackageLicenseConcluded"
            | "LicenseConcluded"
            | "SnippetLicenseConcluded" => say(&mut self.licenses, Some(value)),
            "PackageLicenseInfoFromFiles" | "LicenseInfoInFile" | "LicenseInfoInSnippet" => {
                self.licenses.find(value);
            }
            "ExternalRef" => {
                // `PACKAGE-MANAGER purl pkg:…`
                let mut words = value.split_whitespace().skip(1);
                if words.next() == Some("purl") && self.listed.purl.is_none() {
                    self.listed.purl = words.next().map(str::to_owned);
                }
            }
            _ => {}
        }
    }
}
