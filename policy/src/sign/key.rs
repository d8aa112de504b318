//! Private keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::LineEnding;
use serde::Deserialize;
use sigstore::crypto::signing_key::ecdsa::ECDSAKeys;
use sigstore::crypto::signing_key::{SigStoreKeyPair, kdf};
use sigstore::crypto::{SigStoreSigner, SigningScheme};

use crate::key::PublicKey;
use crate::trust::TrustError;

/// What cosign 2 and 3 write above an encrypted key, and what older ones wrote.
const ENCRYPTED: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
const ENCRYPTED_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";
/// PKCS #8 without a password.
const PLAIN: &str = "PRIVATE KEY";
/// Longest PEM text of a private key that is read.
const MAX_KEY: usize = 64 << 10;
/// Which keys sign.
const KINDS: &str = "it is no PKCS #8 key of a kind that signs: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048, \
                     3072 or 4096 bits; `rreg key generate` makes one";
/// Bytes of a nonce of XSalsa20-Poly1305.
const NONCE: usize = 24;

/// Why a key cannot be made, read or used. Never holds a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It is encrypted and no password was given.
    #[error("the private key is encrypted and needs its password")]
    PasswordNeeded,
    /// The password does not open it.
    #[error("the private key cannot be decrypted: the password is wrong or the file is damaged")]
    Password,
    /// It is no private key that can be used.
    #[error("private key: {0}")]
    Key(String),
    /// A signature could not be made.
    #[error("cannot sign: {0}")]
    Signing(String),
}

/// A private key that signs. Its `Debug` shows the public half alone.
pub struct SigningKey {
    pair: SigStoreKeyPair,
    signer: SigStoreSigner,
    public: PublicKey,
}

impl SigningKey {
    /// A fresh key: ECDSA over P-256, as cosign makes them.
    ///
    /// # Errors
    /// [`SignError::Key`] when the system gives no randomness.
    pub fn generate() -> Result<Self, SignError> {
        let signer = SigningScheme::ECDSA_P256_SHA256_ASN1.create_signer().map_err(unusable)?;
        Self::new(signer.to_sigstore_keypair().map_err(unusable)?)
    }

    /// Whether a PEM text needs a password to be read.
    pub fn is_encrypted(pem: &[u8]) -> bool {
        matches!(open(pem), Ok((label, _)) if label != PLAIN)
    }

    /// Reads a PEM text: cosign's encrypted form, or PKCS #8, where the password does not matter.
    ///
    /// # Errors
    /// [`SignError`], with [`SignError::PasswordNeeded`] when it is encrypted and there is none.
    pub fn from_pem(pem: &[u8], password: Option<&[u8]>) -> Result<Self, SignError> {
        let (label, content) = open(pem)?;
        let der = match label {
            PLAIN => content,
            _ => {
                let password = password.ok_or(SignError::PasswordNeeded)?;
                check_box(&content)?;
                kdf::decrypt(&content, password).map_err(|_| SignError::Password)?
            }
        };
        // What the parser says may quote the key.
        let pair = SigStoreKeyPair::from_der(&der).map_err(|_| SignError::Key(KINDS.to_owned()))?;
        Self::new(pair)
    }

    fn new(pair: SigStoreKeyPair) -> Result<Self, SignError> {
        let scheme = match &pair {
            SigStoreKeyPair::ECDSA(ECDSAKeys::P256(_)) => SigningScheme::ECDSA_P256_SHA256_ASN1,
            SigStoreKeyPair::ECDSA(ECDSAKeys::P384(_)) => SigningScheme::ECDSA_P384_SHA384_ASN1,
            SigStoreKeyPair::ECDSA(ECDSAKeys::P521(_)) => SigningScheme::ECDSA_P521_SHA512_ASN1,
            SigStoreKeyPair::ED25519(_) => SigningScheme::ED25519,
            // As cosign signs with them; the size is the key's own.
            SigStoreKeyPair::RSA(_) => SigningScheme::RSA_PKCS1_SHA256(0),
        };
        let signer = pair.to_sigstore_signer(&scheme).map_err(unusable)?;
        let public = pair.public_key_to_der().map_err(unusable)?;
        let public = PublicKey::from_der(&public).map_err(|error| SignError::Key(error.to_string()))?;
        Ok(Self { pair, signer, public })
    }

    /// Writes it encrypted, in the form that cosign 3 writes. An empty password encrypts too, and protects nothing.
    ///
    /// # Errors
    /// [`SignError::Key`] when it cannot be encrypted.
    pub fn to_encrypted_pem(&self, password: &[u8]) -> Result<String, SignError> {
        let der = self.pair.private_key_to_der().map_err(unusable)?;
        let content = kdf::encrypt(&der, password).map_err(unusable)?;
        der::pem::encode_string(ENCRYPTED, LineEnding::LF, &content)
            .map_err(|error| SignError::Key(error.to_string()))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half as PEM text, as cosign and openssl write it.
    ///
    /// # Errors
    /// [`TrustError`] when it cannot be written.
    pub fn public_pem(&self) -> Result<String, TrustError> {
        der::pem::encode_string("PUBLIC KEY", LineEnding::LF, self.public.der())
            .map_err(|error| TrustError::new("public key", error.to_string()))
    }

    /// What cosign writes into a bundle to tell keys apart: SHA-256 of the SubjectPublicKeyInfo in Base64.
    pub fn hint(&self) -> String {
        STANDARD.encode(self.public.id().hash())
    }

    /// A signature over `message`: ECDSA in ASN.1 form, hashed with the SHA-2 of the curve's length; Ed25519; or RSA with
    /// PKCS #1 1.5 padding and SHA-256.
    ///
    /// # Errors
    /// [`SignError::Signing`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signer.sign(message).map_err(|error| SignError::Signing(error.to_string()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}

fn unusable(error: impl std::fmt::Display) -> SignError {
    SignError::Key(error.to_string())
}

/// The label and content of a PEM text.
fn open(pem: &[u8]) -> Result<(&str, Vec<u8>), SignError> {
    if pem.len() > MAX_KEY {
        return Err(SignError::Key(format!("the file has more than {MAX_KEY} bytes")));
    }
    let (label, content) =
        der::pem::decode_vec(pem).map_err(|error| SignError::Key(format!("it is no PEM: {error}")))?;
    match label {
        PLAIN | ENCRYPTED | ENCRYPTED_OLD => Ok((label, content)),
        other => Err(SignError::Key(format!(
            "its PEM says {other:?}; {ENCRYPTED:?} or {PLAIN:?} (PKCS #8) is needed; openssl pkcs8 -topk8 converts others"
        ))),
    }
}

/// The parts of the encrypted form whose lengths the decryption takes for granted.
#[derive(Deserialize)]
struct Sealed {
    cipher: Cipher,
}

#[derive(Deserialize)]
struct Cipher {
    nonce: String,
}

fn check_box(content: &[u8]) -> Result<(), SignError> {
    let sealed: Sealed = serde_json::from_slice(content)
        .map_err(|_| SignError::Key("the encrypted part is not in cosign's form".to_owned()))?;
    match STANDARD.decode(&sealed.cipher.nonce) {
        Ok(nonce) if nonce.len() == NONCE => Ok(()),
        _ => Err(SignError::Key(format!("the nonce has not {NONCE} bytes"))),
    }
}
