//! Time-stamp tokens (RFC 3161, RFC 5816; Notary Project trust policy specification, "Authentic timestamp").
//!
//! Tokens are read as DER; the authorities in use write nothing else. The signing certificate is the one whose hash the
//! token signs (SigningCertificateV2), so that nobody can put another certificate with the same key in its place.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{AnyRef, OctetString, OctetStringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Header, Reader, SliceReader, Tag, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::algorithm::{Hash, check_signature};
use super::certificate::{Certificate, time};
use super::chain::{self, Purpose};
use crate::limits::Limits;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// ETSI EN 319 421: an accuracy of a second where the token states none.
const BASELINE_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.2023.1.1");

/// Why a token proves no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimestampError {
    /// Past a limit, so it was not looked at.
    Limit(String),
    /// Wrong, whoever is trusted.
    Wrong(String),
    /// By an authority that is not trusted: in no `tsa` store, or not configured.
    Untrusted(String),
}

impl From<String> for TimestampError {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// A proved time.
#[derive(Clone, Debug)]
pub(super) struct Timestamp {
    /// The earliest and the latest that it may have been.
    pub(super) earliest: DateTime<Utc>,
    pub(super) latest: DateTime<Utc>,
    /// The authority's chain, leaf first.
    pub(super) chain: Vec<Certificate>,
}

/// What a token says (RFC 3161, section 2.4.2).
struct Info {
    policy: ObjectIdentifier,
    hash: ObjectIdentifier,
    imprint: Vec<u8>,
    time: DateTime<Utc>,
    accuracy: TimeDelta,
}

/// Checks a token over `message` and its authority's chain to one of `roots`. Of what is not in the token, `others` may
/// stand in its chain.
pub(super) fn verify(
    token: &[u8],
    message: &[u8],
    (roots, others): (&[Certificate], &[Certificate]),
    limits: &Limits,
) -> Result<Timestamp, TimestampError> {
    let signed = read_token(token)?;
    let content = signed.encap_content_info.econtent.as_ref();
    let content = content.and_then(|content| content.decode_as::<OctetString>().ok());
    let content = content.ok_or_else(|| "the time-stamp token has no content".to_owned())?;
    let info = read_info(content.as_bytes())
        .map_err(|error| format!("the time-stamp token's TSTInfo cannot be read: {error}"))?;
    if Hash::of(info.hash)?.digest(message) != info.imprint {
        return Err("the time-stamp token is over another signature (message imprint)".to_owned().into());
    }
    let mut certificates = read_certificates(&signed, limits)?;
    certificates.extend_from_slice(others);
    let [signer] = signed.signer_infos.0.as_slice() else {
        return Err("the time-stamp token must have one signer (RFC 3161, 2.4.2)".to_owned().into());
    };
    let leaf = signing_certificate(signer, &certificates)?;
    check_signer(signer, leaf, content.as_bytes())?;
    let built = chain::build(leaf, &certificates, roots, info.time, limits.max_chain);
    let Some(built) = built else {
        return Err(TimestampError::Untrusted(format!(
            "the time-stamping authority {:?} leads to no trusted authority that held at {}",
            leaf.subject(),
            info.time
        )));
    };
    chain::check(&built, Purpose::Timestamping)?;
    if let Some(claimed) = claimed_time(signer)?
        && let Some(outside) = built.iter().find(|one| !one.holds_at(claimed))
    {
        return Err(
            format!("{:?} did not hold at {claimed}, when the token was signed", outside.subject()).into()
        );
    }
    let accuracy = if info.accuracy.is_zero() && info.policy == BASELINE_POLICY {
        TimeDelta::seconds(1)
    } else {
        info.accuracy
    };
    let bound = |time: Option<DateTime<Utc>>| time.ok_or_else(|| "its time is out of range".to_owned());
    Ok(Timestamp {
        earliest: bound(info.time.checked_sub_signed(accuracy))?,
        latest: bound(info.time.checked_add_signed(accuracy))?,
        chain: built,
    })
}

fn read_token(token: &[u8]) -> Result<SignedData, String> {
    let malformed = |error: der::Error| format!("the time-stamp token cannot be read: {error}");
    let info = ContentInfo::from_der(token).map_err(malformed)?;
    if info.content_type != SIGNED_DATA {
        return Err(format!("the time-stamp token is no SignedData but {}", info.content_type));
    }
    let signed = info.content.decode_as::<SignedData>().map_err(malformed)?;
    let content = signed.encap_content_info.econtent_type;
    if content != TST_INFO {
        return Err(format!("the time-stamp token holds {content} and no TSTInfo"));
    }
    Ok(signed)
}

fn read_certificates(signed: &SignedData, limits: &Limits) -> Result<Vec<Certificate>, TimestampError> {
    let all = signed.certificates.iter().flat_map(|set| set.0.iter());
    let ders = all.filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => certificate.to_der().ok(),
        CertificateChoices::Other(_) => None,
    });
    let found: Vec<Certificate> = ders.map(|der| Certificate::from_der(&der)).collect::<Result<_, _>>()?;
    if found.len() > limits.max_chain {
        let most = limits.max_chain;
        let why = format!("the time-stamp token has {} certificates; {most} are looked at", found.len());
        return Err(TimestampError::Limit(why));
    }
    Ok(found)
}

