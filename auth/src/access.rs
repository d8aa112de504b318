//! What may be done, by which rule.

use std::fmt;
use std::sync::Arc;

use rreg_oci::{Glob, Operation, RepositoryName, beginnings};

use crate::action::Action;
use crate::identity::{Caller, Identity, OrganisationName, Role};
use crate::scope::{Actions, Scope};
use crate::trust::TrustRule;

/// Whether callers are asked who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whoever reaches the registry may do everything.
    #[default]
    Open,
    /// Users, robots and their roles are kept in the registry's own database.
    Local,
}

/// What the registry lets callers do.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whether callers are asked who they are.
    pub mode: Mode,
    /// Refuses whatever would change content: for maintenance and mirrors.
    pub read_only: bool,
    /// Lets anybody pull everything.
    pub anonymous_pull: bool,
    /// Repositories that anybody may pull from.
    pub public: Vec<Glob>,
}

/// The rule that allowed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nobody is asked who they are.
    Open,
    /// The caller has said who they are, which is all that is needed.
    Known,
    /// Anybody may pull everything.
    AnonymousPull,
    /// Anybody may pull from this repository: place of the pattern.
    Public(usize),
    /// The caller administers the registry.
    RegistryAdmin,
    /// The caller has a role in the repository's organisation.
    Member(Role),
    /// The caller is a workload that a rule of the configuration trusts.
    Trusted(Arc<TrustRule>),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open (auth.mode = \"open\")"),
            Self::Known => f.write_str("known caller"),
            Self::AnonymousPull => f.write_str("anonymous pull (auth.anonymous_pull = true)"),
            Self::Public(place) => write!(f, "public repository (auth.public, pattern {})", place + 1),
            Self::RegistryAdmin => f.write_str("registry administrator"),
            Self::Member(role) => write!(f, "member ({role})"),
            Self::Trusted(rule) => write!(f, "trust rule {:?} of auth.oidc ({})", rule.name(), rule.role()),
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The registry takes no changes now.
    #[error("this registry is read-only now (server.read_only)")]
    ReadOnly,
    /// Nobody has said who is calling.
    #[error("this needs a login: no credentials came with the request")]
    Anonymous,
    /// The caller's role is too small, or they have none.
    #[error("{identity} may not {action} here: that needs the role {needed} in organisation {organisation}, and they \
             have {}; {}", held.map_or("none", Role::as_str), remedy(identity))]
    Role {
        /// Who.
        identity: Identity,
        /// What they wanted.
        action: Action,
        /// Where.
        organisation: OrganisationName,
        /// What it takes.
        needed: Role,
        /// What they have.
        held: Option<Role>,
    },
    /// The caller does not administer the registry.
    #[error("{0} may not do this: it needs a registry administrator, whom `rreg user create --admin` makes")]
    Administrator(String),
    /// The caller may, but the token that they hold is not for this.
    #[error("the token is not for this: it needs the scope {0}")]
    Scope(Scope),
}

fn remedy(identity: &Identity) -> &'static str {
    match identity {
        Identity::Workload(_) => "a trust rule of auth.oidc can give it",
        _ => "an administrator can give it with `rreg org add`",
    }
}

impl Denied {
    /// The rule's name in the audit trail.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Anonymous => "login needed",
            Self::Role { .. } => "role needed",
            Self::Administrator(_) => "administrator needed",
            Self::Scope(_) => "token scope needed",
        }
    }
}

/// Proof that an operation was allowed. Only [`Access::authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    operation: Operation,
    caller: Arc<Caller>,
    access: Arc<Access>,
    rule: Rule,
}

impl Access {
    /// Judges whether `caller` may do `operation`.
    ///
    /// # Errors
    /// [`Denied`], with the reason.
    pub fn authorize(self: &Arc<Self>, caller: &Arc<Caller>, operation: Operation) -> Result<Permit, Denied> {
        let rule = self.judge(caller, Action::of(&operation), operation.repository())?;
        Ok(Permit { operation, caller: caller.clone(), access: self.clone(), rule })
    }

    /// The rule by which `caller` may do `action` on `repository` (on the registry, where there is none).
    ///
    /// # Errors
    /// [`Denied`], with the reason.
    pub fn judge(
        &self,
        caller: &Caller,
        action: Action,
        repository: Option<&RepositoryName>,
    ) -> Result<Rule, Denied> {
        if self.read_only && action.changes() {
            return Err(Denied::ReadOnly);
        }
        self.judge_caller(caller, action, repository)
    }

    fn judge_caller(
        &self,
        caller: &Caller,
        action: Action,
        repository: Option<&RepositoryName>,
    ) -> Result<Rule, Denied> {
        if self.mode == Mode::Open {
            return Ok(Rule::Open);
        }
        if action == Action::Administer {
            return judge_administrator(caller);
        }
        match (action.role(), repository) {
            (Some(needed), Some(repository)) => self.judge_repository(caller, action, needed, repository),
            // Ping and list. A token without an account, as clients get before an anonymous pull, will do.
            _ if caller.is_anonymous() && caller.scopes.is_none() => Err(Denied::Anonymous),
            _ => match &caller.scopes {
                Some(scopes) if action == Action::List && !scopes.contains(&Scope::Catalog) => {
                    Err(Denied::Scope(Scope::Catalog))
                }
                _ => Ok(Rule::Known),
            },
        }
    }

