//! Which workloads are trusted with what: rules on the claims of OIDC tokens.
//!
//! A rule names claims, a pattern for each, and what whoever has them all may do. In patterns `**` is any run of
//! characters, `*` one without `/` and `:`, and everything else stands for itself. A narrower `*` than a shell's:
//! in `repo:acme/*:ref:refs/heads/main` it must not match an environment that somebody called
//! `x:ref:refs/heads/main`.

use std::collections::BTreeMap;
use std::fmt;

use rreg_oci::RepositoryName;
use serde_json::{Map, Value};

use crate::api_token::fingerprint;
use crate::identity::{OrganisationName, Role};
use crate::patterns::Patterns;

/// Longest pattern, and longest text that is compared with one, in bytes: the work is their product.
const MAX_PATTERN: usize = 256;
const MAX_TEXT: usize = 1024;
/// Most claims in a rule.
const MAX_CLAIMS: usize = 32;

/// Issuers that anybody can get a token from, and the claims that say whose token it is. A rule for one of them that
/// does not pin such a claim would trust the whole world. Claims of the second list are paths, of which the first part
/// must be pinned; those of the first list must be pinned whole.
const PUBLIC_ISSUERS: [(&str, &[&str], &[&str]); 2] = [
    (
        "https://token.actions.githubusercontent.com",
        &["repository_id", "repository_owner", "repository_owner_id", "enterprise", "enterprise_id"],
        &["sub", "repository", "job_workflow_ref", "workflow_ref"],
    ),
    (
        "https://gitlab.com",
        &["project_id", "namespace_id", "namespace_path"],
        &["sub", "project_path", "ci_config_ref_uri"],
    ),
];

/// Why a rule cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It would match every token.
    #[error(
        "names no claim with a pattern that begins with a letter or digit, and so would trust every token"
    )]
    Everybody,
    /// It would match tokens of strangers.
    #[error("would trust strangers: anybody can get a token of {issuer}, so it has to pin one of {claims}")]
    Strangers {
        /// Whose tokens.
        issuer: String,
        /// Any of them will do.
        claims: String,
    },
    /// Too long or too many.
    #[error(
        "has more than {MAX_CLAIMS} claims, or a pattern that is empty or longer than {MAX_PATTERN} bytes"
    )]
    Size,
}

/// A pattern for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClaimPattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// A run without `/` and `:`.
    Run,
    AnyRun,
}

impl ClaimPattern {
    fn new(text: &str) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, parts.last()) {
                (b'*', Some(Part::Run)) => {
                    parts.pop();
                    parts.push(Part::AnyRun);
                }
                (b'*', Some(Part::AnyRun)) => {}
                (b'*', _) => parts.push(Part::Run),
                (byte, _) => parts.push(Part::Byte(byte)),
            }
        }
        Self(parts)
    }

    /// What stands before the first star; all of it where there is none.
    fn fixed(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map_while(|part| match part {
            Part::Byte(byte) => Some(*byte),
            Part::Run | Part::AnyRun => None,
        })
    }

    fn is_fixed(&self) -> bool {
        self.fixed().count() == self.0.len()
    }

    /// Compares by keeping the set of places in the text that the parts so far can reach: no backtracking, whatever
    /// a stranger's text is.
    fn matches(&self, text: &str) -> bool {
        let text = text.as_bytes();
        if text.len() > MAX_TEXT {
            return false;
        }
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            let mut next = vec![false; text.len() + 1];
            for place in 0..=text.len() {
                let before = place.checked_sub(1).and_then(|before| Some((before, *text.get(before)?)));
                next[place] = match (part, before) {
                    (Part::Byte(byte), Some((before, found))) => reached[before] && *byte == found,
                    (Part::Byte(_), None) => false,
                    (Part::Run | Part::AnyRun, None) => reached[place],
                    (Part::AnyRun, Some((before, _))) => reached[place] || next[before],
                    (Part::Run, Some((before, found))) => {
                        reached[place] || (next[before] && found != b'/' && found != b':')
                    }
                };
            }
            reached = next;
        }
        reached.last().copied().unwrap_or_default()
    }

    /// Texts, numbers and truth values are compared as text; of a list, one entry has to match.
    fn matches_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.matches(text),
            Value::Bool(value) => self.matches(&value.to_string()),
            Value::Number(number) => self.matches(&number.to_string()),
            Value::Array(entries) => {
                entries.iter().any(|entry| !entry.is_array() && self.matches_value(entry))
            }
            Value::Null | Value::Object(_) => false,
        }
    }
}