/// Reads TSTInfo by hand: authorities write fractions of seconds (RFC 3161, 2.4.2), which DER types for certificates
/// refuse.
fn read_info(bytes: &[u8]) -> der::Result<Info> {
    let mut reader = SliceReader::new(bytes)?;
    Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
    if u8::decode(&mut reader)? != 1 {
        return Err(Tag::Integer.value_error());
    }
    let policy = ObjectIdentifier::decode(&mut reader)?;
    let (hash, imprint) = reader.sequence(|reader| {
        let algorithm = AlgorithmIdentifierRef::decode(reader)?;
        Ok((algorithm.oid, OctetStringRef::decode(reader)?.as_bytes().to_vec()))
    })?;
    AnyRef::decode(&mut reader)?.tag().assert_eq(Tag::Integer)?;
    let time = AnyRef::decode(&mut reader)?;
    time.tag().assert_eq(Tag::GeneralizedTime)?;
    let text = std::str::from_utf8(time.value()).map_err(|_| Tag::GeneralizedTime.value_error())?;
    let time = NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M%S%.fZ");
    let time = time.map_err(|_| Tag::GeneralizedTime.value_error())?.and_utc();
    let accuracy = match reader.is_finished() {
        false if reader.peek_tag()? == Tag::Sequence => read_accuracy(AnyRef::decode(&mut reader)?.value())?,
        _ => TimeDelta::zero(),
    };
    Ok(Info { policy, hash, imprint, time, accuracy })
}

fn read_accuracy(bytes: &[u8]) -> der::Result<TimeDelta> {
    let mut reader = SliceReader::new(bytes)?;
    let mut all = TimeDelta::zero();
    while !reader.is_finished() {
        let part = AnyRef::decode(&mut reader)?;
        let number = part
            .value()
            .iter()
            .try_fold(0_u32, |all, byte| all.checked_mul(256)?.checked_add(u32::from(*byte)));
        let number = i64::from(number.ok_or_else(|| Tag::Integer.value_error())?);
        all += match part.tag() {
            Tag::Integer => TimeDelta::seconds(number),
            Tag::ContextSpecific { number: n, .. } if n.value() == 0 => TimeDelta::milliseconds(number),
            Tag::ContextSpecific { number: n, .. } if n.value() == 1 => TimeDelta::microseconds(number),
            other => return Err(other.value_error()),
        };
    }
    Ok(all)
}

