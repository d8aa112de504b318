//! Files with the licence of a package, beside its metadata: they count where the metadata names no licence that is known.

use super::Content;
use crate::license;

/// How their names begin, in capitals.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE", "UNLICENCE"];
/// Directories of Python's metadata (Core metadata specifications; setuptools).
const METADATA: [&str; 3] = [".dist-info", ".egg-info", "EGG-INFO"];

/// Whether a file's name is that of a licence, and not of code about licences.
pub(super) fn is_named(name: &str) -> bool {
    let begins = |begin: &str| name.get(..begin.len()).is_some_and(|part| part.eq_ignore_ascii_case(begin));
    let code = [".py", ".pyc", ".js", ".mjs", ".cjs", ".ts", ".class", ".json", ".map"];
    NAMES.iter().any(|name| begins(name)) && !code.iter().any(|end| name.ends_with(end))
}

/// The directory of the package whose licence a file is: that of npm's `package.json`, or of Python's metadata.
pub(crate) fn owner(path: &str) -> Option<&str> {
    let (parent, name) = path.rsplit_once('/')?;
    // `dist-info/licenses/` has what `License-File` names, which may be called anything (PEP 639).
    for end in METADATA {
        let inside = parent.find(&format!("{end}/")).map(|at| at + end.len());
        let at = inside.or_else(|| parent.ends_with(end).then_some(parent.len()));
        if let Some((directory, below)) = at.and_then(|at| parent.split_at_checked(at)) {
            let listed = below.starts_with("/licenses") || below.starts_with("/license_files");
            return (listed || is_named(name)).then_some(directory);
        }
    }
    let npm = parent.contains("node_modules/") && super::npm::is_package(&format!("{parent}/package.json"));
    (npm && is_named(name)).then_some(parent)
}

pub(crate) fn read(bytes: &[u8]) -> Content {
    Content { licenses: license::of_text(&String::from_utf8_lossy(bytes)), ..Content::default() }
}
