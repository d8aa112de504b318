//! The JSON that syft writes for itself.

use rreg_oci::Names;
use serde::Deserialize;

use super::bounded::{Entries, Files, Licensed};
use super::licensed::Licenses;
use super::{Document, DocumentFormat, Listed, malformed, parse, some};
use crate::finding::Finding;
use crate::license::{normal, of_text};
use crate::output::is_spdx;

static NAMES: Names = Names {
    known: &["artifacts", "files", "descriptor", "schema", "source"],
    below: &[("artifacts", &ARTIFACT), ("files", &FILE)],
};
static ARTIFACT: Names =
    Names { known: &["name", "version", "purl", "licenses", "locations"], below: &[("licenses", &LICENSE)] };
static FILE: Names = Names { known: &["location", "licenses"], below: &[("licenses", &LICENSE)] };
static LICENSE: Names = Names { known: &["value", "spdxExpression", "contents", "urls"], below: &[] };

#[derive(Deserialize)]
struct Syft<'a> {
    #[serde(borrow, default)]
    artifacts: Entries<'a>,
    #[serde(default)]
    files: Files<File>,
    descriptor: Named,
    schema: Option<Schema>,
    source: Option<Source>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Schema {
    version: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    version: Option<String>,
    purl: Option<String>,
    licenses: Option<Vec<License>>,
    locations: Option<Vec<Location>>,
}

#[derive(Deserialize)]
struct File {
    location: Option<Location>,
    licenses: Option<Vec<License>>,
}

impl Licensed for File {
    fn licensed(self) -> (String, Vec<String>) {
        let path = self.location.and_then(|location| location.path).unwrap_or_default();
        (path, licenses(self.licenses))
    }
}

/// A text in old versions.
#[derive(Deserialize)]
#[serde(untagged)]
enum License {
    Text(String),
    Value(Value),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    value: Option<String>,
    spdx_expression: Option<String>,
    /// The whole text, where asked for.
    contents: Option<String>,
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Location {
    path: Option<String>,
}

pub(super) fn read(json: &[u8]) -> Result<Document, Finding> {
    NAMES.check(json, "other readers").map_err(malformed)?;
    let syft: Syft = parse(json)?;
    if syft.descriptor.name.as_deref() != Some("syft") {
        return Err(malformed("the document says neither bomFormat nor spdxVersion, and is none of syft's"));
    }
    let version = syft.schema.and_then(|schema| schema.version).unwrap_or_default();
    let mut document = Document::new(DocumentFormat::Syft, version);
    let tool = some(syft.descriptor.version).map_or("syft".into(), |version| format!("syft {version}"));
    document.creators.push(tool);
    document.name = syft.source.and_then(|source| some(source.name));
    for artifact in syft.artifacts.read::<Artifact>(&mut document, "artifact") {
        let paths = artifact.locations.into_iter().flatten().filter_map(|location| location.path);
        document.packages.push(Listed {
            name: artifact.name,
            version: some(artifact.version),
            purl: some(artifact.purl),
            licenses: licenses(artifact.licenses),
            paths: paths.map(|path| path.trim_start_matches('/').to_owned()).collect(),
        });
    }
    document.other_licenses = syft.files.give(&mut document);
    Ok(document.finished())
}

fn licenses(list: Option<Vec<License>>) -> Vec<String> {
    let mut licenses = Licenses::default();
    for license in list.into_iter().flatten() {
        match license {
            License::Text(text) => licenses.say(text),
            License::Value(value) => value.say(&mut licenses),
        }
    }
    licenses.all()
}

impl Value {
    fn say(self, licenses: &mut Licenses) {
        let mut own = Licenses::default();
        self.value.into_iter().chain(self.spdx_expression).for_each(|name| own.say(name));
        if !own.is_known() {
            of_text(&self.contents.unwrap_or_default()).into_iter().for_each(|license| own.say(license));
            let addresses = self.urls.into_iter().flatten().map(|address| normal(&address));
            addresses.filter(|license| is_spdx(license)).for_each(|license| own.say(license));
        }
        let said = own.all();
        if said.is_empty() {
            licenses.say("NOASSERTION");
        }
        said.into_iter().for_each(|license| licenses.say(license));
    }
}
