//! Debian's `copyright` files: machine-readable ones (copyright-format 1.0), else text.

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::license;

/// Most licences of one file.
const MAX_LICENSES: usize = 1000;

pub(crate) fn read(bytes: &[u8]) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut licenses = if is_machine_readable(&text) { fields(&text) } else { Vec::new() };
    if licenses.is_empty() {
        licenses = license::of_text(&text);
    }
    let why = format!("more than {MAX_LICENSES} licences");
    let cut = (licenses.len() > MAX_LICENSES).then(|| Complaint::new(FindingKind::TooMany, why));
    licenses.truncate(MAX_LICENSES);
    Content { licenses, complaints: cut.into_iter().collect(), ..Content::default() }
}

fn is_machine_readable(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    first
        .split_once(':')
        .is_some_and(|(key, _)| key.eq_ignore_ascii_case("format") || key == "Format-Specification")
}

/// The licences of the files; those of Debian's own (`debian/*`) only where there are no others.
fn fields(text: &str) -> Vec<String> {
    let (mut upstream, mut packaging, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut paragraph = Paragraph::default();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            let done = std::mem::take(&mut paragraph);
            let to = match done.files {
                Some(files) if files.split_whitespace().all(|file| file.starts_with("debian/")) => {
                    &mut packaging
                }
                Some(_) => &mut upstream,
                None => &mut others,
            };
            to.extend(done.license.filter(|license| !license.is_empty()).map(license::normal));
            continue;
        }
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else {
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            "files" => paragraph.files = Some(value.trim()),
            "license" => paragraph.license = Some(value.trim()),
            _ => {}
        }
    }
    let mut found =
        [upstream, packaging, others].into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    found.sort();
    found.dedup();
    found
}

#[derive(Default)]
struct Paragraph<'a> {
    files: Option<&'a str>,
    license: Option<&'a str>,
}
