//! Licences that only one SPDX document knows (SPDX 2.3, clause 10): what their identifiers stand for, by their names,
//! their texts and their addresses. Nobody has rules about `LicenseRef-1`.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::licensed::{Others, says_nothing};
use crate::license::{normal, of_text, seen, word};
use crate::output::is_spdx;

/// Longest text that stands in for an identifier, in bytes, and all texts that do together: many packages may be under
/// one licence. What is past it is listed once, beside the packages.
const MAX_NAME: usize = 1000;
const MAX_NAMES: usize = 16 << 20;

/// One of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    pub(super) license_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) extracted_text: Option<String>,
    pub(super) see_alsos: Option<Vec<String>>,
}

impl Info {
    /// Its name, as written, and what its text or addresses are where the name says nothing that is known.
    fn stands_for(&self) -> Vec<String> {
        let name = seen(self.name.as_deref().unwrap_or_default());
        let mut all: Vec<String> = match name.len() {
            _ if says_nothing(&name) => Vec::new(),
            ..=MAX_NAME => vec![name],
            _ => of_text(&name),
        };
        if !all.iter().any(|name| is_spdx(&normal(name))) {
            all.extend(of_text(self.extracted_text.as_deref().unwrap_or_default()));
            let addresses = self.see_alsos.iter().flatten().map(|address| normal(address));
            all.extend(addresses.filter(|license| is_spdx(license)));
        }
        let mut known = HashSet::new();
        all.retain(|license| known.insert(license.clone()));
        all
    }
}

/// All of a document.
pub(super) struct Extracted {
    known: BTreeMap<String, Known>,
    room: usize,
}

#[derive(Default)]
struct Known {
    stands_for: Vec<String>,
    /// Whether something of the document is under it, and has what it stands for.
    used: bool,
    /// Whether something has its identifier alone.
    left: bool,
}

impl Known {
    /// What stands for `id`, if there is room for it.
    fn stand_in(&mut self, room: &mut usize) -> Option<&[String]> {
        let length: usize = self.stands_for.iter().map(String::len).sum();
        match room.checked_sub(length).filter(|_| length > 0 && length <= MAX_NAME) {
            Some(rest) => {
                *room = rest;
                self.used = true;
                Some(&self.stands_for)
            }
            None => {
                self.left = true;
                None
            }
        }
    }
}

impl Extracted {
    pub(super) fn new(infos: Vec<Info>) -> Self {
        let mut known = BTreeMap::<String, Known>::new();
        for info in infos {
            let stands_for = info.stands_for();
            let Some(id) = info.license_id.filter(|id| !id.is_empty()) else { continue };
            // Of an identifier that is there twice, readers take one or the other.
            known.entry(id).or_default().stands_for.extend(stands_for);
        }
        Self { known, room: MAX_NAMES }
    }

    /// A licence with what is meant in place of the document's own identifiers.
    pub(super) fn meant(&mut self, license: &str) -> Vec<String> {
        let room = &mut self.room;
        if let Some(known) = self.known.get_mut(license) {
            return known.stand_in(room).map_or_else(|| vec![license.to_owned()], <[String]>::to_vec);
        }
        let mut words = Vec::new();
        for written in license.split(' ') {
            let bare = written.trim_matches(['(', ')']);
            let stand_in = self.known.get_mut(bare).and_then(|known| known.stand_in(room));
            let parts: Vec<String> = stand_in.into_iter().flatten().map(|name| part(name)).collect();
            words.push(match parts.as_slice() {
                [] => written.to_owned(),
                [one] => written.replace(bare, one),
                several => written.replace(bare, &format!("({})", several.join(" AND "))),
            });
        }
        vec![words.join(" ")]
    }

    /// Those of which nothing in the document has what they stand for, or not everything.
    pub(super) fn rest(self, others: &mut Others) {
        let told =
            |known: &Known| if known.stands_for.is_empty() { known.left } else { known.used && !known.left };
        for (id, known) in self.known.into_iter().filter(|(_, known)| !told(known)) {
            let unknown = known.stands_for.is_empty().then(|| id.clone());
            others.add(&id, known.stands_for.into_iter().chain(unknown).collect());
        }
    }
}

/// As a part of an expression.
fn part(name: &str) -> String {
    match normal(name) {
        known if is_spdx(&known) && known.contains(' ') => format!("({known})"),
        known if is_spdx(&known) => known,
        unknown => word(&unknown),
    }
}
