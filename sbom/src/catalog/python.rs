//! Metadata of installed Python distributions (Core metadata specifications): `METADATA` and `PKG-INFO`.

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::license;
use crate::limits::Limits;
use crate::package::{Ecosystem, Package};
use crate::zip::Zip;

/// Longest licence that is a name and no text, in bytes.
const MAX_NAME: usize = 100;

#[derive(Default)]
struct Licenses {
    /// `License-Expression`, which stands for all else where it is there (PEP 639).
    expression: Option<String>,
    /// `License`: a name or a whole text.
    free: Option<String>,
    /// The last parts of `Classifier: License :: …`.
    classifiers: Vec<String>,
}

pub(crate) fn metadata(bytes: &[u8]) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut package = Package::new(Ecosystem::Pypi, "", None);
    let mut licenses = Licenses::default();
    for (key, value) in fields(&text) {
        let value = value.trim();
        let some = || Some(value.to_owned()).filter(|v| !v.is_empty() && v != "UNKNOWN");
        match key.to_ascii_lowercase().as_str() {
            "name" if package.name.is_empty() => package.name = value.into(),
            "version" if package.version.is_none() => package.version = some(),
            "license-expression" => licenses.expression = some(),
            "license" => licenses.free = some(),
            "classifier" => licenses.classifiers.extend(classifier(value)),
            "author" if package.supplier.is_none() => package.supplier = some(),
            "author-email" if package.supplier.is_none() => package.supplier = some(),
            _ => {}
        }
    }
    package.licenses = licenses.all();
    let mut content = Content::default();
    if package.name.is_empty() || package.version.is_none() {
        return content.complain(Complaint::malformed("metadata without Name or Version"));
    }
    content.add(package);
    content
}

/// An egg that is one file (setuptools, "The Internal Structure of Python Eggs").
pub(crate) fn egg(bytes: &[u8], limits: &Limits) -> Content {
    if !bytes.starts_with(b"PK") {
        return Content::default();
    }
    match info(bytes, limits) {
        Ok(Some(info)) => metadata(&info),
        Ok(None) => Content::default().complain(Complaint::malformed("an egg without EGG-INFO/PKG-INFO")),
        Err(complaint) => Content::default().complain(complaint),
    }
}

fn info(egg: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, Complaint> {
    let mut zip = Zip::open(egg)?;
    for _ in 0..limits.archive_entries {
        let Some(entry) = zip.next()? else { return Ok(None) };
        if entry.name == b"EGG-INFO/PKG-INFO" {
            return zip.content(&entry, limits.text_bytes).map(Some);
        }
    }
    let why = format!("an egg with more than {} entries", limits.archive_entries);
    Err(Complaint::new(FindingKind::TooMany, why))
}

/// The fields of the header, with the lines that go on with them. It ends at the first empty line; the long description
/// follows.
fn fields(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let more = line.strip_prefix([' ', '\t']);
        match (more, line.split_once(':')) {
            (Some(more), _) => {
                if let Some((_, value)) = found.last_mut() {
                    value.push('\n');
                    value.push_str(more.trim_start().trim_start_matches('|'));
                }
            }
            (None, Some((key, value))) => found.push((key, value.to_owned())),
            (None, None) => {}
        }
    }
    found
}

/// `License :: OSI Approved :: MIT License` → `MIT License`. That it is approved says not which it is.
fn classifier(text: &str) -> Option<String> {
    let (_, last) =
        text.strip_prefix("License ::")?.rsplit_once("::").unwrap_or(("", text.strip_prefix("License ::")?));
    Some(last.trim().to_owned()).filter(|last| !last.is_empty() && last != "OSI Approved")
}

impl Licenses {
    fn all(self) -> Vec<String> {
        if let Some(expression) = self.expression {
            return vec![expression];
        }
        let free = match self.free {
            Some(text) if text.len() > MAX_NAME || text.contains('\n') => license::of_text(&text),
            free => free.into_iter().collect(),
        };
        free.into_iter().chain(self.classifiers).collect()
    }
}
