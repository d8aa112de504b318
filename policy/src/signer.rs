//! Who signed: the claims that were proved, kept so that identity rules need no cryptography.

use std::collections::BTreeMap;
use std::fmt;

use rreg_oci::Digest;
use serde::{Deserialize, Serialize};

/// A proved signer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Signer {
    /// Somebody who holds a private key.
    Key {
        /// SHA-256 of the public key as DER SubjectPublicKeyInfo.
        key: Digest,
    },
    /// A certificate of a Sigstore authority.
    Keyless {
        /// The identity provider (Fulcio OID 1.3.6.1.4.1.57264.1.8, or 1.1 in old certificates).
        issuer: String,
        /// The subject alternative name: an e-mail address or a URI.
        identity: String,
        /// Fulcio's other claims by name, such as `sourceRepositoryURI`, `sourceRepositoryRef`, `runnerEnvironment`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        claims: BTreeMap<String, String>,
    },
    /// A certificate that leads to a configured authority, without Sigstore.
    Certificate {
        /// The subject as RFC 4514 text.
        subject: String,
        /// Subject alternative names.
        names: Vec<String>,
        /// SHA-256 of the root certificate that it leads to.
        root: Digest,
    },
    /// A certificate of a Notation trust store.
    Notation {
        /// The subject as RFC 4514 text.
        subject: String,
        /// `notary.x509` or `notary.x509.signingAuthority`.
        scheme: String,
        /// The trust store that holds the root, as `ca:acme`.
        store: String,
        /// SHA-256 of the trusted certificate that it leads to.
        root: Digest,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key } => write!(f, "the key {key}"),
            Self::Keyless { issuer, identity, .. } => write!(f, "{identity} by {issuer}"),
            Self::Certificate { subject, .. } => write!(f, "the certificate of {subject}"),
            Self::Notation { subject, store, .. } => write!(f, "{subject} in {store}"),
        }
    }
}
