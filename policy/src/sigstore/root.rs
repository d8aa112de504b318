//! A Sigstore instance that is trusted: its authorities and logs.

use std::collections::BTreeMap;

use rreg_oci::Digest;
use serde_json::Value;
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};

use super::shape;
use crate::trust::TrustError;

/// Longest `trusted_root.json` that is read.
const MAX_ROOT: usize = 4 << 20;
/// Nesting in it; the format needs 7.
const MAX_DEPTH: usize = 32;

/// A Sigstore instance.
pub struct SigstoreRoot {
    id: Digest,
    verifier: Verifier,
    root: TrustedRoot,
}

impl SigstoreRoot {
    /// Reads a `trusted_root.json`. Every log must say from when on its key holds: a log without a beginning would
    /// vouch for any time.
    pub fn parse(trusted_root_json: &[u8]) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError::new("trusted root", why);
        if trusted_root_json.len() > MAX_ROOT {
            return Err(wrong(format!("it has more than {MAX_ROOT} bytes")));
        }
        shape::check(trusted_root_json, MAX_DEPTH, None).map_err(|error| wrong(error.to_string()))?;
        let value: Value =
            serde_json::from_slice(trusted_root_json).map_err(|error| wrong(error.to_string()))?;
        let text = std::str::from_utf8(trusted_root_json).map_err(|error| wrong(error.to_string()))?;
        let root = TrustedRoot::from_json(text).map_err(|error| wrong(error.to_string()))?;
        if !root.media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return Err(wrong(format!("its media type is {:?}", root.media_type)));
        }
        let logs = root.tlogs.iter().map(|log| (&log.base_url, &log.public_key));
        let logs = logs.chain(root.ctlogs.iter().map(|log| (&log.base_url, &log.public_key)));
        for (url, key) in logs {
            if key.valid_for.is_none() {
                return Err(wrong(format!(
                    "the log {url:?} does not say since when its key holds (validFor.start)"
                )));
            }
        }
        let verifier = Verifier::new(&root).map_err(|error| wrong(error.to_string()))?;
        let normalized = serde_json::to_string(&sorted(value)).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { id: Digest::sha256(normalized.as_bytes()), verifier, root })
    }

    /// The public good instance, as it was when this was built. Its keys change about once a year: an operator who
    /// relies on it passes the current `trusted_root.json`.
    pub fn public_good() -> Result<Self, TrustError> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes())
    }

    /// Digest of the JSON with sorted keys and no spaces.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The certificates (DER) of its timestamp authorities.
    pub(super) fn timestamp_authorities(&self) -> impl Iterator<Item = &[u8]> {
        let chains = self.root.timestamp_authorities.iter().flat_map(|tsa| &tsa.cert_chain.certificates);
        chains.map(|certificate| certificate.raw_bytes.as_bytes())
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether it has logs, and so asks for entries and for certificate timestamps (SCT). An instance that logs nothing,
    /// such as GitHub's for private repositories, has neither kind; one that has lost a kind is not taken for one.
    pub(super) fn has_logs(&self) -> bool {
        !self.root.tlogs.is_empty() || !self.root.ctlogs.is_empty()
    }

    /// Whether it has a log with this key id.
    pub(super) fn knows_log(&self, key_id: &[u8]) -> bool {
        self.root.tlogs.iter().any(|log| log.log_id.key_id.as_bytes() == key_id)
    }

    /// The certificates (DER) of its signing authorities.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        let chains = self.root.certificate_authorities.iter().flat_map(|ca| &ca.cert_chain.certificates);
        chains.map(|certificate| certificate.raw_bytes.as_bytes())
    }
}

impl std::fmt::Debug for SigstoreRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigstoreRoot({})", self.id)
    }
}

/// The value with every object's names in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> =
                map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
