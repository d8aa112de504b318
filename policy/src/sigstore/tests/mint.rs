//! A private Sigstore: an authority, a certificate transparency log, a signature log and a timestamp authority, with
//! keys made on the spot. What it signs is right by default; a plan says what is to be wrong. The black-box tests sign
//! with it too, so nothing here knows whose tests it serves.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rreg_oci::Digest;
use rreg_policy::sigstore::SigstoreRoot;
use serde_json::{Value, json};

use super::mint_log::Log;
use super::mint_tsa::Tsa;

pub(super) const IDENTITY: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";
pub(super) const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// A key with its public half as DER.
pub(super) struct Key {
    pub(super) pair: KeyPair,
    signer: EcdsaKeyPair,
}

impl Key {
    pub(super) fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let signer =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pair.serialized_der()).unwrap();
        Self { pair, signer }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    pub(super) fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// SHA-256 of the public half: the id of a log.
    pub(super) fn id(&self) -> Vec<u8> {
        Digest::sha256(&self.spki()).hash().to_vec()
    }
}

/// What certificate is made.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) identities: Vec<SanType>,
    pub(super) issuer: Option<String>,
    pub(super) claims: Vec<(u64, &'static str)>,
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
    pub(super) usage: ExtendedKeyUsagePurpose,
    pub(super) sct: Sct,
    /// When the log took it in.
    pub(super) logged: DateTime<Utc>,
    /// When the timestamp authority saw it; `None` for no timestamp.
    pub(super) stamped: Option<DateTime<Utc>>,
}

/// Which certificate timestamp is embedded.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sct {
    Good,
    Missing,
    /// With the right log's id, but over another time.
    Forged,
    /// By a log that nobody knows.
    Stranger,
}

/// The instance.
pub(super) struct Mint {
    pub(super) ca: Key,
    ca_params: CertificateParams,
    pub(super) ca_der: Vec<u8>,
    ct: Key,
    pub(super) log: Log,
    pub(super) tsa: Tsa,
    pub(super) now: DateTime<Utc>,
}

/// A signature that was made, in parts.
pub(super) struct Minted {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Key,
}

impl Plan {
    pub(super) fn at(now: DateTime<Utc>) -> Self {
        Self {
            identities: vec![SanType::URI(IDENTITY.try_into().unwrap())],
            issuer: Some(ISSUER.into()),
            claims: vec![
                (9, IDENTITY),
                (11, "github-hosted"),
                (12, "https://github.com/acme/app"),
                (13, "8d2f3c"),
                (14, "refs/tags/v1"),
                (18, IDENTITY),
                (20, "push"),
            ],
            from: now - TimeDelta::minutes(5),
            until: now + TimeDelta::minutes(5),
            usage: ExtendedKeyUsagePurpose::CodeSigning,
            sct: Sct::Good,
            logged: now,
            stamped: Some(now),
        }
    }
}

/// Sets the dates of a certificate.
pub(super) fn dates(params: &mut CertificateParams, from: DateTime<Utc>, until: DateTime<Utc>) {
    let since_epoch =
        |time: DateTime<Utc>| std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap());
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(from);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(until);
}

/// Parameters of an authority.
pub(super) fn authority(name: &str, now: DateTime<Utc>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    dates(&mut params, now - TimeDelta::days(300), now + TimeDelta::days(300));
    params
}

impl Mint {
    pub(super) fn new(name: &str, now: DateTime<Utc>) -> Self {
        let ca_params = authority(name, now);
        let ca = Key::new();
        let ca_der = ca_params.self_signed(&ca.pair).unwrap().der().to_vec();
        let (ct, log, tsa) = (Key::new(), Log::new(Key::new()), Tsa::new(name, now));
        Self { ca, ca_params, ca_der, ct, log, tsa, now }
    }

