//! Bearer tokens: JWT, signed with ES256 by keys of our own.
//!
//! The algorithm is pinned, and of a token's header only `kid` is read, and only to pick among our own keys: a key or an
//! address of one in the header (`jwk`, `jku`, `x5c`, `x5u`) counts for nothing (distribution CVE-2025-24976).
//! Several keys verify and the newest signs, so that keys can be replaced while tokens of the old one live on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use p256::SecretKey;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use serde::{Deserialize, Serialize};

use crate::api_token::fingerprint;
use crate::identity::{Caller, Identity};
use crate::scope::Scope;
#[cfg(doc)]
use crate::trust::TrustRule;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 32 << 10;
/// How far the clocks of two replicas may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// Why a token does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours: form, algorithm, signature, issuer or audience.
    #[error("the bearer token is not valid here; log in again")]
    Invalid,
    /// Signed with a key that we do not have (any more, or yet).
    #[error("the bearer token is signed with a key that is not known here; log in again")]
    UnknownKey,
    /// Past its time.
    #[error("the bearer token has expired; ask for a new one")]
    Expired,
    /// A signing key is unusable.
    #[error("a token signing key is unusable: {0}")]
    Key(&'static str),
}

/// What tokens say beside who and what.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `iss`: who makes them.
    pub issuer: String,
    /// `aud`: whom they are for, which is the token flow's `service`.
    pub audience: String,
    /// How long one is good.
    pub lifetime: Duration,
}

/// A key pair. `Debug` shows its name only.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    private: Vec<u8>,
    public: Vec<u8>,
}

impl SigningKey {
    /// A fresh key pair.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn generate() -> Result<Self, TokenError> {
        let key = SecretKey::try_generate().map_err(|_| TokenError::Key("it cannot be generated"))?;
        let document = key.to_pkcs8_der().map_err(|_| TokenError::Key("it cannot be written"))?;
        Self::from_pkcs8(document.as_bytes())
    }

    /// A key pair that was stored.
    ///
    /// # Errors
    /// When it is not a P-256 key in PKCS#8.
    pub fn from_pkcs8(private: &[u8]) -> Result<Self, TokenError> {
        let key = SecretKey::from_pkcs8_der(private)
            .map_err(|_| TokenError::Key("it is not a P-256 key in PKCS#8"))?;
        let public = key.public_key().to_sec1_point(false).as_bytes().to_vec();
        let mut id = fingerprint(&public);
        id.truncate(32);
        Ok(Self { id, private: private.to_vec(), public })
    }

    /// Its name, made from the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The private key, to be stored.
    pub fn expose(&self) -> &[u8] {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// The claims, as they are on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    /// When it was made, in milliseconds since the Unix epoch: a change of the password a moment later ends it.
    #[serde(default)]
    made: u64,
    /// Scopes, separated by spaces.
    scope: String,
    /// [`TrustRule::id`] of the rules that trust a workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trust: Vec<String>,
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who holds it.
    pub identity: Identity,
    /// What it was asked for.
    pub scopes: Vec<Scope>,
    /// [`TrustRule::id`] of the rules that trusted the workload.
    pub trust: Vec<String>,
    /// Until when it is good, in seconds since the Unix epoch.
    pub expires: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made: u64,
}

/// A token, ready to be handed out.
#[derive(Clone)]
pub struct IssuedToken {
    /// The token. Not for logs.
    pub token: String,
    /// How long it is good.
    pub lifetime: Duration,
}

/// Makes and checks tokens.
pub struct TokenIssuer {
    settings: TokenSettings,
    signer: Option<(String, EncodingKey)>,
    verifiers: BTreeMap<String, DecodingKey>,
    validation: Validation,
}

impl TokenIssuer {
    /// All of `keys` verify; the last one signs.
    pub fn new(settings: TokenSettings, keys: &[SigningKey]) -> Self {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[&settings.audience]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Against the clock that callers pass in, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let verifiers = keys.iter().map(|key| (key.id.clone(), DecodingKey::from_ec_der(&key.public)));
        Self {
            verifiers: verifiers.collect(),
            signer: keys.last().map(|key| (key.id.clone(), EncodingKey::from_ec_der(&key.private))),
            settings,
            validation,
        }
    }

    /// A token for `caller`, good no longer than what they presented. `now` is in seconds since the Unix epoch,
    /// `serial` tells it from all others.
    ///
    /// # Errors
    /// When there is no usable key.
    pub fn issue(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        now: u64,
        serial: u128,
    ) -> Result<IssuedToken, TokenError> {
        let (id, key) = self.signer.as_ref().ok_or(TokenError::Key("there is none"))?;
        // Callers count in seconds; what is later within one counts too.
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let made = u64::try_from(clock.as_millis()).unwrap_or_default();
        let left = caller.expires.map_or(u64::MAX, |expires| expires.saturating_sub(now));
        let lifetime = self.settings.lifetime.min(Duration::from_secs(left));
        let claims = Wire {
            iss: self.settings.issuer.clone(),
            sub: caller.identity.to_string(),
            aud: self.settings.audience.clone(),
            exp: now + lifetime.as_secs(),
            nbf: now,
            iat: now,
            jti: format!("{serial:032x}"),
            made,
            scope: Scope::render_list(scopes),
            trust: caller.trusted.iter().map(|rule| rule.id().to_owned()).collect(),
        };
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::ES256) };
        let token =
            jsonwebtoken::encode(&header, &claims, key).map_err(|_| TokenError::Key("it does not sign"))?;
        Ok(IssuedToken { token, lifetime })
    }

    /// What `token` says, if it is one of ours and `now` is within its time.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let id = header.kid.ok_or(TokenError::Invalid)?;
        let key = self.verifiers.get(&id).ok_or(TokenError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Wire>(token, key, &self.validation);
        let claims = claims.map_err(|_| TokenError::Invalid)?.claims;
        if claims.exp <= now {
            return Err(TokenError::Expired);
        }
        let early = claims.nbf > now + LEEWAY.as_secs();
        // Nothing that we sign lives longer than an hour; a longer one is not to be believed.
        let long = claims.exp.saturating_sub(claims.iat) > 3600;
        if early || long {
            return Err(TokenError::Invalid);
        }
        Ok(Claims {
            identity: claims.sub.parse().map_err(|_| TokenError::Invalid)?,
            scopes: Scope::parse_list(&claims.scope).map_err(|_| TokenError::Invalid)?,
            trust: claims.trust,
            expires: claims.exp,
            made: claims.made,
        })
    }

    /// `service` of the token flow.
    pub fn audience(&self) -> &str {
        &self.settings.audience
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenIssuer({:?}, {} keys)", self.settings, self.verifiers.len())
    }
}

#[cfg(test)]
mod tests;
