//! A certificate, as the rules of the Notary Project look at it.

use chrono::{DateTime, Utc};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Header, Reader, SliceReader, Tag};
use rreg_oci::Digest;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::Time;

use super::algorithm::check_signature;
use super::identity;

const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
pub(super) const FRESHEST_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");

/// Extensions that may be critical: they are looked at here, or say nothing about who may sign. Any other critical one
/// must stop the verification (RFC 5280, section 4.2); among them name constraints, which are not evaluated.
const KNOWN: [ObjectIdentifier; 9] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),         // key usage
    ObjectIdentifier::new_unwrap("2.5.29.19"),         // basic constraints
    ObjectIdentifier::new_unwrap("2.5.29.37"),         // extended key usage
    ObjectIdentifier::new_unwrap("2.5.29.14"),         // subject key identifier
    ObjectIdentifier::new_unwrap("2.5.29.35"),         // authority key identifier
    ObjectIdentifier::new_unwrap("2.5.29.17"),         // subject alternative name
    ObjectIdentifier::new_unwrap("2.5.29.31"),         // CRL distribution points
    ObjectIdentifier::new_unwrap("2.5.29.32"),         // certificate policies
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1"), // authority information access
];

/// A certificate with its bytes.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    der: Vec<u8>,
    inner: x509_cert::Certificate,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Certificate {
    /// Reads DER.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        let inner =
            x509_cert::Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
        if inner.signature_algorithm != inner.tbs_certificate.signature {
            return Err("no certificate: its two signature algorithms differ (RFC 5280, 4.1.1.2)".to_owned());
        }
        Ok(Self { der: der.to_vec(), inner })
    }

    /// The bytes.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// What was parsed.
    pub(super) fn inner(&self) -> &x509_cert::Certificate {
        &self.inner
    }

    /// SHA-256 of the bytes.
    pub(super) fn digest(&self) -> Digest {
        Digest::sha256(&self.der)
    }

    /// The subject as RFC 4514 text.
    pub(super) fn subject(&self) -> String {
        identity::text(&self.inner.tbs_certificate.subject)
    }

    /// The public key.
    pub(super) fn key(&self) -> &SubjectPublicKeyInfoOwned {
        &self.inner.tbs_certificate.subject_public_key_info
    }

    /// From when it holds.
    pub(super) fn not_before(&self) -> DateTime<Utc> {
        time(&self.inner.tbs_certificate.validity.not_before)
    }

    /// Until when it holds.
    pub(super) fn not_after(&self) -> DateTime<Utc> {
        time(&self.inner.tbs_certificate.validity.not_after)
    }

    /// Whether it holds at a time.
    pub(super) fn holds_at(&self, at: DateTime<Utc>) -> bool {
        self.not_before() <= at && at <= self.not_after()
    }

    /// Basic constraints, where it has them.
    pub(super) fn basic_constraints(&self) -> Result<Option<BasicConstraints>, String> {
        self.extension::<BasicConstraints>("basic constraints").map(|found| found.map(|(_, value)| value))
    }

    /// Whether it says that it is an authority.
    pub(super) fn is_ca(&self) -> bool {
        matches!(self.basic_constraints(), Ok(Some(constraints)) if constraints.ca)
    }

    /// Key usage and whether it is critical.
    pub(super) fn key_usage(&self) -> Result<Option<(bool, KeyUsage)>, String> {
        self.extension("key usage")
    }

    /// Extended key usage and whether it is critical.
    pub(super) fn extended_key_usage(&self) -> Result<Option<(bool, ExtendedKeyUsage)>, String> {
        self.extension("extended key usage")
    }

    fn extension<'a, T>(&'a self, name: &str) -> Result<Option<(bool, T)>, String>
    where
        T: Decode<'a> + der::oid::AssociatedOid,
    {
        let found = self.inner.tbs_certificate.get::<T>();
        found.map_err(|error| format!("{:?} has a malformed {name}: {error}", self.subject()))
    }

    /// A critical extension that nobody here understands.
    pub(super) fn unknown_critical(&self) -> Option<ObjectIdentifier> {
        let all = self.inner.tbs_certificate.extensions.iter().flatten();
        all.filter(|extension| extension.critical).map(|e| e.extn_id).find(|oid| !KNOWN.contains(oid))
    }

    /// Whether it has an extension.
    pub(super) fn has(&self, oid: ObjectIdentifier) -> bool {
        self.inner.tbs_certificate.extensions.iter().flatten().any(|extension| extension.extn_id == oid)
    }

    /// Whether subject and issuer are the same name.
    pub(super) fn is_self_issued(&self) -> bool {
        self.inner.tbs_certificate.subject == self.inner.tbs_certificate.issuer
    }

    /// Whether its signature is by the key in `issuer`, whatever that certificate may be used for.
    pub(super) fn check_signed_by_key_of(&self, issuer: &Self) -> Result<(), String> {
        let signed = signed_part(&self.der).map_err(|error| format!("no certificate: {error}"))?;
        let signature = self.inner.signature.as_bytes().unwrap_or_default();
        check_signature(issuer.key(), &self.inner.signature_algorithm, None, signed, signature)
    }

    /// Whether `issuer` issued it: the names meet, the issuer may sign certificates, the signature is right.
    pub(super) fn check_issued_by(&self, issuer: &Self) -> Result<(), String> {
        if self.inner.tbs_certificate.issuer != issuer.inner.tbs_certificate.subject {
            return Err(format!("its issuer is {:?}", identity::text(&self.inner.tbs_certificate.issuer)));
        }
        if !issuer.is_ca() {
            return Err(format!("{:?} is no authority (basic constraints)", issuer.subject()));
        }
        if matches!(issuer.key_usage()?, Some((_, usage)) if !usage.key_cert_sign()) {
            return Err(format!("{:?} may not sign certificates (key usage)", issuer.subject()));
        }
        self.check_signed_by_key_of(issuer)
    }

    /// Whether it signed itself.
    pub(super) fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.check_signed_by_key_of(self).is_ok()
    }

    /// Where its revocation list lies.
    pub(super) fn crl_urls(&self) -> Result<Vec<String>, String> {
        let points = self.extension::<CrlDistributionPoints>("list of CRL distribution points")?;
        Ok(points.map(|(_, points)| point_urls(&points.0)).unwrap_or_default())
    }

    /// Who answers about its revocation.
    pub(super) fn ocsp_urls(&self) -> Result<Vec<String>, String> {
        let access = self.extension::<AuthorityInfoAccessSyntax>("authority information access")?;
        let all = access.map(|(_, access)| access.0).unwrap_or_default();
        Ok(all.iter().filter(|a| a.access_method == OCSP).filter_map(|a| url(&a.access_location)).collect())
    }
}

/// The addresses that distribution points name in full.
pub(super) fn point_urls(points: &[DistributionPoint]) -> Vec<String> {
    let names = points.iter().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    names.flatten().filter_map(url).collect()
}

/// The address in a general name.
pub(super) fn url(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    }
}

/// The time of an X.509 time.
pub(super) fn time(time: &Time) -> DateTime<Utc> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The first element of a signed structure, byte for byte: what its signature is over. Encoding it anew could differ.
pub(super) fn signed_part(der: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
    reader.tlv_bytes()
}

/// A name as DER.
pub(super) fn name_der(name: &Name) -> Vec<u8> {
    name.to_der().unwrap_or_default()
}
