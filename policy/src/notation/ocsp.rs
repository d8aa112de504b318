//! Answers about single certificates (OCSP, RFC 6960).
//!
//! The responder is the issuer itself, or one that the issuer certified for it. Whether that responder was revoked in
//! turn is not asked (notation does not either): its certificate and the answer are short-lived.

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};
use der::asn1::{Null, OctetString};
use der::oid::ObjectIdentifier;
use der::{Any, Decode, Encode};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse,
    OcspResponseStatus, Request, SingleResponse, TbsRequest, Version,
};

use super::algorithm::{Hash, check_signature};
use super::certificate::{Certificate, name_der, signed_part, time};
use super::crl::generalized;
use super::revocation::{Fetch, Inquiry, MAX_OCSP, SKEW, Status};

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");

/// Asks the responders of a certificate until one answers.
pub(super) fn check(
    inquiry: &mut Inquiry<'_>,
    certificate: &Certificate,
    issuer: &Certificate,
    urls: &[String],
    signed_at: Option<DateTime<Utc>>,
) -> Status {
    let request = match request(certificate, issuer) {
        Ok(request) => request,
        Err(error) => return Status::Unknown(format!("OCSP: no request can be made: {error}")),
    };
    let mut why = String::new();
    for url in urls {
        let fetch = Fetch::Ocsp { url: url.clone(), request: request.clone() };
        let ends = |body: &[u8]| {
            let (_, _, response) = read(body, certificate, issuer).ok()?;
            response.next_update.as_ref().map(instant)
        };
        let body = match inquiry.answer(fetch, MAX_OCSP, ends) {
            Ok(body) => body,
            Err(error) => {
                why = error;
                continue;
            }
        };
        match judge(inquiry, &body, certificate, issuer, signed_at) {
            Ok(Some(status)) => return status,
            Ok(None) => return Status::Unknown(format!("OCSP: {url} does not know the certificate")),
            Err(error) => why = format!("the answer of {url}: {error}"),
        }
    }
    Status::Unknown(format!("OCSP: {why}"))
}

/// A request about one certificate. SHA-1 only names the issuer here; many responders know nothing else.
fn request(certificate: &Certificate, issuer: &Certificate) -> der::Result<Vec<u8>> {
    let tbs = &certificate.inner().tbs_certificate;
    let name = name_hash(SHA1, &name_der(&tbs.issuer)).unwrap_or_default();
    let key =
        name_hash(SHA1, issuer.key().subject_public_key.as_bytes().unwrap_or_default()).unwrap_or_default();
    let cert_id = CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Any::from(Null)) },
        issuer_name_hash: OctetString::new(name)?,
        issuer_key_hash: OctetString::new(key)?,
        serial_number: tbs.serial_number.clone(),
    };
    let request_list = vec![Request { req_cert: cert_id, single_request_extensions: None }];
    let tbs_request =
        TbsRequest { version: Version::V1, requestor_name: None, request_list, request_extensions: None };
    OcspRequest { tbs_request, optional_signature: None }.to_der()
}

fn name_hash(oid: ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    if oid == SHA1 {
        return Some(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec());
    }
    Hash::of(oid).ok().map(|hash| hash.digest(bytes))
}

/// Reads a response and finds what it says about a certificate; with the bytes that are signed.
fn read(
    body: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
) -> Result<(Vec<u8>, BasicOcspResponse, SingleResponse), String> {
    let malformed = |error: der::Error| format!("it is no OCSP response: {error}");
    let response = OcspResponse::from_der(body).map_err(malformed)?;
    if response.response_status != OcspResponseStatus::Successful {
        return Err(format!("it is an error: {:?}", response.response_status));
    }
    let bytes = response.response_bytes.ok_or("it has no content")?;
    if bytes.response_type != BASIC {
        return Err(format!("it is of the type {} and not basic", bytes.response_type));
    }
    let basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(malformed)?;
    let signed = signed_part(bytes.response.as_bytes()).map_err(malformed)?.to_vec();
    let about =
        basic.tbs_response_data.responses.iter().find(|one| is_about(&one.cert_id, certificate, issuer));
    let about = about.ok_or("it is not about this certificate")?.clone();
    Ok((signed, basic, about))
}

