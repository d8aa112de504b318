//! What a timestamp token says outside its signature.
//!
//! A token (RFC 3161, a CMS SignedData of RFC 5652) has parts that nobody signs: versions, algorithm names, embedded
//! certificates, attributes. The signature is checked elsewhere, with the trusted authority's certificates; here those
//! parts must say the one thing that they can say, so that no token has a second form.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use cms::cert::CertificateChoices;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_tsp::TimeStampResp;

/// Names of signature algorithms that go with a digest: ECDSA and RSA with it, and the bare kinds of key.
const ALGORITHMS: &[(&str, &[&str])] = &[
    ("2.16.840.1.101.3.4.2.1", &["1.2.840.10045.4.3.2", "1.2.840.113549.1.1.11"]),
    ("2.16.840.1.101.3.4.2.2", &["1.2.840.10045.4.3.3", "1.2.840.113549.1.1.12"]),
    ("2.16.840.1.101.3.4.2.3", &["1.2.840.10045.4.3.4", "1.2.840.113549.1.1.13"]),
];
const BARE: &[&str] = &["1.2.840.10045.2.1", "1.2.840.113549.1.1.1"];

/// Says what is odd about a token. `trusted` are the certificates (DER) of the timestamp authorities.
pub(super) fn plain(token: &[u8], trusted: &[&[u8]]) -> Result<(), String> {
    let signed = signed_data(token)?;
    let econtent = signed.encap_content_info.econtent.as_ref();
    if econtent.is_none_or(|content| content.decode_as::<OctetStringRef<'_>>().is_err()) {
        return Err("its content is no octet string".into());
    }
    let [signer] = signed.signer_infos.0.as_slice() else {
        return Err(format!("it has {} signers; one is needed", signed.signer_infos.0.len()));
    };
    let [digest] = signed.digest_algorithms.as_slice() else {
        return Err("it names several digest algorithms".into());
    };
    if signed.version != CmsVersion::V3 || signed.crls.is_some() || digest.oid != signer.digest_alg.oid {
        return Err("its version, digest algorithm or revocation lists are odd".into());
    }
    if ![digest, &signer.digest_alg, &signer.signature_algorithm].into_iter().all(unparameterized) {
        return Err("its algorithms have parameters".into());
    }
    signer_is_plain(signer)?;
    for certificate in signed.certificates.iter().flat_map(|set| set.0.iter()) {
        let CertificateChoices::Certificate(certificate) = certificate else {
            return Err("it embeds what is no certificate".into());
        };
        let der = certificate.to_der().map_err(|error| error.to_string())?;
        if !trusted.contains(&der.as_slice()) {
            let subject = &certificate.tbs_certificate.subject;
            return Err(format!("it embeds the certificate of {subject}, which no trusted authority has"));
        }
    }
    Ok(())
}

/// The token itself, out of the answer that an authority gave where that was kept whole (RFC 3161, section 2.4.2).
pub(super) fn token(stamp: &[u8]) -> Result<Vec<u8>, String> {
    let Ok(response) = TimeStampResp::from_der(stamp) else { return Ok(stamp.to_vec()) };
    let token = response.time_stamp_token.ok_or("it has no token")?;
    token.to_der().map_err(|error| error.to_string())
}

/// Whether a token holds a digest of `message`: only one that is over it does.
pub(super) fn is_over(stamp: &[u8], message: &[u8]) -> bool {
    let digests = [&SHA256, &SHA384, &SHA512].map(|algorithm| digest::digest(algorithm, message));
    digests.iter().any(|found| stamp.windows(found.as_ref().len()).any(|part| part == found.as_ref()))
}

/// The issuer that the signer of a token names, where it is none of the trusted certificates (DER).
pub(super) fn unknown(token: &[u8], trusted: &[&[u8]]) -> Option<String> {
    let signed = signed_data(token).ok()?;
    let [signer] = signed.signer_infos.0.as_slice() else { return None };
    let SignerIdentifier::IssuerAndSerialNumber(id) = &signer.sid else { return None };
    let mut known = trusted.iter().filter_map(|der| Certificate::from_der(der).ok());
    let knows = |one: Certificate| {
        let of = one.tbs_certificate;
        id.issuer == of.subject || id.issuer == of.issuer
    };
    (!known.any(knows)).then(|| id.issuer.to_string())
}

fn signed_data(token: &[u8]) -> Result<SignedData, String> {
    let content = match TimeStampResp::from_der(token) {
        Ok(response) => {
            let status = &response.status;
            if status.status as u8 != 0 || status.status_string.is_some() || status.fail_info.is_some() {
                return Err("its status is not plainly granted".into());
            }
            response.time_stamp_token.ok_or("it has no token")?
        }
        Err(_) => ContentInfo::from_der(token).map_err(|error| error.to_string())?,
    };
    content.content.decode_as::<SignedData>().map_err(|error| error.to_string())
}

fn signer_is_plain(signer: &SignerInfo) -> Result<(), String> {
    let version = match signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(_) => CmsVersion::V1,
        SignerIdentifier::SubjectKeyIdentifier(_) => CmsVersion::V3,
    };
    if signer.version != version || signer.unsigned_attrs.is_some() {
        return Err("its signer has an odd version or attributes that are not signed".into());
    }
    let name = |oid: &ObjectIdentifier| oid.to_string();
    let (digest, algorithm) = (name(&signer.digest_alg.oid), name(&signer.signature_algorithm.oid));
    let known =
        ALGORITHMS.iter().find(|(known, _)| *known == digest).map(|(_, names)| *names).unwrap_or_default();
    if !known.contains(&algorithm.as_str()) && !BARE.contains(&algorithm.as_str()) {
        return Err(format!("its signature algorithm {algorithm} does not go with its digest {digest}"));
    }
    Ok(())
}

fn unparameterized(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.parameters.as_ref().is_none_or(der::Any::is_null)
}
