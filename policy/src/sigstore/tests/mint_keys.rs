//! Key pairs of every kind that signs, made on the spot.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding,
};

use crate::key::PublicKey;

/// A key pair and how it signs.
pub(super) enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(signature::RsaKeyPair, &'static dyn RsaEncoding),
}

impl Pair {
    pub(super) fn p256() -> Self {
        Self::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap())
    }

    /// One of each kind.
    pub(super) fn all() -> Vec<(&'static str, Self)> {
        let rsa = || signature::RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        vec![
            ("P-256", Self::p256()),
            ("P-384", Self::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING)),
            ("P-521", Self::ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING)),
            ("Ed25519", Self::Ed25519(Ed25519KeyPair::generate().unwrap())),
            ("RSA PKCS #1 1.5", Self::Rsa(rsa(), &signature::RSA_PKCS1_SHA256)),
            ("RSA PSS", Self::Rsa(rsa(), &signature::RSA_PSS_SHA256)),
        ]
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'static> = match self {
            Self::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Self::Ed25519(pair) => pair.public_key().as_der().unwrap(),
            Self::Rsa(pair, _) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(super) fn public(&self) -> PublicKey {
        let pem = der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &self.der()).unwrap();
        PublicKey::from_pem(pem.as_bytes()).unwrap()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }
}
