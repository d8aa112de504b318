//! Certificates and envelopes.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coset::cbor::Value;
use coset::{
    CoseSign1Builder, Header, HeaderBuilder, RegisteredLabelWithPrivate, TaggedCborSerializable, iana,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RsaKeySize, date_time_ymd,
};
use serde_json::json;

use super::super::algorithm::Algorithm;
use super::super::certificate::Certificate;
use super::subject;

/// A certificate with its key.
pub(super) struct Minted {
    pub(super) key: KeyPair,
    pub(super) params: CertificateParams,
    pub(super) der: Vec<u8>,
}

impl Minted {
    pub(super) fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }
}

pub(super) fn ec_key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A key for an algorithm.
pub(super) fn key_for(algorithm: Algorithm) -> KeyPair {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
    match algorithm {
        Algorithm::Ps256 => rsa(RsaKeySize::_2048),
        Algorithm::Ps384 => rsa(RsaKeySize::_3072),
        Algorithm::Ps512 => rsa(RsaKeySize::_4096),
        Algorithm::Es256 => ec_key(),
        Algorithm::Es384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        Algorithm::Es512 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap(),
    }
}

pub(super) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CountryName, "US");
    dn.push(DnType::StateOrProvinceName, "WA");
    dn.push(DnType::OrganizationName, "acme");
    dn.push(DnType::CommonName, name);
    params.distinguished_name = dn;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

pub(super) fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn signer_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

pub(super) fn self_signed(params: CertificateParams) -> Minted {
    let key = ec_key();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Minted { key, params, der }
}

pub(super) fn issued(params: CertificateParams, issuer: &Minted) -> Minted {
    issued_for(params, issuer, ec_key())
}

pub(super) fn issued_for(params: CertificateParams, issuer: &Minted, key: KeyPair) -> Minted {
    let der =
        params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)).unwrap().der().to_vec();
    Minted { key, params, der }
}

pub(super) fn root() -> Minted {
    self_signed(authority_params("Root"))
}

/// An extension; `value` is its DER.
pub(super) fn extension(oid: &[u64], critical: bool, value: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, value);
    extension.set_criticality(critical);
    extension
}

/// Signs as envelopes are signed, with the key's own algorithm.
pub(super) fn sign(key: &KeyPair, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    let (der, random) = (key.serialize_der(), SystemRandom::new());
    let ecdsa =
        |how| EcdsaKeyPair::from_pkcs8(how, &der).unwrap().sign(&random, message).unwrap().as_ref().to_vec();
    let rsa = |how| {
        let key = RsaKeyPair::from_pkcs8(&der).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(how, &random, message, &mut signature).unwrap();
        signature
    };
    match algorithm {
        Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
        Algorithm::Es256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::Es512 => ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
    }
}

/// Signs in the ASN.1 form that authorities use.
pub(super) fn sign_asn1(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let pair =
        EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der()).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

pub(super) fn payload() -> Vec<u8> {
    let target =
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject(), "size": 9});
    serde_json::to_vec(&json!({ "targetArtifact": target })).unwrap()
}

/// Makes a time-stamp token over a signature.
pub(super) type Stamp<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// An envelope in the making.
pub(super) struct Draft<'a> {
    pub(super) key: &'a KeyPair,
    pub(super) algorithm: Algorithm,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) payload: Vec<u8>,
    pub(super) protected: serde_json::Value,
    /// Makes a time-stamp token over the signature.
    pub(super) stamp: Option<Stamp<'a>>,
}

pub(super) fn draft<'a>(leaf: &'a Minted, others: &[&Minted]) -> Draft<'a> {
    let mut chain = vec![leaf.der.clone()];
    chain.extend(others.iter().map(|one| one.der.clone()));
    let protected = json!({
        "alg": "ES256",
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": "2025-01-01T00:00:00Z",
    });
    Draft { key: &leaf.key, algorithm: Algorithm::Es256, chain, payload: payload(), protected, stamp: None }
}

