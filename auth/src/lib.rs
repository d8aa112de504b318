//! Who is calling, and may they?
//!
//! Everything here is a function of its arguments: no I/O, no database, no clock, no randomness of its own. The server
//! finds out who is calling and makes a [`Caller`] of it; [`Access::authorize`] turns a caller and an [`Operation`] into
//! a [`Permit`], and handlers take nothing but permits: a request that nobody has judged cannot reach one. Both the
//! permit and a refusal name the rule that decided.
//!
//! | room | what is in it |
//! |---|---|
//! | `identity` | who somebody is, and which roles that gives |
//! | `access`, `patterns` | what may be done, by which rule, on which repositories |
//! | `scope` | the grammar of scopes in Docker's token flow |
//! | `token` | signed bearer tokens, ES256 |
//! | `oidc`, `trust` | tokens of issuers that vouch for workloads, and which of those are trusted with what |
//! | `password`, `htpasswd`, `api_token` | the secrets that people and programs present |
//!
//! How to add an operation: the match in [`Action::of`] has no wildcard, and the table in `access_tests.rs` counts its
//! rows against [`Operation::NAMES`].

mod access;
#[cfg(test)]
mod access_tests;
mod action;
mod api_token;
mod htpasswd;
mod identity;
mod oidc;
mod password;
mod scope;
mod sealed;
mod token;
mod trust;

pub use access::{Access, Denied, Mode, Permit, Rule};
pub use action::Action;
pub use api_token::{ApiToken, fingerprint};
pub use htpasswd::{Htpasswd, HtpasswdError};
pub use identity::{Caller, Identity, NameError, OrganisationName, PrincipalName, Role};
pub use oidc::{Claimed, IssuerKeys, OidcError, OidcIssuer, OidcToken, Workload};
pub use password::{DUMMY_HASH, PasswordError, hash_password, verify_password};
pub use scope::{Actions, Scope, ScopeError};
pub use sealed::{SealError, Sealer};
pub use token::{Claims, IssuedToken, SigningKey, TokenError, TokenIssuer, TokenSettings};
pub use trust::{TrustError, TrustRule};

#[cfg(doc)]
use rreg_oci::Operation;
