//! Proves to a registry who is calling: Basic, or a Bearer token from the realm that the registry names.
//!
//! Tokens are cached per scope, so that a transfer of many blobs asks once. Credentials go to the registry itself, to its
//! own token service, or to one that a setting allows: never to where a redirect leads. A server that a redirect leads to
//! and that asks for a token is answered with the credentials that are kept for it, or without any.

pub(crate) mod challenge;
pub(crate) mod scope;
pub(crate) mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use reqwest::Url;
use rreg_oci::{Operation, RepositoryName};
use tokio::sync::Mutex;

use self::challenge::Challenge;
use self::token::{Token, TokenRequest};
use super::credentials::{Credential, CredentialError, Keychain, Reading};
use super::endpoint;
use super::error::ErrorKind;

/// Shortest time between two readings of files and helpers because of refusals: strangers can cause as many as they like.
const PAUSE: Duration = Duration::from_secs(1);
/// Most tokens that are kept; what has expired goes first, then all.
const TOKENS: usize = 10_000;

/// Why authentication could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token endpoint's address cannot be used.
    #[error("the registry's token realm {realm:?} is refused: {why}")]
    Realm {
        /// As the registry wrote it.
        realm: String,
        /// Why not.
        why: String,
    },
    /// The token endpoint refused.
    #[error("the token endpoint {realm} refused with {status}{}{text}", if text.is_empty() { "" } else { ": " })]
    Refused {
        /// Host of the endpoint.
        realm: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        text: String,
        /// When it asks to be tried again, if it does.
        retry_after: Option<Duration>,
    },
    /// The token endpoint could not be asked, or answered nonsense.
    #[error("the token endpoint {realm} did not give a token: {why}")]
    Failed {
        /// Host of the endpoint.
        realm: String,
        /// What happened.
        why: String,
    },
    /// A credential has bytes that a header cannot carry.
    #[error("the stored credentials for this registry cannot be sent: {0}")]
    Unsendable(&'static str),
}

impl AuthError {
    /// Whether someone said no, rather than nothing.
    pub(crate) fn is_denial(&self) -> bool {
        match self {
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 429,
            Self::Realm { .. } | Self::Unsendable(_) => true,
            Self::Failed { .. } => false,
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { .. } if self.is_denial() => Some(
                "the stored credentials may be old or lack this right; log in again with `rreg login`".into(),
            ),
            _ => None,
        }
    }
}

struct Cached {
    header: HeaderValue,
    expires: Instant,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: HashMap<Vec<String>, Cached>,
    /// What the keychain said last.
    reading: Option<Reading>,
    /// When it was last asked because of a refusal.
    refused_at: Option<Instant>,
}

impl State {
    fn keep(&mut self, scopes: Vec<String>, header: HeaderValue, expires: Instant) {
        if self.tokens.len() >= TOKENS {
            let now = Instant::now();
            self.tokens.retain(|_, cached| cached.expires > now);
        }
        if self.tokens.len() >= TOKENS {
            self.tokens.clear();
        }
        self.tokens.insert(scopes, Cached { header, expires });
    }
}

/// Whom a registry's credentials may go to.
#[derive(Clone)]
pub(crate) struct Trusted {
    /// [`super::ClientOptions::guard_local`].
    pub(crate) guarded: bool,
    /// [`super::ClientOptions::token_realms`].
    pub(crate) realms: Arc<[String]>,
}

/// The caller's identity at one registry.
pub(crate) struct Authorizer {
    host: String,
    base: Url,
    /// A redirect has led here: what the repository is called here, only the challenge knows.
    is_elsewhere: bool,
    trusted: Trusted,
    keychain: Arc<Keychain>,
    http: reqwest::Client,
    token_limit: u64,
    /// Held while a token is fetched: many transfers that start together ask once.
    state: Mutex<State>,
}

impl Authorizer {
    pub(crate) fn new(
        host: &str,
        base: Url,
        trusted: Trusted,
        keychain: Arc<Keychain>,
        http: reqwest::Client,
        token_limit: u64,
    ) -> Self {
        let (host, is_elsewhere) = (host.into(), false);
        Self { host, base, is_elsewhere, trusted, keychain, http, token_limit, state: Mutex::default() }
    }

    /// Whether the registry has asked who is calling.
    pub(crate) async fn was_challenged(&self) -> bool {
        self.state.lock().await.challenge.is_some()
    }

