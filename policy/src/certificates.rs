//! Authorities for signing certificates outside Sigstore, and chains that lead to them.

use chrono::{DateTime, Utc};
use der::{Decode, Encode};
use rreg_oci::Digest;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sigstore_verify::crypto::WEBPKI_VERIFICATION_ALGS;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use crate::key::PublicKey;
use crate::signer::Signer;
use crate::trust::TrustError;

/// Longest PEM text that is read.
const MAX_PEM: usize = 1 << 20;
/// Most certificates in one file of roots.
const MAX_ROOTS: usize = 256;
/// `id-kp-codeSigning` (RFC 5280, section 4.2.1.12), the content octets.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// `id-kp-timeStamping` (the same section), the content octets.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
/// `anyExtendedKeyUsage` (the same section), the content octets.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// Root certificates.
#[derive(Clone)]
pub struct CertificateRoots {
    id: Digest,
    roots: Vec<Root>,
    /// Certificates (DER) that timestamps are signed with: their authorities need not send them along.
    stampers: Vec<Vec<u8>>,
}

#[derive(Clone)]
struct Root {
    certificate: Certificate,
    anchor: TrustAnchor<'static>,
    id: Digest,
}

/// A chain that leads to a root.
pub(crate) struct Verified {
    /// The signing certificate's key.
    pub(crate) key: PublicKey,
    /// Who that is.
    pub(crate) signer: Signer,
    /// When the first certificate of the chain ends.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Why a chain does not lead to a root.
pub(crate) enum ChainError {
    /// No authority among the roots has issued it: another root may have.
    Unknown(String),
    /// The certificate is no good under any root.
    Wrong(&'static str, String),
}

impl CertificateRoots {
    /// Reads one or more authorities' certificates in PEM.
    pub fn parse(pem: &[u8]) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError::new("certificate roots", why);
        if pem.len() > MAX_PEM {
            return Err(wrong(format!("they have more than {MAX_PEM} bytes")));
        }
        let certificates =
            read_pem(pem).map_err(|error| wrong(format!("they are no PEM certificates: {error}")))?;
        Self::made_of(certificates)
    }

    /// The same of certificates in DER.
    pub(crate) fn of(ders: impl Iterator<Item = Vec<u8>>) -> Result<Self, TrustError> {
        let read = |der: Vec<u8>| Some((Certificate::from_der(&der).ok()?, der));
        Self::made_of(ders.filter_map(read).collect())
    }

    fn made_of(certificates: Vec<(Certificate, Vec<u8>)>) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError::new("certificate roots", why);
        if certificates.is_empty() || certificates.len() > MAX_ROOTS {
            return Err(wrong(format!(
                "there are {} of them; 1 to {MAX_ROOTS} are needed",
                certificates.len()
            )));
        }
        let (stampers, authorities): (Vec<_>, Vec<_>) =
            certificates.into_iter().partition(|(certificate, _)| stamps(certificate));
        if authorities.is_empty() {
            return Err(wrong("they only sign timestamps; the authorities of signers are needed too".into()));
        }
        let mut stampers: Vec<Vec<u8>> = stampers.into_iter().map(|(_, der)| der).collect();
        stampers.sort();
        stampers.dedup();
        let mut roots = authorities
            .into_iter()
            .map(|(certificate, der)| Root::new(certificate, &der))
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        roots.sort_by_key(|a| a.id);
        roots.dedup_by(|a, b| a.id == b.id);
        let of_stampers = stampers.iter().map(|der| Digest::sha256(der));
        let ids = roots.iter().map(|root| root.id).chain(of_stampers);
        let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
        Ok(Self { id: Digest::sha256(ids.join("\n").as_bytes()), roots, stampers })
    }

    /// Digest of the certificates, whatever their order.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// All certificates (DER), those that sign timestamps among them.
    pub(crate) fn ders(&self) -> Vec<Vec<u8>> {
        let roots = self.roots.iter().filter_map(|root| root.certificate.to_der().ok());
        roots.chain(self.stampers.iter().cloned()).collect()
    }

    /// Whether `leaf` (DER) leads through `others` to a root at a time, for signing code.
    pub(crate) fn verify(
        &self,
        leaf: &[u8],
        others: &[Vec<u8>],
        at: DateTime<Utc>,
    ) -> Result<Verified, ChainError> {
        let malformed =
            |error: String| ChainError::Wrong("certificate", format!("it cannot be read: {error}"));
        let certificate = Certificate::from_der(leaf).map_err(|error| malformed(error.to_string()))?;
        let seconds =
            u64::try_from(at.timestamp()).map_err(|_| malformed("the time is before 1970".into()))?;
        let at_unix = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let der = CertificateDer::from(leaf);
        let end = EndEntityCert::try_from(&der).map_err(|error| malformed(error.to_string()))?;
        // A root that is brought along proves nothing; the configured ones do.
        let issued = |der: &&Vec<u8>| Certificate::from_der(der).is_ok_and(|c| !is_root(&c));
        let between = others.iter().filter(issued).map(|der| CertificateDer::from(der.as_slice()));
        let between: Vec<CertificateDer<'_>> = between.collect();
        // webpki does not look at a root's own dates.
        let usable: Vec<&Root> = self.roots.iter().filter(|root| root.holds_at(at)).collect();
        let anchors: Vec<TrustAnchor<'_>> = usable.iter().map(|root| root.anchor.clone()).collect();
        // A certificate that does not say what it is for is for everything (RFC 5280, section 4.2.1.12), as cosign has it.
        let usage = KeyUsage::required_if_present(usage_of(&certificate));
        let path = end
            .verify_for_usage(WEBPKI_VERIFICATION_ALGS, &anchors, &between, at_unix, usage, None, None)
            .map_err(|error| self.explain(&error, &certificate, at))?;
        let root = usable
            .iter()
            .find(|root| root.anchor == *path.anchor())
            .ok_or_else(|| ChainError::Unknown("it leads to no configured authority".into()))?;
        let ends =
            path.intermediate_certificates().filter_map(|cert| Certificate::from_der(&cert.der()).ok());
        let until =
            ends.chain([certificate.clone(), root.certificate.clone()]).filter_map(|c| not_after(&c)).min();
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der();
        let spki = spki.map_err(|error| malformed(error.to_string()))?;
        let key = PublicKey::from_der(&spki).map_err(|error| malformed(error.to_string()))?;
        let subject = certificate.tbs_certificate.subject.to_string();
        let signer = Signer::Certificate { subject, names: names(&certificate), root: root.id };
        Ok(Verified { key, signer, until })
    }

