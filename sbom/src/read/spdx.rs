//! SPDX 2.x, JSON.
//!
//! A package has what was declared, what was concluded, and what was found in its files; files and snippets have theirs.

use std::collections::HashSet;
use std::fmt;

use rreg_oci::Names;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::bounded::{Entries, Files, Licensed};
use super::extracted::{Extracted, Info};
use super::licensed::{Licenses, Others};
use super::{Document, DocumentFormat, Listed, malformed, parse, some};
use crate::finding::Finding;

/// Most things that one document is about.
const MAX_DESCRIBED: usize = 1000;

/// The names that are read (spdx-schema.json of 2.3).
static NAMES: Names = Names {
    known: &[
        "spdxVersion",
        "name",
        "creationInfo",
        "packages",
        "files",
        "snippets",
        "relationships",
        "documentDescribes",
        "hasExtractedLicensingInfos",
    ],
    below: &[
        ("packages", &PACKAGE),
        ("files", &FILE),
        ("snippets", &FILE),
        ("relationships", &RELATIONSHIP),
        ("hasExtractedLicensingInfos", &EXTRACTED),
    ],
};
static PACKAGE: Names = Names {
    known: &[
        "SPDXID",
        "name",
        "versionInfo",
        "licenseDeclared",
        "licenseConcluded",
        "licenseInfoFromFiles",
        "primaryPackagePurpose",
        "externalRefs",
    ],
    below: &[("externalRefs", &REFERENCE)],
};
static FILE: Names = Names {
    known: &[
        "fileName",
        "name",
        "licenseConcluded",
        "licenseInfoInFiles",
        "licenseInfoFromFiles",
        "licenseInfoInSnippets",
    ],
    below: &[],
};
static REFERENCE: Names = Names { known: &["referenceType", "referenceLocator"], below: &[] };
static RELATIONSHIP: Names = Names { known: &["relationshipType", "relatedSpdxElement"], below: &[] };
static EXTRACTED: Names = Names { known: &["licenseId", "name", "extractedText", "seeAlsos"], below: &[] };

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx<'a> {
    name: Option<String>,
    creation_info: Option<CreationInfo>,
    #[serde(borrow)]
    packages: Option<Entries<'a>>,
    files: Option<Files<File>>,
    snippets: Option<Files<File>>,
    #[serde(default)]
    relationships: Described,
    document_describes: Option<Vec<String>>,
    #[serde(borrow, default)]
    has_extracted_licensing_infos: Entries<'a>,
}

#[derive(Deserialize)]
struct CreationInfo {
    created: Option<String>,
    creators: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: Option<String>,
    name: String,
    version_info: Option<String>,
    license_declared: Option<String>,
    license_concluded: Option<String>,
    license_info_from_files: Option<Vec<String>>,
    primary_package_purpose: Option<String>,
    external_refs: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_type: Option<String>,
    reference_locator: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    relationship_type: Option<String>,
    related_spdx_element: Option<String>,
}

/// What the document is about, from a list that names every file: one entry at a time.
#[derive(Default)]
struct Described(HashSet<String>);

impl<'de> Deserialize<'de> for Described {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Described;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of relationships")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Described::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut described = HashSet::new();
                while let Some(one) = list.next_element::<Relationship>()? {
                    if one.relationship_type.as_deref() == Some("DESCRIBES")
                        && described.len() < MAX_DESCRIBED
                    {
                        described.extend(one.related_spdx_element);
                    }
                }
                Ok(Described(described))
            }
        }
        from.deserialize_any(List)
    }
}

/// A file, or a snippet of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    file_name: Option<String>,
    name: Option<String>,
    license_concluded: Option<String>,
    license_info_in_files: Option<Vec<String>>,
    /// As 2.0 and 2.1 called it.
    license_info_from_files: Option<Vec<String>>,
    license_info_in_snippets: Option<Vec<String>>,
}

impl Licensed for File {
    fn licensed(self) -> (String, Vec<String>) {
        let mut licenses = Licenses::default();
        say(&mut licenses, self.license_concluded);
        let found = [self.license_info_in_files, self.license_info_from_files, self.license_info_in_snippets];
        found.into_iter().flatten().flatten().for_each(|license| licenses.find(license));
        (self.file_name.or(self.name).unwrap_or_default(), licenses.all())
    }
}

pub(super) fn read(json: &[u8], version: &str) -> Result<Document, Finding> {
    NAMES.check(json, "other readers").map_err(malformed)?;
    let spdx: Spdx = parse(json)?;
    let mut document = Document::new(DocumentFormat::Spdx, version.trim_start_matches("SPDX-"));
    document.name = some(spdx.name);
    if let Some(info) = spdx.creation_info {
        document.created = some(info.created);
        document.creators = info.creators.unwrap_or_default();
    }
    if spdx.packages.is_none() && spdx.files.is_none() {
        document.complain(malformed("the document has no list of packages"));
    }
    let mut described = spdx.relationships.0;
    described.extend(spdx.document_describes.into_iter().flatten().take(MAX_DESCRIBED));
    let infos = spdx.has_extracted_licensing_infos.read::<Info>(&mut document, "an extracted licence");
    let mut extracted = Extracted::new(infos);
    let mut others = Others::default();
    for package in spdx.packages.unwrap_or_default().read::<Package>(&mut document, "package") {
        let subject = package.id.as_ref().is_some_and(|id| described.contains(id));
        let wanted = wanted(subject, package.primary_package_purpose.as_deref());
        let listed = package.listed(&mut extracted);
        if wanted {
            document.packages.push(listed);
        } else {
            others.add(&listed.name, listed.licenses);
        }
    }
    for files in [spdx.files, spdx.snippets].into_iter().flatten() {
        for (license, names) in files.give(&mut document) {
            names.iter().for_each(|name| others.add(name, extracted.meant(&license)));
        }
    }
    extracted.rest(&mut others);
    document.other_licenses = others.give(&mut document);
    Ok(document.finished())
}

impl Package {
    fn listed(self, extracted: &mut Extracted) -> Listed {
        let mut licenses = Licenses::default();
        say(&mut licenses, self.license_declared);
        say(&mut licenses, self.license_concluded);
        self.license_info_from_files.into_iter().flatten().for_each(|license| licenses.find(license));
        let licenses = licenses.all().iter().flat_map(|license| extracted.meant(license)).collect();
        let listed =
            Listed { name: self.name, version: some(self.version_info), licenses, ..Listed::default() };
        self.external_refs.into_iter().flatten().fold(listed, with_purl)
    }
}

/// Whether a package is in the image, rather than the image itself or its system.
pub(super) fn wanted(subject: bool, purpose: Option<&str>) -> bool {
    !subject && !matches!(purpose, Some("CONTAINER" | "OPERATING-SYSTEM" | "OPERATING_SYSTEM" | "FILE"))
}

/// A licence that says something.
pub(super) fn say(licenses: &mut Licenses, license: Option<String>) {
    if let Some(license) = license.filter(|text| !super::licensed::says_nothing(&crate::license::seen(text)))
    {
        licenses.say(license);
    }
}

fn with_purl(mut package: Listed, reference: Reference) -> Listed {
    if reference.reference_type.as_deref() == Some("purl") && package.purl.is_none() {
        package.purl = some(reference.reference_locator);
    }
    package
}
