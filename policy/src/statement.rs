//! in-toto statements: what an attestation says about which subjects.

use rreg_oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::Limits;

/// Predicate type of cosign 3's image signatures: a statement that only names its subject.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// Payload type of a DSSE envelope that carries a statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A statement (in-toto attestation framework, Statement v0.1 and v1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// URI that says what the predicate is.
    pub predicate_type: String,
    /// The subjects' digests that are OCI digests.
    pub subjects: Vec<Digest>,
    /// What it says. `null` where there is nothing.
    pub predicate: Value,
}

/// Why bytes are no statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// No JSON object of the right shape.
    #[error("not an in-toto statement: {0}")]
    Malformed(String),
    /// Another `_type` than `https://in-toto.io/Statement/v0.1` or `/v1`.
    #[error("{0:?} is no known type of statement")]
    Type(String),
    /// More than the limits allow.
    #[error("the statement has more than {limit} {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(default)]
    subject: Vec<WireSubject>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct WireSubject {
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

impl Statement {
    /// Reads a statement.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, StatementError> {
        if bytes.len() > limits.max_evidence {
            return Err(StatementError::TooLarge { what: "bytes", limit: limits.max_evidence });
        }
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|error| StatementError::Malformed(error.to_string()))?;
        if !matches!(
            wire.kind.as_str(),
            "https://in-toto.io/Statement/v0.1" | "https://in-toto.io/Statement/v1"
        ) {
            return Err(StatementError::Type(wire.kind));
        }
        if wire.subject.len() > limits.max_subjects {
            return Err(StatementError::TooLarge { what: "subjects", limit: limits.max_subjects });
        }
        let digests = wire.subject.iter().flat_map(|subject| &subject.digest);
        let subjects = digests.filter_map(|(name, hex)| format!("{name}:{hex}").parse().ok()).collect();
        Ok(Self { predicate_type: wire.predicate_type, subjects, predicate: wire.predicate })
    }

    /// Whether it is about `digest`.
    pub fn covers(&self, digest: &Digest) -> bool {
        self.subjects.contains(digest)
    }

    /// Whether it says nothing but "this was signed".
    pub fn is_signature(&self) -> bool {
        self.predicate_type == COSIGN_SIGN
    }
}
