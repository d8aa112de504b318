//! Which licences a text is, or speaks of: files that have no fields.

use super::gnu;

/// Longest text that is looked at, in bytes.
const MAX: usize = 256 << 10;
/// Where Debian keeps the texts that many packages share.
const COMMON: &str = "/usr/share/common-licenses/";
/// How far from its name a version may be, in bytes.
const NEAR: usize = 120;
/// What stands in a licence's text, or in the note that names it.
const PHRASES: [(&str, &str); 20] = [
    ("permission is hereby granted, free of charge, to any person obtaining", "MIT"),
    ("neither the name of", "BSD-3-Clause"),
    ("permission to use, copy, modify, and/or distribute this software", "ISC"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("mozilla public license, v. 2.0", "MPL-2.0"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("server side public license", "SSPL-1.0"),
    ("artistic license 2.0", "Artistic-2.0"),
    ("boost software license - version 1.0", "BSL-1.0"),
    ("business source license 1.1", "BUSL-1.1"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("common development and distribution license (cddl) version 1.0", "CDDL-1.0"),
    ("common development and distribution license (cddl) version 1.1", "CDDL-1.1"),
    ("eclipse public license - v 1.0", "EPL-1.0"),
    ("eclipse public license - v 2.0", "EPL-2.0"),
    ("elastic license 2.0", "Elastic-2.0"),
    ("european union public licence v. 1.2", "EUPL-1.2"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
    ("do what the fuck you want to public license", "WTFPL"),
];
/// Titles of licences whose own texts name others, and how long these are without needless blanks, in bytes.
const NAMING: [(&str, &str, usize); 5] = [
    ("mozilla public license version 2.0", "MPL-2.0", 16_500),
    ("eclipse public license - v 2.0", "EPL-2.0", 14_000),
    ("european union public licence v. 1.2", "EUPL-1.2", 14_000),
    ("common development and distribution license (cddl) version 1.0", "CDDL-1.0", 17_500),
    ("common development and distribution license (cddl) version 1.1", "CDDL-1.1", 17_500),
];
/// The same of GNU's by family and version.
const LENGTHS: [(&str, usize); 7] = [
    ("GPL-2.0", 18_000),
    ("GPL-3.0", 35_500),
    ("AGPL-3.0", 34_500),
    ("LGPL-2.0", 26_000),
    ("LGPL-2.1", 27_000),
    ("LGPL-3.0", 8_000),
    ("GPL-1.0", 13_000),
];
/// Shorter texts behind one are addresses and notes.
const MIN_REST: usize = 500;
const GNU: [(&str, &str); 4] = [
    ("affero general public license", "AGPL"),
    ("lesser general public license", "LGPL"),
    ("library general public license", "LGPL"),
    ("gnu general public license", "GPL"),
];

/// The licences in a text, each once.
pub(crate) fn of_text(text: &str) -> Vec<String> {
    let end = (0..=text.len().min(MAX)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let text = text.get(..end).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    of_words(&words.join(" ").to_lowercase())
}

/// The licence whose own text begins here, and where it ends.
fn whole(text: &str) -> Option<(String, usize)> {
    let title: String = text.chars().take(200).collect();
    let naming = NAMING.iter().find(|(name, ..)| title.contains(name) && text.contains("definitions"));
    if let Some((_, license, length)) = naming {
        return Some(((*license).to_owned(), *length));
    }
    let gnu = GNU.iter().find(|(name, _)| title.contains(name) && text.contains("terms and conditions"));
    let (name, family) = gnu?;
    let license = gnu::identifier(family, version(&title, name), false);
    let length = LENGTHS
        .iter()
        .find(|(known, _)| license.strip_prefix(known).is_some_and(|rest| rest.starts_with('-')));
    Some((license, length.map_or(text.len(), |(_, length)| *length)))
}

fn of_words(text: &str) -> Vec<String> {
    let later = text.contains("any later version");
    // A licence's own text speaks of others at its end; its title is that of one. Another may follow.
    if let Some((license, end)) = whole(text) {
        let end = (end..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let rest = text.get(end..).filter(|rest| rest.len() >= MIN_REST).unwrap_or_default();
        let mut found = vec![license];
        found.extend(of_words(rest));
        found.sort();
        found.dedup();
        return found;
    }
    let mut found: Vec<String> = Vec::new();
    for (name, family) in GNU.iter().filter(|(name, _)| text.contains(name)) {
        found.push(gnu::identifier(family, version(text, name), later));
    }
    found.extend(
        PHRASES.iter().filter(|(phrase, _)| text.contains(phrase)).map(|(_, license)| (*license).to_owned()),
    );
    let bsd = text.contains("redistribution and use in source and binary forms");
    if bsd && !found.iter().any(|license| license == "BSD-3-Clause") {
        found.push("BSD-2-Clause".into());
    }
    let named = text.match_indices(COMMON).filter_map(|(at, _)| {
        let rest = text.get(at + COMMON.len()..)?;
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !['-', '.'].contains(&c)).unwrap_or(rest.len());
        let name = rest.get(..end)?.trim_end_matches('.');
        let family = name.split('-').next().unwrap_or(name);
        match super::normal(name) {
            // Of a family that was found the version is known better.
            _ if found.iter().any(|known| known.to_lowercase().starts_with(family)) => None,
            one => Some(if later { one.replace("-only", "-or-later") } else { one }),
        }
    });
    let named: Vec<String> = named.collect();
    found.extend(named.into_iter().filter(|name| !name.is_empty()));
    found.sort();
    found.dedup();
    found
}

/// The version that stands behind a name.
fn version<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let ends = text.match_indices(name).map(|(at, _)| at + name.len());
    ends.filter_map(|end| {
        let near = (end..=text.len().min(end + NEAR)).rev().find(|at| text.is_char_boundary(*at))?;
        let rest = text.get(end..near)?;
        let at = ["version ", "v"].iter().find_map(|word| Some(rest.find(word)? + word.len()))?;
        let number = rest.get(at..)?;
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let number = number.get(..end)?.trim_end_matches('.');
        Some(number).filter(|number| !number.is_empty() && number.len() <= 3)
    })
    .next()
    .map(|number| number.strip_suffix(".0").unwrap_or(number))
}
