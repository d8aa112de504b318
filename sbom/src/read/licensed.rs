//! Licences as documents have them: declared, concluded, and found in files, of packages and of all else.

use std::collections::{BTreeMap, HashSet};

use super::{Document, MAX_PACKAGES, finding};
use crate::finding::FindingKind;
use crate::license::{normal, seen};

/// Most things that are named for one licence: what is more says no more to anybody.
const MAX_NAMED: usize = 20;

/// The licences of one thing, each once.
#[derive(Default)]
pub(super) struct Licenses {
    said: Once,
    found: Once,
}

impl Licenses {
    /// It was declared, or concluded, to be under this.
    pub(super) fn say(&mut self, license: impl AsRef<str>) {
        self.said.add(seen(license.as_ref()));
    }

    /// Something in it was found to be under this.
    pub(super) fn find(&mut self, license: impl AsRef<str>) {
        let license = seen(license.as_ref());
        if !says_nothing(&license) {
            self.found.add(license);
        }
    }

    /// Whether SPDX has words for one that was said.
    pub(super) fn is_known(&self) -> bool {
        self.said.list.iter().any(|license| crate::output::is_spdx(&normal(license)))
    }

    /// All of them. What was found and is a part of what was said is known already: of `MIT OR GPL-2.0-only` files say
    /// both, and one may be chosen.
    pub(super) fn all(self) -> Vec<String> {
        let Self { said: mut all, found } = self;
        if !found.list.is_empty() {
            let said: Vec<String> = all.list.iter().map(|license| normal(license).to_lowercase()).collect();
            let words = said.iter().flat_map(|license| license.split([' ', '(', ')']));
            let parts: HashSet<&str> = words.chain(said.iter().map(String::as_str)).collect();
            let more = |license: &String| !parts.contains(normal(license).to_lowercase().as_str());
            found.list.into_iter().filter(more).for_each(|license| all.add(license));
        }
        all.list
    }
}

/// Texts in their order; a list of a stranger's length.
#[derive(Default)]
struct Once {
    list: Vec<String>,
    known: HashSet<String>,
}

impl Once {
    fn add(&mut self, text: String) {
        if !text.is_empty() && self.known.insert(text.clone()) {
            self.list.push(text);
        }
    }
}

/// Whether it only says that nothing is known.
pub(super) fn says_nothing(license: &str) -> bool {
    ["", "NOASSERTION", "NONE", "UNKNOWN"].iter().any(|nothing| license.trim().eq_ignore_ascii_case(nothing))
}

/// Licences of things that are no packages, each with the names of the first that have it.
#[derive(Default)]
pub(super) struct Others {
    named: BTreeMap<String, Vec<String>>,
    left_out: bool,
}

impl Others {
    pub(super) fn add(&mut self, name: &str, licenses: Vec<String>) {
        for license in licenses.into_iter().filter(|license| !says_nothing(license)) {
            if self.named.len() == MAX_PACKAGES && !self.named.contains_key(&license) {
                self.left_out = true;
                continue;
            }
            let names = self.named.entry(license).or_default();
            if names.len() < MAX_NAMED && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }

    /// All of them, and a finding where these are not all.
    pub(super) fn give(self, document: &mut Document) -> BTreeMap<String, Vec<String>> {
        if self.left_out {
            let why = format!("more than {MAX_PACKAGES} licences; the rest is left out");
            document.complain(finding(FindingKind::TooMany, why));
        }
        self.named
    }
}
