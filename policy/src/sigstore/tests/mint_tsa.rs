//! A timestamp authority (RFC 3161).

use chrono::{DateTime, TimeDelta, Utc};
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos};
use der::asn1::{GeneralizedTime, Int, ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, Decode, Encode};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose};
use rreg_oci::Digest;
use x509_cert::Certificate;
use x509_cert::attr::Attribute;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_tsp::{MessageImprint, TspVersion, TstInfo};

use super::mint::{Key, authority, dates};

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");

/// The authority with its chain.
pub(super) struct Tsa {
    key: Key,
    pub(super) leaf_der: Vec<u8>,
    pub(super) root_der: Vec<u8>,
}

impl Tsa {
    pub(super) fn new(name: &str, now: DateTime<Utc>) -> Self {
        let (root_key, key) = (Key::new(), Key::new());
        let root = authority(&format!("{name} timestamp root"), now);
        let root_der = root.self_signed(&root_key.pair).unwrap().der().to_vec();
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, format!("{name} timestamps"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        dates(&mut params, now - TimeDelta::days(100), now + TimeDelta::days(100));
        let issuer = Issuer::from_params(&root, &root_key.pair);
        let leaf_der = params.signed_by(&key.pair, &issuer).unwrap().der().to_vec();
        Self { key, leaf_der, root_der }
    }

    /// A token over a signature.
    pub(super) fn stamp(&self, signature: &[u8], time: DateTime<Utc>) -> Vec<u8> {
        let seconds = std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap());
        let info = TstInfo {
            version: TspVersion::V1,
            policy: ObjectIdentifier::new_unwrap("1.2.3.4.1"),
            message_imprint: MessageImprint {
                hash_algorithm: algorithm(SHA256),
                hashed_message: OctetString::new(Digest::sha256(signature).hash()).unwrap(),
            },
            serial_number: Int::new(&[4]).unwrap(),
            gen_time: GeneralizedTime::from_unix_duration(seconds).unwrap(),
            accuracy: None,
            ordering: false,
            nonce: None,
            tsa: None,
            extensions: None,
        };
        self.token(&info.to_der().unwrap())
    }

    fn token(&self, info: &[u8]) -> Vec<u8> {
        let leaf = Certificate::from_der(&self.leaf_der).unwrap().tbs_certificate;
        let digest = OctetString::new(Digest::sha256(info).hash()).unwrap();
        let attributes = SetOfVec::try_from(vec![
            attribute(CONTENT_TYPE, Any::encode_from(&TST_INFO).unwrap()),
            attribute(MESSAGE_DIGEST, Any::encode_from(&digest).unwrap()),
        ])
        .unwrap();
        let signature = self.key.sign(&attributes.to_der().unwrap());
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: leaf.issuer,
                serial_number: leaf.serial_number,
            }),
            digest_alg: algorithm(SHA256),
            signed_attrs: Some(attributes),
            signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None },
            signature: OctetString::new(signature).unwrap(),
            unsigned_attrs: None,
        };
        let content = Any::encode_from(&OctetString::new(info).unwrap()).unwrap();
        let signed = SignedData {
            version: CmsVersion::V3,
            digest_algorithms: SetOfVec::try_from(vec![algorithm(SHA256)]).unwrap(),
            encap_content_info: EncapsulatedContentInfo { econtent_type: TST_INFO, econtent: Some(content) },
            certificates: None,
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer]).unwrap()),
        };
        let content = Any::encode_from(&signed).unwrap();
        let token = ContentInfo { content_type: SIGNED_DATA, content };
        // TimeStampResp (RFC 3161, section 2.4.2): PKIStatusInfo with `granted`, then the token.
        let mut response = vec![0x30, 0x03, 0x02, 0x01, 0x00];
        response.extend(token.to_der().unwrap());
        Any::new(der::Tag::Sequence, response).unwrap().to_der().unwrap()
    }
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: None }
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Attribute {
    Attribute { oid, values: SetOfVec::try_from(vec![value]).unwrap() }
}
