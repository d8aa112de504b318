//! Names of licences, as packages write them, in the words of SPDX's list where it is clear which is meant: rules on
//! licences are written in these. What is not clear stays as it was written.

mod gnu;
mod names;
mod text;

pub(crate) use text::of_text;

use crate::output::is_spdx;

/// Longest name of a licence, in bytes; what is longer is an expression of several, or a text.
const MAX: usize = 400;
/// Longest expression, in bytes.
const MAX_EXPRESSION: usize = 64 << 10;
/// Most words of a name: what has more between two operators is a text.
const MAX_WORDS: usize = 14;
/// How identifiers begin that are on no list of SPDX's, and how those of scanners and distributions go on.
const OWN: [&str; 3] = ["LicenseRef-", "scancode-", "Callaway-"];
/// Words between the parts of an expression, and what SPDX has for them (SPDX 2.3, annex D).
const OPERATORS: [(&str, &str); 9] = [
    ("or", "OR"),
    ("|", "OR"),
    ("||", "OR"),
    ("and/or", "OR"),
    ("and", "AND"),
    ("&", "AND"),
    ("&&", "AND"),
    ("+", "AND"),
    ("with", "WITH"),
];
/// Exceptions that are known by a word in them.
const EXCEPTIONS: [(&str, &str); 6] = [
    ("classpath", "Classpath-exception-2.0"),
    ("gcc", "GCC-exception-3.1"),
    ("bison", "Bison-exception-2.2"),
    ("autoconf", "Autoconf-exception-3.0"),
    ("libtool", "Libtool-exception"),
    ("font", "Font-exception-2.0"),
];

/// A licence, or an expression of several, in SPDX's words as far as they are known: `AGPLv3+` is
/// `AGPL-3.0-or-later`, `GPL-2+ or Artistic` is `GPL-2.0-or-later OR Artistic-1.0`.
pub fn normal(license: &str) -> String {
    let text = without_own(&seen(license));
    if text.len() > MAX {
        return long(text);
    }
    // Some readers take operators in small letters, others do not.
    let spdx = text.replace(" or ", " OR ").replace(" and ", " AND ").replace(" with ", " WITH ");
    if is_spdx(&spdx) {
        return gnu::current(&spdx);
    }
    if let Some(one) = one(&text) {
        return one;
    }
    expression(&text).or_else(|| list(&text)).unwrap_or(text)
}

/// Names with only blanks in between, as old packages of Alpine and opkg have them: all of them count.
fn list(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let known: Vec<Option<String>> = words.iter().map(|word| one(word)).collect();
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase()) || one(word).is_some();
    let gnu =
        words.iter().any(|word| word.contains(|c: char| c.is_ascii_digit()) && gnu::name(word).is_some());
    let all = known.iter().all(Option::is_some);
    let listed = words.len() > 1 && (all || gnu && words.iter().all(is_name));
    let each = || words.iter().zip(known).map(|(word, one)| one.unwrap_or_else(|| self::word(word)));
    listed.then(|| each().collect::<Vec<_>>().join(" AND "))
}

