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

impl<'a> Stanza<'a> {
    /// Names of fields are the same in any case; continuation lines begin with a blank and match none.
    fn field(&mut self, key: &str, value: &'a str) {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        match () {
            () if is("Package") => self.name = value,
            () if is("Version") => self.version = value,
            () if is("Status") => self.status = Some(value),
            () if is("Architecture") => self.architecture = value,
            () if is("Source") => self.source = value,
            // Only opkg, which is dpkg's heir on small systems, has it here.
            () if is("License") => self.license = value,
            () if is("Maintainer") => self.maintainer = value,
            () => {}
        }
    }
}

pub(crate) fn status(bytes: &[u8], limits: &Limits) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut content = Content::default();
    let mut stanza = Stanza::default();
    let mut began = false;
    let mut broken = 0_usize;
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
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
        stanza.field(key, value.trim());
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

/// Paths of a `.list` file, one a line, or of a `.md5sums` file, after a sum. Told by the content: a link may give it any
/// name.
pub(crate) fn files(bytes: &[u8], limits: &Limits) -> Content {
    let sums = begins_with_sum(bytes);
    let mut content = Content::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let name = if sums { after_sum(line).unwrap_or_default() } else { line };
        if content.owned.len() >= limits.owned {
            let why = format!("more than {} owned paths", limits.owned);
            return content.complain(Complaint::new(FindingKind::TooMany, why));
        }
        content.owned.push(owned::hash(&String::from_utf8_lossy(name)));
    }
    content
}

/// Digits of sums: MD5 as dpkg has it, and SHA-1, SHA-256 and SHA-512, which some builders write in its place.
const SUMS: [usize; 4] = [32, 40, 64, 128];

/// Whether the first line is one of md5sum(1) or its siblings.
pub(crate) fn begins_with_sum(bytes: &[u8]) -> bool {
    after_sum(bytes).is_some()
}

/// What stands behind a sum and one or two blanks. md5sum(1) puts a backslash before the sum of a name that it had to
/// change.
fn after_sum(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = line.get(digits..)?.strip_prefix(b" ").filter(|_| SUMS.contains(&digits))?;
    Some(rest.strip_prefix(b" ").or(rest.strip_prefix(b"*")).unwrap_or(rest))
}
