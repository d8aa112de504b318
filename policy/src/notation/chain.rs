//! Chains of certificates, leaf first (Notary Project signature specification, "Certificate Requirements").

use chrono::{DateTime, Utc};
use der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};

use super::algorithm::Algorithm;
use super::certificate::Certificate;

const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// What a signer of code must not be certified for besides.
const FORBIDDEN: [(ObjectIdentifier, &str); 5] = [
    (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"), "serverAuth"),
    (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"), "clientAuth"),
    (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"), "emailProtection"),
    (TIME_STAMPING, "timeStamping"),
    (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"), "OCSPSigning"),
];

/// What the leaf of a chain signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Artifacts.
    CodeSigning,
    /// Time stamps (RFC 3161).
    Timestamping,
}

/// Checks a chain: each certificate issued by the next, the last one by itself, and each fit for its place. Whether
/// somebody trusts it, and whether it holds now, are other questions.
pub(super) fn check(chain: &[Certificate], purpose: Purpose) -> Result<(), String> {
    let [leaf, rest @ ..] = chain else {
        return Err("the certificate chain is empty".to_owned());
    };
    let Some((root, _)) = rest.split_last() else {
        if !leaf.is_self_signed() {
            return Err(named(
                leaf,
                "is alone in its chain and not signed by itself; the chain must end at a root",
            ));
        }
        return check_leaf(leaf, purpose);
    };
    if !root.is_self_signed() {
        return Err(named(root, "ends the chain and is not signed by itself; the chain must end at a root"));
    }
    for (certificate, issuer) in chain.iter().zip(rest) {
        // A root in the middle would leave what follows it unconnected.
        if certificate.is_ca() && certificate.is_self_signed() {
            return Err(named(certificate, "is signed by itself but does not end the chain"));
        }
        let issued = certificate.check_issued_by(issuer);
        issued.map_err(|why| {
            named(certificate, &format!("was not issued by the next one in the chain: {why}"))
        })?;
    }
    check_leaf(leaf, purpose)?;
    rest.iter().enumerate().try_for_each(|(below, authority)| check_authority(authority, below, purpose))
}

fn named(certificate: &Certificate, what: &str) -> String {
    format!("{:?} {what}", certificate.subject())
}

fn check_known(certificate: &Certificate) -> Result<(), String> {
    match certificate.unknown_critical() {
        Some(oid) => {
            Err(named(certificate, &format!("has the critical extension {oid}, which is not understood")))
        }
        None => Ok(()),
    }
}

/// `below`: how many authorities stand between it and the leaf.
fn check_authority(certificate: &Certificate, below: usize, purpose: Purpose) -> Result<(), String> {
    check_known(certificate)?;
    let constraints = certificate.basic_constraints()?.filter(|constraints| constraints.ca);
    let Some(constraints) = constraints else {
        return Err(named(certificate, "is no authority: basic constraints must be there with cA true"));
    };
    if constraints.path_len_constraint.is_some_and(|most| usize::from(most) < below) {
        return Err(named(
            certificate,
            &format!("allows fewer than the {below} authorities below it (path length)"),
        ));
    }
    let usage = key_usage(certificate, purpose)?;
    if !usage.key_cert_sign() {
        return Err(named(certificate, "may not sign certificates: its key usage lacks keyCertSign"));
    }
    Ok(())
}

fn key_usage(certificate: &Certificate, purpose: Purpose) -> Result<KeyUsage, String> {
    match certificate.key_usage()? {
        None => Err(named(certificate, "has no key usage, which must be there")),
        Some((false, _)) if purpose == Purpose::CodeSigning => {
            Err(named(certificate, "has a key usage that is not critical, which it must be"))
        }
        Some((_, usage)) => Ok(usage),
    }
}

fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), String> {
    check_known(leaf)?;
    if leaf.basic_constraints()?.is_some_and(|constraints| constraints.ca) {
        return Err(named(leaf, "signs but is an authority: cA must be false"));
    }
    let usage = key_usage(leaf, purpose)?;
    if !usage.digital_signature() {
        return Err(named(leaf, "may not sign: its key usage lacks digitalSignature"));
    }
    let allowed = KeyUsages::DigitalSignature | KeyUsages::NonRepudiation;
    if !(usage.0 - allowed).is_empty() {
        return Err(named(leaf, "has a key usage besides digitalSignature (and nonRepudiation)"));
    }
    check_extended_usage(leaf, purpose)?;
    Algorithm::of_key(leaf.key()).map_err(|why| named(leaf, &format!("has {why}")))?;
    Ok(())
}

fn check_extended_usage(leaf: &Certificate, purpose: Purpose) -> Result<(), String> {
    let usage = leaf.extended_key_usage()?;
    match purpose {
        Purpose::CodeSigning => {
            let uses = usage.map(|(_, usage)| usage.0).unwrap_or_default();
            let forbidden = FORBIDDEN.iter().find(|(oid, _)| uses.contains(oid));
            forbidden.map_or(Ok(()), |(_, name)| {
                Err(named(
                    leaf,
                    &format!("has the extended key usage {name}, which a signer of code must not have"),
                ))
            })
        }
        // RFC 3161, section 2.3: this one and no other, and critical.
        Purpose::Timestamping => match usage {
            Some((true, usage)) if usage.0 == [TIME_STAMPING] => Ok(()),
            _ => Err(named(leaf, "must have timeStamping as its only extended key usage, and critical")),
        },
    }
}

/// Finds a chain from `leaf` to one of `roots`, all of it holding at a time. The chains looked at are bounded by
/// `longest` certificates and a number of signatures, so that crossing certificates cannot make it slow.
pub(super) fn build(
    leaf: &Certificate,
    between: &[Certificate],
    roots: &[Certificate],
    at: DateTime<Utc>,
    longest: usize,
) -> Option<Vec<Certificate>> {
    let mut search = Search { between, roots, at, longest, left: 100 };
    let mut path = vec![leaf.clone()];
    search.extend(&mut path).then_some(path)
}

struct Search<'a> {
    between: &'a [Certificate],
    roots: &'a [Certificate],
    at: DateTime<Utc>,
    longest: usize,
    /// Signatures that may still be checked.
    left: usize,
}

impl Search<'_> {
    fn extend(&mut self, path: &mut Vec<Certificate>) -> bool {
        let Some(last) = path.last().cloned() else { return false };
        if !last.holds_at(self.at) {
            return false;
        }
        if self.roots.contains(&last) {
            return true;
        }
        let (roots, between) = (self.roots, self.between);
        for candidate in roots.iter().chain(between) {
            let known = path.contains(candidate);
            if known || path.len() >= self.longest || !candidate.holds_at(self.at) || self.left == 0 {
                continue;
            }
            self.left -= 1;
            if last.check_issued_by(candidate).is_ok() {
                path.push(candidate.clone());
                if self.extend(path) {
                    return true;
                }
                path.pop();
            }
        }
        false
    }
}
