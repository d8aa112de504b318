//! The five checks of a signature, in the order in which notation makes them: integrity, authenticity, expiry, authentic
//! time, revocation (Notary Project trust policy specification, "Signature verification").

use chrono::{DateTime, Utc};

use super::certificate::Certificate;
use super::envelope::{Envelope, EnvelopeError, PLUGIN, PLUGIN_VERSION, Scheme};
use super::levels::{Action, Level};
use super::revocation::{Inquiry, RETRY, RevocationMode, Status, UnknownRevocation};
use super::timestamp::{self, Timestamp, TimestampError};
use super::trust::NotationTrust;
use super::trust_policy::VerifyTimestamp;
use crate::context::VerifyContext;
use crate::evidence::Evidence;
use crate::signer::Signer;
use crate::verdict::{Checks, Verdict, Verification};

/// A verification on its way.
pub(super) struct Verifier<'a> {
    trust: &'a NotationTrust,
    context: &'a VerifyContext<'a>,
    pub(super) inquiry: Inquiry<'a>,
    checks: Checks,
    /// When time alone changes the outcome.
    ends: Vec<DateTime<Utc>>,
}

/// What a check found, where it did not pass.
type Found = (Verdict, String);

impl<'a> Verifier<'a> {
    pub(super) fn new(trust: &'a NotationTrust, context: &'a VerifyContext<'a>) -> Self {
        let inquiry = Inquiry::new(context.revocation, context.now);
        Self { trust, context, inquiry, checks: Checks::new(), ends: Vec::new() }
    }