fn is_about(id: &CertId, certificate: &Certificate, issuer: &Certificate) -> bool {
    let tbs = &certificate.inner().tbs_certificate;
    let hash = |bytes: &[u8]| name_hash(id.hash_algorithm.oid, bytes);
    id.serial_number == tbs.serial_number
        && hash(&name_der(&tbs.issuer)).is_some_and(|name| name == id.issuer_name_hash.as_bytes())
        && hash(issuer.key().subject_public_key.as_bytes().unwrap_or_default())
            .is_some_and(|key| key == id.issuer_key_hash.as_bytes())
}

fn instant(found: &OcspGeneralizedTime) -> DateTime<Utc> {
    time(&found.0.into())
}

/// What a response proves; `None` where the responder does not know the certificate.
fn judge(
    inquiry: &mut Inquiry<'_>,
    body: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    signed_at: Option<DateTime<Utc>>,
) -> Result<Option<Status>, String> {
    let (signed, basic, about) = read(body, certificate, issuer)?;
    let now = inquiry.now;
    check_responder(&signed, &basic, issuer, now)?;
    if instant(&about.this_update) > now + SKEW {
        return Err(format!("it begins at {} only", instant(&about.this_update)));
    }
    let end =
        about.next_update.as_ref().map(instant).ok_or("it does not say until when it holds (nextUpdate)")?;
    if now > end {
        return Err(format!("it ended at {end}"));
    }
    let extensions = about.single_extensions.iter().flatten();
    let invalid_from = extensions
        .filter(|extension| extension.extn_id == INVALIDITY_DATE)
        .find_map(|extension| generalized(extension.extn_value.as_bytes()).ok());
    let before = matches!((signed_at, invalid_from), (Some(signed), Some(from)) if signed < from);
    let status = match &about.cert_status {
        CertStatus::Good(_) => Status::Good,
        CertStatus::Revoked(_) if before => Status::Good,
        CertStatus::Revoked(info) => {
            let reason = info.revocation_reason.map(|reason| format!(" ({reason:?})")).unwrap_or_default();
            let at = instant(&info.revocation_time);
            Status::Revoked(format!("{:?} was revoked at {at}{reason}, says OCSP", certificate.subject()))
        }
        CertStatus::Unknown(_) => return Ok(None),
    };
    inquiry.holds_until(end);
    Ok(Some(status))
}

/// Whether the issuer, or one whom it certified for this, signed a response (RFC 6960, section 4.2.2.2).
fn check_responder(
    signed: &[u8],
    basic: &BasicOcspResponse,
    issuer: &Certificate,
    now: DateTime<Utc>,
) -> Result<(), String> {
    let signature = basic.signature.as_bytes().unwrap_or_default();
    let by = |responder: &Certificate| {
        check_signature(responder.key(), &basic.signature_algorithm, None, signed, signature)
    };
    if by(issuer).is_ok() {
        return Ok(());
    }
    let certificates =
        basic.certs.iter().flatten().take(4).filter_map(|certificate| certificate.to_der().ok());
    let delegates = certificates.filter_map(|der| Certificate::from_der(&der).ok());
    let mut why = "its signature is not by the issuer".to_owned();
    for delegate in delegates {
        match check_delegate(&delegate, issuer, now).and_then(|()| by(&delegate)) {
            Ok(()) => return Ok(()),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn check_delegate(delegate: &Certificate, issuer: &Certificate, now: DateTime<Utc>) -> Result<(), String> {
    let subject = delegate.subject();
    delegate.check_issued_by(issuer).map_err(|why| format!("its responder {subject:?}: {why}"))?;
    let uses = delegate.extended_key_usage()?.map(|(_, usage)| usage.0).unwrap_or_default();
    if !uses.contains(&OCSP_SIGNING) {
        return Err(format!("its responder {subject:?} may not answer (extended key usage OCSPSigning)"));
    }
    if !delegate.holds_at(now) {
        return Err(format!("the certificate of its responder {subject:?} does not hold now"));
    }
    Ok(())
}
