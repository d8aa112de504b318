//! Signatures by a key or by a certificate of a configured authority, without a log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rreg_oci::Digest;

use super::bundle::hex;
use super::errors::Failure;
use super::piece::{Declared, Message, Piece};
use crate::certificates::{CertificateRoots, ChainError};
use crate::context::VerifyContext;
use crate::key::PublicKey;
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
    if verification.verdict == Verdict::Valid {
        verification.signer = Some(Signer::Key { key: key.id() });
    }
    verification
}

/// Judges a signature by a certificate that leads to a configured authority. Without trusted logs or timestamp
/// authorities no time is proved, so the chain must hold now.
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
    let verified = match roots.verify(leaf, others, context.now) {
        Ok(verified) => verified,
        Err(ChainError::Unknown(detail)) => {
            return Verification::failed("certificate-chain", Verdict::Unverifiable, detail);
        }
        Err(ChainError::Wrong(name, detail)) => return Verification::failed(name, Verdict::Invalid, detail),
    };
    checks.pass(
        "certificate-chain",
        format!("{} leads to a configured authority, for signing code", verified.signer),
    );
    checks.pass(
        "certificate-time",
        format!("the chain holds at {}; no time of signing is proved", context.now),
    );
    note(&mut checks, "signature", signature(piece, artifact, &verified.key, &verified.signer.to_string()));
    note(&mut checks, "subject", piece.message.subject(artifact));
    unasked(&mut checks, piece);
    let mut verification = checks.finish();
    verification.holds_until = verified.until;
    if verification.verdict == Verdict::Valid {
        verification.signer = Some(verified.signer);
    }
    verification
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
fn signature(piece: &Piece, artifact: &Digest, key: &PublicKey, who: &str) -> Result<String, Failure> {
    let verifies = |signature: &Vec<u8>| match &piece.message {
        Message::Artifact { .. } => key.verifies_digest(artifact, signature),
        Message::Statement { signed, .. } => Some(key.verifies(signed, signature)),
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

/// Says what was not looked at, since this trust root knows no logs.
fn unasked(checks: &mut Checks, piece: &Piece) {
    let parts = [("tlog-entry", piece.entries, "log entries"), ("timestamp", piece.timestamps, "timestamps")];
    for (name, count, what) in parts.into_iter().filter(|(_, count, _)| *count > 0) {
        let detail = format!("{count} {what} not checked: this trust root has no logs and asks for none");
        checks.note(name, Verdict::Unverifiable, false, detail);
    }
}
