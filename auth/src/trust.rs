//! Which workloads are trusted with what: rules on the claims of OIDC tokens.
//!
//! A rule names claims, a pattern for each ([`Wildcards`]), and what whoever has them all may do. In the patterns
//! `*` and `?` cross neither `/` nor `:`. A narrower `*` than a shell's:
//! in `repo:acme/*:ref:refs/heads/main` it must not match an environment that somebody called
//! `x:ref:refs/heads/main`.

use std::collections::BTreeMap;
use std::fmt;

use rreg_oci::{Glob, MAX_PATTERN, RepositoryName, Wildcards};
use serde_json::{Map, Value};

use crate::api_token::fingerprint;
use crate::identity::{OrganisationName, Role};

/// Longest text that is compared with a pattern, in bytes: the work is the product of their lengths.
const MAX_TEXT: usize = 1024;
/// Most claims in a rule.
const MAX_CLAIMS: usize = 32;

/// An issuer that anybody can get a token from, and the claims that say whose token it is. A rule for one of them that
/// does not pin such a claim would trust the whole world.
struct PublicIssuer {
    issuer: &'static str,
    /// Claims that name an owner: one of them whole pins it.
    owners: &'static [&'static str],
    /// Claims that begin with an owner, and what stands before it. What follows the owner begins with the last character.
    /// Claims that say which file a workflow was read from are not among them: anybody may use another's.
    paths: &'static [(&'static str, &'static str, char)],
}

const PUBLIC_ISSUERS: [PublicIssuer; 5] = [
    PublicIssuer {
        issuer: "https://token.actions.githubusercontent.com",
        owners: &["repository_id", "repository_owner", "repository_owner_id", "enterprise", "enterprise_id"],
        paths: &[("sub", "repo:", '/'), ("repository", "", '/'), ("workflow_ref", "", '/')],
    },
    PublicIssuer {
        issuer: "https://gitlab.com",
        owners: &["project_id", "namespace_id", "namespace_path"],
        paths: &[("sub", "project_path:", '/'), ("project_path", "", '/')],
    },
    PublicIssuer {
        issuer: "https://agent.buildkite.com",
        owners: &["organization_slug", "organization_id"],
        paths: &[("sub", "organization:", ':')],
    },
    PublicIssuer { issuer: "https://accounts.google.com", owners: &["sub", "email", "hd"], paths: &[] },
    PublicIssuer {
        issuer: "https://app.terraform.io",
        owners: &["terraform_organization_id", "terraform_organization_name"],
        paths: &[("sub", "organization:", ':')],
    },
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
    /// Nobody knows who can get a token of this issuer.
    #[error(
        "is for an issuer of which it is not known who can get a token: if only your own workloads can, say \
         private = true beside the issuer"
    )]
    Unknown,
    /// Too long or too many.
    #[error(
        "has more than {MAX_CLAIMS} claims, or a pattern that is empty or longer than {MAX_PATTERN} bytes"
    )]
    Size,
}

/// A pattern for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClaimPattern(Wildcards);

impl ClaimPattern {
    fn new(text: &str) -> Self {
        Self(Wildcards::new(text, b"/:"))
    }

    fn matches(&self, text: &str) -> bool {
        text.len() <= MAX_TEXT && self.0.matches(text)
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
    repositories: Vec<Glob>,
    role: Role,
    id: String,
}

impl TrustRule {
    /// A rule for tokens of `issuer`. Names of claims that begin with a slash are paths into nested ones (RFC 6901).
    /// It gives `role` in the repositories of `organisation` that match `repositories`; all of its repositories when
    /// there is no pattern. `private`: only the operator's own workloads get tokens of the issuer.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(
        (issuer, private): (&str, bool),
        name: &str,
        claims: &BTreeMap<String, String>,
        (organisation, repositories): (OrganisationName, Vec<Glob>),
        role: Role,
    ) -> Result<Self, TrustError> {
        let sized = |pattern: &String| (1..=MAX_PATTERN).contains(&pattern.len());
        if claims.len() > MAX_CLAIMS || !claims.values().all(sized) {
            return Err(TrustError::Size);
        }
        let compiled: Vec<_> =
            claims.iter().map(|(claim, pattern)| (claim.clone(), ClaimPattern::new(pattern))).collect();
        let begins =
            |pattern: &ClaimPattern| pattern.0.fixed().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !compiled.iter().any(|(_, pattern)| begins(pattern)) {
            return Err(TrustError::Everybody);
        }
        refuse_strangers(issuer, private, &compiled)?;
        // What the rule says is part of its identity: tokens made by an older form of it are not honoured.
        let text = format!("{issuer}\n{name}\n{claims:?}\n{organisation}\n{repositories:?}\n{role}");
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

    /// Whose repositories it is about.
    pub fn organisation(&self) -> &OrganisationName {
        &self.organisation
    }

    /// Whether it says anything about `repository`.
    pub fn covers(&self, repository: &RepositoryName) -> bool {
        OrganisationName::of(repository) == self.organisation
            && (self.repositories.is_empty()
                || self.repositories.iter().any(|glob| glob.matches(repository.as_str())))
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

fn refuse_strangers(
    issuer: &str,
    private: bool,
    claims: &[(String, ClaimPattern)],
) -> Result<(), TrustError> {
    let Some(public) = PUBLIC_ISSUERS.iter().find(|public| public.issuer == issuer.trim_end_matches('/'))
    else {
        return if private { Ok(()) } else { Err(TrustError::Unknown) };
    };
    // The owner is whole: what follows it is fixed too.
    let begins_with_owner = |pattern: &ClaimPattern, before: &str, after: char| {
        let fixed: Vec<u8> = pattern.0.fixed().collect();
        let rest = fixed.strip_prefix(before.as_bytes());
        rest.is_some_and(|rest| {
            rest.iter().position(|byte| char::from(*byte) == after).is_some_and(|at| at > 0)
        })
    };
    let pins = |(name, pattern): &(String, ClaimPattern)| {
        (public.owners.contains(&name.as_str()) && pattern.0.is_fixed())
            || public
                .paths
                .iter()
                .any(|(claim, before, after)| claim == name && begins_with_owner(pattern, before, *after))
    };
    if claims.iter().any(pins) {
        return Ok(());
    }
    let paths =
        public.paths.iter().map(|(claim, before, after)| format!("{claim} = \"{before}OWNER{after}…\""));
    let claims: Vec<String> = public.owners.iter().map(ToString::to_string).chain(paths).collect();
    Err(TrustError::Strangers { issuer: issuer.to_owned(), claims: claims.join(", ") })
}

#[cfg(test)]
#[path = "trust/tests.rs"]
mod tests;