/// The value of a signed attribute, which must be there once with one value (RFC 5652, section 11).
fn attribute(signer: &SignerInfo, oid: ObjectIdentifier) -> Result<Option<&der::Any>, String> {
    let mut found = signer.signed_attrs.iter().flat_map(|all| all.iter()).filter(|one| one.oid == oid);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => match one.values.as_slice() {
            [value] => Ok(Some(value)),
            _ => Err(format!("the signed attribute {oid} of the time-stamp token must have one value")),
        },
        _ => Err(format!("the signed attribute {oid} of the time-stamp token is there twice")),
    }
}

fn required(signer: &SignerInfo, oid: ObjectIdentifier, name: &str) -> Result<der::Any, String> {
    attribute(signer, oid)?.cloned().ok_or_else(|| format!("the time-stamp token signs no {name}"))
}

/// The certificate that the token signs the hash of. The signer's identifier, which nobody signs, must name it too.
fn signing_certificate<'a>(signer: &SignerInfo, all: &'a [Certificate]) -> Result<&'a Certificate, String> {
    let value = required(signer, SIGNING_CERTIFICATE_V2, "signing certificate (SigningCertificateV2)")?;
    let (hash, expected) = read_certificate_id(value.value())
        .map_err(|error| format!("the time-stamp token's SigningCertificateV2 cannot be read: {error}"))?;
    let hash = hash.map_or(Ok(Hash::Sha256), Hash::of)?;
    let found = all.iter().find(|one| hash.digest(one.der()) == expected);
    let found =
        found.ok_or_else(|| "the time-stamp token does not carry its signing certificate".to_owned())?;
    let tbs = &found.inner().tbs_certificate;
    match &signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(id)
            if id.issuer == tbs.issuer && id.serial_number == tbs.serial_number =>
        {
            Ok(found)
        }
        _ => Err("the time-stamp token's signer is not its signing certificate".to_owned()),
    }
}

/// The first ESSCertIDv2 (RFC 5035, section 4): hash algorithm, SHA-256 where none is given, and hash.
fn read_certificate_id(value: &[u8]) -> der::Result<(Option<ObjectIdentifier>, Vec<u8>)> {
    let mut reader = SliceReader::new(value)?;
    Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
    Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
    let hash = match reader.peek_tag()? {
        Tag::Sequence => Some(AlgorithmIdentifierRef::decode(&mut reader)?.oid),
        _ => None,
    };
    Ok((hash, OctetStringRef::decode(&mut reader)?.as_bytes().to_vec()))
}

/// Checks the signature over the signed attributes, and these against the content (RFC 5652, section 5.6).
fn check_signer(signer: &SignerInfo, leaf: &Certificate, content: &[u8]) -> Result<(), String> {
    let content_type = required(signer, CONTENT_TYPE, "content type")?;
    if content_type.decode_as::<ObjectIdentifier>().ok() != Some(TST_INFO) {
        return Err("the time-stamp token signs another content type than TSTInfo".to_owned());
    }
    let digest = required(signer, MESSAGE_DIGEST, "digest")?;
    let digest = digest.decode_as::<OctetString>().map_err(|error| format!("the token's digest: {error}"))?;
    if Hash::of(signer.digest_alg.oid)?.digest(content) != digest.as_bytes() {
        return Err("the time-stamp token's content is not what was signed (message digest)".to_owned());
    }
    let attributes = signer.signed_attrs.as_ref().ok_or("the time-stamp token has no signed attributes")?;
    let signed = attributes.to_der().map_err(|error| format!("the token's signed attributes: {error}"))?;
    let digest = Some(signer.digest_alg.oid);
    check_signature(leaf.key(), &signer.signature_algorithm, digest, &signed, signer.signature.as_bytes())
        .map_err(|why| format!("the time-stamp token is not signed by {:?}: {why}", leaf.subject()))
}

/// The time that the signer claims besides, which must lie within its certificates' validity.
fn claimed_time(signer: &SignerInfo) -> Result<Option<DateTime<Utc>>, String> {
    let Some(value) = attribute(signer, SIGNING_TIME)? else { return Ok(None) };
    let read = value.to_der().and_then(|der| Time::from_der(&der));
    read.map(|found| Some(time(&found))).map_err(|error| format!("the token's signing time: {error}"))
}
