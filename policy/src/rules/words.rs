//! Small values of policies: patterns, expressions over identities, ages and moments.

use std::fmt;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use regex::{Regex, RegexBuilder};
use rreg_oci::{MAX_PATTERN, Wildcards};

/// Memory that one compiled regular expression may take, in bytes. It bounds the time of a search as well, which is at
/// most its size times the length of the text.
pub(crate) const MAX_REGEX: usize = 1 << 18;
/// The longest age that may be asked for: a hundred years.
const MAX_AGE_SECONDS: i64 = 100 * 365 * 86_400;

/// A pattern of [`rreg_oci::Wildcards`] over text that is no repository name: a licence, a label, a claim, a registry.
/// `*` does not cross a `/`, `**` does.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    wildcards: Wildcards,
}

impl Pattern {
    /// Reads a pattern. An empty one, and one that would be cut short, is refused.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the pattern is empty".into());
        }
        if text.len() > MAX_PATTERN {
            return Err(format!("the pattern has more than {MAX_PATTERN} bytes"));
        }
        Ok(Self { text: text.into(), wildcards: Wildcards::new(text, b"/") })
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.wildcards.matches(text)
    }

    /// The same in any case of ASCII letters, for names that do not tell cases apart.
    pub fn matches_any_case(&self, text: &str) -> bool {
        Wildcards::new(&self.text.to_ascii_lowercase(), b"/").matches(&text.to_ascii_lowercase())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Compiles a regular expression within bounds. It is searched for, not matched whole, as cosign does with its
/// `--certificate-identity-regexp`.
pub(crate) fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).nest_limit(50).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the regular expression is too big: more than {MAX_REGEX} bytes")
            }
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!("this is no regular expression: {}", last.trim_start_matches("error: "))
            }
        },
    )
}

/// Whether every alternative of an expression begins at the beginning of the text, as far as its own text shows it.
pub(crate) fn is_anchored(expression: &str) -> bool {
    let mut alternatives = vec![String::new()];
    let (mut depth, mut class, mut escaped) = (0_usize, false, false);
    for c in expression.chars() {
        let top = depth == 0 && !class && !escaped;
        match c {
            '|' if top => {
                alternatives.push(String::new());
                continue;
            }
            '(' if !class && !escaped => depth += 1,
            ')' if !class && !escaped => depth = depth.saturating_sub(1),
            '[' if !escaped => class = true,
            ']' if !escaped => class = false,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = alternatives.last_mut() {
            last.push(c);
        }
    }
    alternatives.iter().all(|alternative| alternative.starts_with('^') || alternative.starts_with("\\A"))
}

/// An age or a time to wait: a number and `s`, `m`, `h`, `d` or `w`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let digits = text.get(..text.len() - unit.len_utf8()).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    let total = number.checked_mul(seconds).filter(|total| (1..=MAX_AGE_SECONDS).contains(total));
    total.map(Duration::seconds).ok_or_else(|| format!("{text:?} is nothing, or more than a hundred years"))
}

/// A length of time as people write it.
pub(crate) fn age_text(age: Duration) -> String {
    let seconds = age.num_seconds();
    match seconds {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// The moment at which something ends. A date without a time means the end of that day in UTC, so what is valid until
/// 31 December is valid throughout that day.
pub(crate) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let wrong = || format!("{text:?} is no date");
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| wrong())?;
    let next = date.succ_opt().and_then(|next| next.and_hms_opt(0, 0, 0)).ok_or_else(wrong)?;
    Ok(next.and_utc())
}

/// How bad a vulnerability is, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nobody said.
    Unknown,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// Reads its name in any case. What is none is `Unknown`.
    pub fn of(name: &str) -> Self {
        Self::named(name).unwrap_or(Self::Unknown)
    }

    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "unknown" => Some(Self::Unknown),
            "negligible" | "low" => Some(Self::Low),
            "medium" | "moderate" => Some(Self::Medium),
            "high" => Some(Self::High),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// `>=high`, `critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeverityRange {
    /// The least that is meant.
    pub from: Severity,
    /// The most that is meant.
    pub to: Severity,
}