    fn judge_repository(
        &self,
        caller: &Caller,
        action: Action,
        needed: Role,
        repository: &RepositoryName,
    ) -> Result<Rule, Denied> {
        if action == Action::Pull
            && let Some(rule) = self.anybody_reads(repository)
        {
            return Ok(rule);
        }
        if caller.is_anonymous() {
            return Err(Denied::Anonymous);
        }
        let organisation = OrganisationName::of(repository);
        let member = caller.roles.get(&organisation).copied();
        let trusted = caller.trusted.iter().filter(|rule| rule.covers(repository));
        let trusted = trusted.max_by_key(|rule| rule.role());
        let rule = match (member, trusted) {
            _ if caller.admin => Rule::RegistryAdmin,
            (Some(role), _) if role >= needed => Rule::Member(role),
            (_, Some(rule)) if rule.role() >= needed => Rule::Trusted(Arc::clone(rule)),
            _ => {
                let identity = caller.identity.clone();
                let held = member.max(trusted.map(|rule| rule.role()));
                return Err(Denied::Role { identity, action, organisation, needed, held });
            }
        };
        let granted = |scope: &Scope| match scope {
            Scope::Repository { name, actions } => name == repository && actions.allow(action),
            Scope::Catalog | Scope::Admin => false,
        };
        match &caller.scopes {
            Some(scopes) if !scopes.iter().any(granted) => Err(Denied::Scope(Scope::Repository {
                name: repository.clone(),
                actions: Actions::needed_for(action),
            })),
            _ => Ok(rule),
        }
    }

    fn anybody_reads(&self, repository: &RepositoryName) -> Option<Rule> {
        if self.anonymous_pull {
            return Some(Rule::AnonymousPull);
        }
        self.public.iter().position(|glob| glob.matches(repository.as_str())).map(Rule::Public)
    }

    /// Whether `caller` may see `repository` in a list. A token's scopes narrow what is done to repositories; the
    /// list as such has a scope of its own, so they do not count here.
    pub fn may_list(&self, caller: &Caller, repository: &RepositoryName) -> bool {
        self.mode == Mode::Open
            || self.anybody_reads(repository).is_some()
            || (!caller.is_anonymous()
                && (caller.admin
                    || caller.roles.contains_key(&OrganisationName::of(repository))
                    || caller.trusted.iter().any(|rule| rule.covers(repository))))
    }

    /// How the names begin of all repositories that `caller` may see in a list, in order, none of them twice.
    pub fn listed_beginnings(&self, caller: &Caller) -> Vec<String> {
        if self.lists_all(caller) {
            return vec![String::new()];
        }
        let public = self.public.iter().map(Glob::beginning);
        if caller.is_anonymous() {
            return beginnings(public);
        }
        let member = caller.roles.keys().map(ToString::to_string);
        let trusted = caller.trusted.iter().map(|rule| rule.organisation().to_string());
        beginnings(public.chain(member).chain(trusted))
    }

    /// Whether `caller` sees every repository in a list.
    pub fn lists_all(&self, caller: &Caller) -> bool {
        self.mode == Mode::Open || self.anonymous_pull || (caller.admin && !caller.is_anonymous())
    }

    /// What of `asked` the caller may do: the scopes that a token gets. A scope of which nothing is left is left out.
    pub fn grant(&self, caller: &Caller, asked: Vec<Scope>) -> Vec<Scope> {
        let mut granted = Vec::new();
        for scope in asked {
            match scope {
                Scope::Catalog => granted.push(Scope::Catalog),
                Scope::Admin if self.judge_caller(caller, Action::Administer, None).is_ok() => {
                    granted.push(Scope::Admin);
                }
                Scope::Admin => {}
                Scope::Repository { name, actions } => {
                    // Read-only is a state of the registry, not a matter of who asks.
                    let may = |action| {
                        actions.allow(action) && self.judge_caller(caller, action, Some(&name)).is_ok()
                    };
                    let actions = Actions {
                        pull: may(Action::Pull),
                        push: may(Action::Push),
                        delete: may(Action::Delete),
                    };
                    if actions != Actions::default() {
                        granted.push(Scope::Repository { name, actions });
                    }
                }
            }
        }
        granted
    }
}

/// Whatever repository it is about, if any.
fn judge_administrator(caller: &Caller) -> Result<Rule, Denied> {
    match caller {
        _ if caller.is_anonymous() => Err(Denied::Anonymous),
        Caller { admin: true, scopes: None, .. } => Ok(Rule::RegistryAdmin),
        Caller { admin: true, scopes: Some(scopes), .. } if scopes.contains(&Scope::Admin) => {
            Ok(Rule::RegistryAdmin)
        }
        Caller { admin: true, .. } => Err(Denied::Scope(Scope::Admin)),
        _ => Err(Denied::Administrator(caller.identity.to_string())),
    }
}

impl Permit {
    /// What was allowed.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// To whom.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// By which rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether the same caller may read `repository` too, which is what mounting a blob from it needs
    /// (zot CVE-2024-39897).
    pub fn may_read(&self, repository: &RepositoryName) -> bool {
        self.access.judge(&self.caller, Action::Pull, Some(repository)).is_ok()
    }

    /// Whether the caller may see `repository` in a list.
    pub fn may_list(&self, repository: &RepositoryName) -> bool {
        self.access.may_list(&self.caller, repository)
    }

    /// How the names begin of all repositories that the caller may see in a list, in order, none of them twice.
    pub fn listed_beginnings(&self) -> Vec<String> {
        self.access.listed_beginnings(&self.caller)
    }

    /// Whether the caller sees every repository in a list.
    pub fn lists_all(&self) -> bool {
        self.access.lists_all(&self.caller)
    }
}
