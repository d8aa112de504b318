//! Distinguished names: their text, and whether one is part of another (Notary Project trust policy specification,
//! "Trusted identities constraints"; RFC 4514).

use std::collections::{BTreeMap, BTreeSet};

use der::oid::ObjectIdentifier;
use der::{Encode, Tag, Tagged};
use x509_cert::attr::AttributeValue;
use x509_cert::name::Name;

use crate::trust::TrustError;

/// What stands before a distinguished name in a trust policy.
pub(super) const SUBJECT_PREFIX: &str = "x509.subject:";

/// Attributes that a pattern must have (trust policy specification, "Trusted identities constraints").
const REQUIRED: [&str; 3] = ["C", "ST", "O"];

const NAMES: [(ObjectIdentifier, &str); 11] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "SERIALNUMBER"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.17"), "POSTALCODE"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
];

/// A name as RFC 4514 text: most specific first, so `CN=…,O=…,ST=…,C=…`.
pub(super) fn text(name: &Name) -> String {
    let one = |oid: &ObjectIdentifier, value: &AttributeValue| {
        let known = NAMES.iter().find(|(known, _)| known == oid).map(|(_, name)| *name);
        match (known, value_text(value)) {
            (Some(name), Some(value)) => format!("{name}={}", escape(&value)),
            _ => format!("{}=#{}", oid, hex(&value.to_der().unwrap_or_default())),
        }
    };
    let parts = name.0.iter().rev().map(|rdn| {
        let all: Vec<String> = rdn.0.iter().map(|attribute| one(&attribute.oid, &attribute.value)).collect();
        all.join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

fn value_text(value: &AttributeValue) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        // Read as Latin-1, as everybody does.
        Tag::TeletexString => Some(value.value().iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units: Vec<u16> = value
                .value()
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |all, b| (all << 8) | u16::from(*b)))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Escapes a value (RFC 4514, section 2.4).
fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let one = |(at, c): (usize, char)| match c {
        ',' | '+' | '"' | '\\' | '<' | '>' | ';' => format!("\\{c}"),
        '#' | ' ' if at == 0 => format!("\\{c}"),
        ' ' if at == last => "\\ ".to_owned(),
        '\0' => "\\00".to_owned(),
        c => c.to_string(),
    };
    value.chars().enumerate().map(one).collect()
}

/// The attributes of a pattern: each once, `S` for `ST`. Several in one relative name (`+`) are an error, as in notation:
/// a pattern lists attributes, and how the certificate groups them does not matter.
pub(super) fn parse(dn: &str) -> Result<BTreeMap<String, String>, String> {
    if split(dn, '+').len() > 1 {
        return Err(format!(
            "{dn:?} has several attributes in one relative name (\"+\"); write a comma between them"
        ));
    }
    let mut found = BTreeMap::new();
    for part in split(dn, ',') {
        let (name, value) = attribute(part, dn)?;
        if found.insert(name.clone(), value).is_some() {
            return Err(format!("{dn:?} has {name} twice; each attribute may be there once"));
        }
    }
    Ok(found)
}

/// The attributes of a certificate's subject with all their values: relative names may have several attributes, and
/// attributes such as OU and DC several values.
fn parse_subject(dn: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for part in split(dn, ',').into_iter().flat_map(|relative| split(relative, '+')) {
        let (name, value) = attribute(part, dn)?;
        found.entry(name).or_default().insert(value);
    }
    Ok(found)
}

fn attribute(part: &str, dn: &str) -> Result<(String, String), String> {
    let (name, value) =
        part.split_once('=').ok_or_else(|| format!("{part:?} in {dn:?} has no \"=\"; write it as O=acme"))?;
    let name = name.trim().to_ascii_uppercase();
    let name = if name == "S" { "ST".to_owned() } else { name };
    let value = unescape(value)?;
    if name.is_empty() || value.is_empty() {
        return Err(format!("{part:?} in {dn:?} has no name or no value"));
    }
    Ok((name, value))
}

/// Splits at a sign where that is not escaped.
fn split(dn: &str, sign: char) -> Vec<&str> {
    let (mut parts, mut from, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in dn.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == sign => {
                parts.push(dn.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(dn.get(from..).unwrap_or_default());
    parts
}

/// Takes back the escapes of a value, and the spaces around it.
fn unescape(value: &str) -> Result<String, String> {
    let trimmed = value.trim_start();
    let end = trimmed.trim_end();
    // A space that is escaped stays.
    let kept =
        if end.ends_with('\\') && trimmed.len() > end.len() { trimmed.get(..=end.len()) } else { Some(end) };
    let mut bytes = Vec::new();
    let mut rest = kept.unwrap_or(end).chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        let next = rest.next().ok_or_else(|| format!("{value:?} ends within an escape"))?;
        match (next.to_digit(16), rest.clone().next().and_then(|c| c.to_digit(16))) {
            (Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest.next();
            }
            _ => bytes.extend(next.to_string().bytes()),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{value:?} is no UTF-8 after its escapes"))
}

/// Reads a pattern of a trust policy, with or without `x509.subject:`, under its rules: C, ST and O must be there, `=#`
/// must not.
pub(super) fn parse_pattern(pattern: &str) -> Result<BTreeMap<String, String>, String> {
    let dn = pattern.strip_prefix(SUBJECT_PREFIX).unwrap_or(pattern);
    if dn.contains("=#") {
        return Err(format!("{dn:?} has a value in hexadecimal (\"=#\"), which is not allowed"));
    }
    let found = parse(dn)?;
    match REQUIRED.into_iter().find(|name| !found.contains_key(*name)) {
        Some(name) => {
            Err(format!("{dn:?} has no {name}; C, ST and O must be there, as in C=US,ST=WA,O=acme"))
        }
        None => Ok(found),
    }
}

/// Whether every attribute of `part` is in `whole` with the same value.
pub(super) fn is_subset(part: &BTreeMap<String, String>, whole: &BTreeMap<String, String>) -> bool {
    part.iter().all(|(name, value)| whole.get(name) == Some(value))
}

/// Whether a subject, as RFC 4514 text, has every attribute of a pattern such as `C=US,ST=WA,O=acme` (with or without
/// `x509.subject:` before it), whatever their order. `*` matches any subject. A pattern or a subject that cannot be read
/// matches nothing: check patterns with [`check_subject_pattern`] when they are loaded.
pub fn subject_matches(pattern: &str, subject: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (Ok(part), Ok(whole)) = (parse_pattern(pattern), parse_subject(subject)) else { return false };
    part.iter().all(|(name, value)| {
        // Of those that must be there, one counts: a subject with two says nobody in particular.
        let alone = !REQUIRED.contains(&name.as_str());
        whole.get(name).is_some_and(|values| values.contains(value) && (alone || values.len() == 1))
    })
}

/// Whether a pattern for [`subject_matches`] can match anything.
pub fn check_subject_pattern(pattern: &str) -> Result<(), TrustError> {
    if pattern == "*" {
        return Ok(());
    }
    parse_pattern(pattern).map(|_| ()).map_err(|why| TrustError::new("Notation identity", why))
}