/// A text as everybody sees it: what is not seen left out, blanks alike, hyphens and wide letters as ASCII has them.
pub(crate) fn seen(text: &str) -> String {
    let seen: String = text
        .chars()
        .filter(|c| c.is_whitespace() || !c.is_control() && !rreg_oci::is_invisible(*c))
        .map(|c| match c {
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => '-',
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
            c => c,
        })
        .collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without the beginning of a document's own identifiers where the rest is known: `LicenseRef-AGPL-3.0-only`.
fn without_own(text: &str) -> String {
    if !text.contains(OWN[0]) {
        return text.to_owned();
    }
    let words = text.split(' ').map(|word| {
        let name = word.trim_matches(['(', ')']);
        let rest = OWN.iter().fold(name, |rest, own| rest.strip_prefix(own).unwrap_or(rest));
        one(rest)
            .filter(|_| rest.len() < name.len())
            .map_or_else(|| word.to_owned(), |one| word.replace(name, &one))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Several licences, or the text of one, which says by itself what it is.
fn long(text: String) -> String {
    let mut words = 0;
    let listed = text.len() <= MAX_EXPRESSION
        && text.split(' ').all(|word| {
            let operator = OPERATORS.iter().any(|(known, _)| word.eq_ignore_ascii_case(known));
            words = if operator || word.ends_with([',', ')']) { 0 } else { words + 1 };
            words <= MAX_WORDS
        });
    let found = if listed { expression(&text).into_iter().collect() } else { of_text(&text) };
    if found.is_empty() { text } else { found.join(" AND ") }
}

/// One licence by its name or its address.
fn one(text: &str) -> Option<String> {
    let text = text.trim_matches(['(', ')', '"', '\'', ' ', ',', '.']);
    if is_spdx(text) {
        return Some(gnu::current(text));
    }
    match names::address(text) {
        Some(address) => names::of_address(&address),
        None => gnu::name(text).or_else(|| names::name(text).map(str::to_owned)),
    }
}

/// An expression in the words of Debian, Fedora, npm and people. `None` where it has one part.
fn expression(text: &str) -> Option<String> {
    // A comma binds weaker than all words (copyright-format 1.0, "License specification").
    let groups: Vec<String> = groups(text)
        .iter()
        .map(|group| group.strip_prefix("and ").unwrap_or(group))
        .filter_map(|group| one(group).or_else(|| parts(&group.replace('(', " ( ").replace(')', " ) "))))
        .collect();
    match groups.as_slice() {
        [] => None,
        [one] => Some(one.clone()).filter(|one| one.contains(' ')),
        several => {
            let bracketed =
                |group: &String| if group.contains(" OR ") { format!("({group})") } else { group.clone() };
            Some(several.iter().map(bracketed).collect::<Vec<_>>().join(" AND "))
        }
    }
}

/// What stands between commas. A version goes on with its name: `Apache License, Version 2.0`.
fn groups(text: &str) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for group in text.split(", ") {
        let lower = group.to_ascii_lowercase();
        let rest = ["version", "ver.", "ver", "v"].iter().find_map(|word| lower.strip_prefix(word));
        let number = rest.unwrap_or(&lower).split_whitespace().next().unwrap_or_default();
        let version = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || ['.', '+'].contains(&c));
        match groups.last_mut().filter(|_| version) {
            Some(last) => *last = format!("{last} {group}"),
            None => groups.push(group.to_owned()),
        }
    }
    groups
}

fn parts(text: &str) -> Option<String> {
    let mut result: Vec<String> = Vec::new();
    let mut name: Vec<&str> = Vec::new();
    let mut exception = false;
    for word in text.split_whitespace().chain([""]) {
        let lower = word.to_ascii_lowercase();
        let operator = OPERATORS.iter().find(|(known, _)| *known == lower).map(|(_, spdx)| *spdx);
        let bracket = ["(", ")"].contains(&word);
        // `or later` goes on with a name.
        let goes_on = operator.is_none() && !bracket && !word.is_empty();
        if goes_on {
            name.push(word);
            continue;
        }
        if !name.is_empty() {
            let text = std::mem::take(&mut name).join(" ");
            result.push(if std::mem::take(&mut exception) { self::exception(&text) } else { part(&text) });
        }
        exception = operator == Some("WITH");
        result.extend(operator.map(str::to_owned).or(bracket.then(|| word.to_owned())));
    }
    (!result.is_empty()).then(|| result.join(" ").replace("( ", "(").replace(" )", ")"))
}

/// A part of an expression: a known name, two with a slash in between, or one word for what nobody knows.
fn part(text: &str) -> String {
    let slashed = || {
        let (a, b) = text.split_once('/').filter(|_| !text.contains("://"))?;
        Some(format!("({} OR {})", one(a)?, one(b)?))
    };
    one(text).or_else(slashed).unwrap_or_else(|| word(text))
}

fn exception(text: &str) -> String {
    let lower = text.to_lowercase();
    let known = EXCEPTIONS.iter().find(|(word, _)| lower.contains(word));
    known.map_or_else(|| word(text), |(_, exception)| (*exception).to_owned())
}

/// One word, as parts of an expression are.
pub(crate) fn word(text: &str) -> String {
    let mut word: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ['.', '+'].contains(&c) { c } else { '-' })
        .collect();
    while word.contains("--") {
        word = word.replace("--", "-");
    }
    word.trim_matches('-').to_owned()
}

/// What of a licence with a name and an address says most.
pub(crate) fn best(name: Option<String>, address: Option<String>) -> Option<String> {
    let known = |text: &Option<String>| text.as_deref().map(normal).filter(|text| is_spdx(text));
    known(&name).or_else(|| known(&address)).or(name).or(address)
}

/// The licences of a bundle (OSGi Core, 3.2.1.10): names or addresses, each with further attributes.
pub(crate) fn bundle(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut quoted = false;
    let clauses = text.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    for clause in clauses {
        let mut fields = clause.split(';').map(|field| field.trim().trim_matches('"'));
        let name = fields.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let link = fields
            .find_map(|field| field.strip_prefix("link="))
            .map(|link| link.trim_matches('"').to_owned());
        found.extend(best(name, link));
    }
    // A name with a comma in it (`The Apache License, Version 2.0`) is no list.
    match found.iter().all(|license| is_spdx(&normal(license))) {
        true => found,
        false => vec![text.to_owned()],
    }
}