/// Whom to trust with what.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustRule {
    name: String,
    claims: Vec<(String, ClaimPattern)>,
    organisation: OrganisationName,
    repositories: Patterns,
    role: Role,
    id: String,
}

impl TrustRule {
    /// A rule for tokens of `issuer`. Names of claims that begin with a slash are paths into nested ones (RFC 6901).
    /// It gives `role` in the repositories of `organisation` that match `repositories`; all of its repositories when
    /// there is no pattern.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(
        issuer: &str,
        name: &str,
        claims: &BTreeMap<String, String>,
        (organisation, repositories): (OrganisationName, Patterns),
        role: Role,
    ) -> Result<Self, TrustError> {
        let sized = |pattern: &String| (1..=MAX_PATTERN).contains(&pattern.len());
        if claims.len() > MAX_CLAIMS || !claims.values().all(sized) {
            return Err(TrustError::Size);
        }
        let compiled: Vec<_> =
            claims.iter().map(|(claim, pattern)| (claim.clone(), ClaimPattern::new(pattern))).collect();
        let begins =
            |pattern: &ClaimPattern| pattern.fixed().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !compiled.iter().any(|(_, pattern)| begins(pattern)) {
            return Err(TrustError::Everybody);
        }
        refuse_strangers(issuer, &compiled)?;
        // What the rule says is part of its identity: tokens made by an older form of it are not honoured.
        let text =
            format!("{issuer}\n{name}\n{claims:?}\n{organisation}\n{:?}\n{role}", repositories.texts());
        let mut id = fingerprint(text.as_bytes());
        id.truncate(16);
        Ok(Self { name: name.to_owned(), claims: compiled, organisation, repositories, role, id })
    }

    /// The operator's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A name for the rule as it is now, other than for any other rule.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The role that it gives.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it says anything about `repository`.
    pub fn covers(&self, repository: &RepositoryName) -> bool {
        OrganisationName::of(repository) == self.organisation
            && (self.repositories.is_empty() || self.repositories.matching(repository).is_some())
    }

    /// Whether a token with these claims is meant.
    pub(crate) fn matches(&self, claims: &Map<String, Value>) -> bool {
        let value = |name: &str| match name.strip_prefix('/') {
            None => claims.get(name),
            Some(path) => {
                let (first, rest) = path.split_once('/').map_or((path, ""), |(first, rest)| (first, rest));
                let first = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
                if rest.is_empty() { Some(first) } else { first.pointer(&format!("/{rest}")) }
            }
        };
        self.claims
            .iter()
            .all(|(name, pattern)| value(name).is_some_and(|value| pattern.matches_value(value)))
    }
}

impl fmt::Debug for TrustRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRule({:?}, {} in {})", self.name, self.role, self.organisation)
    }
}

fn refuse_strangers(issuer: &str, claims: &[(String, ClaimPattern)]) -> Result<(), TrustError> {
    let public = PUBLIC_ISSUERS.iter().find(|(public, ..)| *public == issuer.trim_end_matches('/'));
    let Some((_, whole, paths)) = public else { return Ok(()) };
    let pins = |(name, pattern): &(String, ClaimPattern)| {
        (whole.contains(&name.as_str()) && pattern.is_fixed())
            || (paths.contains(&name.as_str()) && pattern.fixed().any(|byte| byte == b'/'))
    };
    if claims.iter().any(pins) {
        return Ok(());
    }
    let claims = [*whole, *paths].concat().join(", ");
    Err(TrustError::Strangers { issuer: issuer.to_owned(), claims })
}

#[cfg(test)]
#[path = "trust/tests.rs"]
mod tests;
