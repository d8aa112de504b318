//! `package.json` of installed npm packages.

use serde::Deserialize;
use serde_json::Value;

use super::Content;
use crate::finding::Complaint;
use crate::package::{Ecosystem, Package};

#[derive(Deserialize)]
struct PackageJson {
    name: Option<Value>,
    version: Option<Value>,
    license: Option<Value>,
    licenses: Option<Value>,
    author: Option<Value>,
}

/// `node_modules/NAME/package.json` and `node_modules/@SCOPE/NAME/package.json` are installed packages, and one
/// outside of all `node_modules` is an application's. Deeper ones belong to a package's own tests and bundles.
pub(crate) fn is_package(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let Some(last) = parts.iter().rposition(|part| *part == "node_modules") else { return true };
    match parts.get(last + 1..).unwrap_or_default() {
        [scope, _, _] => scope.starts_with('@'),
        [name, _] => !name.starts_with('@'),
        _ => false,
    }
}

pub(crate) fn package_json(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    let parsed: PackageJson = match serde_json::from_slice(bytes) {
        Ok(parsed) => parsed,
        Err(e) => return content.complain(Complaint::malformed(format!("not a package.json: {e}"))),
    };
    let text = |value: &Option<Value>| {
        value.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    // Files without a name only say how the files beside them are to be loaded.
    let (Some(name), Some(version)) = (text(&parsed.name), text(&parsed.version)) else { return content };
    let (scope, name) = match name.strip_prefix('@').and_then(|rest| rest.split_once('/')) {
        Some((scope, name)) => (Some(scope.to_owned()), name.to_owned()),
        None => (None, name),
    };
    let mut package = Package::new(Ecosystem::Npm, name, Some(version));
    package.namespace = scope;
    for value in [&parsed.license, &parsed.licenses].into_iter().flatten() {
        licenses(value, &mut package.licenses);
    }
    package.supplier = match &parsed.author {
        Some(Value::Object(author)) => author.get("name").and_then(Value::as_str).map(str::to_owned),
        author => text(author),
    };
    content.add(package);
    content
}

/// A string, an object with a type, a name or an address, or an array of these.
fn licenses(value: &Value, to: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => to.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| licenses(value, to)),
        Value::Object(fields) => {
            let said = ["type", "name", "url"].into_iter().find_map(|key| fields.get(key));
            said.into_iter().for_each(|value| licenses(value, to));
        }
        _ => {}
    }
}