    /// The header for a server that a redirect has led to, after its 401. Nothing of it is remembered.
    pub(crate) async fn elsewhere(
        &self,
        operation: &Operation,
        url: &Url,
        answer: &HeaderMap,
    ) -> Result<Option<HeaderValue>, ErrorKind> {
        let (base, host) = endpoint::origin(url);
        let (keychain, http) = (Arc::new(kept_for(&self.keychain, &base)), self.http.clone());
        let there = Self::new(&host, base, self.trusted.clone(), keychain, http, self.token_limit);
        let there = Self { is_elsewhere: true, ..there };
        there.challenged(operation, None, answer).await
    }

    /// The `Authorization` header to send unasked: nothing before the first challenge.
    pub(crate) async fn header(&self, operation: &Operation) -> Result<Option<HeaderValue>, ErrorKind> {
        let mut state = self.state.lock().await;
        match state.challenge.clone() {
            Some(challenge) => self.answer(&mut state, operation, &challenge).await,
            None => Ok(None),
        }
    }

    /// The header to try after a 401 to a request that carried `sent`. `None` when there is nothing better.
    pub(crate) async fn challenged(
        &self,
        operation: &Operation,
        sent: Option<&HeaderValue>,
        answer: &HeaderMap,
    ) -> Result<Option<HeaderValue>, ErrorKind> {
        let Some(challenge) = Challenge::from_headers(answer) else { return Ok(None) };
        let mut state = self.state.lock().await;
        let scopes = scope::of(operation);
        // Another task may have renewed the token meanwhile; only the one that was refused is thrown away.
        if state.tokens.get(&scopes).is_some_and(|cached| Some(&cached.header) == sent) {
            state.tokens.remove(&scopes);
        }
        let header = self.answer(&mut state, operation, &challenge).await?;
        // The scope of one request must not be asked for in all later ones.
        state.challenge = Some(match challenge {
            Challenge::Bearer { realm, service, .. } => Challenge::Bearer { realm, service, scope: None },
            Challenge::Basic => Challenge::Basic,
        });
        Ok(header.filter(|header| Some(header) != sent))
    }

