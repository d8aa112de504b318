//! Tokens of issuers that vouch for workloads: GitHub Actions, GitLab, Kubernetes (OpenID Connect Core 1.0, section
//! 3.1.3.7, as far as it concerns whoever is handed a token).
//!
//! Of a token's header only `alg` and `kid` are read: `kid` picks one of the issuer's own keys, and that key says which
//! algorithms it takes. Keys and addresses of keys in the header count for nothing, secret-key algorithms and `none` are
//! no algorithms here. Claims are read once, after the signature, and checked against a clock that is passed in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::trust::TrustRule;

/// Longest token that is looked at, in bytes. GitHub's have about 2 KiB.
const MAX_TOKEN: usize = 16 << 10;
/// Most keys of an issuer that are kept.
const MAX_KEYS: usize = 100;
/// Shortest RSA modulus, in bytes (2048 bits: NIST SP 800-131A).
const MIN_MODULUS: usize = 256;
/// Longest subject, in bytes: it names the workload in tokens and in the audit trail.
const MAX_SUBJECT: usize = 512;
/// How far the issuer's clock may be ahead, in seconds.
const LEEWAY: u64 = 60;
/// Longest time for which a workload is believed, in seconds, however long its token is good.
const MAX_BELIEF: u64 = 15 * 60;

/// Why a token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// Not a signed token at all.
    #[error(
        "the password looks like an OIDC token and is none: three parts, at most {MAX_TOKEN} bytes, a kid"
    )]
    Malformed,
    /// The algorithm is no signature that only the issuer can make.
    #[error("the OIDC token is not signed with RS256, ES256 or another public-key algorithm")]
    Algorithm,
    /// Nobody here trusts its issuer.
    #[error("no issuer with the iss of this OIDC token is configured here (auth.oidc)")]
    Issuer,
    /// The issuer has no such key, or its keys cannot be had.
    #[error("the OIDC token is signed with key {0:?}, which its issuer does not publish")]
    UnknownKey(String),
    /// Signed by somebody else, or changed since.
    #[error("the OIDC token's signature is wrong")]
    Signature,
    /// Meant for somebody else.
    #[error("the OIDC token is not for this registry: ask the issuer for one with the audience {0:?}")]
    Audience(String),
    /// Past its time.
    #[error("the OIDC token has expired; ask the issuer for a new one")]
    Expired,
    /// Before its time.
    #[error("the OIDC token is not valid yet: the issuer's clock is ahead of the registry's")]
    NotYet,
    /// A claim that every token has is not there, or is not what it should be.
    #[error("the OIDC token has no usable claim {0:?}")]
    Claim(&'static str),
    /// Nobody here trusts this workload.
    #[error(
        "the OIDC token is valid, but no trust rule of its issuer (auth.oidc) matches its claims: sub is {0:?}"
    )]
    NoRule(String),
}

/// A token before anything in it is believed.
#[derive(Clone, Copy)]
pub struct OidcToken<'a>(&'a str);

/// What a token says of itself, which picks the issuer and the key, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// `iss`
    pub issuer: String,
    /// `kid`
    pub key: String,
    algorithm: Algorithm,
}

impl<'a> OidcToken<'a> {
    /// Whether a password is such a token: then it is one, or nothing at all. Two dots, and the beginning of `{"` in
    /// base64.
    pub fn looks_like(text: &'a str) -> Option<Self> {
        (text.starts_with("eyJ") && text.bytes().filter(|c| *c == b'.').count() == 2).then_some(Self(text))
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// [`OidcError::Malformed`], [`OidcError::Algorithm`].
    pub fn claimed(self) -> Result<Claimed, OidcError> {
        if self.0.len() > MAX_TOKEN {
            return Err(OidcError::Malformed);
        }
        let header = jsonwebtoken::decode_header(self.0).map_err(|_| OidcError::Malformed)?;
        // What must be understood is not understood here (RFC 7515, section 4.1.11).
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return Err(OidcError::Malformed);
        }
        if matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err(OidcError::Algorithm);
        }
        let key = header.kid.ok_or(OidcError::Malformed)?;
        let claims: Map<String, Value> =
            jsonwebtoken::dangerous::insecure_decode_claims(self.0).map_err(|_| OidcError::Malformed)?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(OidcError::Claim("iss"))?;
        Ok(Claimed { issuer: issuer.to_owned(), key, algorithm: header.alg })
    }
}

impl fmt::Debug for OidcToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OidcToken(********)")
    }
}

struct Key {
    verifies: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// An issuer's public keys (RFC 7517, section 5).
#[derive(Default)]
pub struct IssuerKeys(BTreeMap<String, Key>);

impl IssuerKeys {
    /// Reads a JWK set. Keys that cannot be used are left out: without a name, for encryption, secret or weak.
    ///
    /// # Errors
    /// When it is no JWK set.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(text).map_err(|_| "is not JSON")?;
        let keys =
            set.get("keys").and_then(Value::as_array).ok_or("is no JWK set: it has no list \"keys\"")?;
        if keys.len() > MAX_KEYS {
            return Err("has more keys than any issuer needs");
        }
        Ok(Self(keys.iter().filter_map(key).collect()))
    }

    /// How many can be used.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none can be used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this name.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }
}

