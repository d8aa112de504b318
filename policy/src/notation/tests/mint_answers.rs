//! Revocation lists, OCSP answers and time-stamp tokens.

use chrono::{DateTime, Utc};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use der::asn1::{BitString, GeneralizedTime, Ia5String, Int, Null, OctetString, SetOfVec, Uint, UtcTime};
use der::oid::{AssociatedOid, ObjectIdentifier};
use der::{Any, Decode, Encode, Tag};
use rcgen::CustomExtension;
use x509_cert::attr::Attribute;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::crl::{BaseCrlNumber, CrlDistributionPoints, CrlNumber, FreshestCrl};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AccessDescription, AuthorityInfoAccessSyntax, CrlReason};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;
use x509_ocsp::{
    BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponderId,
    ResponseBytes, ResponseData, SingleResponse, Version,
};

use super::super::algorithm::Hash;
use super::mint::{Minted, extension, sign_asn1};
use crate::notation::Revocation;

pub(super) const TIME_STAMPING: &[u8] = &[0x30, 0x0a, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];

pub(super) fn no_answers() -> Revocation {
    Revocation::check()
}

fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

fn ecdsa() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: oid("1.2.840.10045.4.3.2"), parameters: None }
}

fn sha256() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: oid("2.16.840.1.101.3.4.2.1"), parameters: Some(Any::from(Null)) }
}

fn generalized(at: DateTime<Utc>) -> GeneralizedTime {
    GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(at.timestamp().try_into().unwrap()))
        .unwrap()
}

fn utc(at: DateTime<Utc>) -> Time {
    let seconds = std::time::Duration::from_secs(at.timestamp().try_into().unwrap());
    Time::UtcTime(UtcTime::from_unix_duration(seconds).unwrap())
}

fn uri(url: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(url).unwrap())
}

fn point(url: &str) -> DistributionPoint {
    let distribution_point = Some(DistributionPointName::FullName(vec![uri(url)]));
    DistributionPoint { distribution_point, reasons: None, crl_issuer: None }
}

pub(super) fn crl_point(url: &str) -> CustomExtension {
    extension(&[2, 5, 29, 31], false, CrlDistributionPoints(vec![point(url)]).to_der().unwrap())
}

pub(super) fn freshest_point(url: &str) -> CustomExtension {
    extension(&[2, 5, 29, 46], false, FreshestCrl(vec![point(url)]).to_der().unwrap())
}

pub(super) fn ocsp_responder(url: &str) -> CustomExtension {
    let access = AccessDescription { access_method: oid("1.3.6.1.5.5.7.48.1"), access_location: uri(url) };
    extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], false, AuthorityInfoAccessSyntax(vec![access]).to_der().unwrap())
}

/// Certificate, when, reason, from when on it was invalid.
pub(super) type Revoked<'a> = (&'a Minted, DateTime<Utc>, CrlReason, Option<DateTime<Utc>>);

/// A revocation list in the making.
pub(super) struct List<'a> {
    pub(super) number: u8,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) revoked: Vec<Revoked<'a>>,
    /// Where the delta list lies.
    pub(super) freshest: Option<&'a str>,
    /// That it is a delta list, on a base list of this number or later.
    pub(super) base: Option<u8>,
    pub(super) extra: Vec<Extension>,
}

pub(super) fn list_extension(id: &str, critical: bool, value: Vec<u8>) -> Extension {
    Extension { extn_id: oid(id), critical, extn_value: OctetString::new(value).unwrap() }
}

impl List<'_> {
    pub(super) fn sign(&self, issuer: &Minted) -> Vec<u8> {
        let number = |number: u8| Uint::new(&[number]).unwrap();
        let add =
            |id: ObjectIdentifier, critical, value: Vec<u8>| list_extension(&id.to_string(), critical, value);
        let mut extensions =
            vec![add(CrlNumber::OID, false, CrlNumber(number(self.number)).to_der().unwrap())];
        if let Some(base) = self.base {
            extensions.push(add(BaseCrlNumber::OID, true, BaseCrlNumber(number(base)).to_der().unwrap()));
        }
        if let Some(url) = self.freshest {
            extensions.push(add(FreshestCrl::OID, false, FreshestCrl(vec![point(url)]).to_der().unwrap()));
        }
        extensions.extend(self.extra.iter().cloned());
        let entries = self.revoked.iter().map(|(certificate, at, reason, invalid_from)| {
            let mut all = vec![add(CrlReason::OID, false, reason.to_der().unwrap())];
            if let Some(from) = invalid_from {
                all.push(list_extension("2.5.29.24", false, generalized(*from).to_der().unwrap()));
            }
            RevokedCert {
                serial_number: certificate.certificate().inner().tbs_certificate.serial_number.clone(),
                revocation_date: utc(*at),
                crl_entry_extensions: Some(all),
            }
        });
        let entries: Vec<RevokedCert> = entries.collect();
        let tbs = TbsCertList {
            version: x509_cert::Version::V2,
            signature: ecdsa(),
            issuer: issuer.certificate().inner().tbs_certificate.subject.clone(),
            this_update: utc(self.from),
            next_update: Some(utc(self.to)),
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(extensions),
        };
        let signature = sign_asn1(&issuer.key, &tbs.to_der().unwrap());
        let signature = BitString::from_bytes(&signature).unwrap();
        CertificateList { tbs_cert_list: tbs, signature_algorithm: ecdsa(), signature }.to_der().unwrap()
    }
}

