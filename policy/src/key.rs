//! Public keys of signers.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::{BitString, ObjectIdentifier};
use der::{Decode, Encode};
use rreg_oci::{Algorithm, Digest};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::trust::TrustError;

/// Longest PEM or DER text of a key that is read.
const MAX_KEY: usize = 64 << 10;

/// `rsaEncryption` (RFC 8017, appendix A.1).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What kind of key it is; it says how signatures by it are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA over P-256, with SHA-256.
    P256,
    /// ECDSA over P-384, with SHA-384; cosign signs with SHA-256 too.
    P384,
    /// ECDSA over P-521, with SHA-512; cosign signs with SHA-256 too.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 to 8192 bits, with SHA-256, SHA-384 or SHA-512 and PKCS #1 1.5 or PSS padding.
    Rsa,
}

/// What is signed: a message's digest with one of these.
#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
    /// The key bits inside.
    raw: Vec<u8>,
}

impl PublicKey {
    /// Reads a PEM: `PUBLIC KEY`, as cosign and openssl write it, or `RSA PUBLIC KEY` (RFC 8017, appendix A.1.1).
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError::new("public key", why);
        if pem.len() > MAX_KEY {
            return Err(wrong(format!("it has more than {MAX_KEY} bytes")));
        }
        if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            return Self::from_der(&key);
        }
        let (label, bytes) =
            der::pem::decode_vec(pem).map_err(|error| wrong(format!("it is no PEM: {error}")))?;
        if label != "RSA PUBLIC KEY" {
            return Err(wrong(format!("its PEM says {label:?}; a \"PUBLIC KEY\" is needed")));
        }
        let rsa = AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(der::Any::null()) };
        let subject_public_key = BitString::from_bytes(&bytes).map_err(|error| wrong(error.to_string()))?;
        let info = SubjectPublicKeyInfoOwned { algorithm: rsa, subject_public_key };
        Self::from_der(&info.to_der().map_err(|error| wrong(error.to_string()))?)
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    pub fn from_der(bytes: &[u8]) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError::new("public key", why);
        let info = SubjectPublicKeyInfoOwned::from_der(bytes)
            .map_err(|error| wrong(format!("it is no SubjectPublicKeyInfo: {error}")))?;
        let curve = info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let algorithm = info.algorithm.oid.to_string();
        let curve = curve.map(|oid| oid.to_string()).unwrap_or_default();
        let kind = match (algorithm.as_str(), curve.as_str()) {
            ("1.2.840.10045.2.1", "1.2.840.10045.3.1.7") => KeyKind::P256,
            ("1.2.840.10045.2.1", "1.3.132.0.34") => KeyKind::P384,
            ("1.2.840.10045.2.1", "1.3.132.0.35") => KeyKind::P521,
            ("1.3.101.112", _) => KeyKind::Ed25519,
            ("1.2.840.113549.1.1.1", _) => KeyKind::Rsa,
            _ => {
                return Err(wrong(format!(
                    "its algorithm {algorithm} {curve} is not used; ECDSA on P-256, P-384 or P-521, Ed25519 and RSA are"
                )));
            }
        };
        let raw = info.subject_public_key.as_bytes().unwrap_or_default().to_vec();
        let der = info.to_der().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { kind, der, raw })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        Digest::sha256(&self.der)
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The SubjectPublicKeyInfo.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether `signature` over `message` was made with this key in one of the ways that its kind allows: ECDSA in ASN.1
    /// form, RSA with PKCS #1 1.5 or PSS padding.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verifies = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.raw).verify(message, signature).is_ok()
        };
        let all = [Hash::Sha256, Hash::Sha384, Hash::Sha512].map(|hash| self.algorithms(hash));
        if self.kind == KeyKind::Ed25519 {
            return verifies(&(&signature::ED25519 as &dyn VerificationAlgorithm));
        }
        all.into_iter().flatten().any(verifies)
    }

    /// The same where only the message's digest is at hand. `None` where that cannot be told: Ed25519 signs the message
    /// itself.
    pub fn verifies_digest(&self, message: &Digest, signature: &[u8]) -> Option<bool> {
        if self.kind == KeyKind::Ed25519 {
            return None;
        }
        let (hash, algorithm) = match message.algorithm() {
            Algorithm::Sha256 => (Hash::Sha256, &digest::SHA256),
            Algorithm::Sha512 => (Hash::Sha512, &digest::SHA512),
        };
        let imported = digest::Digest::import_less_safe(message.hash(), algorithm).ok()?;
        let verifies = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.raw).verify_digest(&imported, signature).is_ok()
        };
        Some(self.algorithms(hash).iter().any(verifies))
    }

    /// The algorithms with this hash that a key of this kind signs with.
    fn algorithms(&self, hash: Hash) -> &'static [&'static dyn VerificationAlgorithm] {
        use signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1,
            ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
            RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
            RSA_PSS_2048_8192_SHA512,
        };
        match (self.kind, hash) {
            (KeyKind::P256, Hash::Sha256) => &[&ECDSA_P256_SHA256_ASN1],
            (KeyKind::P384, Hash::Sha384) => &[&ECDSA_P384_SHA384_ASN1],
            (KeyKind::P384, Hash::Sha256) => &[&ECDSA_P384_SHA256_ASN1],
            (KeyKind::P521, Hash::Sha512) => &[&ECDSA_P521_SHA512_ASN1],
            (KeyKind::P521, Hash::Sha256) => &[&ECDSA_P521_SHA256_ASN1],
            (KeyKind::Rsa, Hash::Sha256) => &[&RSA_PKCS1_2048_8192_SHA256, &RSA_PSS_2048_8192_SHA256],
            (KeyKind::Rsa, Hash::Sha384) => &[&RSA_PKCS1_2048_8192_SHA384, &RSA_PSS_2048_8192_SHA384],
            (KeyKind::Rsa, Hash::Sha512) => &[&RSA_PKCS1_2048_8192_SHA512, &RSA_PSS_2048_8192_SHA512],
            _ => &[],
        }
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?} {})", self.kind, self.id())
    }
}
