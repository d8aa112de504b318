//! CycloneDX 1.x.

use serde::Deserialize;

use super::bounded::Entries;
use super::{Document, DocumentFormat, Listed, MAX_PACKAGES, finding, malformed, parse, some};
use crate::finding::{Finding, FindingKind};

#[derive(Deserialize)]
struct Bom<'a> {
    metadata: Option<Metadata>,
    #[serde(borrow, default)]
    components: Entries<'a>,
}

#[derive(Deserialize)]
struct Metadata {
    timestamp: Option<String>,
    component: Option<Named>,
    /// A list until 1.4, an object with two lists since 1.5.
    tools: Option<Tools>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Tools {
    List(Vec<Named>),
    Object { components: Option<Vec<Named>> },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    group: Option<String>,
    name: String,
    version: Option<String>,
    purl: Option<String>,
    licenses: Option<Vec<License>>,
    evidence: Option<Evidence>,
    properties: Option<Vec<Property>>,
    #[serde(borrow, default)]
    components: Entries<'a>,
}

#[derive(Deserialize)]
struct License {
    expression: Option<String>,
    license: Option<LicenseName>,
}

#[derive(Deserialize)]
struct LicenseName {
    id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Evidence {
    occurrences: Option<Vec<Occurrence>>,
}

#[derive(Deserialize)]
struct Occurrence {
    location: Option<String>,
}

#[derive(Deserialize)]
struct Property {
    name: Option<String>,
    value: Option<String>,
}

pub(super) fn read(json: &[u8], version: String) -> Result<Document, Finding> {
    let bom: Bom = parse(json)?;
    let mut document = Document::new(DocumentFormat::CycloneDx, version);
    if let Some(metadata) = bom.metadata {
        document.created = some(metadata.timestamp);
        document.name = metadata.component.and_then(|component| some(component.name));
        let tools = match metadata.tools {
            Some(Tools::List(tools) | Tools::Object { components: Some(tools) }) => tools,
            Some(Tools::Object { components: None } | Tools::Other(_)) | None => Vec::new(),
        };
        document.creators = tools.into_iter().filter_map(Named::text).collect();
    }
    // Components may hold components. Nesting is bounded by the depth of the document.
    let mut waiting: Vec<&str> = bom.components.0.iter().rev().map(|raw| raw.get()).collect();
    while let Some(next) = waiting.pop() {
        let component: Component = match serde_json::from_str(next) {
            Ok(component) => component,
            Err(e) => {
                document.complain(malformed(format!("a component: {e}")));
                continue;
            }
        };
        if waiting.len() + document.packages.len() + component.components.0.len() > MAX_PACKAGES {
            let why = format!("more than {MAX_PACKAGES} components; the rest is left out");
            document.complain(finding(FindingKind::TooMany, why));
            break;
        }
        waiting.extend(component.components.0.iter().map(|raw| raw.get()));
        document.packages.extend(component.listed());
    }
    Ok(document.finished())
}

impl Named {
    fn text(self) -> Option<String> {
        let name = some(self.name)?;
        Some(some(self.version).map_or(name.clone(), |version| format!("{name} {version}")))
    }
}

impl Component<'_> {
    /// As a package, unless it is the image's system, a file, or a lock file that is called an application.
    fn listed(self) -> Option<Listed> {
        let purl = some(self.purl);
        match self.kind.as_deref() {
            Some("operating-system" | "file" | "container") => return None,
            Some("application") if purl.is_none() => return None,
            _ => {}
        }
        let name = match some(self.group) {
            Some(group) => format!("{group}/{}", self.name),
            None => self.name,
        };
        let licenses = self.licenses.into_iter().flatten().filter_map(|license| {
            let named = license.license.and_then(|license| some(license.id).or(some(license.name)));
            some(license.expression).or(named)
        });
        let occurrences = self.evidence.and_then(|evidence| evidence.occurrences);
        let places = occurrences.into_iter().flatten().filter_map(|occurrence| occurrence.location);
        // Before 1.5 there was no place for places; trivy and syft have names of their own for them.
        let told = self.properties.into_iter().flatten().filter_map(|property| {
            let name = property.name?;
            let syft = name.starts_with("syft:location:") && name.ends_with(":path");
            property.value.filter(|_| syft || name == "aquasecurity:trivy:FilePath")
        });
        let mut paths: Vec<String> =
            places.chain(told).map(|path| path.trim_start_matches('/').to_owned()).collect();
        paths.sort();
        paths.dedup();
        Some(Listed { name, version: some(self.version), purl, licenses: licenses.collect(), paths })
    }
}
