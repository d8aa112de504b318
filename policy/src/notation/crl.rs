//! Revocation lists (RFC 5280, section 5): base lists, and delta lists that a base list points to.

use chrono::{DateTime, Utc};
use der::Decode;
use der::asn1::GeneralizedTime;
use der::oid::AssociatedOid;
use der::oid::ObjectIdentifier;
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::CrlReason;
use x509_cert::ext::pkix::crl::{BaseCrlNumber, CrlNumber, FreshestCrl, IssuingDistributionPoint};
use x509_cert::ext::pkix::name::DistributionPointName;

use super::algorithm::check_signature;
use super::certificate::{Certificate, FRESHEST_CRL, point_urls, signed_part, time, url};
use super::revocation::{Fetch, Inquiry, MAX_CRL, SKEW, Status};

/// The issuing distribution point. x509-cert 0.2.5 gives its type another identifier (that of subjectInfoAccess), under
/// which it would never be found.
const SCOPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");

/// A list with its bytes.
pub(super) struct Crl<'a> {
    bytes: &'a [u8],
    list: CertificateList,
}

/// Asks the lists of a certificate, all of them: one may be for some reasons only.
pub(super) fn check(
    inquiry: &mut Inquiry<'_>,
    certificate: &Certificate,
    issuer: &Certificate,
    urls: &[String],
    signed_at: Option<DateTime<Utc>>,
) -> Status {
    for url in urls {
        match check_one(inquiry, certificate, issuer, url, signed_at) {
            Ok(None) => {}
            Ok(Some(revoked)) => return Status::Revoked(revoked),
            Err(why) => return Status::Unknown(format!("CRL: {why}")),
        }
    }
    Status::Good
}

/// Asks one list; how the certificate was revoked, if it was.
fn check_one(
    inquiry: &mut Inquiry<'_>,
    certificate: &Certificate,
    issuer: &Certificate,
    url: &str,
    signed_at: Option<DateTime<Utc>>,
) -> Result<Option<String>, String> {
    let base_bytes = fetch(inquiry, url)?;
    let base = Crl::parse(&base_bytes).map_err(|why| format!("the list of {url}: {why}"))?;
    let delta_urls = base.freshest().map_err(|why| format!("the list of {url}: {why}"))?;
    let delta_bytes = fetch_delta(inquiry, &delta_urls)?;
    let delta =
        delta_bytes.as_deref().map(Crl::parse).transpose().map_err(|why| format!("the delta list: {why}"))?;
    // A delta list that only the certificate names may have another scope than the base list, as notation has it.
    if certificate.has(FRESHEST_CRL) && delta.is_none() {
        return Err(format!("the certificate names a delta list and the list of {url} does not"));
    }
    let now = inquiry.now;
    base.check(issuer, now).map_err(|why| format!("the list of {url}: {why}"))?;
    base.check_scope(certificate, url).map_err(|why| format!("the list of {url}: {why}"))?;
    if let Some(delta) = &delta {
        delta.check(issuer, now).map_err(|why| format!("the delta list: {why}"))?;
        delta.check_extends(&base).map_err(|why| format!("the delta list: {why}"))?;
        delta.check_scope(certificate, url).map_err(|why| format!("the delta list: {why}"))?;
    }
    for list in [Some(&base), delta.as_ref()].into_iter().flatten() {
        if let Some(end) = list.next_update() {
            inquiry.holds_until(end);
        }
    }
    let entries = base.entries().chain(delta.iter().flat_map(Crl::entries));
    let found = is_revoked(entries, certificate, signed_at)?;
    Ok(found.map(|reason| format!("{:?} was revoked ({reason}), says {url}", certificate.subject())))
}

fn fetch(inquiry: &mut Inquiry<'_>, url: &str) -> Result<bytes::Bytes, String> {
    let ends = |body: &[u8]| Crl::parse(body).ok().and_then(|list| list.next_update());
    inquiry.answer(Fetch::Crl { url: url.to_owned() }, MAX_CRL, ends)
}

