//! The forms of text that fields hold.

use rreg_oci::Glob;

use super::cel::MAX_EXPRESSION;
use super::shape::{Form, Shape};
use super::words::{self, Pattern, SeverityRange};

pub(crate) const TEXT: Shape = Shape::Text(Form { name: "text", pattern: Some("."), check: not_empty });

pub(crate) const NAME: Shape = Shape::Text(Form {
    name: "a name of up to 128 letters, digits, dots, dashes and underscores",
    pattern: Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
    check: name,
});

pub(crate) const GLOB: Shape = Shape::Text(Form {
    name: "a pattern of names with * ** ?",
    pattern: Some("^[A-Za-z0-9._/*?-]{1,255}$"),
    check: |text| text.parse::<Glob>().map(drop).map_err(|error| error.to_string()),
});

pub(crate) const PATTERN: Shape = Shape::Text(Form {
    name: "a pattern with * ** ?",
    pattern: Some("^.{1,255}$"),
    check: |text| Pattern::new(text).map(drop),
});

pub(crate) const REGEX: Shape = Shape::Text(Form {
    name: "a regular expression",
    pattern: Some("."),
    check: |text| not_empty(text).and_then(|()| words::regex(text).map(drop)),
});

pub(crate) const AGE: Shape = Shape::Text(Form {
    name: "a number with s, m, h, d or w, such as 24h,",
    pattern: Some("^[0-9]+[smhdw]$"),
    check: |text| words::age(text).map(drop),
});

pub(crate) const ON_ERROR: Shape = Shape::Text(Form {
    name: "deny, allow or lastGood(24h)",
    pattern: Some(r"^(deny|allow|lastGood\([0-9]+[smhdw]\))$"),
    check: |text| super::OnError::parse(text).map(drop),
});

pub(crate) const UNTIL: Shape = Shape::Text(Form {
    name: "a date such as 2026-12-31, or a moment such as 2026-12-31T12:00:00Z,",
    pattern: Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    check: |text| words::moment(text).map(drop),
});

pub(crate) const SEVERITY: Shape = Shape::Text(Form {
    name: "a severity such as critical or >=high",
    pattern: Some("^(>=|>|=)? ?[A-Za-z]+$"),
    check: |text| SeverityRange::parse(text).map(drop),
});

pub(crate) const SUBJECT: Shape = Shape::Text(Form {
    name: "a distinguished name such as C=US,ST=WA,O=acme",
    pattern: Some("="),
    check: |text| {
        words::distinguished_name(text).map(drop).ok_or_else(|| format!("{text:?} is no distinguished name"))
    },
});

/// Compiled when it is read, since which variables it may use depends on where it stands.
pub(crate) const EXPRESSION: Shape = Shape::Text(Form {
    name: "a CEL expression",
    pattern: Some("."),
    check: |text| match text.len() {
        n if n > MAX_EXPRESSION => Err(format!("the expression has more than {MAX_EXPRESSION} bytes")),
        _ => not_empty(text),
    },
});

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("the text is empty".into()) } else { Ok(()) }
}

fn name(text: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    match first && text.len() <= 128 && text.chars().all(known) {
        true => Ok(()),
        false => Err(format!("{text:?} is no name")),
    }
}