    fn level(&self) -> &'a Level {
        self.trust.level()
    }

    /// Notes a check under the action of the level. Whether it passed.
    fn note(&mut self, name: &'static str, action: Action, found: Result<String, Found>) -> bool {
        let enforced = action == Action::Enforce;
        match found {
            Ok(detail) => {
                self.checks.note(name, Verdict::Valid, enforced, detail);
                true
            }
            Err((verdict, detail)) => {
                self.checks.note(name, verdict, enforced, detail);
                false
            }
        }
    }

    /// Makes all checks.
    pub(super) fn run(&mut self, evidence: &Evidence) -> Verification {
        if self.level().is_skip() {
            let why = format!("the trust policy statement {:?} skips verification", self.trust.name());
            return Verification::failed("level", Verdict::Unverifiable, why);
        }
        let envelope = match Envelope::parse(&evidence.media_type, &evidence.content, self.context.limits) {
            Ok(envelope) => envelope,
            Err(EnvelopeError::Limit(why)) => return Verification::failed("limits", Verdict::Error, why),
            Err(EnvelopeError::Type(why)) => return Verification::failed("envelope", Verdict::Error, why),
            Err(EnvelopeError::Malformed(why)) => {
                return Verification::failed("envelope", Verdict::Invalid, why);
            }
        };
        let integrity = envelope.check_integrity().map(|()| {
            format!("signed with {} by the key of the certificate", envelope.protected.algorithm.name())
        });
        let integrity = integrity.map_err(|why| (Verdict::Invalid, why));
        let subject = check_subject(&envelope, evidence);
        let critical = check_attributes(&envelope);
        // Nothing that an envelope says is looked at further before its signature is known to be right.
        if !self.note("integrity", Action::Enforce, integrity) {
            return std::mem::take(&mut self.checks).finish();
        }
        self.note("subject", Action::Enforce, subject);
        self.note("critical-attributes", Action::Enforce, critical);
        let signer = self.authenticity(&envelope);
        self.expiry(&envelope);
        let stamped = self.authentic_time(&envelope, signer.is_some());
        self.revocation(&envelope, signer.is_some());
        self.finish(&envelope, signer, stamped)
    }

    /// Whether the chain leads to a trusted certificate, and the signer is a trusted identity. The signer, if the chain
    /// does; and whether the identity passed.
    fn authenticity(&mut self, envelope: &Envelope) -> Option<(Signer, bool)> {
        let action = self.level().authenticity;
        let scheme = envelope.protected.scheme;
        let subject = envelope.chain.first().map(Certificate::subject).unwrap_or_default();
        let mut anchors = self.trust.anchors(scheme).peekable();
        if anchors.peek().is_none() {
            let kind = scheme.store_type();
            let why = format!("{subject} signs under {scheme}, and the trust policy names no {kind} store");
            self.note("authenticity", action, Err((Verdict::Unverifiable, why)));
            return None;
        }
        let found = anchors.find(|(_, anchor)| envelope.chain.contains(anchor));
        let Some((store, anchor)) = found else {
            let root = envelope.chain.last().map(Certificate::subject).unwrap_or_default();
            let why = format!(
                "{subject} leads to {root}, which is in none of the trust stores; put that root into a {} store to trust it",
                scheme.store_type()
            );
            self.note("authenticity", action, Err((Verdict::Unverifiable, why)));
            return None;
        };
        self.note("authenticity", action, Ok(format!("{subject} leads to {} in {store}", anchor.subject())));
        let trusted = self.trust.trusts(&subject);
        let identity = if trusted {
            Ok(format!("{subject} is a trusted identity"))
        } else {
            let identities = self.trust.identities();
            Err((
                Verdict::Invalid,
                format!("it is signed by {subject}; the trusted identities are {identities}"),
            ))
        };
        self.note("identity", action, identity);
        let signer = Signer::Notation { subject, scheme: scheme.to_string(), store, root: anchor.digest() };
        Some((signer, trusted))
    }

    fn expiry(&mut self, envelope: &Envelope) {
        let action = self.level().expiry;
        let found = match envelope.protected.expiry {
            None => Ok("the signature has no end".to_owned()),
            Some(end) if self.context.now < end => {
                self.ends.push(end);
                Ok(format!("the signature holds until {end}"))
            }
            Some(end) => Err((Verdict::Invalid, format!("the signature ended at {end}"))),
        };
        self.note("expiry", action, found);
    }

    /// Whether the certificates held when it was signed. When that was, where it is proved.
    fn authentic_time(&mut self, envelope: &Envelope, trusted: bool) -> Option<DateTime<Utc>> {
        let (signed_at, found) = match envelope.protected.scheme {
            Scheme::X509 => self.timestamp(envelope, trusted),
            Scheme::SigningAuthority => {
                let at = envelope.protected.signing_time;
                let outside = envelope.chain.iter().find(|certificate| !certificate.holds_at(at));
                let found = match outside {
                    Some(one) => Err((
                        Verdict::Invalid,
                        format!("{:?} did not hold at {at}, when it was signed", one.subject()),
                    )),
                    None => Ok(format!("signed at {at}, says the signing authority")),
                };
                (Some(at), found)
            }
        };
        let passed = self.note("authentic-timestamp", self.level().authentic_timestamp, found);
        signed_at.filter(|_| passed)
    }

    /// Under `notary.x509`: by a time stamp, or by the certificates holding now.
    fn timestamp(
        &mut self,
        envelope: &Envelope,
        trusted: bool,
    ) -> (Option<DateTime<Utc>>, Result<String, Found>) {
        let now = self.context.now;
        let ended = envelope.chain.iter().any(|certificate| now > certificate.not_after());
        let wanted = self.trust.verify_timestamp() == VerifyTimestamp::Always || ended;
        let Some(roots) = self.trust.time_stampers().filter(|_| wanted) else {
            return (None, self.hold_now(envelope));
        };
        let Some(token) = &envelope.timestamp else {
            let why =
                "the signature has no time stamp, and the trust policy asks for one (it names a tsa store)";
            return (None, Err((Verdict::Invalid, why.to_owned())));
        };
        let stamp = match timestamp::verify(token, &envelope.signature, (&roots, &[]), self.context.limits) {
            Ok(stamp) => stamp,
            Err(TimestampError::Limit(why)) => return (None, Err((Verdict::Error, why))),
            Err(TimestampError::Wrong(why)) => return (None, Err((Verdict::Invalid, why))),
            Err(TimestampError::Untrusted(why)) => return (None, Err((Verdict::Unverifiable, why))),
        };
        (Some(stamp.latest), self.stamped(envelope, &stamp, trusted))
    }

    fn stamped(&mut self, envelope: &Envelope, stamp: &Timestamp, trusted: bool) -> Result<String, Found> {
        let (earliest, latest) = (stamp.earliest, stamp.latest);
        let outside = envelope.chain.iter().find(|one| !one.holds_at(earliest) || !one.holds_at(latest));
        if let Some(one) = outside {
            let (from, to) = (one.not_before(), one.not_after());
            let why = format!("it was stamped at {latest}; {:?} holds from {from} to {to}", one.subject());
            return Err((Verdict::Invalid, why));
        }
        let authority = stamp.chain.first().map(Certificate::subject).unwrap_or_default();
        let asked = trusted && self.context.revocation.mode == RevocationMode::Check;
        if asked {
            self.ask(&stamp.chain, None)
                .map_err(|(verdict, why)| (verdict, format!("the time stamp: {why}")))?;
        }
        Ok(format!("stamped at {latest} by {authority}"))
    }

    /// Whether the whole chain holds now.
    fn hold_now(&mut self, envelope: &Envelope) -> Result<String, Found> {
        let now = self.context.now;
        match envelope.chain.iter().find(|certificate| !certificate.holds_at(now)) {
            Some(one) => {
                let (from, to) = (one.not_before(), one.not_after());
                Err((
                    Verdict::Invalid,
                    format!("{:?} holds from {from} to {to}, not at {now}", one.subject()),
                ))
            }
            None => {
                self.ends.extend(envelope.chain.iter().map(Certificate::not_after));
                Ok("the certificates hold now".to_owned())
            }
        }
    }

    /// Whether a certificate was revoked. Nobody is asked about a chain that is not trusted: who is to be asked stands in
    /// the certificates, and a stranger could send us anywhere.
    fn revocation(&mut self, envelope: &Envelope, trusted: bool) {
        let action = self.level().revocation;
        if action == Action::Skip || self.context.revocation.mode == RevocationMode::Off {
            let why = "not looked up: it is turned off";
            self.note("revocation", Action::Skip, Err((Verdict::Unverifiable, why.to_owned())));
            return;
        }
        if !trusted {
            let why = "not looked up: the chain is not trusted";
            self.note("revocation", action, Err((Verdict::Unverifiable, why.to_owned())));
            return;
        }
        let authentic = envelope.protected.scheme == Scheme::SigningAuthority;
        let signed_at = authentic.then_some(envelope.protected.signing_time);
        let found = self.ask(&envelope.chain, signed_at);
        self.note("revocation", action, found);
    }

    fn ask(&mut self, chain: &[Certificate], signed_at: Option<DateTime<Utc>>) -> Result<String, Found> {
        let status = self.inquiry.chain(chain, signed_at);
        if matches!(status, Status::Unknown(_)) {
            // Accepted or not, an answer that failed to come may come the next time.
            self.ends.push(self.context.now + RETRY);
        }
        match status {
            Status::Good => Ok("no certificate was revoked".to_owned()),
            Status::Revoked(why) => Err((Verdict::Invalid, why)),
            Status::Unknown(why) if self.context.revocation.unknown == UnknownRevocation::Accept => {
                Ok(format!("not known, which is accepted: {why}"))
            }
            Status::Unknown(why) => Err((Verdict::Error, format!("not known whether it was revoked: {why}"))),
        }
    }

    fn finish(
        &mut self,
        envelope: &Envelope,
        signer: Option<(Signer, bool)>,
        stamped: Option<DateTime<Utc>>,
    ) -> Verification {
        let mut verification = std::mem::take(&mut self.checks).finish();
        // What an untrusted signer says of the time proves nothing.
        verification.signed_at = stamped.filter(|_| signer.is_some());
        // Under a level that only logs, a signer who did not pass must not be named beside `valid`.
        verification.signer = signer
            .filter(|(_, trusted)| *trusted || verification.verdict != Verdict::Valid)
            .map(|(signer, _)| signer);
        self.ends.extend(self.inquiry.until);
        // A chain that is not valid yet becomes so by time alone too.
        let begins = envelope.chain.iter().map(Certificate::not_before);
        self.ends.extend(begins);
        verification.holds_until = self.ends.iter().copied().filter(|end| *end > self.context.now).min();
        verification
    }
}

/// Whether it is about the subject that it was found at.
fn check_subject(envelope: &Envelope, evidence: &Evidence) -> Result<String, Found> {
    let target = envelope.target().map_err(|why| (Verdict::Invalid, why))?;
    if target == evidence.subject {
        return Ok(format!("it signs {target}"));
    }
    Err((Verdict::Invalid, format!("it signs {target} and was found at {}", evidence.subject)))
}

/// Attributes that must be understood and are not (RFC 7515, section 4.1.11; RFC 9052, section 3.1).
fn check_attributes(envelope: &Envelope) -> Result<String, Found> {
    let attributes = &envelope.protected.attributes;
    let plugin = |name: &str| name == PLUGIN || name == PLUGIN_VERSION;
    if attributes.iter().any(|attribute| plugin(&attribute.name)) {
        let why = "it asks for a verification plug-in; none is run here, so it cannot be verified";
        return Err((Verdict::Unverifiable, why.to_owned()));
    }
    if let Some(attribute) = attributes.iter().find(|attribute| attribute.critical) {
        let why = format!("the critical attribute {:?} is not understood", attribute.name);
        return Err((Verdict::Invalid, why));
    }
    Ok("all critical attributes are understood".to_owned())
}
