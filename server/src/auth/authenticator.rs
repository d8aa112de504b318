//! From a request's headers to a caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Uri};
use quick_cache::sync::Cache;
use rreg_auth::{
    Access, ApiToken, Caller, Claims, Denied, Htpasswd, Identity, OidcToken, PrincipalName, Scope,
    TokenError, TokenSettings,
};
use rreg_oci::Operation;
use rreg_storage::{Storage, StorageError};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::accounts::{access, caller_of};
use super::challenge::{Challenge, scopes_of};
use super::credentials::{Credentials, credentials};
use super::keys::{Keys, now};
use super::oidc::{WorkloadError, Workloads};
use super::passwords::Passwords;
use super::trail::{Context, Trail};
use crate::config;
use crate::error::ApiError;
use crate::shares::Source;
use crate::telemetry::Metrics;

/// What was found right is believed for so long: a user who is removed, or a role that is taken away, counts until then.
const BELIEVED: Duration = Duration::from_secs(30);
/// Credentials that are believed at a time.
const KNOWN: usize = 10_000;
/// Between two looks whether a new signing key is due.
const KEY_PERIOD: Duration = Duration::from_secs(3600);

/// Why credentials do not count. What exactly was wrong with a name or password is not told: the same words for an
/// unknown user, a wrong password and an expired token.
#[derive(Debug)]
pub(crate) enum Rejected {
    Wrong,
    Token(TokenError),
    Workload(WorkloadError),
    Scheme,
    Busy,
    Storage(StorageError),
}

/// Somebody whose credentials were right a moment ago.
#[derive(Clone)]
struct Known {
    caller: Arc<Caller>,
    until: Instant,
}

pub(crate) struct Authenticator {
    pub(crate) access: Arc<Access>,
    pub(crate) trail: Trail,
    anonymous: Arc<Caller>,
    pub(super) storage: Storage,
    pub(super) keys: Keys,
    pub(super) passwords: Passwords,
    workloads: Workloads,
    challenge: Challenge,
    /// `auth.bootstrap_link`
    pub(super) offers: bool,
    known: Cache<[u8; 32], Known>,
    /// Makes the keys of `known` worth nothing outside this process.
    salt: [u8; 16],
}