impl Draft<'_> {
    pub(super) fn set(mut self, name: &str, value: serde_json::Value) -> Self {
        self.protected[name] = value;
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.protected.as_object_mut().unwrap().remove(name);
        self
    }

    pub(super) fn expiring(self, at: &str) -> Self {
        self.set("crit", json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]))
            .set("io.cncf.notary.expiry", json!(at))
    }

    pub(super) fn by_authority(self, at: &str) -> Self {
        self.without("io.cncf.notary.signingTime")
            .set("io.cncf.notary.signingScheme", json!("notary.x509.signingAuthority"))
            .set("crit", json!(["io.cncf.notary.signingScheme", "io.cncf.notary.authenticSigningTime"]))
            .set("io.cncf.notary.authenticSigningTime", json!(at))
    }

    pub(super) fn jws(&self) -> Vec<u8> {
        let protected = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&self.protected).unwrap());
        let payload = URL_SAFE_NO_PAD.encode(&self.payload);
        let signature = sign(self.key, self.algorithm, format!("{protected}.{payload}").as_bytes());
        let x5c: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        let mut header = json!({ "x5c": x5c });
        if let Some(stamp) = self.stamp {
            header["io.cncf.notary.timestampSignature"] = json!(STANDARD.encode(stamp(&signature)));
        }
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let all =
            json!({"payload": payload, "protected": protected, "header": header, "signature": signature});
        serde_json::to_vec(&all).unwrap()
    }

    pub(super) fn cose(&self) -> Vec<u8> {
        self.cose_with(self.cose_protected())
    }

    /// The protected headers as COSE writes them.
    pub(super) fn cose_protected(&self) -> Header {
        let algorithm = match self.algorithm {
            Algorithm::Ps256 => iana::Algorithm::PS256,
            Algorithm::Ps384 => iana::Algorithm::PS384,
            Algorithm::Ps512 => iana::Algorithm::PS512,
            Algorithm::Es256 => iana::Algorithm::ES256,
            Algorithm::Es384 => iana::Algorithm::ES384,
            Algorithm::Es512 => iana::Algorithm::ES512,
        };
        let mut header = HeaderBuilder::new().algorithm(algorithm);
        for (name, value) in self.protected.as_object().unwrap() {
            header = match (name.as_str(), value) {
                ("alg", _) => header,
                ("cty", value) => header.content_type(value.as_str().unwrap().to_owned()),
                ("crit", value) => value.as_array().unwrap().iter().fold(header, |header, name| {
                    header.add_critical_label(RegisteredLabelWithPrivate::Text(
                        name.as_str().unwrap().to_owned(),
                    ))
                }),
                (name, value) => header.text_value(name.to_owned(), cbor(value.as_str().unwrap())),
            };
        }
        header.build()
    }

    pub(super) fn cose_with(&self, protected: Header) -> Vec<u8> {
        let chain = Value::Array(self.chain.iter().map(|der| Value::Bytes(der.clone())).collect());
        let mut message = CoseSign1Builder::new()
            .protected(protected)
            .unprotected(HeaderBuilder::new().value(33, chain).build())
            .payload(self.payload.clone())
            .create_signature(&[], |message| sign(self.key, self.algorithm, message))
            .build();
        if let Some(stamp) = self.stamp {
            let token = Value::Bytes(stamp(&message.signature));
            let label = coset::Label::Text("io.cncf.notary.timestampSignature".to_owned());
            message.unprotected.rest.push((label, token));
        }
        message.to_tagged_vec().unwrap()
    }
}

/// A text, or a time in tag 1.
fn cbor(text: &str) -> Value {
    match text.parse::<chrono::DateTime<chrono::Utc>>() {
        Ok(time) => Value::Tag(1, Box::new(Value::Integer(time.timestamp().into()))),
        Err(_) => Value::Text(text.to_owned()),
    }
}
