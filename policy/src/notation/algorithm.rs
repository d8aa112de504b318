//! Signature algorithms: the six that an envelope may use, and those by which authorities sign certificates, revocation
//! lists, OCSP answers and time stamps.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::UintRef;
use der::oid::ObjectIdentifier;
use der::{Decode, Header, SliceReader, Tag};
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// How an envelope is signed (Notary Project signature specification, "Signature Algorithm Requirements").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    const ALL: [Self; 6] = [Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384, Self::Es512];

    /// Its name in JWS (RFC 7518, section 3.1).
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    /// The one of that name.
    pub(super) fn from_jws(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The one of that number in COSE (RFC 9053, section 2.1; RFC 8230, section 2).
    pub(super) fn from_cose(number: i64) -> Option<Self> {
        Some(match number {
            -37 => Self::Ps256,
            -38 => Self::Ps384,
            -39 => Self::Ps512,
            -7 => Self::Es256,
            -35 => Self::Es384,
            -36 => Self::Es512,
            _ => return None,
        })
    }

    /// The one that a key must be used with: the specification leaves no choice, so that `alg` cannot be downgraded.
    pub(super) fn of_key(key: &SubjectPublicKeyInfoOwned) -> Result<Self, String> {
        match KeyKind::of(key)? {
            KeyKind::P256 => Ok(Self::Es256),
            KeyKind::P384 => Ok(Self::Es384),
            KeyKind::P521 => Ok(Self::Es512),
            KeyKind::Rsa(2048) => Ok(Self::Ps256),
            KeyKind::Rsa(3072) => Ok(Self::Ps384),
            KeyKind::Rsa(4096) => Ok(Self::Ps512),
            KeyKind::Rsa(bits) => Err(format!("an RSA key of {bits} bits; 2048, 3072 or 4096 are allowed")),
            KeyKind::Ed25519 => Err("an Ed25519 key; RSA and ECDSA are allowed".to_owned()),
        }
    }

    /// Whether `signature` is over `message`; ECDSA in the fixed form of JWS and COSE.
    pub(super) fn verifies(self, key: &SubjectPublicKeyInfoOwned, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        };
        let bits = key.subject_public_key.as_bytes().unwrap_or_default();
        UnparsedPublicKey::new(algorithm, bits).verify(message, signature).is_ok()
    }
}

/// What a public key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    /// With the bits of its modulus.
    Rsa(u32),
    P256,
    P384,
    P521,
    Ed25519,
}

impl KeyKind {
    fn of(key: &SubjectPublicKeyInfoOwned) -> Result<Self, String> {
        let curve = || key.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        match key.algorithm.oid {
            RSA => modulus_bits(key.subject_public_key.as_bytes().unwrap_or_default()).map(Self::Rsa),
            EC => match curve() {
                Some(P256) => Ok(Self::P256),
                Some(P384) => Ok(Self::P384),
                Some(P521) => Ok(Self::P521),
                _ => Err("an ECDSA key on another curve than P-256, P-384 and P-521".to_owned()),
            },
            ED25519 => Ok(Self::Ed25519),
            other => Err(format!("a key of the algorithm {other}; RSA and ECDSA are allowed")),
        }
    }
}

/// Bits of the modulus of an RSAPublicKey (RFC 8017, appendix A.1.1), rounded up to bytes as Notation counts them.
fn modulus_bits(key: &[u8]) -> Result<u32, String> {
    let read = || -> der::Result<u32> {
        let mut reader = SliceReader::new(key)?;
        Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
        let modulus = UintRef::decode(&mut reader)?;
        Ok(u32::from(modulus.len()).saturating_mul(8))
    };
    read().map_err(|error| format!("a malformed RSA key: {error}"))
}

/// A hash that may be relied on today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The one that an identifier names. SHA-1 and MD5 are not among them.
    pub(super) fn of(oid: ObjectIdentifier) -> Result<Self, String> {
        match oid {
            SHA256 => Ok(Self::Sha256),
            SHA384 => Ok(Self::Sha384),
            SHA512 => Ok(Self::Sha512),
            other => Err(format!("the hash {other} is not SHA-256, SHA-384 or SHA-512")),
        }
    }

    /// The digest of `bytes`.
    pub(super) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// Checks a signature as authorities make them. `digest` is the digest algorithm beside it, for the CMS form that names
/// only `rsaEncryption` (RFC 3370, section 3.2).
pub(super) fn check_signature(
    key: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    digest: Option<ObjectIdentifier>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), String> {
    let kind = KeyKind::of(key)?;
    let how = verification(kind, algorithm, digest)?;
    let bits = key.subject_public_key.as_bytes().unwrap_or_default();
    UnparsedPublicKey::new(how, bits)
        .verify(message, signature)
        .map_err(|_| "the signature is wrong".to_owned())
}

fn verification(
    kind: KeyKind,
    algorithm: &AlgorithmIdentifierOwned,
    digest: Option<ObjectIdentifier>,
) -> Result<&'static dyn VerificationAlgorithm, String> {
    let wrong = || format!("the signature algorithm {} is not allowed for this key", algorithm.oid);
    Ok(match kind {
        KeyKind::Ed25519 if algorithm.oid == ED25519 => &signature::ED25519,
        KeyKind::Ed25519 => return Err(wrong()),
        KeyKind::Rsa(_) => match (algorithm.oid, digest) {
            (RSA_SHA256, _) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (RSA_SHA384, _) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (RSA_SHA512, _) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (RSA, Some(digest)) => match Hash::of(digest)? {
                Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            },
            (RSA_PSS, _) => match pss_hash(algorithm)? {
                Hash::Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
                Hash::Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
                Hash::Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
            },
            _ => return Err(wrong()),
        },
        KeyKind::P256 => match algorithm.oid {
            ECDSA_SHA256 => &signature::ECDSA_P256_SHA256_ASN1,
            ECDSA_SHA384 => &signature::ECDSA_P256_SHA384_ASN1,
            ECDSA_SHA512 => &signature::ECDSA_P256_SHA512_ASN1,
            _ => return Err(wrong()),
        },
        KeyKind::P384 => match algorithm.oid {
            ECDSA_SHA256 => &signature::ECDSA_P384_SHA256_ASN1,
            ECDSA_SHA384 => &signature::ECDSA_P384_SHA384_ASN1,
            ECDSA_SHA512 => &signature::ECDSA_P384_SHA512_ASN1,
            _ => return Err(wrong()),
        },
        KeyKind::P521 => match algorithm.oid {
            ECDSA_SHA256 => &signature::ECDSA_P521_SHA256_ASN1,
            ECDSA_SHA384 => &signature::ECDSA_P521_SHA384_ASN1,
            ECDSA_SHA512 => &signature::ECDSA_P521_SHA512_ASN1,
            _ => return Err(wrong()),
        },
    })
}

/// The hash that RSASSA-PSS parameters name (RFC 4055, section 3.1). Without one it would be SHA-1.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Result<Hash, String> {
    let oid = algorithm.parameters.as_ref().and_then(|parameters| {
        let mut reader = SliceReader::new(parameters.value()).ok()?;
        let header = Header::decode(&mut reader).ok()?;
        let first = header.tag.is_context_specific() && header.tag.number().value() == 0;
        first.then(|| AlgorithmIdentifierRef::decode(&mut reader).ok()).flatten().map(|hash| hash.oid)
    });
    Hash::of(oid.ok_or("the RSASSA-PSS parameters name no hash")?)
}
