//! A signature as it was read, in whichever form it came.

use rreg_oci::{Algorithm, Digest};
use serde::Deserialize;
use sigstore_verify::types::{Bundle, HashAlgorithm};

use super::errors::Failure;
use crate::limits::Limits;
use crate::statement::{PAYLOAD_TYPE, Statement, StatementError};
use crate::verdict::Verdict;

/// `critical.type` of what cosign signs.
const COSIGN_TYPE: &str = "cosign container image signature";

/// A signature with what it is over and what it brings along.
pub(super) struct Piece {
    /// Whom it names.
    pub(super) declared: Declared,
    /// Signatures over the same message. One of them suffices, as DSSE has it.
    pub(super) signatures: Vec<Vec<u8>>,
    /// What is signed.
    pub(super) message: Message,
    /// The same as a bundle, for keyless verification; else why it cannot be one.
    pub(super) bundle: Result<Box<Bundle>, Failure>,
    /// How many log entries there are.
    pub(super) entries: usize,
    /// Timestamps (RFC 3161), as they were sent.
    pub(super) timestamps: Vec<Vec<u8>>,
    /// What they may be over: a signature, or what cosign 2 stamps of an attestation, the envelope.
    pub(super) stamped: Vec<Vec<u8>>,
}

/// Whom a signature names.
pub(super) enum Declared {
    /// A key, by a hint that may be empty.
    Key(String),
    /// A certificate, the others that may lead to its root, and whether the form allows for nothing else: a bundle
    /// names one signer, cosign 2 may keep a certificate beside a key's signature.
    Certificate { leaf: Vec<u8>, others: Vec<Vec<u8>>, only: bool },
}

/// What is signed.
pub(super) enum Message {
    /// The artifact itself; the bundle may state its digest.
    Artifact { stated: Option<(HashAlgorithm, Vec<u8>)> },
    /// A statement in a DSSE envelope, with the bytes that are signed for it.
    Statement { signed: Vec<u8>, statement: Statement },
    /// What should be a statement in a DSSE envelope and cannot be read: the bytes that are signed for it, and why not.
    /// Who signed it can be proved all the same.
    Unread { signed: Vec<u8>, why: Failure },
    /// A payload of cosign 2 (simple signing).
    Payload(Vec<u8>),
}

#[derive(Deserialize)]
struct SimpleSigning {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Message {
    /// Reads the statement of a DSSE envelope.
    pub(super) fn statement(payload_type: &str, payload: &[u8], limits: &Limits) -> Result<Self, Failure> {
        if payload_type != PAYLOAD_TYPE {
            let detail = format!("the payload type is {payload_type:?}; {PAYLOAD_TYPE:?} is needed");
            return Err(Failure::new("statement", Verdict::Error, detail));
        }
        let signed = sigstore_verify::types::dsse::pae(payload_type, payload);
        Ok(match readable(payload, limits) {
            Ok(statement) => Self::Statement { signed, statement },
            Err(why) => Self::Unread { signed, why },
        })
    }

    /// Whether it is about the artifact; says what was compared.
    pub(super) fn subject(&self, artifact: &Digest) -> Result<String, Failure> {
        match self {
            Self::Artifact { stated } => stated_digest(stated.as_ref(), artifact),
            Self::Statement { statement, .. } if statement.covers(artifact) => {
                Ok(format!("the statement names {artifact}"))
            }
            Self::Statement { statement, .. } => {
                let named: Vec<String> = statement.subjects.iter().take(3).map(Digest::to_string).collect();
                let more = statement.subjects.len().saturating_sub(named.len());
                Err(Failure::invalid(
                    "subject",
                    format!(
                        "the statement is about {} (and {more} more), not about {artifact}",
                        named.join(", ")
                    ),
                ))
            }
            Self::Unread { why, .. } => Err(why.clone()),
            Self::Payload(payload) => payload_subject(payload, artifact),
        }
    }

    /// Why it cannot be read, where it cannot.
    pub(super) fn unread(&self) -> Option<&Failure> {
        match self {
            Self::Unread { why, .. } => Some(why),
            Self::Artifact { .. } | Self::Statement { .. } | Self::Payload(_) => None,
        }
    }
}

fn readable(payload: &[u8], limits: &Limits) -> Result<Statement, Failure> {
    super::shape::check(payload, limits.max_depth, None)
        .map_err(|error| Failure::shape("statement", &error))?;
    Statement::parse(payload, limits).map_err(|error| {
        let name = if matches!(error, StatementError::TooLarge { .. }) { "limits" } else { "statement" };
        Failure::new(name, Verdict::Error, error.to_string())
    })
}

fn stated_digest(stated: Option<&(HashAlgorithm, Vec<u8>)>, artifact: &Digest) -> Result<String, Failure> {
    let same = match artifact.algorithm() {
        Algorithm::Sha256 => HashAlgorithm::Sha2256,
        Algorithm::Sha512 => HashAlgorithm::Sha2512,
    };
    match stated {
        Some((algorithm, hash)) if *algorithm == same && hash == artifact.hash() => {
            Ok(format!("the signature is over {artifact}"))
        }
        Some((algorithm, hash)) if *algorithm == same => Err(Failure::invalid(
            "subject",
            format!("the signature is over {}, not over {}", super::bundle::hex(hash), artifact.hex()),
        )),
        Some((algorithm, _)) => Err(Failure::new(
            "subject",
            Verdict::Error,
            format!("the signature is over a digest by {algorithm}; only {artifact} is at hand"),
        )),
        None => Ok(format!("the signature states no digest; it is checked over {artifact}")),
    }
}

fn payload_subject(payload: &[u8], artifact: &Digest) -> Result<String, Failure> {
    let payload: SimpleSigning = serde_json::from_slice(payload).map_err(|error| {
        Failure::new("subject", Verdict::Error, format!("no simple-signing payload: {error}"))
    })?;
    let Critical { kind, image } = payload.critical;
    if kind != COSIGN_TYPE {
        return Err(Failure::invalid("subject", format!("critical.type is {kind:?}, not {COSIGN_TYPE:?}")));
    }
    if image.digest != artifact.to_string() {
        let detail = format!("critical.image.docker-manifest-digest is {:?}, not {artifact}", image.digest);
        return Err(Failure::invalid("subject", detail));
    }
    Ok(format!("critical.image.docker-manifest-digest is {artifact}"))
}
