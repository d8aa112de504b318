//! The shape of JSON that a stranger wrote, looked at before anything is made of it: nesting, names that occur twice
//! and names that do not belong there. Readers differ in which of two equal names they take, and a name that is passed
//! over could be one that another verifier minds.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Names in a Sigstore bundle (protobuf-specs `sigstore_bundle.proto`, as JSON).
pub(super) const BUNDLE_NAMES: &[&str] = &[
    "algorithm",
    "canonicalizedBody",
    "certificate",
    "certificates",
    "checkpoint",
    "digest",
    "dsseEnvelope",
    "envelope",
    "hashes",
    "hint",
    "inclusionPromise",
    "inclusionProof",
    "integratedTime",
    "keyId",
    "keyid",
    "kind",
    "kindVersion",
    "logId",
    "logIndex",
    "mediaType",
    "messageDigest",
    "messageSignature",
    "payload",
    "payloadType",
    "publicKey",
    "rawBytes",
    "rfc3161Timestamps",
    "rootHash",
    "sig",
    "signature",
    "signatures",
    "signedEntryTimestamp",
    "signedTimestamp",
    "timestampVerificationData",
    "tlogEntries",
    "treeSize",
    "verificationMaterial",
    "version",
    "x509CertificateChain",
];

/// Why the shape is wrong.
#[derive(Debug)]
pub(super) enum ShapeError {
    /// Nested more than is allowed.
    Depth(usize),
    /// No JSON, or with names that are wrong.
    Malformed(String),
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth(limit) => write!(f, "the JSON is nested more than {limit} deep"),
            Self::Malformed(why) => write!(f, "not JSON of the right shape: {why}"),
        }
    }
}

/// Reads `json` through without keeping it. Where `names` are given no other may occur.
pub(super) fn check(json: &[u8], depth: usize, names: Option<&[&str]>) -> Result<(), ShapeError> {
    let deep = std::cell::Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let walk = Walk { left: depth, names, deep: &deep };
    match walk.deserialize(&mut reader).and_then(|()| reader.end()) {
        Ok(()) => Ok(()),
        Err(_) if deep.get() => Err(ShapeError::Depth(depth)),
        Err(error) => Err(ShapeError::Malformed(error.to_string())),
    }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    left: usize,
    names: Option<&'a [&'a str]>,
    deep: &'a std::cell::Cell<bool>,
}

impl Walk<'_> {
    fn down<E: Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => {
                self.deep.set(true);
                Err(E::custom("too deep"))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.down()?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let below = self.down()?;
        let mut seen = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            if self.names.is_some_and(|names| !names.contains(&name.as_str())) {
                return Err(A::Error::custom(format!("the name {name:?} does not belong there")));
            }
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("the name {name:?} occurs twice")));
            }
            entries.next_value_seed(below)?;
        }
        Ok(())
    }
}
