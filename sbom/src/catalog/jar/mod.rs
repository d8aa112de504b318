//! Java archives, and archives in them: what Maven's files in them say, else the manifest, the classes and the file's
//! name. Archives that are too long to be kept are read as they stream by.

mod groups;
mod identity;
mod manifest;
mod pom;

use std::io::Read;
use std::sync::Arc;

use super::{Content, Found, license_file};
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::zip::{Stream, Zip};
pub(crate) use identity::Facts;
use manifest::Manifest;
use pom::Pom;

const EXTENSIONS: [&str; 10] =
    [".jar", ".war", ".ear", ".jpi", ".hpi", ".par", ".sar", ".nar", ".kar", ".lpkg"];
/// Longest properties file and `pom.xml`, in bytes.
const MAX_TEXT: u64 = 1 << 20;
/// Longest manifest: those of signed archives have a sum for each entry.
const MAX_MANIFEST: u64 = 4 << 20;

pub(crate) fn is_archive(name: &str) -> bool {
    let ends = |extension: &str| {
        let from = name.len().checked_sub(extension.len());
        from.and_then(|from| name.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case(extension))
    };
    EXTENSIONS.into_iter().any(ends)
}

/// What is left for an archive and those inside it.
struct Budget {
    entries: u64,
    bytes: u64,
}

impl Budget {
    fn of(limits: &Limits) -> Self {
        Self { entries: limits.archive_entries, bytes: limits.archive_bytes }
    }
}

pub(crate) fn read(path: &str, bytes: &[u8], limits: &Limits) -> Content {
    let mut reader = Reader { limits, budget: Budget::of(limits), content: Content::default() };
    let facts = reader.archive(file_name(path), bytes, &Level::default());
    Content { archive: facts.map(Arc::new), ..reader.content }
}

/// An archive of `size` bytes from its beginning to its end. What its directory at the end says is not asked.
pub(crate) fn stream(path: &str, source: impl Read, size: u64, limits: &Limits) -> Content {
    let mut reader = Reader { limits, budget: Budget::of(limits), content: Content::default() };
    let mut stream = Stream::new(source, size);
    let level = Level::default();
    let facts = reader.entries(&level, &mut |this, facts| {
        let Some(entry) = stream.next()? else { return Ok(false) };
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        this.entry(&name, &level, facts, &mut |limit| match limit {
            Some(limit) => stream.content(&entry, limit).map(Some),
            None => stream.skip(&entry).map(|()| None),
        })
    });
    reader.finish(file_name(path), &level, &facts);
    Content { archive: Some(Arc::new(facts)), ..reader.content }
}

/// The same archive under another name: it is its own package by that name.
pub(crate) fn renamed(mut content: Content, path: &str) -> Content {
    if let Some(facts) = content.archive.clone() {
        content.packages.retain(|found| !found.inside.is_empty());
        let own = facts.packages(file_name(path)).into_iter();
        content.packages.extend(own.map(|package| Found { package, inside: String::new() }));
    }
    content
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Where an archive is.
#[derive(Default)]
struct Level {
    inside: String,
    depth: usize,
}

/// What an entry is read as.
enum Wanted {
    Manifest,
    Properties(String, Pom),
    Xml(String, Pom),
    License,
    Archive,
}

impl Wanted {
    fn of(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("META-INF/MANIFEST.MF") {
            return Some(Self::Manifest);
        }
        match Pom::of_path(name) {
            Some((directory, pom)) if name.ends_with(".xml") => Some(Self::Xml(directory, pom)),
            Some((directory, pom)) => Some(Self::Properties(directory, pom)),
            None if is_archive(name) => Some(Self::Archive),
            None => {
                let file = name.strip_prefix("META-INF/").unwrap_or(name);
                (!file.contains('/') && license_file::is_named(file)).then_some(Self::License)
            }
        }
    }

    fn limit(&self, limits: &Limits) -> u64 {
        match self {
            Self::Manifest => MAX_MANIFEST,
            Self::Properties(..) | Self::Xml(..) | Self::License => MAX_TEXT,
            Self::Archive => limits.file_bytes,
        }
    }
}

/// Gives an entry's content up to a length, or passes it over.
type Take<'a> = dyn FnMut(Option<u64>) -> Result<Option<Vec<u8>>, Complaint> + 'a;

struct Reader<'a> {
    limits: &'a Limits,
    budget: Budget,
    content: Content,
}

