//! The JSON that syft writes for itself.

use serde::Deserialize;

use super::bounded::Entries;
use super::{Document, DocumentFormat, Listed, malformed, parse, some};
use crate::finding::Finding;

#[derive(Deserialize)]
struct Syft<'a> {
    #[serde(borrow, default)]
    artifacts: Entries<'a>,
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

/// A text in old versions.
#[derive(Deserialize)]
#[serde(untagged)]
enum License {
    Text(String),
    Value { value: String },
}

#[derive(Deserialize)]
struct Location {
    path: Option<String>,
}

pub(super) fn read(json: &[u8]) -> Result<Document, Finding> {
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
        let licenses = artifact.licenses.into_iter().flatten().map(|license| match license {
            License::Text(text) | License::Value { value: text } => text,
        });
        let paths = artifact.locations.into_iter().flatten().filter_map(|location| location.path);
        document.packages.push(Listed {
            name: artifact.name,
            version: some(artifact.version),
            purl: some(artifact.purl),
            licenses: licenses.collect(),
            paths: paths.map(|path| path.trim_start_matches('/').to_owned()).collect(),
        });
    }
    Ok(document.finished())
}
