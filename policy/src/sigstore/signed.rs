//! Signatures by a key or by a certificate of a configured authority, without a log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rreg_oci::Digest;

use super::bundle::hex;
use super::errors::Failure;
use super::piece::{Declared, Message, Piece};
use super::timestamp;
use crate::certificates::{CertificateRoots, ChainError};
use crate::context::VerifyContext;
use crate::key::PublicKey;
use crate::notation;
use crate::signer::Signer;
use crate::verdict::{Checks, Verdict, Verification};

/// Judges a signature by a key. It needs no log, no certificate and no time.
pub(super) fn by_key(piece: &Piece, artifact: &Digest, key: &PublicKey) -> Verification {
    let mut checks = Checks::new();
    let made = match named(piece, key) {
        Ok(()) => signature(piece, artifact, key, &format!("the key {}", key.id())),
        Err(failure) => Err(failure),
    };
    let by_certificate = matches!(piece.declared, Declared::Certificate { .. });
    let made = made.map_err(|failure| match failure {
        // Another trust root may know the certificate.
        Failure { name: "signature", verdict: Verdict::Invalid, detail } if by_certificate => Failure::new(
            "key",
            Verdict::Unverifiable,
            format!("{detail}; it comes with a certificate instead"),
        ),
        other => other,
    });
    note(&mut checks, "signature", made);
    note(&mut checks, "subject", piece.message.subject(artifact));
    unasked(&mut checks, piece);
    let mut verification = checks.finish();
    if is_by_its_signer(piece, &verification) {
        verification.signer = Some(Signer::Key { key: key.id() });
    }
    verification
}

/// Whether it is proved who signed it: also of what cannot be read, where nothing else is wrong.
fn is_by_its_signer(piece: &Piece, found: &Verification) -> bool {
    let mut wrong = found.checks.iter().filter(|check| check.enforced && check.verdict != Verdict::Valid);
    match piece.message.unread() {
        None => found.verdict == Verdict::Valid,
        Some(why) => wrong.all(|check| check.name == why.name && check.detail == why.detail),
    }
}

/// Judges a signature by a certificate that leads to a configured authority. Those authorities vouch for timestamps too:
/// where one of them proves when it was signed the chain must have held then; otherwise it must hold now.
pub(super) fn by_certificates(
    piece: &Piece,
    artifact: &Digest,
    roots: &CertificateRoots,
    context: &VerifyContext<'_>,
) -> Verification {
    let mut checks = Checks::new();
    let Declared::Certificate { leaf, others, .. } = &piece.declared else {
        let detail = "it is signed with a bare key; this trust root is for certificates";
        return Verification::failed("key", Verdict::Unverifiable, detail);
    };
    let times = stamped_times(piece, roots, context);
    let proved = times.proved;
    let at = proved.map_or([context.now; 2], |(earliest, latest)| [earliest, latest]);
    let chain = at.map(|time| roots.verify(leaf, others, time));
    let verified = match chain {
        [Ok(verified), Ok(_)] => verified,
        [Err(ChainError::Unknown(detail)), _] | [_, Err(ChainError::Unknown(detail))] => {
            return Verification::failed("certificate-chain", Verdict::Unverifiable, detail);
        }
        [Err(ChainError::Wrong(name, detail)), _] | [_, Err(ChainError::Wrong(name, detail))] => {
            return match times.unproved {
                Some((Verdict::Invalid, why)) if name == "certificate-time" => {
                    Verification::failed(name, Verdict::Invalid, format!("{detail}, and {why}"))
                }
                // It may have been signed in time.
                Some((verdict, why)) if name == "certificate-time" && proved.is_none() => {
                    Verification::failed("timestamp", verdict, format!("{detail}, and {why}"))
                }
                _ => Verification::failed(name, Verdict::Invalid, detail),
            };
        }
    };
    checks.pass("certificate-chain", format!("{} leads to a configured authority", verified.signer));
    match proved {
        Some((_, latest)) => {
            checks.pass("timestamp", format!("a configured authority saw the signature by {latest}"));
            checks.pass("certificate-time", format!("the chain held at {latest}, when it was signed"));
        }
        None => checks.pass(
            "certificate-time",
            format!("the chain holds at {}; no time of signing is proved", context.now),
        ),
    }
    note(&mut checks, "signature", signature(piece, artifact, &verified.key, &verified.signer.to_string()));
    note(&mut checks, "subject", piece.message.subject(artifact));
    unasked_entries(&mut checks, piece);
    if let Some((verdict, why)) = times.unproved.filter(|_| proved.is_none()) {
        checks.note("timestamp", verdict, false, why);
    }
    let mut verification = checks.finish();
    // What was signed in time stays so.
    verification.holds_until = if proved.is_some() { None } else { verified.until };
    if is_by_its_signer(piece, &verification) {
        verification.signer = Some(verified.signer);
        verification.signed_at = proved.map(|(_, latest)| latest);
    }
    verification
}

/// What the timestamps of a signature prove.
struct Times {
    /// The earliest and the latest time at which it was there, by the oldest timestamp that proves any: others may be made
    /// at any time, by anybody.
    proved: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Why a timestamp proves nothing.
    unproved: Option<(Verdict, String)>,
}

