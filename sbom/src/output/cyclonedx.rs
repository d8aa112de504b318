//! CycloneDX: written as 1.5, which is what its writer knows, then lifted to 1.6.

use std::str::FromStr as _;

use cyclonedx_bom::external_models::date_time::DateTime;
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::bom::{Bom, SpecVersion, UrnUuid};
use cyclonedx_bom::models::component::{
    Classification, Component, ComponentEvidence, Components, Occurrence, Occurrences,
};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::{Tool, Tools};
use cyclonedx_bom::prelude::{NormalizedString, SpdxExpression};
use serde_json::{Map, Value};

use super::stream::Document;
use super::{OutputError, serial};
use crate::package::Package;
use crate::sbom::Sbom;

/// How many components are made at once.
const GROUP: usize = 64;

pub(super) fn document(sbom: &Sbom) -> Result<Document<'_>, OutputError> {
    let serial = UrnUuid::new(format!("urn:uuid:{}", serial::uuid(sbom)));
    let bom = Bom {
        version: 1,
        serial_number: Some(serial.map_err(|e| refused(format!("{e:?}")))?),
        metadata: Some(metadata(sbom)),
        components: Some(Components(os(sbom).into_iter().collect())),
        ..Bom::default()
    };
    let mut frame = written(bom)?;
    lift(&mut frame);
    let groups = sbom.packages.chunks(GROUP).map(|group| {
        let components = Some(Components(group.iter().map(component).collect()));
        match written(Bom { components, ..Bom::default() })?.remove("components") {
            Some(Value::Array(components)) => Ok(components),
            _ => Err(refused("it has no components".into())),
        }
    });
    Ok(Document { frame, lists: vec![("components", Box::new(groups))] })
}

fn refused(why: String) -> OutputError {
    OutputError::CycloneDx(why)
}

fn written(bom: Bom) -> Result<Map<String, Value>, OutputError> {
    let mut bytes = Vec::new();
    let bom = Bom { spec_version: SpecVersion::V1_5, ..bom };
    bom.output_as_json_v1_5(&mut bytes).map_err(|e| refused(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| refused(e.to_string()))
}

/// 1.6 took nothing away that is used here: other names for the version and the schema are all it needs.
fn lift(document: &mut Map<String, Value>) {
    document.insert("specVersion".into(), "1.6".into());
    document.insert("$schema".into(), "http://cyclonedx.org/schema/bom-1.6.schema.json".into());
}

fn metadata(sbom: &Sbom) -> Metadata {
    let mut image = Component::new(
        if sbom.subject.digest.is_some() { Classification::Container } else { Classification::File },
        &sbom.subject.name,
        sbom.subject.digest.as_deref().unwrap_or_default(),
        Some("subject".into()),
    );
    image.version = sbom.subject.digest.as_deref().map(NormalizedString::new);
    let findings = sbom.findings.iter().map(|finding| {
        let place = [finding.layer.as_deref(), finding.path.as_deref()];
        let place = place.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Property::new(
            format!("rreg:finding:{}", finding.kind.name()),
            &format!("{place} {}", finding.message),
        )
    });
    let platform = sbom.subject.platform.iter().map(|platform| Property::new("rreg:platform", platform));
    let properties: Vec<Property> = platform.chain(findings).collect();
    Metadata {
        timestamp: sbom.subject.created.clone().and_then(|created| DateTime::try_from(created).ok()),
        tools: Some(Tools::List(vec![Tool::new("rreg", "rreg", env!("CARGO_PKG_VERSION"))])),
        component: Some(image),
        properties: Some(Properties(properties)).filter(|properties| !properties.0.is_empty()),
        ..Metadata::default()
    }
}

fn os(sbom: &Sbom) -> Option<Component> {
    let os = sbom.os.as_ref()?;
    let version = os.version.clone().or_else(|| os.codename.clone());
    let mut component = Component::new(
        Classification::OperatingSystem,
        &os.id,
        version.as_deref().unwrap_or_default(),
        Some("os".into()),
    );
    component.version = version.as_deref().map(NormalizedString::new);
    component.description = os.name.as_deref().map(NormalizedString::new);
    Some(component)
}

fn component(package: &Package) -> Component {
    let name = &package.name;
    let version = package.version.as_deref();
    let mut component = Component::new(
        Classification::Library,
        name,
        version.unwrap_or_default(),
        Some(package.purl.clone()),
    );
    component.version = version.map(NormalizedString::new);
    component.group = package.namespace.as_deref().map(NormalizedString::new);
    component.purl = Purl::from_str(&package.purl).ok();
    component.publisher = package.supplier.as_deref().map(NormalizedString::new);
    component.licenses = licenses(package);
    let places = package.locations.iter().map(|location| Occurrence::new(&location.path));
    component.evidence = Some(ComponentEvidence {
        licenses: None,
        copyright: None,
        occurrences: Some(Occurrences(places.collect())),
        callstack: None,
        identity: None,
    });
    let layers = package.locations.iter().filter_map(|location| location.layer.as_deref());
    let mut layers: Vec<&str> = layers.collect();
    layers.dedup();
    let mut properties: Vec<Property> =
        layers.into_iter().map(|layer| Property::new("rreg:layer", layer)).collect();
    if let Some(source) = &package.source {
        properties.push(Property::new("rreg:source", &source.name));
        properties.extend(source.version.iter().map(|v| Property::new("rreg:source-version", v)));
    }
    component.properties = Some(Properties(properties)).filter(|properties| !properties.0.is_empty());
    component
}

/// One expression where it is one of SPDX's, else names as declared: a document may have one or the other.
fn licenses(package: &Package) -> Option<Licenses> {
    let choices: Vec<LicenseChoice> = match package.licenses.as_slice() {
        [] => return None,
        [one] if is_spdx(one) => vec![LicenseChoice::expression(one)],
        names => names.iter().map(|name| LicenseChoice::license(name)).collect(),
    };
    Some(Licenses(choices))
}

/// Whether it is an expression of identifiers on SPDX's list.
pub(crate) fn is_spdx(text: &str) -> bool {
    SpdxExpression::try_from(text.to_owned()).is_ok()
}
