//! Debian's `copyright` files: machine-readable ones (copyright-format 1.0), else text.

use std::collections::HashMap;

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::license;
use crate::output::is_spdx;

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
    let lines = text.lines().skip_while(|line| line.trim().is_empty());
    lines.take_while(|line| !line.trim().is_empty()).any(|line| {
        let key = line.split_once(':').map(|(key, _)| key);
        key.is_some_and(|key| key.eq_ignore_ascii_case("format") || key == "Format-Specification")
    })
}

/// The licences of the files and of the package as a whole; those of Debian's own files (`debian/*`) only where there are no
/// others. A name that is not SPDX's brings the licences that its text shows, which may stand in a paragraph of its own.
fn fields(text: &str) -> Vec<String> {
    let (mut upstream, mut packaging, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut paragraph = Paragraph::default();
    let mut is_header = true;
    let mut texts = HashMap::<String, Vec<String>>::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            let done = std::mem::take(&mut paragraph);
            let to = match done.files {
                Some(files) if files.split_whitespace().all(|file| file.starts_with("debian/")) => {
                    &mut packaging
                }
                Some(_) => &mut upstream,
                None if is_header && done.license.is_some() => &mut upstream,
                None => &mut others,
            };
            is_header &= done.is_empty();
            let name = done.license.map(license::normal);
            if let Some(name) = &name {
                let found = if is_spdx(name) { Vec::new() } else { license::of_text(&done.text) };
                texts.entry(name.clone()).or_default().extend(found);
            }
            to.extend(name);
            continue;
        }
        paragraph.read(line);
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else {
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            "files" => paragraph.files = Some(value.trim()),
            "license" => {
                paragraph.license = Some(value.trim());
                paragraph.in_license = true;
            }
            _ => {}
        }
    }
    let mut found =
        [upstream, packaging, others].into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    let more: Vec<String> = found.iter().filter_map(|name| texts.remove(name)).flatten().collect();
    found.extend(more);
    found.retain(|license| !license.is_empty());
    found.sort();
    found.dedup();
    found
}

#[derive(Default)]
struct Paragraph<'a> {
    files: Option<&'a str>,
    license: Option<&'a str>,
    /// The lines behind the licence's name.
    text: String,
    in_license: bool,
    read: bool,
}

impl Paragraph<'_> {
    fn is_empty(&self) -> bool {
        !self.read
    }

    /// Lines that begin with a blank go on with the field before.
    fn read(&mut self, line: &str) {
        self.read = true;
        let goes_on = line.starts_with([' ', '\t']);
        self.in_license &= goes_on;
        if self.in_license {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}
