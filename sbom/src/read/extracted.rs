//! Licences that only one SPDX document knows (SPDX 2.3, clause 10): what their identifiers stand for, by their names,
//! their texts and their addresses. Nobody has rules about `LicenseRef-1`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::licensed::{Others, says_nothing};
use crate::license::{normal, of_text, seen, word};
use crate::output::is_spdx;

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
        let mut all: Vec<String> = Some(name).filter(|name| !says_nothing(name)).into_iter().collect();
        if !all.iter().any(|name| is_spdx(&normal(name))) {
            all.extend(of_text(self.extracted_text.as_deref().unwrap_or_default()));
            let addresses = self.see_alsos.iter().flatten().map(|address| normal(address));
            all.extend(addresses.filter(|license| is_spdx(license)));
        }
        all.dedup();
        all
    }
}

/// All of a document.
#[derive(Default)]
pub(super) struct Extracted(BTreeMap<String, Known>);

#[derive(Default)]
struct Known {
    stands_for: Vec<String>,
    /// Whether something of the document is under it.
    used: bool,
}

impl Extracted {
    pub(super) fn new(infos: Vec<Info>) -> Self {
        let mut all = BTreeMap::<String, Known>::new();
        for info in infos {
            let stands_for = info.stands_for();
            let Some(id) = info.license_id.filter(|id| !id.is_empty()) else { continue };
            // Of an identifier that is there twice, readers take one or the other.
            all.entry(id).or_default().stands_for.extend(stands_for);
        }
        Self(all)
    }

    /// A licence with what is meant in place of the document's own identifiers.
    pub(super) fn meant(&mut self, license: &str) -> Vec<String> {
        if let Some(known) = self.0.get_mut(license) {
            known.used = true;
            let unknown = known.stands_for.is_empty().then(|| license.to_owned());
            return known.stands_for.iter().cloned().chain(unknown).collect();
        }
        let words = license.split(' ').map(|written| {
            let bare = written.trim_matches(['(', ')']);
            let Some(known) = self.0.get_mut(bare) else { return written.to_owned() };
            known.used = true;
            let parts: Vec<String> = known.stands_for.iter().map(|name| part(name)).collect();
            match parts.as_slice() {
                [] => written.to_owned(),
                [one] => written.replace(bare, one),
                several => written.replace(bare, &format!("({})", several.join(" AND "))),
            }
        });
        vec![words.collect::<Vec<_>>().join(" ")]
    }

    /// Those that nothing in the document refers to are of something that it does not name.
    pub(super) fn rest(self, others: &mut Others) {
        for (id, known) in self.0.into_iter().filter(|(_, known)| !known.used) {
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