    /// The header to try where `sent` was refused although the challenge was answered: another credential may be stored
    /// by now. `None` when there is nothing better.
    pub(crate) async fn refused(
        &self,
        operation: &Operation,
        sent: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, ErrorKind> {
        if self.keychain.is_constant() {
            return Ok(None);
        }
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        self.renew(&mut state, operation.repository()).await;
        // Another task may have been first.
        let header = self.answer(&mut state, operation, &challenge).await?;
        Ok(header.filter(|header| Some(header) != sent))
    }

    async fn answer(
        &self,
        state: &mut State,
        operation: &Operation,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>, ErrorKind> {
        let credential = self.credential(state, operation.repository()).await?;
        match (challenge, credential) {
            (_, Some(Credential::RegistryToken(token))) => Ok(Some(header_value("Bearer", &token)?)),
            (Challenge::Basic, Some(Credential::Password { user, password })) => {
                Ok(Some(header_value("Basic", &STANDARD.encode(format!("{user}:{password}")))?))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { .. }, credential) => {
                let own = scope::of(operation);
                if let Some(cached) = state.tokens.get(&own).filter(|c| c.expires > Instant::now()) {
                    return Ok(Some(cached.header.clone()));
                }
                let mut token = self.token(operation, challenge, credential).await;
                if matches!(&token, Err(error) if error.is_denial())
                    && let Some(renewed) = self.renew(state, operation.repository()).await
                {
                    token = self.token(operation, challenge, renewed).await;
                }
                let token = token?;
                let header = header_value("Bearer", &token.value)?;
                state.keep(own, header.clone(), token.expires);
                Ok(Some(header))
            }
        }
    }

    /// Asks the realm of a Bearer challenge for a token.
    async fn token(
        &self,
        operation: &Operation,
        challenge: &Challenge,
        credential: Option<Credential>,
    ) -> Result<Token, AuthError> {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            return Err(AuthError::Unsendable("the registry asks for no token"));
        };
        let request = TokenRequest {
            realm: self.realm(realm, credential.is_some())?,
            service: service.clone(),
            scopes: match scope {
                Some(scope) if self.is_elsewhere => scope::merge(&[], Some(scope)),
                scope => scope::merge(&scope::of(operation), scope.as_deref()),
            },
            credential,
        };
        request.fetch(&self.http, self.token_limit).await
    }

    /// What is stored for the repository, read again from time to time. Where that fails, what was read last stands until it is
    /// refused.
    async fn credential(
        &self,
        state: &mut State,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialError> {
        if state.reading.as_ref().is_none_or(Reading::is_old) {
            // Also when whoever asks gives up because a helper takes too long.
            if let Some(known) = &mut state.reading {
                known.extend();
            }
            let mut fresh = Reading::default();
            match (fresh.find(&self.keychain, &self.host, repository).await, &state.reading) {
                (Err(error), Some(_)) => self.tell(&error),
                (Err(error), None) => return Err(error),
                (Ok(_), _) => state.reading = Some(fresh),
            }
        }
        let reading = state.reading.get_or_insert_default();
        reading.find(&self.keychain, &self.host, repository).await
    }

    /// Reads again what is stored, after a refusal. `Some` where it is something else now: what was made of the old is
    /// forgotten.
    async fn renew(
        &self,
        state: &mut State,
        repository: Option<&RepositoryName>,
    ) -> Option<Option<Credential>> {
        let is_early = state.refused_at.is_some_and(|at| at.elapsed() < PAUSE);
        if self.keychain.is_constant() || is_early {
            return None;
        }
        state.refused_at = Some(Instant::now());
        let known = self.credential(state, repository).await;
        let mut fresh = Reading::default();
        match fresh.find(&self.keychain, &self.host, repository).await {
            Ok(found) => {
                state.reading = Some(fresh);
                (!known.is_ok_and(|known| known == found)).then(|| {
                    state.tokens.clear();
                    found
                })
            }
            Err(error) => {
                self.tell(&error);
                None
            }
        }
    }

    fn tell(&self, error: &CredentialError) {
        tracing::warn!(host = self.host, %error, "credentials could not be read again; those read before are used");
    }

    /// A realm must keep what the registry's own URL promises: no credentials in the clear that the user did
    /// not ask to send in the clear.
    fn realm(&self, realm: &str, with_credentials: bool) -> Result<Url, AuthError> {
        let refuse =
            |why: &str| AuthError::Realm { realm: realm.chars().take(200).collect(), why: why.into() };
        let url = self.base.join(realm).map_err(|e| refuse(&e.to_string()))?;
        if self.trusted.guarded && url.host() != self.base.host() && super::guard::is_local(&url) {
            return Err(refuse("it is an address of this machine or link"));
        }
        let host = url.host_str().unwrap_or_default();
        let is_allowed = || self.trusted.realms.iter().any(|allowed| allowed == host);
        if with_credentials && !endpoint::owns_realm(&self.base, &url) && !is_allowed() {
            return Err(refuse(&format!(
                "it is on {host}, which is not known to belong to {}; if the credentials may go there, allow it: \
                 --token-realm {host}, or token_realms of the upstream",
                self.host
            )));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.base.scheme() == "https" => {
                Err(refuse("it is http while the registry is https; credentials would travel in the clear"))
            }
            "http" if url.host() == self.base.host() => Ok(url),
            "http" => Err(refuse("it is http on another host than the registry's (CVE-2026-33540)")),
            _ => Err(refuse("it is neither http nor https")),
        }
    }
}

/// What may be said to a server that a redirect has led to. What is kept for a host is kept for https: nobody but the user
/// says that it may go in the clear.
fn kept_for(keychain: &Keychain, base: &Url) -> Keychain {
    if base.scheme() == "https" || endpoint::is_loopback(base) {
        keychain.of_others()
    } else {
        Keychain::empty()
    }
}

fn header_value(scheme: &str, secret: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}"))
        .map_err(|_| AuthError::Unsendable("they contain characters that no HTTP header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_for_a_host_does_not_go_in_the_clear() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let auth = serde_json::json!({"auth": "dTpw"});
        let auths = serde_json::json!({"auths": {"other.example": auth, "127.0.0.1:5000": auth}});
        std::fs::write(&file, auths.to_string()).unwrap();
        let keychain = Keychain::from_files(vec![file]);
        for (url, known) in [
            ("https://other.example", true),
            ("http://other.example", false),
            ("http://127.0.0.1:5000", true),
        ] {
            let (base, host) = endpoint::origin(&url.parse().unwrap());
            let found = kept_for(&keychain, &base).find(&host, None).await.unwrap();
            assert_eq!(found.is_some(), known, "{url}");
        }
    }
}
