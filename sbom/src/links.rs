//! Links: which file a path means, and which files count under a name that only a symbolic link gives them.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, Content, rpm};
use crate::files::{Files, Seen};
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::packed::Packed;

/// Most links followed for one path, as Linux has it (path_resolution(7)).
const MAX_HOPS: usize = 40;
/// Most parts of a path with all links in it, and of what is still to be gone.
const MAX_STEPS: usize = 256;
/// Directories whose files count by their place. One that is reached through a link has its files elsewhere.
const PLACES: [&str; 9] = [
    "var/lib/dpkg",
    "var/lib/dpkg/status.d",
    "var/lib/dpkg/info",
    "lib/apk/db",
    "usr/lib/apk/db",
    "var/lib/rpm",
    "usr/lib/sysimage/rpm",
    "usr/share/rpm",
    "etc",
];
/// Files that count by the name of their directory.
const MEMBERS: [&str; 3] = ["package.json", "METADATA", "PKG-INFO"];

/// A database and what its log makes of it.
pub(crate) struct Logged {
    pub(crate) log: String,
    pub(crate) database: String,
    pub(crate) layer: usize,
    pub(crate) content: Result<Content, Complaint>,
}

impl Files {
    /// The path without links in it; `None` where they lead nowhere.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        let mut waiting: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at = String::new();
        let (mut hops, mut steps) = (0, 0);
        while let Some(part) = waiting.pop() {
            steps += 1;
            if steps > MAX_STEPS || waiting.len() > MAX_STEPS {
                return None;
            }
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.truncate(at.rfind('/').unwrap_or(0));
                    continue;
                }
                part => {
                    let before = at.len();
                    at.push_str(if before == 0 { "" } else { "/" });
                    at.push_str(part);
                    if let Some(target) = self.get(&at).and_then(|seen| seen.content.link.as_deref()) {
                        hops += 1;
                        at.truncate(if target.starts_with('/') { 0 } else { before });
                        waiting.extend(target.split('/').rev().map(str::to_owned));
                    }
                }
            }
            if hops > MAX_HOPS {
                return None;
            }
        }
        Some(at)
    }

    /// The path of an entry as it lies in the file system: its directory may be a link.
    pub(crate) fn place(&self, path: String) -> String {
        let Some((parent, name)) = path.rsplit_once('/').filter(|_| self.has_links()) else { return path };
        match self.resolve(parent) {
            Some(real) if real == parent => path,
            Some(real) if real.is_empty() => name.to_owned(),
            Some(real) => format!("{real}/{name}"),
            None => path,
        }
    }

    /// Files that count only under a name that a symbolic link gives them: this name by the path of the file.
    pub(crate) fn linked(&self) -> (BTreeMap<String, String>, Vec<(String, Complaint)>) {
        let (mut found, mut complaints) = (BTreeMap::new(), Vec::new());
        let mut consider = |name: &str, real: Option<String>| {
            let kind = Catalog::of(name)?;
            let seen = real.as_deref().and_then(|real| self.get(real)).filter(|seen| seen.kind == Some(kind));
            match (real, seen) {
                (Some(real), Some(seen)) if !seen.counts => drop(found.insert(real, name.to_owned())),
                (_, Some(_)) => {}
                _ => return kind.is_database().then_some(()),
            }
            None
        };
        for (path, _) in self.iter().filter(|(_, seen)| seen.content.link.is_some()) {
            let real = self.resolve(path);
            if let Some(real) = &real {
                for member in MEMBERS {
                    consider(&format!("{path}/{member}"), Some(format!("{real}/{member}")));
                }
            }
            if consider(path, real).is_some() {
                let why = "a link that leads to no database of this kind";
                complaints.push((path.clone(), Complaint::new(FindingKind::LinkBroken, why)));
            }
        }
        for place in PLACES {
            let Some(real) = self.resolve(place).filter(|real| real != place) else { continue };
            for below in self.below(&real) {
                let name = below.strip_prefix(&real).filter(|name| name.rfind('/') == Some(0));
                if let Some(name) = name.map(|name| format!("{place}{name}")) {
                    consider(&name, self.resolve(&name));
                }
            }
        }
        (found, complaints)
    }

    /// Databases with what their logs have committed: where the log is found, the database's path and its new content.
    pub(crate) fn with_logs(&self, names: &BTreeMap<String, String>, limits: &Limits) -> Vec<Logged> {
        let mut found = Vec::new();
        for (path, log) in self.iter().filter(|(_, seen)| seen.kind == Some(Catalog::RpmLog)) {
            let name = names.get(path).filter(|_| !log.counts).unwrap_or(path);
            let database =
                Some(name.as_str()).filter(|name| log.counts || *name != path).and_then(rpm::database_of);
            let Some(database) = database.and_then(|name| self.resolve(name)) else { continue };
            let base = self.get(&database).filter(|seen| seen.kind == Some(Catalog::Rpm));
            let layer = base.map_or(log.layer, |base| base.layer.max(log.layer));
            let raw = base.map(|base| base.content.raw.as_ref().map(Packed::bytes));
            let log_bytes = log.content.raw.as_ref().map(Packed::bytes);
            let merged = match (raw, log_bytes) {
                (_, Some(bytes)) if !rpm::begins_log(&bytes) => continue,
                (Some(None), Some(_)) | (_, None) => {
                    let why = "changes in a log beside a database that are not read: more is not kept";
                    Err(Complaint::new(FindingKind::Unsupported, why))
                }
                (raw, Some(bytes)) => {
                    rpm::with_log(&raw.flatten().unwrap_or_default(), &bytes, limits.file_bytes)
                }
            };
            let content = match merged {
                Ok(None) => continue,
                Ok(Some(merged)) => Ok(rpm::read(&merged, limits)),
                Err(complaint) => Err(complaint),
            };
            found.push(Logged { log: path.clone(), database, layer, content });
        }
        found
    }

    /// What a hard link to `target` is another name of.
    pub(crate) fn target(&self, target: &str) -> Option<&Seen> {
        let parts: Vec<&str> = target.split('/').filter(|part| !["", "."].contains(part)).collect();
        self.get(&self.place(parts.join("/")))
    }
}
