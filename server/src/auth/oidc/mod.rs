//! OIDC tokens of configured issuers, accepted as passwords of workloads.
//!
//! What a token has to be is decided in the crate `rreg-auth`; here its issuer's keys are read (`source`) and kept
//! (`keys`).

mod keys;
mod source;

use std::time::Instant;

use rreg_auth::{Caller, Identity, IssuerKeys, OidcError, OidcIssuer, OidcToken, Workload};

use self::keys::{KeyCache, Unavailable};
use self::source::Source;
use super::keys::now;
use crate::config;

/// Why a workload was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkloadError {
    /// Its token does not count.
    #[error(transparent)]
    Token(#[from] OidcError),
    /// Its token cannot be judged now.
    #[error("the keys of {issuer} cannot be read now; try again later")]
    Keys { issuer: String, why: String },
}

struct Trusted {
    issuer: OidcIssuer,
    source: Source,
    keys: KeyCache<IssuerKeys>,
}

/// The issuers that the configuration names.
pub(super) struct Workloads(Vec<Trusted>);

impl Workloads {
    pub(super) fn new(issuers: &[config::Oidc]) -> Result<Self, String> {
        let trusted = |config: &config::Oidc| {
            let source = Source::new(config)?;
            Ok(Trusted { issuer: config.compiled(), source, keys: KeyCache::default() })
        };
        issuers.iter().map(trusted).collect::<Result<_, String>>().map(Self)
    }

    /// The token that `secret` is, if any issuer is configured.
    pub(super) fn token<'a>(&self, secret: &'a str) -> Option<OidcToken<'a>> {
        if self.0.is_empty() { None } else { OidcToken::looks_like(secret) }
    }

    /// Who presents `token`.
    pub(super) async fn verify(&self, token: OidcToken<'_>) -> Result<Caller, WorkloadError> {
        let claimed = token.claimed()?;
        let trusted = self.0.iter().find(|trusted| trusted.issuer.issuer == claimed.issuer);
        let trusted = trusted.ok_or(OidcError::Issuer)?;
        let has = |keys: &IssuerKeys| keys.contains(&claimed.key);
        let keys = trusted.keys.get(Instant::now(), has, async || trusted.source.read().await).await;
        let issuer = &trusted.issuer.issuer;
        let keys = keys.map_err(|Unavailable(why)| WorkloadError::Keys { issuer: issuer.clone(), why })?;
        Ok(caller(trusted.issuer.verify(token, &keys, now())?))
    }

    /// A workload that was verified before, with those of the rules `ids` that are still there.
    pub(super) fn recall(&self, name: &str, ids: &[String]) -> Option<Caller> {
        let trusted: Vec<_> = self.0.iter().flat_map(|trusted| trusted.issuer.recall(name, ids)).collect();
        let identity = Identity::Workload(name.to_owned());
        (!trusted.is_empty()).then(|| Caller { trusted, ..Caller::new(identity) })
    }
}

fn caller(workload: Workload) -> Caller {
    Caller {
        trusted: workload.trusted,
        expires: Some(workload.expires),
        ..Caller::new(Identity::Workload(workload.name))
    }
}