impl SeverityRange {
    /// Reads `high`, `=high`, `>=high` or `>high`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (at_least, more, name) = match text {
            t if t.starts_with(">=") => (true, false, t.get(2..)),
            t if t.starts_with('>') => (false, true, t.get(1..)),
            t => (false, false, Some(t.strip_prefix('=').unwrap_or(t))),
        };
        let level = Severity::named(name.unwrap_or_default().trim()).ok_or_else(|| {
            format!("{text:?} is no severity; they are unknown, low, medium, high and critical")
        })?;
        let next = match level {
            Severity::Unknown => Severity::Low,
            Severity::Low => Severity::Medium,
            Severity::Medium => Severity::High,
            _ => Severity::Critical,
        };
        match (at_least, more) {
            (_, true) if level == Severity::Critical => Err("nothing is worse than critical".into()),
            (_, true) => Ok(Self { from: next, to: Severity::Critical }),
            (true, _) => Ok(Self { from: level, to: Severity::Critical }),
            _ => Ok(Self { from: level, to: level }),
        }
    }

    /// Whether it is meant. What has no known severity is meant by no range that does not name it.
    pub fn contains(&self, severity: Severity) -> bool {
        (self.from..=self.to).contains(&severity)
    }
}

/// Short names of predicate types that people know them by, for every command: what each means, the first of which is
/// what is written under that name. Those of cosign mean what they mean there.
const PREDICATES: [(&str, &[&str]); 11] = [
    ("slsaprovenance", &["https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"]),
    ("slsaprovenance02", &["https://slsa.dev/provenance/v0.2"]),
    ("slsaprovenance1", &["https://slsa.dev/provenance/v1"]),
    ("spdx", &["https://spdx.dev/Document"]),
    ("spdxjson", &["https://spdx.dev/Document"]),
    ("cyclonedx", &["https://cyclonedx.org/bom"]),
    (
        "vuln",
        &["https://cosign.sigstore.dev/attestation/vuln/v1", "https://in-toto.io/attestation/vulns/v0.1"],
    ),
    ("vex", &["https://openvex.dev/ns"]),
    ("openvex", &["https://openvex.dev/ns"]),
    ("link", &["https://in-toto.io/Link/v1"]),
    ("custom", &["https://cosign.sigstore.dev/attestation/v1"]),
];

/// The URI of a predicate type: that of a short name, or itself.
///
/// # Errors
/// It is neither a known short name nor a URI: says which names there are.
pub fn predicate_type(text: &str) -> Result<String, String> {
    if let Some((_, [first, ..])) = PREDICATES.iter().find(|(name, _)| *name == text) {
        return Ok((*first).to_owned());
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let is_uri = scheme.is_some_and(|s| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric()));
    if !is_uri || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let names: Vec<&str> = PREDICATES.iter().map(|(name, _)| *name).collect();
        return Err(format!("is neither a URI nor one of {}", names.join(", ")));
    }
    Ok(text.to_owned())
}

/// The predicate types that a name in a policy means: a short name's, or itself.
pub(crate) fn predicate_types(name: &str) -> Vec<String> {
    let known = PREDICATES.iter().find(|(short, _)| *short == name);
    known
        .map(|(_, types)| types.iter().map(ToString::to_string).collect())
        .unwrap_or_else(|| vec![name.into()])
}

/// Whether a predicate type is meant. Writers put versions behind the types that short names stand for
/// (`https://spdx.dev/Document/v2.3`, `https://openvex.dev/ns/v0.2.0`); a whole type is matched to the letter.
pub(crate) fn is_predicate(name: &str, actual: &str) -> bool {
    let short = PREDICATES.iter().any(|(known, _)| *known == name);
    predicate_types(name).iter().any(|wanted| {
        let versioned = || actual.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('/'));
        actual == wanted || short && versioned()
    })
}

/// The attributes of a distinguished name (RFC 4514) as pairs; `None` where the text is none.
pub(crate) fn distinguished_name(text: &str) -> Option<Vec<(String, String)>> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (true, _) => {
                if let Some(part) = parts.last_mut() {
                    part.push('\\');
                    part.push(c);
                }
                escaped = false;
            }
            (false, '\\') => escaped = true,
            (false, ',' | '+') => parts.push(String::new()),
            (false, _) => {
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    let attributes = parts.iter().map(|part| {
        let (name, value) = part.split_once('=')?;
        let name = name.trim().to_ascii_uppercase();
        let name = if name == "S" { "ST".to_owned() } else { name };
        let value = value.trim();
        (!name.is_empty() && !value.is_empty()).then(|| (name, value.to_owned()))
    });
    attributes.collect::<Option<Vec<_>>>().filter(|_| !escaped)
}

/// Whether a subject has every attribute that is asked for, in any order. A name that cannot be read matches nothing.
pub(crate) fn has_attributes(subject: &str, wanted: &[(String, String)]) -> bool {
    let Some(actual) = distinguished_name(subject) else { return false };
    !wanted.is_empty() && wanted.iter().all(|attribute| actual.contains(attribute))
}
