//! Scopes of Docker's token flow: `repository:library/ubuntu:pull,push`, `registry:catalog:*`; and
//! `registry:admin:*` of our own.
//!
//! <https://distribution.github.io/distribution/spec/auth/scope/>. Types of resources and actions that this registry
//! does not know grant nothing and are left out; a repository that cannot exist is an error.

use std::fmt;

use rreg_oci::RepositoryName;

use crate::action::Action;

/// Most scopes in one request: a cross-repository mount needs two.
const MAX_SCOPES: usize = 32;
/// Longest list of scopes, in bytes.
const MAX_TEXT: usize = 16 << 10;

/// Why a text is no list of scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not `type:name:actions`.
    #[error("a scope is TYPE:NAME:ACTIONS, such as repository:team/app:pull,push")]
    Form,
    /// The name is no repository's.
    #[error("a scope names a repository that cannot exist: {0}")]
    Name(rreg_oci::NameError),
    /// Too many or too long.
    #[error("too many scopes: at most {MAX_SCOPES} with together {MAX_TEXT} bytes")]
    TooMany,
}

/// A set of what can be done to a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Reads.
    pub pull: bool,
    /// Adds.
    pub push: bool,
    /// Removes.
    pub delete: bool,
}

impl Actions {
    /// Whether `action` on a repository is among them.
    pub fn allow(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push => self.push,
            Action::Delete => self.delete,
            Action::Ping | Action::List | Action::Administer => false,
        }
    }

    /// Just `action`, with the reading that clients do before they write.
    pub fn needed_for(action: Action) -> Self {
        match action {
            Action::Ping | Action::List | Action::Administer => Self::default(),
            Action::Pull => Self { pull: true, ..Self::default() },
            Action::Push => Self { pull: true, push: true, delete: false },
            Action::Delete => Self { delete: true, ..Self::default() },
        }
    }

    /// Words, separated by commas.
    pub fn words(self) -> Vec<&'static str> {
        let all = [(self.pull, "pull"), (self.push, "push"), (self.delete, "delete")];
        all.into_iter().filter_map(|(has, word)| has.then_some(word)).collect()
    }

    fn parse(text: &str) -> Self {
        let mut actions = Self::default();
        for word in text.split(',') {
            match word.trim() {
                "pull" => actions.pull = true,
                "push" => actions.push = true,
                "delete" => actions.delete = true,
                "*" => actions = Self { pull: true, push: true, delete: true },
                _ => {}
            }
        }
        actions
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

/// One thing that a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Actions on one repository.
    Repository {
        /// Which.
        name: RepositoryName,
        /// What.
        actions: Actions,
    },
    /// The list of repositories.
    Catalog,
    /// The registry's own rules: tag rules, policies, trust material. `registry:admin:*`, which no other registry knows.
    Admin,
}

impl Scope {
    /// Reads scopes separated by spaces. Those of unknown types are left out.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ScopeError> {
        if text.len() > MAX_TEXT || text.split_ascii_whitespace().nth(MAX_SCOPES).is_some() {
            return Err(ScopeError::TooMany);
        }
        text.split_ascii_whitespace().filter_map(|one| Self::parse(one).transpose()).collect()
    }

    /// Those of a request that can be granted at all (token specification, "scope": what is not granted is left out): the
    /// first ones that can be read, as many as fit into a token.
    pub fn parse_some(text: &str) -> Vec<Self> {
        let mut room = MAX_TEXT;
        let fits = |one: &&str| {
            let fits = one.len() < room;
            room = room.saturating_sub(one.len() + 1);
            fits
        };
        let read = text.split_ascii_whitespace().take_while(fits);
        read.filter_map(|one| Self::parse(one).ok().flatten()).take(MAX_SCOPES).collect()
    }

    fn parse(text: &str) -> Result<Option<Self>, ScopeError> {
        let (kind, rest) = text.split_once(':').ok_or(ScopeError::Form)?;
        // Names with a host and its port have colons of their own.
        let (name, actions) = rest.rsplit_once(':').ok_or(ScopeError::Form)?;
        match kind {
            "repository" => {
                let name = name.parse().map_err(ScopeError::Name)?;
                Ok(Some(Self::Repository { name, actions: Actions::parse(actions) }))
            }
            "registry" if name == "catalog" && actions == "*" => Ok(Some(Self::Catalog)),
            "registry" if name == "admin" && actions == "*" => Ok(Some(Self::Admin)),
            _ => Ok(None),
        }
    }

    /// Scopes as one text.
    pub fn render_list(scopes: &[Self]) -> String {
        scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { name, actions } => write!(f, "repository:{name}:{actions}"),
            Self::Catalog => f.write_str("registry:catalog:*"),
            Self::Admin => f.write_str("registry:admin:*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        Scope::render_list(&Scope::parse_list(text).unwrap())
    }

    #[test]
    fn grammar() {
        assert_eq!(read("repository:a/b:pull"), "repository:a/b:pull");
        assert_eq!(
            read("repository:a:push,pull registry:catalog:*"),
            "repository:a:pull,push registry:catalog:*"
        );
        assert_eq!(read("repository:a:*"), "repository:a:pull,push,delete");
        assert_eq!(read("repository:a:own,pull"), "repository:a:pull");
        assert_eq!(read("repository(plugin):a:pull aws:x:y registry:catalog:pull"), "");
        assert_eq!(read(""), "");
        assert_eq!(Scope::parse_list("repository"), Err(ScopeError::Form));
        assert_eq!(Scope::parse_list("repository:a"), Err(ScopeError::Form));
        for bad in
            ["repository:A:pull", "repository:../a:pull", "repository:*:pull", "repository:h:5000/a:pull"]
        {
            assert!(matches!(Scope::parse_list(bad), Err(ScopeError::Name(_))), "{bad}");
        }
        assert_eq!(Scope::parse_list(&"repository:a:pull ".repeat(33)), Err(ScopeError::TooMany));
        assert_eq!(Scope::parse_list(&"x".repeat(MAX_TEXT + 1)), Err(ScopeError::TooMany));
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(name in "[a-z]{1,8}(/[a-z0-9]{1,8}){0,3}", bits in 1..8u8) {
            let actions = Actions { pull: bits & 1 != 0, push: bits & 2 != 0, delete: bits & 4 != 0 };
            let scopes = vec![Scope::Repository { name: name.parse().unwrap(), actions }, Scope::Catalog, Scope::Admin];
            prop_assert_eq!(Scope::parse_list(&Scope::render_list(&scopes)).unwrap(), scopes);
        }

        #[test]
        fn never_panics(text in "(repository|registry)?[a-z:,* /]{0,40}|\\PC{0,60}") {
            let _ = Scope::parse_list(&text);
        }
    }
}