impl Reader<'_> {
    fn archive(&mut self, file: &str, bytes: &[u8], level: &Level) -> Option<Facts> {
        let mut zip = match Zip::open(bytes) {
            Ok(zip) => zip,
            Err(complaint) => {
                self.complain(level, complaint);
                return None;
            }
        };
        let facts = self.entries(level, &mut |this, facts| {
            let Some(entry) = zip.next()? else { return Ok(false) };
            let name = String::from_utf8_lossy(entry.name);
            this.entry(&name, level, facts, &mut |limit| {
                limit.map(|limit| zip.content(&entry, limit)).transpose()
            })
        });
        self.finish(file, level, &facts);
        Some(facts)
    }

    /// Asks for entries until there are no more.
    fn entries(
        &mut self,
        level: &Level,
        next: &mut dyn FnMut(&mut Self, &mut Facts) -> Result<bool, Complaint>,
    ) -> Facts {
        let mut facts = Facts::default();
        loop {
            match next(self, &mut facts) {
                Ok(true) => {}
                Ok(false) => break,
                Err(complaint) => {
                    self.complain(level, complaint);
                    break;
                }
            }
        }
        facts
    }

    /// `Ok(true)` to go on. Errors end the archive.
    fn entry(
        &mut self,
        name: &str,
        level: &Level,
        facts: &mut Facts,
        take: &mut Take<'_>,
    ) -> Result<bool, Complaint> {
        let packages = self.content.packages.len() + facts.poms.len();
        if self.budget.entries == 0 || packages >= self.limits.packages_per_file {
            let (entries, packages) = (self.limits.archive_entries, self.limits.packages_per_file);
            let why = format!("more than {entries} entries or {packages} packages");
            return Err(Complaint::new(FindingKind::TooMany, why));
        }
        self.budget.entries -= 1;
        facts.class(name);
        let wanted = Wanted::of(name);
        let deeper = matches!(wanted, Some(Wanted::Archive)) && level.depth + 1 > self.limits.depth;
        if deeper {
            let why = format!("{name} is nested deeper than {} archives", self.limits.depth);
            self.complain(level, Complaint::new(FindingKind::TooDeep, why));
        }
        let Some(wanted) = wanted.filter(|_| !deeper) else { return take(None).map(|_| true) };
        let limit = wanted.limit(self.limits);
        match take(Some(limit.min(self.budget.bytes))) {
            Ok(read) => {
                let read = read.unwrap_or_default();
                self.budget.bytes = self.budget.bytes.saturating_sub(read.len() as u64);
                self.learn(name, wanted, &read, level, facts);
            }
            Err(complaint) => {
                let spent = complaint.kind == FindingKind::ArchiveTooLarge;
                self.budget.bytes = self.budget.bytes.saturating_sub(if spent { limit } else { 0 });
                self.complain(level, complaint);
            }
        }
        Ok(true)
    }

    fn learn(&mut self, name: &str, wanted: Wanted, bytes: &[u8], level: &Level, facts: &mut Facts) {
        match wanted {
            Wanted::Manifest if facts.manifest.is_empty() => facts.manifest = Manifest::parse(bytes),
            Wanted::Manifest => {}
            Wanted::Properties(directory, path) => {
                facts.poms.entry(directory).or_insert(path).improve(Pom::properties(bytes));
            }
            Wanted::Xml(directory, path) => {
                // The properties were made with the archive; the file may still have variables in it.
                let (found, whole) = Pom::xml(bytes);
                let mut pom = path;
                pom.improve(found);
                facts.poms.entry(directory).or_default().complete(pom);
                if !whole {
                    let why = format!("{name} is no whole XML: licences in it may be missing");
                    self.complain(level, Complaint::malformed(why));
                }
            }
            Wanted::License => {
                let found = license_file::read(bytes).licenses.into_iter();
                let new: Vec<String> = found.filter(|license| !facts.licenses.contains(license)).collect();
                facts.licenses.extend(new);
            }
            Wanted::Archive => {
                let inside = match level.inside.as_str() {
                    "" => name.to_owned(),
                    outer => format!("{outer}!/{name}"),
                };
                self.archive(file_name(name), bytes, &Level { inside, depth: level.depth + 1 });
            }
        }
    }

    fn finish(&mut self, file: &str, level: &Level, facts: &Facts) {
        let found = facts.packages(file).into_iter();
        self.content.packages.extend(found.map(|package| Found { package, inside: level.inside.clone() }));
    }

    fn complain(&mut self, level: &Level, complaint: Complaint) {
        let message = match level.inside.as_str() {
            "" => complaint.message,
            inside => format!("{inside}: {}", complaint.message),
        };
        self.content.complaints.push(Complaint { message, ..complaint });
    }
}