    fn explain(&self, error: &webpki::Error, leaf: &Certificate, at: DateTime<Utc>) -> ChainError {
        let subject = &leaf.tbs_certificate.subject;
        match error {
            webpki::Error::UnknownIssuer if !self.roots.iter().any(|root| root.holds_at(at)) => {
                ChainError::Wrong("certificate-time", format!("no configured authority holds at {at}"))
            }
            webpki::Error::UnknownIssuer => ChainError::Unknown(format!(
                "the certificate of {subject}, issued by {}, leads to none of the {} configured authorities",
                leaf.tbs_certificate.issuer,
                self.roots.len()
            )),
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                let validity = &leaf.tbs_certificate.validity;
                ChainError::Wrong(
                    "certificate-time",
                    format!(
                        "a certificate in the chain of {subject} ({} to {}) does not hold at {at}",
                        validity.not_before, validity.not_after
                    ),
                )
            }
            other => {
                ChainError::Wrong("certificate-chain", format!("the chain of {subject} is wrong: {other}"))
            }
        }
    }
}

impl Root {
    fn new(certificate: Certificate, der: &[u8]) -> Result<Self, String> {
        let borrowed = CertificateDer::from(der);
        let subject = &certificate.tbs_certificate.subject;
        let constraints = certificate.tbs_certificate.get::<x509_cert::ext::pkix::BasicConstraints>();
        if !constraints.is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca)) {
            return Err(format!("{subject} is no authority: its basic constraints do not say CA"));
        }
        let anchor = webpki::anchor_from_trusted_cert(&borrowed)
            .map_err(|error| format!("{subject} cannot be an authority: {error}"))?
            .to_owned();
        Ok(Self { id: Digest::sha256(der), certificate, anchor })
    }

    fn holds_at(&self, at: DateTime<Utc>) -> bool {
        let from = self.certificate.tbs_certificate.validity.not_before.to_system_time();
        DateTime::<Utc>::from(from) <= at && not_after(&self.certificate).is_none_or(|until| at <= until)
    }
}

impl std::fmt::Debug for CertificateRoots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateRoots({} {})", self.roots.len(), self.id)
    }
}

/// The certificates of a PEM text with their DER, wherever its lines break.
pub(crate) fn read_pem(pem: &[u8]) -> Result<Vec<(Certificate, Vec<u8>)>, String> {
    let read = |der: Result<CertificateDer<'static>, pem::Error>| {
        let der = der.map_err(|error| error.to_string())?;
        let certificate = Certificate::from_der(&der).map_err(|error| error.to_string())?;
        Ok((certificate, der.to_vec()))
    };
    CertificateDer::pem_slice_iter(pem).map(read).collect()
}

/// Whether it is issued by itself.
pub(crate) fn is_root(certificate: &Certificate) -> bool {
    certificate.tbs_certificate.subject == certificate.tbs_certificate.issuer
}

/// Whether it is for signing timestamps, and no authority.
fn stamps(certificate: &Certificate) -> bool {
    let tbs = &certificate.tbs_certificate;
    let is_authority = tbs.get::<x509_cert::ext::pkix::BasicConstraints>();
    let is_authority = is_authority.is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca));
    let usage = tbs.get::<ExtendedKeyUsage>();
    let stamps = |usage: &ExtendedKeyUsage| usage.0.iter().all(|oid| oid.as_bytes() == TIME_STAMPING);
    !is_authority && usage.is_ok_and(|found| found.is_some_and(|(_, usage)| stamps(&usage)))
}

/// The usage that a signer's certificate must have where it says any: signing code, unless it says that it is for all.
fn usage_of(certificate: &Certificate) -> &'static [u8] {
    let Ok(Some((_, usage))) = certificate.tbs_certificate.get::<ExtendedKeyUsage>() else {
        return CODE_SIGNING;
    };
    let is_for = |wanted: &[u8]| usage.0.iter().any(|oid| oid.as_bytes() == wanted);
    if is_for(ANY_USAGE) && !is_for(CODE_SIGNING) { ANY_USAGE } else { CODE_SIGNING }
}

fn not_after(certificate: &Certificate) -> Option<DateTime<Utc>> {
    let seconds = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
}

/// The subject alternative names that are text.
fn names(certificate: &Certificate) -> Vec<String> {
    let Ok(Some((_, names))) = certificate.tbs_certificate.get::<SubjectAltName>() else { return Vec::new() };
    let text = |name: &GeneralName| match name {
        GeneralName::Rfc822Name(name)
        | GeneralName::DnsName(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        _ => None,
    };
    names.0.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