/// An answer to an OCSP request.
pub(super) fn ocsp_answer(
    request: &[u8],
    status: CertStatus,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    signer: &Minted,
    certificates: &[&Minted],
) -> Vec<u8> {
    let request = x509_ocsp::OcspRequest::from_der(request).unwrap();
    let single = SingleResponse {
        cert_id: request.tbs_request.request_list[0].req_cert.clone(),
        cert_status: status,
        this_update: OcspGeneralizedTime(generalized(from)),
        next_update: Some(OcspGeneralizedTime(generalized(to))),
        single_extensions: None,
    };
    let signer_name = signer.certificate().inner().tbs_certificate.subject.clone();
    let data = ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByName(signer_name),
        produced_at: OcspGeneralizedTime(generalized(from)),
        responses: vec![single],
        response_extensions: None,
    };
    let signature = BitString::from_bytes(&sign_asn1(&signer.key, &data.to_der().unwrap())).unwrap();
    let certs = certificates.iter().map(|one| one.certificate().inner().clone()).collect::<Vec<_>>();
    let basic = BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: ecdsa(),
        signature,
        certs: (!certs.is_empty()).then_some(certs),
    };
    let response = OctetString::new(basic.to_der().unwrap()).unwrap();
    let bytes = ResponseBytes { response_type: oid("1.3.6.1.5.5.7.48.1.1"), response };
    OcspResponse { response_status: OcspResponseStatus::Successful, response_bytes: Some(bytes) }
        .to_der()
        .unwrap()
}

/// A time-stamp token over `message`, with `time` as GeneralizedTime text.
pub(super) fn token(message: &[u8], time: &str, signer: &Minted, certificates: &[&Minted]) -> Vec<u8> {
    let content = info(message, time);
    let attribute =
        |id: &str, value: Any| Attribute { oid: oid(id), values: SetOfVec::try_from(vec![value]).unwrap() };
    let digest = OctetString::new(Hash::Sha256.digest(&content)).unwrap();
    // SigningCertificateV2 with one ESSCertIDv2, its hash SHA-256 by default.
    let hash = OctetString::new(Hash::Sha256.digest(&signer.der)).unwrap().to_der().unwrap();
    let id = Any::new(Tag::Sequence, hash).unwrap().to_der().unwrap();
    let ids = Any::new(Tag::Sequence, id).unwrap().to_der().unwrap();
    let attributes = vec![
        attribute("1.2.840.113549.1.9.3", Any::from(&oid("1.2.840.113549.1.9.16.1.4"))),
        attribute("1.2.840.113549.1.9.4", Any::encode_from(&digest).unwrap()),
        attribute("1.2.840.113549.1.9.16.2.47", Any::new(Tag::Sequence, ids).unwrap()),
    ];
    let attributes = SetOfVec::try_from(attributes).unwrap();
    let signature = sign_asn1(&signer.key, &attributes.to_der().unwrap());
    let own = signer.certificate();
    let tbs = &own.inner().tbs_certificate;
    let id = IssuerAndSerialNumber { issuer: tbs.issuer.clone(), serial_number: tbs.serial_number.clone() };
    let signer_info = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(id),
        digest_alg: sha256(),
        signed_attrs: Some(attributes),
        signature_algorithm: ecdsa(),
        signature: OctetString::new(signature).unwrap(),
        unsigned_attrs: None,
    };
    let carried =
        certificates.iter().map(|one| CertificateChoices::Certificate(one.certificate().inner().clone()));
    let encapsulated = OctetString::new(content).unwrap();
    let signed = SignedData {
        version: CmsVersion::V3,
        digest_algorithms: SetOfVec::try_from(vec![sha256()]).unwrap(),
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: oid("1.2.840.113549.1.9.16.1.4"),
            econtent: Some(Any::encode_from(&encapsulated).unwrap()),
        },
        certificates: Some(CertificateSet(SetOfVec::try_from(carried.collect::<Vec<_>>()).unwrap())),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![signer_info]).unwrap()),
    };
    let content = Any::encode_from(&signed).unwrap();
    ContentInfo { content_type: oid("1.2.840.113549.1.7.2"), content }.to_der().unwrap()
}

/// TSTInfo with an accuracy of two seconds.
fn info(message: &[u8], time: &str) -> Vec<u8> {
    let imprint = OctetString::new(Hash::Sha256.digest(message)).unwrap();
    let imprint = [sha256().to_der().unwrap(), imprint.to_der().unwrap()].concat();
    let parts = [
        Int::new(&[1]).unwrap().to_der().unwrap(),
        oid("1.3.6.1.4.1.99999.1").to_der().unwrap(),
        Any::new(Tag::Sequence, imprint).unwrap().to_der().unwrap(),
        Int::new(&[7]).unwrap().to_der().unwrap(),
        Any::new(Tag::GeneralizedTime, time.as_bytes()).unwrap().to_der().unwrap(),
        Any::new(Tag::Sequence, Int::new(&[2]).unwrap().to_der().unwrap()).unwrap().to_der().unwrap(),
    ];
    Any::new(Tag::Sequence, parts.concat()).unwrap().to_der().unwrap()
}
