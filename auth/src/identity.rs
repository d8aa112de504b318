//! Who somebody is, and which roles that gives.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rreg_oci::RepositoryName;

use crate::scope::Scope;
use crate::trust::TrustRule;

/// Why a text is no name of a principal, an organisation or a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a principal's name.
    #[error(
        "a user or robot name is 1 to 64 lower-case letters, digits and . _ - @, begins with a letter or digit, and \
         is not \"anonymous\""
    )]
    Principal,
    /// Not an organisation's name.
    #[error(
        "an organisation is the first part of its repositories' names: lower-case letters and digits, no slash"
    )]
    Organisation,
    /// Not a role.
    #[error("a role is one of reader, writer, maintainer, admin")]
    Role,
    /// Not an identity as tokens write it.
    #[error("an identity is anonymous, or user:, robot:, workload: or certificate: and a name")]
    Identity,
}

/// Name of a user or a robot. Lower case only, so that no two of them look alike but for case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalName(Box<str>);

impl PrincipalName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        match text.as_bytes() {
            [first, rest @ ..]
                if text.len() <= 64
                    && word(*first)
                    && rest.iter().all(|c| word(*c) || b"._-@".contains(c))
                    && text != "anonymous" =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(NameError::Principal),
        }
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An organisation: the first path segment of its repositories' names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrganisationName(Box<str>);

impl OrganisationName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one that `repository` belongs to. A name without a slash belongs to the organisation of that name.
    pub fn of(repository: &RepositoryName) -> Self {
        Self(repository.as_str().split('/').next().unwrap_or_default().into())
    }
}

impl FromStr for OrganisationName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse::<RepositoryName>() {
            Ok(name) if !name.as_str().contains('/') => Ok(Self(text.into())),
            _ => Err(NameError::Organisation),
        }
    }
}

impl fmt::Display for OrganisationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a member may do in an organisation. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Pulls and lists.
    Reader,
    /// Pushes, too.
    Writer,
    /// Deletes, too.
    Maintainer,
    /// Everything in the organisation.
    Admin,
}

impl Role {
    /// All of them, weakest first.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Writer, Self::Maintainer, Self::Admin];

    /// The role's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Maintainer => "maintainer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(NameError::Role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is calling. `Display` and `FromStr` are its form in tokens and in the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody has said.
    Anonymous,
    /// A person with a local account or a line in the htpasswd file.
    User(PrincipalName),
    /// A program with an account of its own.
    Robot(PrincipalName),
    /// A program that an issuer of OIDC tokens vouches for: issuer and subject.
    Workload(String),
    /// Whoever holds the key of a client certificate: its subject.
    Certificate(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Robot(name) => write!(f, "robot:{name}"),
            Self::Workload(name) => write!(f, "workload:{name}"),
            Self::Certificate(name) => write!(f, "certificate:{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            None if text == "anonymous" => Ok(Self::Anonymous),
            Some(("user", name)) => Ok(Self::User(name.parse()?)),
            Some(("robot", name)) => Ok(Self::Robot(name.parse()?)),
            Some(("workload", name)) if !name.is_empty() => Ok(Self::Workload(name.to_owned())),
            Some(("certificate", name)) if !name.is_empty() => Ok(Self::Certificate(name.to_owned())),
            _ => Err(NameError::Identity),
        }
    }
}

/// Who is calling, with everything that a judgement needs to know of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub identity: Identity,
    /// Whether they administer the whole registry.
    pub admin: bool,
    /// Role in each organisation that they are a member of.
    pub roles: BTreeMap<OrganisationName, Role>,
    /// Rules of the configuration that trust this workload.
    pub trusted: Vec<Arc<TrustRule>>,
    /// Until when what they presented is good, in seconds since the Unix epoch; `None` where it does not say.
    pub expires: Option<u64>,
    /// What the bearer token was asked for, when there is one. It narrows what the roles give and never widens it.
    pub scopes: Option<Vec<Scope>>,
}

impl Caller {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::new(Identity::Anonymous)
    }

    /// Somebody without any role.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            admin: false,
            roles: BTreeMap::new(),
            trusted: Vec::new(),
            expires: None,
            scopes: None,
        }
    }

    /// The same, holding a token that was asked for `scopes`.
    #[must_use]
    pub fn narrowed(mut self, scopes: Vec<Scope>) -> Self {
        self.scopes = Some(scopes);
        self
    }

    /// Whether nobody has said who it is.
    pub fn is_anonymous(&self) -> bool {
        self.identity == Identity::Anonymous
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "alice", "ci-bot.2", "a@b.example", "0"] {
            assert_eq!(good.parse::<PrincipalName>().unwrap().as_str(), good);
        }
        for bad in ["", "Alice", "-a", "a b", "a:b", "a/b", "ä", "anonymous", "a\n", &"a".repeat(65)] {
            assert_eq!(bad.parse::<PrincipalName>(), Err(NameError::Principal), "{bad:?}");
        }
        for bad in ["", "a/b", "A", "*", ".."] {
            assert_eq!(bad.parse::<OrganisationName>(), Err(NameError::Organisation), "{bad:?}");
        }
        for (repository, organisation) in [("a/b/c", "a"), ("solo", "solo"), ("a-b/c", "a-b")] {
            assert_eq!(OrganisationName::of(&repository.parse().unwrap()).as_str(), organisation);
        }
    }

    #[test]
    fn identities_survive_their_text() {
        let name = || "x".parse::<PrincipalName>().unwrap();
        for identity in [
            Identity::Anonymous,
            Identity::User(name()),
            Identity::Robot(name()),
            Identity::Workload("https://issuer/ repo:a".into()),
            Identity::Certificate("CN=x".into()),
        ] {
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
        for bad in ["", "user", "user:", "root:x", "user:A", "workload:", "anonymous:x"] {
            assert!(bad.parse::<Identity>().is_err(), "{bad:?}");
        }
    }
}
