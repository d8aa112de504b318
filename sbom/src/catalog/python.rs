//! Metadata of installed Python distributions (Core metadata specifications): `METADATA` and `PKG-INFO`.

use super::Content;
use crate::finding::Complaint;
use crate::package::{Ecosystem, Package};

pub(crate) fn metadata(bytes: &[u8]) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut package = Package::new(Ecosystem::Pypi, "", None);
    let mut license = None;
    let mut expression = None;
    // The header ends at the first empty line; the long description follows.
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        let some = || Some(value.to_owned()).filter(|v| !v.is_empty() && v != "UNKNOWN");
        match key.to_ascii_lowercase().as_str() {
            "name" if package.name.is_empty() => package.name = value.into(),
            "version" if package.version.is_none() => package.version = some(),
            "license-expression" => expression = some(),
            // Some put the whole text of the licence here; its first line is a title at best.
            "license" => license = some().filter(|text| text.len() <= 100),
            "author" if package.supplier.is_none() => package.supplier = some(),
            "author-email" if package.supplier.is_none() => package.supplier = some(),
            _ => {}
        }
    }
    package.licenses = expression.or(license).into_iter().collect();
    let mut content = Content::default();
    if package.name.is_empty() || package.version.is_none() {
        return content.complain(Complaint::malformed("metadata without Name or Version"));
    }
    content.add(package);
    content
}
