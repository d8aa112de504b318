//! dpkg: its status file (deb-control(5)), the one-package files of images without dpkg, and its file lists.

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::owned;
use crate::package::{Ecosystem, Package, Source};

/// States of packages that are not there, or no longer: dpkg(1), "Package states".
const ABSENT: [&str; 3] = ["not-installed", "config-files", "half-installed"];

/// Further files of a package beside its record, in images without dpkg: deb(5), deb-control(5) and its siblings.
const CONTROL: [&str; 10] = [
    "preinst",
    "postinst",
    "prerm",
    "postrm",
    "config",
    "conffiles",
    "templates",
    "triggers",
    "shlibs",
    "symbols",
];

/// Whether a file beside the records lists what a package owns.
pub(crate) fn lists_files(name: &str) -> bool {
    name.ends_with(".md5sums") || name.ends_with(".list")
}

/// Whether a file of `status.d` is a package's record. Names of packages have dots as well (`python3.11`).
pub(crate) fn is_record(name: &str) -> bool {
    !name.rsplit_once('.').is_some_and(|(_, extension)| CONTROL.contains(&extension))
}

#[derive(Default)]
struct Stanza<'a> {
    name: &'a str,
    version: &'a str,
    status: Option<&'a str>,
    architecture: &'a str,
    source: &'a str,
    maintainer: &'a str,
    license: &'a str,
}

pub(crate) fn status(bytes: &[u8], limits: &Limits) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut content = Content::default();
    let mut stanza = Stanza::default();
    let mut began = false;
    let mut broken = 0_usize;
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            match package(&std::mem::take(&mut stanza)) {
                _ if !began => {}
                Ok(Some(_)) if content.packages.len() >= limits.packages_per_file => {
                    let why = format!("more than {} packages", limits.packages_per_file);
                    return content.complain(Complaint::new(FindingKind::TooMany, why));
                }
                Ok(Some(package)) => content.add(package),
                Ok(None) => {}
                Err(()) => broken += 1,
            }
            began = false;
            continue;
        }
        began = true;
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        // Continuation lines begin with a blank and match no key.
        match key {
            "Package" => stanza.name = value,
            "Version" => stanza.version = value,
            "Status" => stanza.status = Some(value),
            "Architecture" => stanza.architecture = value,
            "Source" => stanza.source = value,
            // Only opkg, which is dpkg's heir on small systems, has it here.
            "License" => stanza.license = value,
            "Maintainer" => stanza.maintainer = value,
            _ => {}
        }
    }
    if broken > 0 {
        content = content
            .complain(Complaint::malformed(format!("{broken} installed packages without name or version")));
    }
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        content = content.complain(Complaint::truncated("the last line has no end"));
    }
    content
}

/// `Ok(None)` for a package that is not installed.
fn package(stanza: &Stanza<'_>) -> Result<Option<Package>, ()> {
    let state = stanza.status.and_then(|status| status.split_whitespace().nth(2));
    if state.is_some_and(|state| ABSENT.contains(&state)) {
        return Ok(None);
    }
    if stanza.name.is_empty() || stanza.version.is_empty() {
        return Err(());
    }
    let mut package = Package::new(Ecosystem::Deb, stanza.name, Some(stanza.version.into()));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    package.architecture = some(stanza.architecture);
    package.supplier = some(stanza.maintainer);
    package.licenses = some(stanza.license).into_iter().collect();
    // `Source: name (version)`; the version only where it differs.
    package.source = stanza.source.split_whitespace().next().map(|name| Source {
        name: name.into(),
        version: stanza
            .source
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(version, _)| version.trim().to_owned()),
    });
    Ok(Some(package))
}

/// Paths of a `.list` file, one a line, or of a `.md5sums` file, after 32 digits and two blanks. Told by the content:
/// a link may give it any name.
pub(crate) fn files(bytes: &[u8], limits: &Limits) -> Content {
    let sums = begins_with_sum(bytes);
    let mut content = Content::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // md5sum(1) puts a backslash before the sum of a name that it had to change.
        let line = if sums { line.strip_prefix(b"\\").unwrap_or(line) } else { line };
        let name = if sums { line.get(34..).unwrap_or_default() } else { line };
        if content.owned.len() >= limits.owned {
            let why = format!("more than {} owned paths", limits.owned);
            return content.complain(Complaint::new(FindingKind::TooMany, why));
        }
        content.owned.push(owned::hash(&String::from_utf8_lossy(name)));
    }
    content
}

/// Whether the first line is one of md5sum(1).
pub(crate) fn begins_with_sum(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\\").unwrap_or(bytes);
    let digits = bytes.get(..32).is_some_and(|sum| sum.iter().all(u8::is_ascii_hexdigit));
    digits && bytes.get(32..34).is_some_and(|gap| [b"  ", b" *"].iter().any(|known| gap == *known))
}
