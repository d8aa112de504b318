//! CycloneDX 1.x.
//!
//! What the image itself, its services, files and system say of licences counts beside that of packages. The licence of
//! the document, and those of the tools that made it, are not the image's. What a component comes from, or was varied to,
//! counts too: what is made from something stays under its licence.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rreg_oci::Names;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::bounded::Entries;
use super::licensed::{Licenses, Others};
use super::{Document, DocumentFormat, Listed, MAX_PACKAGES, finding, malformed, parse, some};
use crate::finding::{Finding, FindingKind};
use crate::license::{normal, of_text};

/// The names that are read (bom-1.7.schema.json).
static NAMES: Names = Names {
    known: &["bomFormat", "specVersion", "metadata", "components", "services", "vulnerabilities"],
    below: &[("metadata", &METADATA), ("components", &COMPONENT), ("services", &SERVICE)],
};
static METADATA: Names =
    Names { known: &["timestamp", "tools", "component"], below: &[("component", &COMPONENT)] };
static COMPONENT: Names = Names {
    known: &[
        "type",
        "group",
        "name",
        "version",
        "purl",
        "licenses",
        "evidence",
        "pedigree",
        "properties",
        "components",
    ],
    below: &[
        ("licenses", &CHOICE),
        ("evidence", &EVIDENCE),
        ("pedigree", &PEDIGREE),
        ("components", &COMPONENT),
    ],
};
static PEDIGREE: Names = Names {
    known: &["ancestors", "descendants", "variants"],
    below: &[("ancestors", &COMPONENT), ("descendants", &COMPONENT), ("variants", &COMPONENT)],
};
static SERVICE: Names = Names {
    known: &["group", "name", "version", "licenses", "services"],
    below: &[("licenses", &CHOICE), ("services", &SERVICE)],
};
static EVIDENCE: Names = Names { known: &["occurrences", "licenses"], below: &[("licenses", &CHOICE)] };
static CHOICE: Names = Names { known: &["expression", "license"], below: &[("license", &LICENSE)] };
static LICENSE: Names = Names { known: &["id", "name", "url", "text"], below: &[("text", &TEXT)] };
static TEXT: Names = Names { known: &["content", "encoding"], below: &[] };

#[derive(Deserialize)]
struct Bom<'a> {
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    components: Option<Entries<'a>>,
    #[serde(borrow)]
    services: Option<Entries<'a>>,
    #[serde(borrow)]
    vulnerabilities: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    timestamp: Option<String>,
    #[serde(borrow)]
    component: Option<&'a RawValue>,
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
    name: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    licenses: Option<Vec<Choice>>,
    evidence: Option<Evidence>,
    #[serde(borrow)]
    pedigree: Option<Pedigree<'a>>,
    properties: Option<Vec<Property>>,
    #[serde(borrow, default)]
    components: Entries<'a>,
}

/// What a component comes from, what came from it, and what else came from the same.
#[derive(Default, Deserialize)]
struct Pedigree<'a> {
    #[serde(borrow)]
    ancestors: Option<Entries<'a>>,
    #[serde(borrow)]
    descendants: Option<Entries<'a>>,
    #[serde(borrow)]
    variants: Option<Entries<'a>>,
}

#[derive(Deserialize)]
struct Service<'a> {
    name: Option<String>,
    licenses: Option<Vec<Choice>>,
    #[serde(borrow, default)]
    services: Entries<'a>,
}

#[derive(Deserialize)]
struct Choice {
    expression: Option<String>,
    license: Option<License>,
}

#[derive(Deserialize)]
struct License {
    id: Option<String>,
    name: Option<String>,
    url: Option<String>,
    text: Option<Text>,
}

#[derive(Deserialize)]
struct Text {
    content: Option<String>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Evidence {
    occurrences: Option<Vec<Occurrence>>,
    licenses: Option<Vec<Choice>>,
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
    NAMES.check(json, "other readers").map_err(malformed)?;
    let bom: Bom = parse(json)?;
    let mut document = Document::new(DocumentFormat::CycloneDx, version);
    let mut others = Others::default();
    if bom.components.is_none() && bom.services.is_none() && bom.vulnerabilities.is_none() {
        document.complain(malformed("the document has no list of components"));
    }
    let components = bom.components.unwrap_or_default();
    let mut waiting: Vec<Waiting<'_>> = components.0.iter().rev().map(|raw| Waiting::of(raw)).collect();
    if let Some(metadata) = bom.metadata {
        document.created = some(metadata.timestamp);
        let tools = match metadata.tools {
            Some(Tools::List(tools) | Tools::Object { components: Some(tools) }) => tools,
            Some(Tools::Object { components: None } | Tools::Other(_)) | None => Vec::new(),
        };
        document.creators = tools.into_iter().filter_map(Named::text).collect();
        if let Some(raw) = metadata.component {
            match serde_json::from_str::<Component>(raw.get()) {
                Ok(image) => {
                    waiting.extend(image.inside(false));
                    document.name = some(image.name.clone());
                    others.add(image.name(), image.licenses().all());
                }
                Err(e) => document.complain(malformed(format!("the document's subject: {e}"))),
            }
        }
    }
    read_components(waiting, &mut document, &mut others);
    let services = bom.services.unwrap_or_default();
    read_services(services.0.iter().map(|raw| raw.get()).collect(), &mut document, &mut others);
    document.other_licenses = others.give(&mut document);
    Ok(document.finished())
}

/// Components may hold components. Nesting is bounded by the depth of the document.
fn read_components<'a>(mut waiting: Vec<Waiting<'a>>, document: &mut Document, others: &mut Others) {
    let mut related = 0;
    while let Some(next) = waiting.pop() {
        let component: Component<'a> = match serde_json::from_str(next.json) {
            Ok(component) => component,
            Err(e) => {
                document.complain(malformed(format!("a component: {e}")));
                continue;
            }
        };
        related += usize::from(next.related);
        let inside = component.inside(next.related);
        if waiting.len() + document.packages.len() + related + inside.len() > MAX_PACKAGES {
            let why = format!("more than {MAX_PACKAGES} components; the rest is left out");
            document.complain(finding(FindingKind::TooMany, why));
            return;
        }
        waiting.extend(inside);
        if component.name.is_none() {
            document.complain(malformed("a component without a name"));
        }
        if component.is_package() && !next.related {
            document.packages.push(component.listed());
        } else {
            others.add(component.name(), component.licenses().all());
        }
    }
}