    /// What a client that trusts this instance has.
    pub(super) fn trusted_root(&self) -> Value {
        let since = json!({"start": (self.now - TimeDelta::days(200)).to_rfc3339()});
        let key = |key: &Key| {
            json!({
                "baseUrl": "https://log.test",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(key.spki()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": since,
                },
                "logId": {"keyId": STANDARD.encode(key.id())},
            })
        };
        let chain = |certificates: &[&Vec<u8>]| {
            let listed = certificates.iter().map(|der| json!({"rawBytes": STANDARD.encode(der)}));
            json!({"certificates": listed.collect::<Vec<Value>>()})
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [key(&self.log.key)],
            "certificateAuthorities": [
                {"subject": {}, "uri": "https://ca.test", "certChain": chain(&[&self.ca_der]), "validFor": since},
            ],
            "ctlogs": [key(&self.ct)],
            "timestampAuthorities": [
                {"subject": {}, "certChain": chain(&[&self.tsa.leaf_der, &self.tsa.root_der]), "validFor": since},
            ],
        })
    }

    pub(super) fn root(&self) -> SigstoreRoot {
        SigstoreRoot::parse(self.trusted_root().to_string().as_bytes()).unwrap()
    }

    /// A signing certificate with its key.
    pub(super) fn certificate(&self, plan: &Plan) -> Minted {
        let key = Key::new();
        let issuer = Issuer::from_params(&self.ca_params, &self.ca.pair);
        let mut params = leaf_params(plan);
        let precertificate = params.signed_by(&key.pair, &issuer).unwrap();
        if plan.sct != Sct::Missing {
            let list = self.sct(precertificate.der(), plan);
            let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, list));
        }
        Minted { certificate: params.signed_by(&key.pair, &issuer).unwrap().der().to_vec(), key }
    }

    /// The extension with a timestamp over the precertificate (RFC 6962, sections 3.2 and 3.3).
    fn sct(&self, precertificate: &[u8], plan: &Plan) -> Vec<u8> {
        use der::{Decode, Encode};
        let tbs = x509_cert::Certificate::from_der(precertificate).unwrap().tbs_certificate.to_der().unwrap();
        let time = u64::try_from(plan.from.timestamp_millis()).unwrap();
        let stranger = Key::new();
        let by = if plan.sct == Sct::Stranger { &stranger } else { &self.ct };
        let signed_time = if plan.sct == Sct::Forged { time + 1 } else { time };
        let mut signed = vec![0, 0];
        signed.extend(signed_time.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(Digest::sha256(&self.ca.spki()).hash());
        signed.extend(&u32::try_from(tbs.len()).unwrap().to_be_bytes()[1..]);
        signed.extend(tbs);
        signed.extend([0, 0]);
        let signature = by.sign(&signed);
        let mut sct = vec![0];
        sct.extend(by.id());
        sct.extend(time.to_be_bytes());
        sct.extend([0, 0, 4, 3]);
        sct.extend(u16::try_from(signature.len()).unwrap().to_be_bytes());
        sct.extend(signature);
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let mut one = length(&sct).to_vec();
        one.extend(sct);
        let mut list = length(&one).to_vec();
        list.extend(one);
        der::asn1::OctetString::new(list).unwrap().to_der().unwrap()
    }

    /// A bundle 0.3 whose DSSE envelope holds `statement`.
    pub(super) fn attest(&self, plan: &Plan, statement: &[u8]) -> Value {
        let minted = self.certificate(plan);
        let kind = rreg_policy::PAYLOAD_TYPE;
        let signature = minted.key.sign(&sigstore_verify::types::dsse::pae(kind, statement));
        let body = self.log.dsse(statement, &signature, &minted.certificate);
        let mut bundle = self.bundle(plan, &minted, &signature, "dsse", &body);
        bundle["dsseEnvelope"] = json!({
            "payloadType": kind,
            "payload": STANDARD.encode(statement),
            "signatures": [{"sig": STANDARD.encode(&signature)}],
        });
        bundle
    }

    /// The same, logged as a signature over the envelope's encoding.
    pub(super) fn attest_plainly(&self, plan: &Plan, statement: &[u8]) -> Value {
        let minted = self.certificate(plan);
        let encoded = sigstore_verify::types::dsse::pae(rreg_policy::PAYLOAD_TYPE, statement);
        let signature = minted.key.sign(&encoded);
        let body = self.log.hashedrekord(&encoded, &signature, &minted.certificate);
        let mut bundle = self.bundle(plan, &minted, &signature, "hashedrekord", &body);
        bundle["dsseEnvelope"] = json!({
            "payloadType": rreg_policy::PAYLOAD_TYPE,
            "payload": STANDARD.encode(statement),
            "signatures": [{"sig": STANDARD.encode(&signature)}],
        });
        bundle
    }

    /// A bundle 0.3 that signs `artifact` itself.
    pub(super) fn sign(&self, plan: &Plan, artifact: &[u8]) -> Value {
        let minted = self.certificate(plan);
        let signature = minted.key.sign(artifact);
        let body = self.log.hashedrekord(artifact, &signature, &minted.certificate);
        let mut bundle = self.bundle(plan, &minted, &signature, "hashedrekord", &body);
        bundle["messageSignature"] = json!({
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": STANDARD.encode(Digest::sha256(artifact).hash()),
            },
            "signature": STANDARD.encode(&signature),
        });
        bundle
    }

    fn bundle(&self, plan: &Plan, minted: &Minted, signature: &[u8], kind: &str, body: &[u8]) -> Value {
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": STANDARD.encode(&minted.certificate)},
                "tlogEntries": [self.log.entry(kind, body, plan.logged)],
            },
        });
        if let Some(time) = plan.stamped {
            let token = STANDARD.encode(self.tsa.stamp(signature, time));
            let listed = json!({"rfc3161Timestamps": [{"signedTimestamp": token}]});
            bundle["verificationMaterial"]["timestampVerificationData"] = listed;
        }
        bundle
    }
}

fn leaf_params(plan: &Plan) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.subject_alt_names = plan.identities.clone();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![plan.usage.clone()];
    params.serial_number = Some(SerialNumber::from_slice(&[7, 1, 2, 3]));
    dates(&mut params, plan.from, plan.until);
    let claim = |number: u64, value: &str| {
        let text = der::Encode::to_der(&der::asn1::Utf8StringRef::new(value).unwrap()).unwrap();
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, number], text)
    };
    params.custom_extensions.extend(plan.issuer.iter().map(|issuer| claim(8, issuer)));
    params.custom_extensions.extend(plan.claims.iter().map(|(number, value)| claim(*number, value)));
    params
}

/// PEM of a certificate.
pub(super) fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap()
}
