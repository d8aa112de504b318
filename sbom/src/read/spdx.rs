//! SPDX 2.x, JSON.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::bounded::Entries;
use super::{Document, DocumentFormat, Listed, parse, some};
use crate::finding::Finding;

/// Most things that one document is about.
const MAX_DESCRIBED: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx<'a> {
    name: Option<String>,
    creation_info: Option<CreationInfo>,
    #[serde(borrow, default)]
    packages: Entries<'a>,
    #[serde(default)]
    relationships: Described,
    document_describes: Option<Vec<String>>,
    #[serde(default)]
    has_extracted_licensing_infos: Vec<Other>,
}

/// A licence that only this document knows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Other {
    license_id: Option<String>,
    name: Option<String>,
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

pub(super) fn read(json: &[u8], version: &str) -> Result<Document, Finding> {
    let spdx: Spdx = parse(json)?;
    let mut document = Document::new(DocumentFormat::Spdx, version.trim_start_matches("SPDX-"));
    document.name = some(spdx.name);
    if let Some(info) = spdx.creation_info {
        document.created = some(info.created);
        document.creators = info.creators.unwrap_or_default();
    }
    let mut described = spdx.relationships.0;
    described.extend(spdx.document_describes.into_iter().flatten().take(MAX_DESCRIBED));
    let others = names(spdx.has_extracted_licensing_infos);
    for package in spdx.packages.read::<Package>(&mut document, "package") {
        let subject = package.id.as_ref().is_some_and(|id| described.contains(id));
        let purpose = package.primary_package_purpose.as_deref();
        document.packages.extend(package.external_refs.into_iter().flatten().fold(
            wanted(subject, purpose).then_some(Listed {
                name: package.name,
                version: some(package.version_info),
                licenses:
                    license(package.license_declared).iter().map(|license| named(license, &others)).collect(),
                ..Listed::default()
            }),
            with_purl,
        ));
    }
    Ok(document.finished())
}

/// What identifiers of the document stand for.
fn names(others: Vec<Other>) -> HashMap<String, String> {
    let named = others.into_iter().filter_map(|other| Some((other.license_id?, some(other.name)?)));
    named.filter(|(id, name)| !id.is_empty() && name != "NOASSERTION").collect()
}

/// A licence with names in place of the document's own identifiers, which nobody has rules about.
fn named(license: &str, others: &HashMap<String, String>) -> String {
    if let Some(name) = others.get(license) {
        return name.clone();
    }
    let words = license.split(' ').map(|word| {
        let bare = word.trim_matches(['(', ')']);
        let name = others.get(bare).map(|name| crate::license::word(&crate::license::normal(name)));
        name.map_or_else(|| word.to_owned(), |name| word.replace(bare, &name))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a package is in the image, rather than the image itself or its system.
pub(super) fn wanted(subject: bool, purpose: Option<&str>) -> bool {
    !subject && !matches!(purpose, Some("CONTAINER" | "OPERATING-SYSTEM" | "OPERATING_SYSTEM" | "FILE"))
}

/// A declared licence that says something.
pub(super) fn license(declared: Option<String>) -> Vec<String> {
    declared.filter(|text| !matches!(text.as_str(), "" | "NOASSERTION" | "NONE")).into_iter().collect()
}

fn with_purl(package: Option<Listed>, reference: Reference) -> Option<Listed> {
    let mut package = package?;
    if reference.reference_type.as_deref() == Some("purl") && package.purl.is_none() {
        package.purl = some(reference.reference_locator);
    }
    Some(package)
}
