//! Envelopes in JWS: flattened JSON (RFC 7515, section 7.2.2; Notary Project signature specification, "JWS").

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::algorithm::Algorithm;
use super::envelope::{
    AUTHENTIC_SIGNING_TIME, Attribute, EXPIRY, Envelope, EnvelopeError, Protected, SIGNING_SCHEME,
    SIGNING_TIME, Scheme, check_critical, read_chain,
};
use crate::limits::Limits;

/// The protected headers that the specification defines for JWS.
const DEFINED: [&str; 7] =
    ["alg", "cty", "crit", SIGNING_SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY];

#[derive(Deserialize)]
struct Flattened {
    payload: String,
    protected: String,
    signature: String,
    header: Unprotected,
}

#[derive(Deserialize)]
struct Unprotected {
    #[serde(default)]
    x5c: Vec<String>,
    #[serde(default, rename = "io.cncf.notary.timestampSignature")]
    timestamp: Option<String>,
}

/// JSON members, each once. RFC 7515, section 4 requires it, and parsers that differ in which of two they take could be
/// shown different signatures.
struct Members(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if found.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{name:?} is there twice")));
                    }
                }
                Ok(Members(found))
            }
        }
        deserializer.deserialize_map(Unique)
    }
}

/// Reads an envelope.
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Envelope, EnvelopeError> {
    check_depth(bytes, limits)?;
    let malformed = |error| format!("it is no flattened JWS: {error}");
    let wire: Flattened = serde_json::from_slice(bytes).map_err(malformed)?;
    let header = base64url(&wire.protected, "protected header")?;
    check_depth(&header, limits)?;
    let protected = read_protected(&header)?;
    let payload = base64url(&wire.payload, "payload")?;
    check_depth(&payload, limits)?;
    let unprotected = wire.header;
    if unprotected.x5c.len() > limits.max_chain {
        let (found, most) = (unprotected.x5c.len(), limits.max_chain);
        return Err(EnvelopeError::Limit(format!(
            "its chain has {found} certificates; {most} are looked at"
        )));
    }
    let ders = unprotected.x5c.iter().map(|text| base64(text, "x5c")).collect::<Result<Vec<_>, _>>()?;
    let timestamp = unprotected.timestamp.filter(|token| !token.is_empty());
    Ok(Envelope {
        chain: read_chain(ders.iter().map(Vec::as_slice), limits)?,
        timestamp: timestamp.map(|token| base64(&token, "time stamp")).transpose()?,
        signature: base64url(&wire.signature, "signature")?,
        signed: format!("{}.{}", wire.protected, wire.payload).into_bytes(),
        protected,
        payload,
    })
}

fn base64url(text: &str, what: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("the {what} is no base64url: {error}"))
}

fn base64(text: &str, what: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("the {what} is no base64: {error}"))
}

/// Reads the protected header and checks which of its parts are critical.
pub(super) fn read_protected(json: &[u8]) -> Result<Protected, String> {
    let members: Members = serde_json::from_slice(json)
        .map_err(|error| format!("the protected header cannot be read: {error}"))?;
    let members = members.0;
    let algorithm = text(&members, "alg")?.ok_or("the protected header has no \"alg\"")?;
    let algorithm = Algorithm::from_jws(algorithm)
        .ok_or_else(|| format!("the algorithm {algorithm:?} is not allowed"))?;
    let scheme = Scheme::parse(text(&members, SIGNING_SCHEME)?.unwrap_or_default())?;
    let (time_name, other_name) = match scheme {
        Scheme::X509 => (SIGNING_TIME, AUTHENTIC_SIGNING_TIME),
        Scheme::SigningAuthority => (AUTHENTIC_SIGNING_TIME, SIGNING_TIME),
    };
    if time(&members, other_name)?.is_some() {
        return Err(format!("the header {other_name:?} must not be there under the scheme {scheme}"));
    }
    let signing_time = time(&members, time_name)?;
    let signing_time = signing_time.ok_or_else(|| format!("the header {time_name:?} is missing"))?;
    let expiry = time(&members, EXPIRY)?;
    let critical = read_critical(&members)?;
    check_critical(scheme, expiry.is_some(), |name| critical.contains(&name))?;
    let must = |name: &str| {
        name == SIGNING_SCHEME
            || name == EXPIRY && expiry.is_some()
            || name == AUTHENTIC_SIGNING_TIME && scheme == Scheme::SigningAuthority
    };
    let extended = |name: &str| !DEFINED.contains(&name) && members.contains_key(name);
    if let Some(name) = critical.iter().find(|name| !must(name) && !extended(name)) {
        return Err(format!("{name:?} is marked critical and is not there, or may not be critical"));
    }
    let attributes = members.keys().filter(|name| extended(name));
    let attributes = attributes
        .map(|name| Attribute { name: name.clone(), critical: critical.contains(&name.as_str()) })
        .collect();
    let content_type = text(&members, "cty")?.unwrap_or_default().to_owned();
    Ok(Protected { algorithm, content_type, scheme, signing_time, expiry, attributes })
}

fn read_critical(members: &BTreeMap<String, Value>) -> Result<Vec<&str>, String> {
    let wrong = || "\"crit\" must be a list of names, and not an empty one".to_owned();
    let listed =
        members.get("crit").and_then(Value::as_array).filter(|list| !list.is_empty()).ok_or_else(wrong)?;
    let names: Vec<&str> =
        listed.iter().map(|name| name.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?;
    let twice = names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|n| n == *name));
    match twice {
        Some((_, name)) => Err(format!("\"crit\" has {name:?} twice")),
        None => Ok(names),
    }
}

fn text<'a>(members: &'a BTreeMap<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("the header {name:?} is no text")),
    }
}

/// A time in RFC 3339. The year 1 is how an unset time is written by the reference implementation.
fn time(members: &BTreeMap<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>, String> {
    let Some(text) = text(members, name)? else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| format!("the header {name:?}: {error}"))?;
    let time = time.with_timezone(&Utc);
    Ok((time.timestamp() != -62_135_596_800).then_some(time))
}

/// Refuses JSON that is nested deeper than the limit, before a parser descends into it.
fn check_depth(json: &[u8], limits: &Limits) -> Result<(), EnvelopeError> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits.max_depth {
            let most = limits.max_depth;
            return Err(EnvelopeError::Limit(format!("its JSON is nested deeper than {most}")));
        }
    }
    Ok(())
}
