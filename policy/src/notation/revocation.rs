//! Whether certificates were revoked, from answers that somebody else fetched.
//!
//! Nothing here asks a network. [`crate::notation::wanted`] says what is missing, the caller fetches it (HTTP, bounded
//! by [`MAX_CRL`] and [`MAX_OCSP`]), notes the answer or the failure here and verifies again. Each certificate but the
//! root is asked about by OCSP, and where that gives no answer by its revocation list (CRL).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use super::{crl, ocsp};

/// Bytes of a CRL, as notation limits them.
pub const MAX_CRL: usize = 32 << 20;
/// Bytes of an OCSP response.
pub const MAX_OCSP: usize = 64 << 10;

/// How far clocks may differ.
pub(super) const SKEW: TimeDelta = TimeDelta::minutes(5);
/// After what time a failure, or an answer that was of no use when it came, is asked for again.
pub(super) const RETRY: TimeDelta = TimeDelta::minutes(5);
/// Addresses of one certificate that are asked.
const MAX_URLS: usize = 8;

/// Whether certificates are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationMode {
    /// Yes, as the level of the trust policy says.
    #[default]
    Check,
    /// No, whatever a trust policy says.
    Off,
}

/// What it means that no answer could be had: the rule for being offline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnknownRevocation {
    /// The check could not be made: `error`.
    #[default]
    Error,
    /// The certificate counts as not revoked. A certificate known to be revoked still does not pass.
    Accept,
}

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fetch {
    /// GET: a revocation list as DER.
    Crl {
        /// An `http:` address.
        url: String,
    },
    /// POST with the content type `application/ocsp-request`: an answer of the type `application/ocsp-response`.
    Ocsp {
        /// An `http:` address.
        url: String,
        /// The body.
        request: Vec<u8>,
    },
}

/// What came of fetching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body, or why there is none.
    pub body: Result<Bytes, String>,
    /// When it was asked for.
    pub fetched_at: DateTime<Utc>,
}

/// How revocation is looked at, and the answers at hand.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// Whether certificates are looked up.
    pub mode: RevocationMode,
    /// What it means that no answer could be had.
    pub unknown: UnknownRevocation,
    answers: BTreeMap<Fetch, Answer>,
}

impl Revocation {
    /// Certificates are looked up, an absent answer is an error, and none is at hand yet.
    pub fn check() -> Self {
        Self::default()
    }

    /// Certificates are not looked up.
    pub fn off() -> Self {
        Self { mode: RevocationMode::Off, ..Self::default() }
    }

    /// Absent answers are accepted.
    pub fn accepting_unknown(mut self) -> Self {
        self.unknown = UnknownRevocation::Accept;
        self
    }

    /// Notes what came of fetching something.
    pub fn insert(&mut self, fetch: Fetch, answer: Answer) {
        self.answers.insert(fetch, answer);
    }

    /// Forgets answers that were fetched before a time.
    pub fn forget_before(&mut self, time: DateTime<Utc>) {
        self.answers.retain(|_, answer| answer.fetched_at >= time);
    }

    /// The answers at hand.
    pub fn answers(&self) -> impl Iterator<Item = (&Fetch, &Answer)> {
        self.answers.iter()
    }
}

/// What is known of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Revoked(String),
    Unknown(String),
}

/// One round of questions.
pub(super) struct Inquiry<'a> {
    revocation: &'a Revocation,
    pub(super) now: DateTime<Utc>,
    /// What is not at hand.
    pub(super) wanted: BTreeSet<Fetch>,
    /// Until when all answers that were used hold.
    pub(super) until: Option<DateTime<Utc>>,
}

impl<'a> Inquiry<'a> {
    pub(super) fn new(revocation: &'a Revocation, now: DateTime<Utc>) -> Self {
        Self { revocation, now, wanted: BTreeSet::new(), until: None }
    }