/// The addresses of a delta list are for the same list (RFC 5280, section 5.2.6): the first that answers is taken.
fn fetch_delta(inquiry: &mut Inquiry<'_>, urls: &[String]) -> Result<Option<bytes::Bytes>, String> {
    let mut why = None;
    for url in urls {
        match fetch(inquiry, url) {
            Ok(body) if Crl::parse(&body).is_ok() => return Ok(Some(body)),
            Ok(_) => why = Some(format!("the delta list of {url} cannot be read")),
            Err(error) => why = Some(error),
        }
    }
    why.map_or(Ok(None), Err)
}

impl<'a> Crl<'a> {
    /// Reads DER.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let list = CertificateList::from_der(bytes).map_err(|error| format!("it is no CRL: {error}"))?;
        if list.signature_algorithm != list.tbs_cert_list.signature {
            return Err("its two signature algorithms differ (RFC 5280, 5.1.1.2)".to_owned());
        }
        Ok(Self { bytes, list })
    }

    fn extensions(&self) -> Option<&Extensions> {
        self.list.tbs_cert_list.crl_extensions.as_ref()
    }

    fn extension<'b, T: Decode<'b>>(&'b self, oid: ObjectIdentifier) -> Result<Option<T>, String> {
        let found = self.extensions().into_iter().flatten().find(|extension| extension.extn_id == oid);
        let read = found.map(|extension| T::from_der(extension.extn_value.as_bytes())).transpose();
        read.map_err(|error| format!("its extension {oid} is malformed: {error}"))
    }

    /// Where its delta list lies.
    pub(super) fn freshest(&self) -> Result<Vec<String>, String> {
        Ok(self
            .extension::<FreshestCrl>(FreshestCrl::OID)?
            .map(|points| point_urls(&points.0))
            .unwrap_or_default())
    }

    fn next_update(&self) -> Option<DateTime<Utc>> {
        self.list.tbs_cert_list.next_update.as_ref().map(time)
    }

    fn entries(&self) -> impl Iterator<Item = &RevokedCert> {
        self.list.tbs_cert_list.revoked_certificates.iter().flatten()
    }

    /// Whether the issuer signed it, may do so, and it holds now.
    fn check(&self, issuer: &Certificate, now: DateTime<Utc>) -> Result<(), String> {
        let tbs = &self.list.tbs_cert_list;
        if tbs.issuer != issuer.inner().tbs_certificate.subject {
            return Err(format!("it is not by {:?}", issuer.subject()));
        }
        if !issuer.is_ca() {
            return Err(format!("{:?} is no authority", issuer.subject()));
        }
        if matches!(issuer.key_usage()?, Some((_, usage)) if !usage.crl_sign()) {
            return Err(format!("{:?} may not sign revocation lists (key usage)", issuer.subject()));
        }
        let signed = signed_part(self.bytes).map_err(|error| error.to_string())?;
        let signature = self.list.signature.as_bytes().unwrap_or_default();
        check_signature(issuer.key(), &self.list.signature_algorithm, None, signed, signature)?;
        if time(&tbs.this_update) > now + SKEW {
            return Err(format!("it begins at {} only", time(&tbs.this_update)));
        }
        match self.next_update() {
            None => return Err("it does not say until when it holds (nextUpdate)".to_owned()),
            Some(end) if now > end => return Err(format!("it ended at {end}")),
            Some(_) => {}
        }
        let known = [SCOPE, BaseCrlNumber::OID];
        let unknown =
            self.extensions().into_iter().flatten().find(|e| e.critical && !known.contains(&e.extn_id));
        unknown.map_or(Ok(()), |e| Err(format!("its critical extension {} is not understood", e.extn_id)))
    }

    /// Whether it may speak about a certificate (RFC 5280, section 5.2.5). Without this a list for other certificates of
    /// the same authority, put in its place, would say that nothing was revoked.
    fn check_scope(&self, certificate: &Certificate, from: &str) -> Result<(), String> {
        let Some(scope) = self.extension::<IssuingDistributionPoint>(SCOPE)? else { return Ok(()) };
        let authority = certificate.is_ca();
        let other = scope.only_contains_attribute_certs
            || scope.only_contains_user_certs && authority
            || scope.only_contains_ca_certs && !authority;
        if other || scope.indirect_crl {
            return Err("it is for other certificates (issuing distribution point)".to_owned());
        }
        let Some(DistributionPointName::FullName(names)) = &scope.distribution_point else { return Ok(()) };
        let mut urls = names.iter().filter_map(url).peekable();
        if urls.peek().is_some() && !urls.any(|name| name == from) {
            return Err("it is for another distribution point".to_owned());
        }
        Ok(())
    }

    /// Whether it is a delta list on a base list (RFC 5280, section 5.2.4).
    fn check_extends(&self, base: &Crl<'_>) -> Result<(), String> {
        let number = |list: &Crl<'_>| {
            let found = list.extension::<CrlNumber>(CrlNumber::OID)?.map(|number| number.0);
            found.ok_or_else(|| "a list has no number".to_owned())
        };
        let (own, of_base) = (number(self)?, number(base)?);
        if !is_less(of_base.as_bytes(), own.as_bytes()) {
            return Err("its number is not greater than that of the base list".to_owned());
        }
        let least = self
            .extension::<BaseCrlNumber>(BaseCrlNumber::OID)?
            .ok_or("it does not say that it is one (delta CRL indicator)")?;
        if is_less(of_base.as_bytes(), least.0.as_bytes()) {
            return Err("it is for a later base list".to_owned());
        }
        Ok(())
    }
}