fn read_services<'a>(mut waiting: Vec<&'a str>, document: &mut Document, others: &mut Others) {
    while let Some(next) = waiting.pop() {
        match serde_json::from_str::<Service<'a>>(next) {
            Ok(service) => {
                waiting.extend(service.services.0.iter().map(|raw| raw.get()));
                let mut licenses = Licenses::default();
                service.licenses.iter().flatten().for_each(|choice| choice.say(&mut licenses));
                others.add(service.name.as_deref().unwrap_or_default(), licenses.all());
            }
            Err(e) => document.complain(malformed(format!("a service: {e}"))),
        }
    }
}

impl Named {
    fn text(self) -> Option<String> {
        let name = some(self.name)?;
        Some(some(self.version).map_or(name.clone(), |version| format!("{name} {version}")))
    }
}

/// A component still to be read.
struct Waiting<'a> {
    json: &'a str,
    /// Whether only a pedigree names it: it is not in the image.
    related: bool,
}

impl<'a> Waiting<'a> {
    fn of(raw: &'a RawValue) -> Self {
        Self { json: raw.get(), related: false }
    }
}

impl<'a> Component<'a> {
    /// The components in it and in its pedigree.
    fn inside(&self, related: bool) -> Vec<Waiting<'a>> {
        let pedigree = self.pedigree.iter();
        let lists = pedigree.flat_map(|known| [&known.ancestors, &known.descendants, &known.variants]);
        let named = lists.flatten().flat_map(|list| &list.0).map(|raw| (*raw, true));
        let inside = self.components.0.iter().map(|raw| (*raw, related));
        inside.chain(named).map(|(raw, related)| Waiting { json: raw.get(), related }).collect()
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Whether it is none of the image's system, a file, or a lock file that is called an application.
    fn is_package(&self) -> bool {
        let purl = self.purl.as_deref().is_some_and(|purl| !purl.is_empty());
        match self.kind.as_deref() {
            Some("operating-system" | "file" | "container") => false,
            Some("application") => purl,
            _ => self.name.is_some(),
        }
    }

    fn licenses(&self) -> Licenses {
        let mut licenses = Licenses::default();
        self.licenses.iter().flatten().for_each(|choice| choice.say(&mut licenses));
        let found = self.evidence.iter().filter_map(|evidence| evidence.licenses.as_ref());
        for choice in found.flatten() {
            let mut seen = Licenses::default();
            choice.say(&mut seen);
            seen.all().into_iter().for_each(|license| licenses.find(license));
        }
        licenses
    }

    fn listed(self) -> Listed {
        let licenses = self.licenses().all();
        let own = self.name.unwrap_or_default();
        let name = some(self.group).map_or(own.clone(), |group| format!("{group}/{own}"));
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
        Listed { name, version: some(self.version), purl: some(self.purl), licenses, paths }
    }
}

impl Choice {
    /// Its expression, its identifier and its name; where none of these is known also its address and text. One that
    /// says nothing of this is a licence that nobody knows.
    fn say(&self, licenses: &mut Licenses) {
        let mut own = Licenses::default();
        let license = self.license.as_ref();
        let names = license.map(|license| [license.id.as_deref(), license.name.as_deref()]);
        let names = names.into_iter().flatten().flatten().chain(self.expression.as_deref());
        names.for_each(|name| own.say(name));
        if let Some(license) = license.filter(|_| !own.is_known()) {
            let address = license.url.as_deref().map(normal);
            own.say(address.filter(|url| crate::output::is_spdx(url)).unwrap_or_default());
            let text = license.text.as_ref().map(Text::text);
            of_text(&text.unwrap_or_default()).into_iter().for_each(|license| own.say(license));
        }
        let said = own.all();
        if said.is_empty() {
            licenses.say("NOASSERTION");
        }
        said.into_iter().for_each(|license| licenses.say(license));
    }
}

impl Text {
    fn text(&self) -> String {
        let content = self.content.as_deref().unwrap_or_default();
        let decoded = self.encoding.as_ref().and_then(|_| STANDARD.decode(content).ok());
        decoded.map_or(content.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}