impl Authenticator {
    /// An error says what in the configuration cannot be used.
    pub(crate) fn new(
        config: &config::Config,
        storage: Storage,
        htpasswd: Htpasswd,
        metrics: &Metrics,
    ) -> Result<Self, StorageError> {
        let auth = &config.auth;
        let settings = TokenSettings {
            issuer: auth.service().to_owned(),
            audience: auth.service().to_owned(),
            lifetime: auth.token_lifetime.0,
        };
        Ok(Self {
            access: Arc::new(access(config)),
            trail: Trail::new(storage.clone(), metrics.auth.clone()),
            anonymous: Arc::new(Caller::anonymous()),
            keys: Keys::new(settings, storage.clone(), auth.key_file.as_deref())?,
            storage,
            passwords: Passwords::new(htpasswd, metrics.auth.password_checks.clone()),
            workloads: Workloads::new(&auth.oidc.0).map_err(StorageError::Setting)?,
            challenge: Challenge {
                url: auth.url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
                service: auth.service().to_owned(),
            },
            offers: auth.bootstrap_link,
            known: Cache::new(KNOWN),
            salt: *uuid::Uuid::new_v4().as_bytes(),
        })
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn asks(&self) -> bool {
        self.access.mode != rreg_auth::Mode::Open
    }

    /// Where the client has found this registry, such as `https://registry.example`; the last of `asked` is whether its
    /// connection is encrypted.
    pub(crate) fn base(&self, (uri, headers, tls): (&Uri, &HeaderMap, bool)) -> String {
        self.challenge.base(uri, headers, tls)
    }

    /// `auth.url`
    pub(super) fn url(&self) -> Option<&str> {
        self.challenge.url.as_deref()
    }

    /// Reads the signing keys, and again now and then.
    pub(crate) async fn start(self: &Arc<Self>, shutdown: CancellationToken) -> Result<(), StorageError> {
        if !self.asks() {
            return Ok(());
        }
        self.keys.refresh().await?;
        let this = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(KEY_PERIOD) => {}
                }
                if let Err(error) = this.keys.refresh().await {
                    tracing::error!(%error, "token signing keys cannot be refreshed");
                }
            }
        });
        Ok(())
    }

    /// The caller, if no database and no costly check is needed to know.
    pub(crate) fn immediate(&self, headers: &HeaderMap) -> Option<&Arc<Caller>> {
        (!self.asks() || !headers.contains_key(AUTHORIZATION)).then_some(&self.anonymous)
    }

    /// The caller of a bearer token that was verified a moment ago.
    pub(crate) fn believed(&self, headers: &HeaderMap) -> Option<Arc<Caller>> {
        match credentials(headers) {
            Ok(Credentials::Bearer(token)) => self.recall(&self.key(&[b"bearer", token.as_bytes()])),
            _ => None,
        }
    }

    /// Finds out who is calling.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        context: &Context,
    ) -> Result<Arc<Caller>, Rejected> {
        if let Some(caller) = self.immediate(headers) {
            return Ok(Arc::clone(caller));
        }
        match credentials(headers)? {
            Credentials::None => Ok(Arc::clone(&self.anonymous)),
            Credentials::Bearer(token) => {
                let verified = self.bearer(token).await;
                if let Err(Rejected::Token(TokenError::Invalid | TokenError::UnknownKey)) = verified {
                    self.trail.login_failed(context, "", "bearer token").await;
                }
                verified
            }
            Credentials::Basic(name, secret) => self.login(&name, &secret, context).await,
        }
    }

    async fn bearer(&self, token: &str) -> Result<Arc<Caller>, Rejected> {
        let key = self.key(&[b"bearer", token.as_bytes()]);
        if let Some(caller) = self.recall(&key) {
            return Ok(caller);
        }
        let claims = self.keys.verify(token).await.map_err(Rejected::Token)?;
        // The account may be gone, or have fewer roles than when the token was made.
        let caller = self.load(&claims).await?.ok_or(Rejected::Token(TokenError::Expired))?;
        Ok(self.believe(key, caller))
    }

    /// Checks a name and a password or token.
    pub(super) async fn login(
        &self,
        name: &str,
        secret: &str,
        context: &Context,
    ) -> Result<Arc<Caller>, Rejected> {
        let key = self.key(&[b"basic", name.as_bytes(), secret.as_bytes()]);
        if let Some(caller) = self.recall(&key) {
            return Ok(caller);
        }
        let checked = if ApiToken::looks_like(secret) {
            self.api_token(name, secret).await?
        } else if let Some(token) = self.workloads.token(secret) {
            return self.workload(key, name, token, context).await;
        } else {
            self.password(name, secret, context).await?
        };
        match checked {
            Some(caller) => {
                self.trail.login(context, &caller.identity, "credentials").await;
                Ok(self.believe(key, caller))
            }
            None => {
                self.trail.login_failed(context, name, "wrong name or secret").await;
                self.passwords.failed(&Source::of_address(context.address), name.parse().ok()).await;
                Err(Rejected::Wrong)
            }
        }
    }

    /// The name that goes with an OIDC token means nothing: the token says who it is.
    async fn workload(
        &self,
        key: [u8; 32],
        name: &str,
        token: OidcToken<'_>,
        context: &Context,
    ) -> Result<Arc<Caller>, Rejected> {
        match self.workloads.verify(token).await {
            Ok(caller) => {
                let rules: Vec<_> = caller.trusted.iter().map(|rule| rule.name()).collect();
                let how = format!("trust rules of auth.oidc: {}", rules.join(", "));
                self.trail.login(context, &caller.identity, &how).await;
                Ok(self.believe(key, caller))
            }
            Err(error) => {
                // Why the keys cannot be read is for the operator alone.
                let why = match &error {
                    WorkloadError::Keys { why, .. } => format!("{error}: {why}"),
                    WorkloadError::Token(_) => error.to_string(),
                };
                self.trail.login_failed(context, name, &why).await;
                Err(Rejected::Workload(error))
            }
        }
    }

    async fn api_token(&self, name: &str, secret: &str) -> Result<Option<Caller>, Rejected> {
        let Some(token) = ApiToken::parse(secret) else { return Ok(None) };
        let owner = self.storage.metadata().token_owner(&token.fingerprint()).await?;
        let Some((_, expires)) = owner.filter(|(owner, _)| owner == name) else { return Ok(None) };
        let expires = expires.map(|at| u64::try_from(at).unwrap_or_default() / 1000);
        Ok(self.load_named(name).await?.map(|caller| Caller { expires, ..caller }))
    }

    async fn password(
        &self,
        name: &str,
        secret: &str,
        context: &Context,
    ) -> Result<Option<Caller>, Rejected> {
        let parsed = name.parse::<PrincipalName>().ok();
        // The same questions for a name that cannot exist.
        let text = parsed.as_ref().map_or("", PrincipalName::as_str);
        let hash = self.storage.metadata().password_hash(text).await?;
        let stored = self.storage.metadata().principal(text).await?;
        // A name that the database knows is the database's, whatever the file says.
        let in_file = if stored.is_none() { parsed.clone() } else { None };
        let right = self
            .passwords
            .check(&Source::of_address(context.address), hash, in_file, secret.to_owned())
            .await
            .map_err(|_| Rejected::Busy)?;
        if right { self.load_named(text).await } else { Ok(None) }
    }

    async fn load_named(&self, name: &str) -> Result<Option<Caller>, Rejected> {
        let Ok(name) = name.parse::<PrincipalName>() else { return Ok(None) };
        Ok(caller_of(self.storage.metadata(), self.passwords.file(), &name).await?)
    }

    /// Somebody with the roles that they have now; `None` when there is no such account (any more), or another of the
    /// same name.
    async fn load(&self, claims: &Claims) -> Result<Option<Caller>, Rejected> {
        let caller = match &claims.identity {
            Identity::Anonymous => Some(Caller::anonymous()),
            Identity::User(name) | Identity::Robot(name) => {
                let since = self.storage.metadata().account_since(name.as_str()).await?;
                if since.is_some_and(|since| claims.made < u64::try_from(since).unwrap_or_default()) {
                    return Ok(None);
                }
                self.load_named(name.as_str()).await?.filter(|caller| caller.identity == claims.identity)
            }
            Identity::Workload(name) => self.workloads.recall(name, &claims.trust),
            // Nothing here makes such callers.
            Identity::Certificate(_) => None,
        };
        Ok(caller
            .map(|caller| Caller { expires: Some(claims.expires), ..caller }.narrowed(claims.scopes.clone())))
    }

    fn key(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Arc<Caller>> {
        self.known.get(key).filter(|known| Instant::now() < known.until).map(|known| known.caller)
    }

    /// Remembers who it is, for no longer than what they presented is good.
    fn believe(&self, key: [u8; 32], caller: Caller) -> Arc<Caller> {
        let left = caller.expires.map_or(BELIEVED, |at| Duration::from_secs(at.saturating_sub(now())));
        let caller = Arc::new(caller);
        let until = Instant::now() + left.min(BELIEVED);
        self.known.insert(key, Known { caller: caller.clone(), until });
        caller
    }

    /// The answer to credentials that do not count.
    pub(crate) fn rejected(
        &self,
        rejected: Rejected,
        asked: (&Uri, &HeaderMap, bool),
        scopes: &[Scope],
    ) -> ApiError {
        let (message, error) = match rejected {
            Rejected::Wrong => ("the user name, password or token is wrong or has expired".to_owned(), None),
            Rejected::Token(error) => (error.to_string(), Some("invalid_token")),
            Rejected::Workload(WorkloadError::Token(error)) => (error.to_string(), None),
            Rejected::Workload(error @ WorkloadError::Keys { .. }) => {
                return ApiError::unavailable(error.to_string());
            }
            Rejected::Scheme => ("the Authorization header is neither Basic nor Bearer".to_owned(), None),
            Rejected::Busy => return ApiError::busy("too many passwords are being checked", 5),
            Rejected::Storage(error) => return error.into(),
        };
        self.unauthorized(message, asked, scopes, error)
    }

    /// The answer to a caller who may not do this.
    pub(crate) fn denied(
        &self,
        denied: Denied,
        asked: (&Uri, &HeaderMap, bool),
        operation: &Operation,
    ) -> ApiError {
        match &denied {
            Denied::Anonymous => self.unauthorized(denied.to_string(), asked, &scopes_of(operation), None),
            Denied::Scope(_) => {
                let error = Some("insufficient_scope");
                self.unauthorized(denied.to_string(), asked, &scopes_of(operation), error)
            }
            Denied::ReadOnly | Denied::Role { .. } | Denied::Administrator(_) => denied.into(),
        }
    }

    fn unauthorized(
        &self,
        message: String,
        asked: (&Uri, &HeaderMap, bool),
        scopes: &[Scope],
        error: Option<&str>,
    ) -> ApiError {
        let challenge = self.challenge.header(asked, scopes, error);
        ApiError::unauthorized(message).with_header(WWW_AUTHENTICATE, challenge)
    }
}

impl From<StorageError> for Rejected {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
