//! SPDX 2.x as lines of tag and value (SPDX 2.3, clause 5 and annex).

use std::collections::HashSet;

use super::spdx::{license, wanted};
use super::{Document, DocumentFormat, Listed, MAX_PACKAGES, finding, unsupported};
use crate::finding::{Finding, FindingKind};

/// A package whose lines are being read.
#[derive(Default)]
struct Package {
    id: String,
    purpose: Option<String>,
    listed: Listed,
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, Finding> {
    let text = String::from_utf8_lossy(bytes);
    let mut document = Document::new(DocumentFormat::SpdxTagValue, "");
    let (mut packages, mut described) = (Vec::<Package>::new(), HashSet::new());
    // Files and snippets come after packages and have tags of the same names.
    let mut in_package = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((tag, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if value.starts_with("<text>") && !value.contains("</text>") {
            lines.by_ref().find(|line| line.contains("</text>"));
            continue;
        }
        let owned = || Some(value.to_owned()).filter(|text| !text.is_empty());
        match tag {
            "SPDXVersion" => document.version = value.trim_start_matches("SPDX-").to_owned(),
            "DocumentName" => document.name = owned(),
            "Creator" => document.creators.extend(owned()),
            "Created" => document.created = owned(),
            "PackageName" if packages.len() == MAX_PACKAGES => {
                let why = format!("more than {MAX_PACKAGES} packages; the rest is left out");
                document.complain(finding(FindingKind::TooMany, why));
                break;
            }
            "PackageName" => {
                in_package = true;
                let listed = Listed { name: value.to_owned(), ..Listed::default() };
                packages.push(Package { listed, ..Package::default() });
            }
            "FileName" | "SnippetSPDXID" => in_package = false,
            "Relationship" => {
                if let [_, "DESCRIBES", what] = value.split_whitespace().collect::<Vec<_>>().as_slice() {
                    described.insert((*what).to_owned());
                }
            }
            _ if in_package => {
                if let Some(package) = packages.last_mut() {
                    package.tag(tag, value);
                }
            }
            _ => {}
        }
    }
    if !document.version.starts_with("2.") {
        return Err(unsupported(format!("SPDX {}", document.version)));
    }
    let wanted = |package: &Package| wanted(described.contains(&package.id), package.purpose.as_deref());
    document.packages = packages.into_iter().filter(wanted).map(|package| package.listed).collect();
    Ok(document.finished())
}

impl Package {
    fn tag(&mut self, tag: &str, value: &str) {
        match tag {
            "SPDXID" => self.id = value.to_owned(),
            "PackageVersion" => self.listed.version = Some(value.to_owned()).filter(|v| !v.is_empty()),
            "PrimaryPackagePurpose" => self.purpose = Some(value.to_owned()),
            "PackageLicenseDeclared" => self.listed.licenses = license(Some(value.to_owned())),
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