fn key(value: &Value) -> Option<(String, Key)> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bits = DecodingKey::from_rsa_components(&rsa.n, &rsa.e).ok()?;
            modulus_is_long(&bits)?;
            use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
            vec![RS256, RS384, RS512, PS256, PS384, PS512]
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => return None,
    };
    // A key that names its algorithm is for no other one (RFC 8725, section 3.1).
    if let Some(only) = common.key_algorithm {
        algorithms.retain(|algorithm| named(*algorithm) == Some(only));
    }
    let verifies = DecodingKey::from_jwk(&jwk).ok()?;
    (!algorithms.is_empty()).then_some((common.key_id.clone()?, Key { verifies, algorithms }))
}

fn modulus_is_long(key: &DecodingKey) -> Option<()> {
    match key.kind() {
        jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => {
            let leading = n.iter().take_while(|byte| **byte == 0).count();
            (n.len() - leading >= MIN_MODULUS).then_some(())
        }
        jsonwebtoken::DecodingKeyKind::SecretOrDer(_) => None,
    }
}

fn named(algorithm: Algorithm) -> Option<KeyAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::RS384 => KeyAlgorithm::RS384,
        Algorithm::RS512 => KeyAlgorithm::RS512,
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::PS384 => KeyAlgorithm::PS384,
        Algorithm::PS512 => KeyAlgorithm::PS512,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::ES384 => KeyAlgorithm::ES384,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
        _ => return None,
    })
}

/// A workload whose token was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Issuer and subject, its name in tokens and in the audit trail.
    pub name: String,
    /// The rules that trust it; at least one.
    pub trusted: Vec<Arc<TrustRule>>,
    /// Until when it is believed, in seconds since the Unix epoch.
    pub expires: u64,
}

/// Somebody who vouches for workloads, and which of them are trusted with what.
#[derive(Clone, Debug)]
pub struct OidcIssuer {
    /// `iss` of its tokens, to the letter.
    pub issuer: String,
    /// `aud` that its tokens must have.
    pub audience: String,
    /// Whom to trust.
    pub rules: Vec<Arc<TrustRule>>,
}

impl OidcIssuer {
    /// Who presents `token`, judged by the issuer's `keys`. `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`OidcError`].
    pub fn verify(&self, token: OidcToken<'_>, keys: &IssuerKeys, now: u64) -> Result<Workload, OidcError> {
        let claimed = token.claimed()?;
        let unknown = || OidcError::UnknownKey(claimed.key.chars().take(100).collect());
        let key = keys.0.get(&claimed.key).ok_or_else(unknown)?;
        if !key.algorithms.contains(&claimed.algorithm) {
            return Err(OidcError::Algorithm);
        }
        // The signature only: the claims are judged below, where all that counts can be seen.
        let mut validation = Validation::new(claimed.algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token.0, &key.verifies, &validation);
        self.judge(&decoded.map_err(|_| OidcError::Signature)?.claims, now)
    }

    fn judge(&self, claims: &Map<String, Value>, now: u64) -> Result<Workload, OidcError> {
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.issuer) {
            return Err(OidcError::Issuer);
        }
        let is_ours = |value: &Value| value.as_str() == Some(&*self.audience);
        let audience = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !audience {
            return Err(OidcError::Audience(self.audience.clone()));
        }
        let expires = time(claims, "exp")?.ok_or(OidcError::Claim("exp"))?;
        let issued = time(claims, "iat")?.ok_or(OidcError::Claim("iat"))?;
        let begins = time(claims, "nbf")?.unwrap_or(issued);
        if expires <= now {
            return Err(OidcError::Expired);
        }
        if issued.max(begins) > now.saturating_add(LEEWAY) {
            return Err(OidcError::NotYet);
        }
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| {
            (1..=MAX_SUBJECT).contains(&subject.len()) && !subject.chars().any(char::is_control)
        });
        let subject = subject.ok_or(OidcError::Claim("sub"))?;
        let trusted: Vec<_> = self.rules.iter().filter(|rule| rule.matches(claims)).cloned().collect();
        if trusted.is_empty() {
            return Err(OidcError::NoRule(subject.to_owned()));
        }
        let name = format!("{} {subject}", self.issuer);
        Ok(Workload { name, trusted, expires: expires.min(now.saturating_add(MAX_BELIEF)) })
    }

    /// Those of the rules with these ids ([`TrustRule::id`]) that are still there, for a workload that was verified
    /// before; none for a workload of another issuer.
    pub fn recall(&self, workload: &str, ids: &[String]) -> Vec<Arc<TrustRule>> {
        let ours = workload.strip_prefix(&*self.issuer).is_some_and(|rest| rest.starts_with(' '));
        let known = self.rules.iter().filter(|rule| ours && ids.iter().any(|id| id == rule.id()));
        known.cloned().collect()
    }
}

/// A time in whole seconds; fractions, which RFC 7519 allows, are cut off.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, OidcError> {
    let seconds = |value: &Value| {
        let fraction = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range above")]
        value.as_u64().or_else(|| fraction.map(|seconds| seconds as u64))
    };
    claims.get(name).map(|value| seconds(value).ok_or(OidcError::Claim(name))).transpose()
}

#[cfg(test)]
mod tests;
