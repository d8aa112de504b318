//! Java archives, and archives in them: Maven's `pom.properties`, else the manifest and the file's name.

use super::{Content, Found};
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::package::{Ecosystem, Package};
use crate::zip::Zip;

const EXTENSIONS: [&str; 8] = [".jar", ".war", ".ear", ".jpi", ".hpi", ".par", ".sar", ".nar"];
/// Longest manifest and properties file, in bytes.
const MAX_TEXT: u64 = 1 << 20;

pub(crate) fn is_archive(name: &str) -> bool {
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}

/// What is left for an archive and those inside it.
struct Budget {
    entries: u64,
    bytes: u64,
}

pub(crate) fn read(path: &str, bytes: &[u8], limits: &Limits) -> Content {
    let mut content = Content::default();
    let mut budget = Budget { entries: limits.archive_entries, bytes: limits.archive_bytes };
    let name = path.rsplit('/').next().unwrap_or(path);
    archive(name, bytes, "", 0, limits, &mut budget, &mut content);
    content
}

fn archive(
    name: &str,
    bytes: &[u8],
    inside: &str,
    depth: usize,
    limits: &Limits,
    budget: &mut Budget,
    content: &mut Content,
) {
    let place = |complaint: Complaint| match inside {
        "" => complaint,
        inside => Complaint { message: format!("{inside}: {}", complaint.message), ..complaint },
    };
    let mut zip = match Zip::open(bytes) {
        Ok(zip) => zip,
        Err(complaint) => return content.complaints.push(place(complaint)),
    };
    let (mut manifest, mut poms) = (Manifest::default(), Vec::new());
    loop {
        let entry = match zip.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(complaint) => {
                content.complaints.push(place(complaint));
                break;
            }
        };
        if budget.entries == 0 || content.packages.len() + poms.len() >= limits.packages_per_file {
            let why = format!(
                "more than {} entries or {} packages",
                limits.archive_entries, limits.packages_per_file
            );
            content.complaints.push(place(Complaint::new(FindingKind::TooMany, why)));
            break;
        }
        budget.entries -= 1;
        let entry_name = String::from_utf8_lossy(entry.name);
        let limit = match &*entry_name {
            "META-INF/MANIFEST.MF" => MAX_TEXT,
            name if name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties") => MAX_TEXT,
            name if is_archive(name) && depth + 1 > limits.depth => {
                let why = format!("{name} is nested deeper than {} archives", limits.depth);
                content.complaints.push(place(Complaint::new(FindingKind::TooDeep, why)));
                continue;
            }
            name if is_archive(name) => limits.file_bytes,
            _ => continue,
        };
        let read = match zip.content(&entry, limit.min(budget.bytes)) {
            Ok(read) => read,
            Err(complaint) => {
                let spent = complaint.kind == FindingKind::ArchiveTooLarge;
                budget.bytes = budget.bytes.saturating_sub(if spent { limit } else { 0 });
                content.complaints.push(place(complaint));
                continue;
            }
        };
        budget.bytes = budget.bytes.saturating_sub(read.len() as u64);
        if is_archive(&entry_name) {
            let file = entry_name.rsplit('/').next().unwrap_or_default();
            let inner =
                if inside.is_empty() { entry_name.to_string() } else { format!("{inside}!/{entry_name}") };
            archive(file, &read, &inner, depth + 1, limits, budget, content);
        } else if limit == MAX_TEXT && entry_name.ends_with(".MF") {
            manifest = Manifest::parse(&read);
        } else {
            poms.extend(pom(&read));
        }
    }
    let found = identify(name, &manifest, poms).into_iter();
    content.packages.extend(found.map(|package| Found { package, inside: inside.to_owned() }));
}

/// Every `pom.properties` is a package: shaded archives carry those of what they contain. Without any that fits
/// the file's name, the archive itself is one more.
fn identify(file: &str, manifest: &Manifest, poms: Vec<Package>) -> Vec<Package> {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let (name, version) = split_version(stem);
    let fits = |pom: &Package| pom.name == name || stem.starts_with(&pom.name);
    let mut found = poms;
    if found.len() != 1 && !found.iter().any(fits) {
        let version = version.map(str::to_owned).or_else(|| manifest.version.clone());
        if version.is_some() || manifest.group.is_some() {
            let mut own = Package::new(Ecosystem::Maven, name, version);
            own.namespace = manifest.group.clone();
            own.supplier = manifest.vendor.clone();
            found.push(own);
        }
    }
    for package in &mut found {
        if package.name == name && package.licenses.is_empty() {
            package.licenses = manifest.license.clone().into_iter().collect();
        }
    }
    found
}

/// `commons-lang3-3.12.0` → its name and, from the first part that begins with a digit on, its version.
fn split_version(stem: &str) -> (&str, Option<&str>) {
    let mut dashes = stem.match_indices('-').map(|(at, _)| at);
    let at = dashes.find(|at| stem.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit));
    match at.and_then(|at| Some((stem.get(..at)?, stem.get(at + 1..)?))) {
        Some((name, version)) if !name.is_empty() => (name, Some(version)),
        _ => (stem, None),
    }
}

fn pom(bytes: &[u8]) -> Option<Package> {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        let value = pairs.find(|(found, _)| found.trim() == key)?.1.trim();
        // Archives made without Maven's filtering carry the variables' names.
        Some(value.to_owned()).filter(|value| !value.is_empty() && !value.contains("${"))
    };
    let mut package = Package::new(Ecosystem::Maven, value("artifactId")?, value("version"));
    package.namespace = value("groupId");
    Some(package)
}

/// The main section of `META-INF/MANIFEST.MF` (JAR file specification).
#[derive(Default)]
struct Manifest {
    version: Option<String>,
    group: Option<String>,
    vendor: Option<String>,
    license: Option<String>,
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        // A line that begins with a blank goes on with the line before.
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            match (line.strip_prefix(' '), lines.last_mut()) {
                (Some(more), Some(last)) => last.push_str(more),
                _ => lines.push(line.to_owned()),
            }
        }
        let value = |key: &str| {
            let mut pairs = lines.iter().filter_map(|line| line.split_once(": "));
            let value = pairs.find(|(found, _)| found.eq_ignore_ascii_case(key))?.1.trim();
            Some(value.to_owned()).filter(|value| !value.is_empty())
        };
        let dotted = |text: String| {
            let fits = text.contains('.') && !text.contains(|c: char| c.is_whitespace() || c == '/');
            fits.then_some(text)
        };
        Self {
            version: ["Implementation-Version", "Bundle-Version", "Specification-Version"]
                .into_iter()
                .find_map(value),
            group: value("Implementation-Vendor-Id").and_then(dotted),
            vendor: value("Implementation-Vendor").or_else(|| value("Bundle-Vendor")),
            license: value("Bundle-License"),
        }
    }
}
