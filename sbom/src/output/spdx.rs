//! SPDX 2.3.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use spdx_rs::models::{
    CreationInfo, DocumentCreationInformation, ExternalPackageReference, ExternalPackageReferenceCategory,
    OtherLicensingInformationDetected, PackageInformation, PrimaryPackagePurpose, Relationship,
    RelationshipType, SPDX, SpdxExpression,
};

use super::cyclonedx::is_spdx;
use super::stream::Document;
use super::{OutputError, serial};
use crate::package::Package;
use crate::sbom::Sbom;

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const SUBJECT: &str = "SPDXRef-Subject";

pub(super) fn document(sbom: &Sbom) -> Result<Document<'_>, OutputError> {
    // A document must have a time. That of the image, or the epoch, is the same whenever it is written.
    let created = sbom.subject.created.as_deref().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let created = created.map_or(DateTime::UNIX_EPOCH, |time| time.with_timezone(&Utc));
    // SPDX has whole seconds (2.3, clause 6.9).
    let created = DateTime::from_timestamp(created.timestamp(), 0).unwrap_or(DateTime::UNIX_EPOCH);
    let others = others(sbom);
    let document = SPDX {
        document_creation_information: DocumentCreationInformation {
            spdx_version: "SPDX-2.3".into(),
            document_name: sbom.subject.name.clone(),
            spdx_document_namespace: format!("urn:uuid:{}", serial::uuid(sbom)),
            creation_info: CreationInfo {
                creators: vec![concat!("Tool: rreg-", env!("CARGO_PKG_VERSION")).into()],
                created,
                ..CreationInfo::default()
            },
            document_comment: comment(sbom),
            ..DocumentCreationInformation::default()
        },
        package_information: vec![subject(sbom)],
        other_licensing_information_detected: others.iter().map(|(name, id)| other(id, name)).collect(),
        file_information: Vec::new(),
        snippet_information: Vec::new(),
        relationships: vec![Relationship::new(DOCUMENT, SUBJECT, RelationshipType::Describes, None)],
        annotations: Vec::new(),
        spdx_ref_counter: 0,
    };
    let Value::Object(frame) = value(&document)? else {
        return Err(OutputError::Spdx("it is no object".into()));
    };
    let packages = sbom.packages.iter().enumerate().map(move |(at, package)| {
        let license = declared(package, &others);
        Ok(vec![value(&information(package, id(at), &license)?)?])
    });
    let relations = (0..sbom.packages.len()).map(|at| {
        let contains = Relationship::new(SUBJECT, &id(at), RelationshipType::Contains, None);
        Ok(vec![value(&contains)?])
    });
    Ok(Document {
        frame,
        lists: vec![("packages", Box::new(packages)), ("relationships", Box::new(relations))],
    })
}

fn value(part: &impl Serialize) -> Result<Value, OutputError> {
    serde_json::to_value(part).map_err(|e| OutputError::Spdx(e.to_string()))
}

fn id(at: usize) -> String {
    format!("SPDXRef-Package-{}", at + 1)
}

/// Identifiers of the document for licences that are on no list of SPDX.
fn others(sbom: &Sbom) -> BTreeMap<String, String> {
    let mut others = BTreeMap::new();
    for license in sbom.packages.iter().flat_map(|package| &package.licenses) {
        if !is_spdx(license) && !others.contains_key(license) {
            others.insert(license.clone(), format!("LicenseRef-{}", others.len() + 1));
        }
    }
    others
}

/// A list that is not complete says so.
fn comment(sbom: &Sbom) -> Option<String> {
    let findings: Vec<String> = sbom
        .findings
        .iter()
        .map(|finding| {
            let path = finding.path.as_deref().unwrap_or("image");
            format!("{}: {path}: {}", finding.kind.name(), finding.message)
        })
        .collect();
    (!findings.is_empty()).then(|| format!("Not everything could be read. {}", findings.join("; ")))
}

fn subject(sbom: &Sbom) -> PackageInformation {
    PackageInformation {
        package_name: sbom.subject.name.clone(),
        package_spdx_identifier: SUBJECT.into(),
        package_version: sbom.subject.digest.clone(),
        files_analyzed: Some(false),
        primary_package_purpose: sbom.subject.digest.as_ref().map(|_| PrimaryPackagePurpose::Container),
        ..PackageInformation::default()
    }
}

/// All licences of a package as one expression; those that are on no list of SPDX by the document's identifiers.
fn declared(package: &Package, others: &BTreeMap<String, String>) -> String {
    let part = |license: &String| match others.get(license) {
        Some(id) => id.clone(),
        None if package.licenses.len() > 1 && license.contains(' ') => format!("({license})"),
        None => license.clone(),
    };
    let parts: Vec<String> = package.licenses.iter().map(part).collect();
    if parts.is_empty() { "NOASSERTION".to_owned() } else { parts.join(" AND ") }
}

fn other(id: &str, name: &str) -> OtherLicensingInformationDetected {
    OtherLicensingInformationDetected {
        license_identifier: id.to_owned(),
        extracted_text: name.to_owned(),
        license_name: name.to_owned(),
        license_cross_reference: Vec::new(),
        license_comment: None,
    }
}

fn information(package: &Package, id: String, license: &str) -> Result<PackageInformation, OutputError> {
    let name = match &package.namespace {
        Some(group) if package.purl.starts_with("pkg:maven/") => format!("{group}:{}", package.name),
        Some(scope) => format!("@{scope}/{}", package.name),
        None => package.name.clone(),
    };
    let declared = SpdxExpression::parse(license).map_err(|e| OutputError::Spdx(e.to_string()))?;
    let places = package.locations.iter().map(|location| match &location.layer {
        Some(layer) => format!("{} in layer {layer}", location.path),
        None => location.path.clone(),
    });
    let found = format!("found in {}", places.collect::<Vec<_>>().join(", "));
    Ok(PackageInformation {
        package_name: name,
        package_spdx_identifier: id,
        package_version: package.version.clone(),
        package_supplier: package.supplier.as_ref().map(|supplier| format!("Organization: {supplier}")),
        files_analyzed: Some(false),
        source_information: Some(found),
        declared_license: Some(declared),
        // What is declared but on no list of SPDX.
        comments_on_license: Some(package.licenses.join(", "))
            .filter(|text| !text.is_empty() && !matches!(package.licenses.as_slice(), [one] if is_spdx(one))),
        external_reference: vec![ExternalPackageReference::new(
            ExternalPackageReferenceCategory::PackageManager,
            "purl".into(),
            package.purl.clone(),
            None,
        )],
        ..PackageInformation::default()
    })
}