fn stamped_times(piece: &Piece, roots: &CertificateRoots, context: &VerifyContext<'_>) -> Times {
    let roots = roots.ders();
    let mut times = Times { proved: None, unproved: None };
    for stamp in &piece.timestamps {
        let read = timestamp::token(stamp).map_err(|why| (Verdict::Invalid, why));
        let found = read.and_then(|token| {
            let over = piece.stamped.iter();
            let mut all = over.map(|signed| notation::stamped_at(&token, signed, &roots, context.limits));
            let first = all.next().unwrap_or_else(|| Err((Verdict::Error, "there is no signature".into())));
            first.or_else(|why| all.find_map(Result::ok).ok_or(why))
        });
        match found {
            // Clocks are as good as the authority says.
            Ok((earliest, _)) if earliest > context.now => {
                let why = format!("its timestamp says {earliest} or later, which is after {}", context.now);
                times.unproved = Some((Verdict::Invalid, why));
            }
            Ok(found) => {
                let older = times.proved.filter(|(_, latest)| *latest <= found.1);
                times.proved = older.or(Some(found));
            }
            Err((verdict, why)) => {
                times.unproved = Some((verdict, format!("its timestamp proves no time: {why}")))
            }
        }
    }
    times
}

/// Whether the bundle may be by this key at all. A hint of the length of a SHA-256 is read as the digest of the key,
/// as cosign writes it (base64) and others do (hexadecimal); any other hint is a name that decides nothing.
fn named(piece: &Piece, key: &PublicKey) -> Result<(), Failure> {
    match &piece.declared {
        Declared::Certificate { only: true, .. } => Err(Failure::new(
            "key",
            Verdict::Unverifiable,
            "it is signed by a certificate; this trust root is a bare key",
        )),
        Declared::Certificate { .. } => Ok(()),
        Declared::Key(hint) => {
            let id = key.id();
            let differs = match hint.len() {
                44 => *hint != STANDARD.encode(id.hash()),
                64 => *hint != id.hex(),
                _ => false,
            };
            if differs {
                let detail = format!("expected the key {id}, found that it names the key {}", key_name(hint));
                return Err(Failure::invalid("key", detail));
            }
            Ok(())
        }
    }
}

/// A hint as the digest that it stands for, to be compared with others; as it is written where it is none. Nobody has
/// signed it: it is said, and proves nothing.
fn key_name(hint: &str) -> String {
    let hash = STANDARD.decode(hint).ok().filter(|hash| hash.len() == 32).map(|hash| hex(&hash));
    match hash.or_else(|| (hint.len() == 64).then(|| hint.to_owned())) {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => format!("sha256:{hex}"),
        _ => format!("{hint:?}"),
    }
}

/// Whether one of the signatures is by the key.
pub(super) fn signature(
    piece: &Piece,
    artifact: &Digest,
    key: &PublicKey,
    who: &str,
) -> Result<String, Failure> {
    let verifies = |signature: &Vec<u8>| match &piece.message {
        Message::Artifact { .. } => key.verifies_digest(artifact, signature),
        Message::Statement { signed, .. } | Message::Unread { signed, .. } => {
            Some(key.verifies(signed, signature))
        }
        Message::Payload(payload) => Some(key.verifies(payload, signature)),
    };
    let found: Vec<Option<bool>> = piece.signatures.iter().map(verifies).collect();
    if found.contains(&Some(true)) {
        return Ok(format!("it is by {who}"));
    }
    if found.contains(&None) {
        return Err(Failure::new(
            "signature",
            Verdict::Error,
            format!(
                "a signature of {:?} over a whole artifact cannot be checked with its digest alone",
                key.kind()
            ),
        ));
    }
    let begins = piece.signatures.first().map(|signature| hex(signature.get(..8).unwrap_or(signature)));
    let hint = match &piece.declared {
        Declared::Key(hint) if !hint.is_empty() => format!(", which names the key {hint:?},"),
        _ => String::new(),
    };
    Err(Failure::invalid(
        "signature",
        format!("expected a signature by {who}; the signature {}…{hint} is not", begins.unwrap_or_default()),
    ))
}

fn note(checks: &mut Checks, name: &'static str, result: Result<String, Failure>) {
    match result {
        Ok(detail) => checks.pass(name, detail),
        Err(failure) => checks.fail(failure.name, failure.verdict, failure.detail),
    }
}

/// Says what was not looked at, since this trust root knows no logs and, being a key, no authorities.
fn unasked(checks: &mut Checks, piece: &Piece) {
    unasked_entries(checks, piece);
    let count = piece.timestamps.len();
    if count > 0 {
        let detail = format!("{count} timestamps not checked: a key needs no time");
        checks.note("timestamp", Verdict::Unverifiable, false, detail);
    }
}

fn unasked_entries(checks: &mut Checks, piece: &Piece) {
    let count = piece.entries;
    if count > 0 {
        let detail =
            format!("{count} log entries not checked: this trust root has no logs and asks for none");
        checks.note("tlog-entry", Verdict::Unverifiable, false, detail);
    }
}
