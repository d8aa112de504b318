//! Go's build information (Go source, src/debug/buildinfo): a header with a magic, then two strings, the
//! toolchain's version and the modules in the form of `go version -m`.

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::package::{Ecosystem, Package};

/// The first bytes of the header, at a multiple of 16 in the file.
pub(crate) const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Length of the header, in bytes.
const HEADER: usize = 32;
/// Set where the strings follow the header, as they do since Go 1.18.
const INLINE: u8 = 2;
/// The module text lies between two marks of this length, in bytes.
const MARK: usize = 16;

/// What stands after a magic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BuildInfo {
    /// Something that only looks like it.
    None,
    /// Needs more bytes to tell.
    More,
    /// The header of a linker, and strings behind it that are none.
    Broken,
    /// Written by a Go before 1.18: the strings are elsewhere, behind pointers.
    Old,
    /// Version and modules.
    Found(String, String),
}

/// Reads from the first byte of the magic on.
pub(crate) fn parse(bytes: &[u8], whole: bool) -> BuildInfo {
    let more = if whole { BuildInfo::None } else { BuildInfo::More };
    let Some(flags) = bytes.get(15).copied() else { return more };
    if flags & INLINE == 0 {
        let pointer = bytes.get(14).is_some_and(|size| [4, 8].contains(size));
        return if pointer && flags <= 1 { BuildInfo::Old } else { BuildInfo::None };
    }
    let Some(rest) = bytes.get(HEADER..) else { return more };
    // The linker leaves the rest of the header empty; elsewhere the magic is a text in some program.
    let written =
        flags == INLINE && bytes.get(16..HEADER).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
    let broken = || if written { BuildInfo::Broken } else { BuildInfo::None };
    let more = || if whole { broken() } else { BuildInfo::More };
    let Some((version, rest)) = string(rest) else { return more() };
    let Some((modules, _)) = string(rest) else { return more() };
    let version = String::from_utf8_lossy(version).into_owned();
    if version.is_empty() && modules.is_empty() {
        return BuildInfo::None;
    }
    let named = version.starts_with("go") || version.starts_with("devel");
    if !(named || written && is_version(&version)) {
        return broken();
    }
    let inner = modules.len().checked_sub(MARK).and_then(|end| modules.get(MARK..end));
    BuildInfo::Found(version, String::from_utf8_lossy(inner.unwrap_or_default()).into_owned())
}

/// Whether a text could be a toolchain's version: some builders give it one of their own, or take it away.
fn is_version(text: &str) -> bool {
    text.len() <= 200 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// A string after its length as a varint of 7-bit groups.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let end = length.checked_add(at + 1)?;
            return Some((bytes.get(at + 1..end)?, bytes.get(end..)?));
        }
    }
    None
}

/// Adds the toolchain's library and the modules.
pub(crate) fn modules(version: &str, text: &str, limits: &Limits, content: &mut Content) {
    // `go1.24.1 X:experiment`: experiments are not part of the version.
    let version = version.split_whitespace().next().unwrap_or_default();
    if let Some(release) = version.strip_prefix("go").filter(|release| !release.is_empty()) {
        content.add(Package::new(Ecosystem::Golang, "stdlib", Some(release.into())));
    }
    let release = version.strip_prefix("go");
    if release.is_none() && !version.starts_with("devel") {
        let why = "Go build information without a version of Go: its library is not in the list";
        content.complaints.push(Complaint::malformed(why));
    }
    let known =
        |line: &str| ["path\t", "mod\t", "dep\t", "build\t"].iter().any(|begin| line.starts_with(begin));
    if !text.is_empty() && !text.lines().any(known) {
        content.complaints.push(Complaint::malformed("Go build information whose modules cannot be read"));
    }
    let mut found: Vec<Package> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (kind, path, version) = (fields.next(), fields.next(), fields.next());
        let Some(path) = path.filter(|path| !path.is_empty()) else { continue };
        // A main module built from its directory has no version.
        let version = version.filter(|v| *v != "(devel)").map(str::to_owned);
        match kind {
            Some("mod" | "dep") => found.push(Package::new(Ecosystem::Golang, path, version)),
            // The module before was replaced by this one. A directory has no name of its own: what is in it is
            // still that module, of the version that was asked for as far as anybody knows.
            Some("=>") if version.is_none() || is_directory(path) => {}
            Some("=>") => {
                found.pop();
                found.push(Package::new(Ecosystem::Golang, path, version));
            }
            _ => {}
        }
        if found.len() > limits.packages_per_file {
            let why = format!("more than {} modules", limits.packages_per_file);
            content.complaints.push(Complaint::new(FindingKind::TooMany, why));
            break;
        }
    }
    found.into_iter().for_each(|package| content.add(package));
}

/// Whether a replacement is a path of the machine that built it (Go Modules Reference, "replace directive").
fn is_directory(path: &str) -> bool {
    let drive = path.as_bytes().get(1) == Some(&b':');
    drive || [".", "/", "\\"].iter().any(|begin| path.starts_with(begin))
}
