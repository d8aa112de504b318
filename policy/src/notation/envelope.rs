//! A signature envelope, whichever format it came in, and its own integrity (Notary Project signature specification).

use std::fmt;

use chrono::{DateTime, Utc};
use rreg_oci::{Digest, media_type};
use serde::Deserialize;

use super::algorithm::Algorithm;
use super::certificate::Certificate;
use super::chain::{self, Purpose};
use super::{cose, jws};
use crate::limits::Limits;

/// The content type of what is signed.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
pub(super) const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
pub(super) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub(super) const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
pub(super) const EXPIRY: &str = "io.cncf.notary.expiry";
pub(super) const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
/// What asks for a plug-in to verify; none is ever run here.
pub(super) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
pub(super) const PLUGIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// Why an envelope cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EnvelopeError {
    /// Past a limit, so it was not looked at.
    Limit(String),
    /// Of a type that is neither JWS nor COSE.
    Type(String),
    /// Not as the specification says.
    Malformed(String),
}

impl From<String> for EnvelopeError {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

/// Who vouches for the time of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `notary.x509`: nobody, or a time-stamping authority.
    X509,
    /// `notary.x509.signingAuthority`: the signer, being an authority that is trusted for it.
    SigningAuthority,
}

impl Scheme {
    /// The one of that name.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "notary.x509" => Ok(Self::X509),
            "notary.x509.signingAuthority" => Ok(Self::SigningAuthority),
            other => Err(format!("the signing scheme {other:?} is not known")),
        }
    }

    /// The type of trust store that its signers' roots lie in.
    pub(super) fn store_type(self) -> &'static str {
        match self {
            Self::X509 => "ca",
            Self::SigningAuthority => "signingAuthority",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X509 => "notary.x509",
            Self::SigningAuthority => "notary.x509.signingAuthority",
        })
    }
}

/// A signed attribute that the specification does not define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) critical: bool,
}

/// What the protected headers say.
#[derive(Clone, Debug)]
pub(super) struct Protected {
    pub(super) algorithm: Algorithm,
    pub(super) content_type: String,
    pub(super) scheme: Scheme,
    /// Claimed under `notary.x509`, authentic under `notary.x509.signingAuthority`.
    pub(super) signing_time: DateTime<Utc>,
    pub(super) expiry: Option<DateTime<Utc>>,
    pub(super) attributes: Vec<Attribute>,
}

/// An envelope that was parsed.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) protected: Protected,
    pub(super) payload: Vec<u8>,
    /// Leaf first.
    pub(super) chain: Vec<Certificate>,
    /// The bytes that the signature is over.
    pub(super) signed: Vec<u8>,
    pub(super) signature: Vec<u8>,
    /// The time-stamp token, which the signature does not cover.
    pub(super) timestamp: Option<Vec<u8>>,
}

impl Envelope {
    /// Reads an envelope of a media type. Nothing that it says is proved.
    pub(super) fn parse(media: &str, bytes: &[u8], limits: &Limits) -> Result<Self, EnvelopeError> {
        if bytes.len() > limits.max_evidence {
            let most = limits.max_evidence;
            return Err(EnvelopeError::Limit(format!("it has {} bytes; {most} are looked at", bytes.len())));
        }
        match media_type::essence(media) {
            "application/jose+json" => jws::parse(bytes, limits),
            "application/cose" => cose::parse(bytes, limits),
            other => Err(EnvelopeError::Type(format!(
                "an envelope of the type {other:?} is not known; application/jose+json and application/cose are"
            ))),
        }
    }

    /// Whether the signature is by the leaf's key, in the way that this key dictates, and the chain one that the
    /// specification allows.
    pub(super) fn check_integrity(&self) -> Result<(), String> {
        let protected = &self.protected;
        if self.signature.is_empty() || self.payload.is_empty() {
            return Err("the signature or the payload is empty".to_owned());
        }
        if protected.content_type != PAYLOAD_TYPE {
            let found = &protected.content_type;
            return Err(format!("the payload is of the type {found:?}; it must be {PAYLOAD_TYPE}"));
        }
        if protected.expiry.is_some_and(|expiry| expiry <= protected.signing_time) {
            return Err("it expires before it was signed".to_owned());
        }
        let leaf = self.chain.first().ok_or("it has no certificate chain")?;
        let dictated =
            Algorithm::of_key(leaf.key()).map_err(|why| format!("the signing certificate has {why}"))?;
        if dictated != protected.algorithm {
            let (found, dictated) = (protected.algorithm.name(), dictated.name());
            return Err(format!("it is signed with {found}; the key of the certificate dictates {dictated}"));
        }
        if !dictated.verifies(leaf.key(), &self.signed, &self.signature) {
            return Err(format!("the signature is not by the key of {:?}", leaf.subject()));
        }
        chain::check(&self.chain, Purpose::CodeSigning)
    }

    /// The digest that was signed. Media type and size must be there too, as in every descriptor.
    pub(super) fn target(&self) -> Result<Digest, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload {
            target_artifact: Target,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Target {
            media_type: String,
            digest: String,
            size: u64,
        }
        let read = serde_json::from_slice::<Payload>(&self.payload);
        let target = read.map_err(|error| format!("the payload names no target: {error}"))?.target_artifact;
        if target.media_type.is_empty() || target.size == 0 {
            return Err("the target in the payload has no media type or no size".to_owned());
        }
        target.digest.parse().map_err(|error| format!("the target in the payload has no digest: {error}"))
    }
}

/// Reads a chain of DER certificates.
pub(super) fn read_chain<'a>(
    certificates: impl ExactSizeIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<Vec<Certificate>, EnvelopeError> {
    let (found, most) = (certificates.len(), limits.max_chain);
    if found > most {
        return Err(EnvelopeError::Limit(format!(
            "its chain has {found} certificates; {most} are looked at"
        )));
    }
    if found == 0 {
        return Err("it has no certificate chain".to_owned().into());
    }
    let read = certificates.map(Certificate::from_der).enumerate();
    read.map(|(at, found)| found.map_err(|why| format!("certificate {at} of the chain: {why}").into()))
        .collect()
}

/// Checks that what must be critical is, under a scheme. `critical` says whether a name is.
pub(super) fn check_critical(
    scheme: Scheme,
    expires: bool,
    critical: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let authentic = scheme == Scheme::SigningAuthority;
    let must = [(SIGNING_SCHEME, true), (EXPIRY, expires), (AUTHENTIC_SIGNING_TIME, authentic)];
    match must.into_iter().find(|(name, must)| *must && !critical(name)) {
        Some((name, _)) => Err(format!("the header {name:?} must be marked critical and is not")),
        None => Ok(()),
    }
}