    /// The state of a whole chain, leaf first and checked: the worst of its certificates'. `signed_at`: when an
    /// authentic signing time says that it was signed, for revocations that began later (RFC 5280, section 5.3.2).
    pub(super) fn chain(&mut self, chain: &[Certificate], signed_at: Option<DateTime<Utc>>) -> Status {
        let mut unknown = None;
        for pair in chain.windows(2) {
            let [certificate, issuer] = pair else { continue };
            match self.certificate(certificate, issuer, signed_at) {
                Status::Good => {}
                Status::Revoked(why) => return Status::Revoked(why),
                Status::Unknown(why) => unknown = unknown.or(Some(why)),
            }
        }
        unknown.map_or(Status::Good, Status::Unknown)
    }

    fn certificate(
        &mut self,
        certificate: &Certificate,
        issuer: &Certificate,
        signed_at: Option<DateTime<Utc>>,
    ) -> Status {
        let subject = certificate.subject();
        let urls = certificate.ocsp_urls().and_then(|ocsp| certificate.crl_urls().map(|crl| (ocsp, crl)));
        let (ocsp_urls, crl_urls) = match urls {
            Ok((ocsp, crl)) if ocsp.len() <= MAX_URLS && crl.len() <= MAX_URLS => (ocsp, crl),
            Ok(_) => {
                return Status::Unknown(format!("{subject:?} names more than {MAX_URLS} addresses to ask"));
            }
            Err(why) => return Status::Unknown(why),
        };
        let mut why = Vec::new();
        let before = self.wanted.len();
        if !ocsp_urls.is_empty() {
            match ocsp::check(self, certificate, issuer, &ocsp_urls, signed_at) {
                Status::Unknown(unknown) => why.push(unknown),
                known => return known,
            }
        }
        // Lists are long: they are not asked for while a responder may still answer.
        let pending = (self.wanted.len() > before).then(|| self.wanted.clone());
        if !crl_urls.is_empty() {
            let status = crl::check(self, certificate, issuer, &crl_urls, signed_at);
            self.wanted = pending.unwrap_or_else(|| std::mem::take(&mut self.wanted));
            match status {
                Status::Unknown(unknown) => why.push(unknown),
                known => return known,
            }
        }
        // A certificate that names nobody to ask cannot be revoked.
        if why.is_empty() {
            Status::Good
        } else {
            Status::Unknown(format!("{subject:?}: {}", why.join("; ")))
        }
    }

    /// An answer at hand. One that is absent, or that has become useless, is put on the list of what is wanted;
    /// `ends` tells until when a body holds.
    pub(super) fn answer(
        &mut self,
        fetch: Fetch,
        most: usize,
        ends: impl Fn(&[u8]) -> Option<DateTime<Utc>>,
    ) -> Result<Bytes, String> {
        let (Fetch::Crl { url } | Fetch::Ocsp { url, .. }) = &fetch;
        let url = url.clone();
        if !url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            return Err(format!("{url:?} is no http: address"));
        }
        let Some(answer) = self.revocation.answers.get(&fetch) else {
            self.wanted.insert(fetch);
            return Err(format!("the answer of {url} is not at hand"));
        };
        let old = answer.fetched_at + RETRY < self.now;
        match &answer.body {
            Err(why) => {
                if old {
                    self.wanted.insert(fetch);
                }
                Err(format!("{url} could not be asked: {why}"))
            }
            Ok(body) if body.len() > most => Err(format!("the answer of {url} has more than {most} bytes")),
            Ok(body) => {
                let usable = ends(body).is_some_and(|end| self.now <= end);
                if !usable && old {
                    self.wanted.insert(fetch);
                }
                Ok(body.clone())
            }
        }
    }

    /// Notes that the outcome rests on an answer that ends at a time.
    pub(super) fn holds_until(&mut self, end: DateTime<Utc>) {
        self.until = Some(self.until.map_or(end, |until| until.min(end)));
    }
}
