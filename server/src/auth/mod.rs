//! Finds out who is calling, and keeps the audit trail. What callers may do is decided in the crate `rreg-auth`.
//!
//! | room | what is in it |
//! |---|---|
//! | `accounts` | rules and accounts, for the command line too |
//! | `authenticator` | from a request's headers to a caller |
//! | `passwords` | costly checks, bounded in number |
//! | `keys` | the keys that sign bearer tokens |
//! | `oidc` | tokens of issuers that vouch for workloads |
//! | `challenge` | what a 401 tells the client to do |
//! | `token` | `/v2/token` |
//! | `bootstrap` | `/bootstrap`, the first administrator |
//! | `trail` | the audit trail |
//! | `denials` | which denials are in it |

mod accounts;
mod authenticator;
mod bootstrap;
mod challenge;
mod credentials;
mod denials;
mod keys;
mod oidc;
mod passwords;
mod token;
mod trail;

pub use accounts::{access, caller_of};
pub(crate) use authenticator::Authenticator;
pub(crate) use bootstrap::serve as serve_bootstrap;
pub(crate) use token::serve as serve_token;
pub(crate) use trail::{Context, NotAdmitted, allowed, printable};