/// Whether one big-endian number without leading zeros is less than another.
fn is_less(one: &[u8], other: &[u8]) -> bool {
    (one.len(), one) < (other.len(), other)
}

/// Whether the entries say that a certificate is revoked, and why. A hold may be taken back: the latest of a hold and a
/// removal counts; any other reason is final.
fn is_revoked<'a>(
    entries: impl Iterator<Item = &'a RevokedCert>,
    certificate: &Certificate,
    signed_at: Option<DateTime<Utc>>,
) -> Result<Option<String>, String> {
    let serial = &certificate.inner().tbs_certificate.serial_number;
    let mut latest: Option<(DateTime<Utc>, CrlReason)> = None;
    for entry in entries.filter(|entry| entry.serial_number == *serial) {
        let (reason, invalid_from) = read_entry(entry)?;
        if matches!((signed_at, invalid_from), (Some(signed), Some(from)) if signed < from) {
            return Ok(None);
        }
        match reason {
            CrlReason::CertificateHold | CrlReason::RemoveFromCRL => {
                let at = time(&entry.revocation_date);
                if latest.is_none_or(|(before, _)| before < at) {
                    latest = Some((at, reason));
                }
            }
            other => return Ok(Some(format!("{other:?}"))),
        }
    }
    Ok(latest
        .filter(|(_, reason)| *reason == CrlReason::CertificateHold)
        .map(|(_, reason)| format!("{reason:?}")))
}

fn read_entry(entry: &RevokedCert) -> Result<(CrlReason, Option<DateTime<Utc>>), String> {
    let (mut reason, mut invalid_from) = (CrlReason::Unspecified, None);
    for extension in entry.crl_entry_extensions.iter().flatten() {
        let value = extension.extn_value.as_bytes();
        let malformed = |error: der::Error| format!("an entry has a malformed extension: {error}");
        if extension.extn_id == CrlReason::OID {
            reason = CrlReason::from_der(value).map_err(malformed)?;
        } else if extension.extn_id == INVALIDITY_DATE {
            invalid_from = Some(generalized(value).map_err(malformed)?);
        } else if extension.critical {
            return Err(format!("an entry's critical extension {} is not understood", extension.extn_id));
        }
    }
    Ok((reason, invalid_from))
}

/// A GeneralizedTime.
pub(super) fn generalized(value: &[u8]) -> der::Result<DateTime<Utc>> {
    Ok(time(&GeneralizedTime::from_der(value)?.into()))
}
