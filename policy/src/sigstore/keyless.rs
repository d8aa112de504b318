//! Keyless signatures: a certificate of a Sigstore authority, proved to have been good when it was used.
//!
//! `sigstore-verify` decides; what it leaves open is asked here before and after it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use der::Decode;
use rreg_oci::{Algorithm, Digest};
use sigstore_verify::types::{
    ArtifactDigest, Bundle, HashAlgorithm, KindVersion, MediaType, MessageSignature, SignatureContent,
};
use sigstore_verify::{VerificationPolicy, VerificationResult};
use x509_cert::Certificate;

use super::claims;
use super::errors::Failure;
use super::piece::{Declared, Message, Piece};
use super::proofs;
use super::root::SigstoreRoot;
use super::signed;
use crate::certificates::{CertificateRoots, is_root};
use crate::context::VerifyContext;
use crate::signer::Signer;
use crate::verdict::{Checks, Verdict, Verification};

/// Judges a keyless signature.
pub(super) fn verify(
    piece: &Piece,
    artifact: &Digest,
    root: &SigstoreRoot,
    context: &VerifyContext<'_>,
) -> Verification {
    let mut checks = Checks::new();
    match checked(piece, artifact, root, context, &mut checks) {
        Ok((signer, signed_at)) => {
            let mut verification = checks.finish();
            if verification.verdict == Verdict::Valid {
                verification.signer = Some(signer);
                verification.signed_at = Some(signed_at);
            }
            verification
        }
        Err(failure) => {
            checks.fail(failure.name, failure.verdict, failure.detail);
            let mut verification = checks.finish();
            if piece.message.unread().is_some() {
                verification.signer = signer_of_unread(piece, artifact, root);
            }
            verification
        }
    }
}

/// Who signed what cannot be read: an authority of the trust root has issued the certificate, and the signature is by its
/// key. It proves no more than that this is not somebody else's: logs and times are not looked at.
fn signer_of_unread(piece: &Piece, artifact: &Digest, root: &SigstoreRoot) -> Option<Signer> {
    let Declared::Certificate { leaf, others, .. } = &piece.declared else { return None };
    let begins = Certificate::from_der(leaf).ok()?.tbs_certificate.validity.not_before.to_system_time();
    let authorities = CertificateRoots::of(root.authorities().map(<[u8]>::to_vec)).ok()?;
    let verified = authorities.verify(leaf, others, begins.into()).ok()?;
    signed::signature(piece, artifact, &verified.key, "the certificate").ok()?;
    claims::signer(leaf).ok()
}

fn checked(
    piece: &Piece,
    artifact: &Digest,
    root: &SigstoreRoot,
    context: &VerifyContext<'_>,
    checks: &mut Checks,
) -> Result<(Signer, DateTime<Utc>), Failure> {
    let Declared::Certificate { leaf, .. } = &piece.declared else {
        let detail =
            "it is signed with a bare key; this trust root is for certificates of a Sigstore authority";
        return Err(Failure::new("key", Verdict::Unverifiable, detail));
    };
    checks.pass("subject", piece.message.subject(artifact)?);
    known_authority(&piece.declared, root)?;
    no_root_sent(&piece.declared)?;
    let bundle = piece.bundle.as_ref().map_err(Clone::clone)?;
    let bundle = if root.has_logs() { Cow::Borrowed(bundle.as_ref()) } else { Cow::Owned(unlogged(bundle)) };
    let entries = &bundle.verification_material.tlog_entries;
    if root.has_logs() && entries.is_empty() {
        return Err(Failure::invalid("tlog-entry", "there is no log entry; a keyless signature needs one"));
    }
    for entry in entries {
        proofs::entry(entry, root, context)?;
    }
    let result = decided(piece, &bundle, artifact, root)
        .map_err(|error| about_the_entry(unknown_authority(error, leaf, root)))
        .map_err(|error| proofs::unknown_stamp(error, &bundle, root))?;
    proofs::timestamps(&bundle, root)?;
    let signed_at = times(&result, context)?;
    let signer = claims::signer(leaf).map_err(|failure| nobody_named(failure, root))?;
    passed(checks, (&bundle, root.has_logs()), &result, signed_at, &signer.to_string())?;
    if !root.has_logs() && piece.entries > 0 {
        let detail = format!("{} log entries not checked: this trust root has no logs", piece.entries);
        checks.note("tlog-entry", Verdict::Unverifiable, false, detail);
    }
    Ok((signer, signed_at))
}

/// An instance without logs may certify others than Fulcio's users. Their certificates are not wrong by that.
fn nobody_named(failure: Failure, root: &SigstoreRoot) -> Failure {
    if root.has_logs() {
        return failure;
    }
    let detail = format!("{}; such a certificate is judged by root certificates", failure.detail);
    Failure::new(failure.name, Verdict::Unverifiable, detail)
}

/// A bundle for a trust root without logs, which asks for none: what logs say of it proves nothing there, its times no
/// more than the rest. Its time is that of a timestamp authority.
fn unlogged(bundle: &Bundle) -> Bundle {
    let mut bundle = bundle.clone();
    bundle.verification_material.tlog_entries.clear();
    // The first version cannot be without.
    if bundle.media_type() == MediaType::Bundle0_1 {
        bundle.media_type = MediaType::Bundle0_2;
    }
    bundle
}

/// Whether the trust root may know who issued the certificate, by name. An authority that it does not know is not proved
/// wrong, whatever else its signatures lack that this root would ask for.
fn known_authority(declared: &Declared, root: &SigstoreRoot) -> Result<(), Failure> {
    let Declared::Certificate { leaf, others, .. } = declared else { return Ok(()) };
    let sent = std::iter::once(leaf).chain(others).filter_map(|der| Certificate::from_der(der).ok());
    let issuers: Vec<_> = sent.map(|certificate| certificate.tbs_certificate.issuer).collect();
    let known = root.authorities().filter_map(|der| Certificate::from_der(der).ok());
    let Some(issuer) = issuers.first() else { return Ok(()) };
    if known.into_iter().any(|authority| issuers.contains(&authority.tbs_certificate.subject)) {
        return Ok(());
    }
    let detail = format!("the certificate is issued by {issuer}, which this trust root does not have");
    Err(Failure::new("certificate-chain", Verdict::Unverifiable, detail))
}

/// Lets `sigstore-verify` decide.
fn decided(
    piece: &Piece,
    bundle: &Bundle,
    artifact: &Digest,
    root: &SigstoreRoot,
) -> Result<VerificationResult, Failure> {
    let policy = VerificationPolicy::any_identity();
    let policy = if root.has_logs() { policy } else { policy.skip_tlog_unsafe().skip_sct() };
    let entries = &bundle.verification_material.tlog_entries;
    let plain = entries.iter().all(|entry| entry.kind_version == KindVersion::HashedRekordV001);
    let decided = match (&piece.message, &bundle.content) {
        (Message::Payload(payload), _) => root.verifier().verify(payload, bundle, &policy),
        // Entries of Rekor 1 that log an envelope as a signature over its encoding (DSSE's PAE), which
        // `sigstore-verify` knows of Rekor 2 alone: it is asked about that signature, the statement's subject was
        // compared before.
        (Message::Statement { signed, .. }, SignatureContent::DsseEnvelope(envelope)) if plain => {
            let mut over = bundle.clone();
            let signature = MessageSignature::new(envelope.signature.sig.clone());
            over.content = SignatureContent::MessageSignature(signature);
            root.verifier().verify(signed, &over, &policy)
        }
        _ => {
            let algorithm = match artifact.algorithm() {
                Algorithm::Sha256 => HashAlgorithm::Sha2256,
                Algorithm::Sha512 => HashAlgorithm::Sha2512,
            };
            let digest = ArtifactDigest::new(algorithm, artifact.hash().to_vec())
                .map_err(|error| Failure::new("subject", Verdict::Error, error.to_string()))?;
            root.verifier().verify(digest, bundle, &policy)
        }
    };
    decided.map_err(Failure::from)
}

/// The first of the proved times; none of them may lie ahead.
fn times(result: &VerificationResult, context: &VerifyContext<'_>) -> Result<DateTime<Utc>, Failure> {
    let times = result.verified_timestamps().iter();
    let times: Vec<DateTime<Utc>> =
        times.filter_map(|time| DateTime::from_timestamp(time.as_second(), 0)).collect();
    if let Some(ahead) = times.iter().find(|time| **time > context.now) {
        return Err(Failure::invalid(
            "timestamp",
            format!("it was signed at {ahead}, which is after {}", context.now),
        ));
    }
    times.into_iter().min().ok_or_else(|| Failure::invalid("timestamp", "no time of signing is proved"))
}

/// Another authority than those of the trust root is unknown, not proved wrong. One that bears the name of a trusted
/// one is.
fn unknown_authority(failure: Failure, leaf: &[u8], root: &SigstoreRoot) -> Failure {
    if failure.name != "certificate-chain" || !failure.detail.contains("UnknownIssuer") {
        return failure;
    }
    let Ok(leaf) = Certificate::from_der(leaf) else { return failure };
    let issuer = &leaf.tbs_certificate.issuer;
    let known = root.authorities().filter_map(|der| Certificate::from_der(der).ok());
    if known.into_iter().any(|authority| authority.tbs_certificate.subject == *issuer) {
        return failure;
    }
    let detail = format!("the certificate is issued by {issuer}, which this trust root does not have");
    Failure::new("certificate-chain", Verdict::Unverifiable, detail)
}

/// The subject was found right before, so what differs now is what the log entry says of it.
fn about_the_entry(failure: Failure) -> Failure {
    match failure.name {
        "subject" => Failure { name: "tlog-entry", ..failure },
        _ => failure,
    }
}

/// A bundle must not bring a root along (protobuf-specs, `X509CertificateChain`): who sends the root may want it to be
/// taken for a trusted one.
fn no_root_sent(declared: &Declared) -> Result<(), Failure> {
    let Declared::Certificate { others, only: true, .. } = declared else { return Ok(()) };
    let own = |der: &Vec<u8>| {
        let certificate = Certificate::from_der(der).ok()?;
        is_root(&certificate).then(|| certificate.tbs_certificate.subject.to_string())
    };
    match others.iter().find_map(own) {
        Some(subject) => {
            Err(Failure::invalid("certificate-chain", format!("the bundle brings the root {subject} along")))
        }
        None => Ok(()),
    }
}

/// Writes down what held. What was not proved is a failure here too, should the judge ever grow more lenient.
fn passed(
    checks: &mut Checks,
    (bundle, logged): (&Bundle, bool),
    result: &VerificationResult,
    signed_at: DateTime<Utc>,
    who: &str,
) -> Result<(), Failure> {
    if !result.certificate_verified() || logged && !(result.sct_verified() && result.tlog_verified()) {
        return Err(Failure::new("certificate", Verdict::Error, "chain, SCT and log were not all verified"));
    }
    let material = &bundle.verification_material;
    checks.pass(
        "certificate-chain",
        format!("the certificate of {who} leads to an authority of the trust root"),
    );
    checks.pass("certificate-time", format!("it held at {signed_at}"));
    if logged {
        checks.pass("sct", "a certificate transparency log of the trust root has it");
    }
    let entries = &material.tlog_entries;
    let proofs = entries.iter().filter(|entry| entry.inclusion_proof.is_some()).count();
    let promises = entries.iter().filter(|entry| entry.inclusion_promise.is_some()).count();
    let timestamps = material.timestamp_verification_data.rfc3161_timestamps.len();
    if logged {
        checks.pass("tlog-entry", format!("{} log entries are about this signature", entries.len()));
    }
    let several = [
        ("tlog-inclusion", proofs, "inclusion proofs lead to a checkpoint"),
        ("checkpoint", proofs, "checkpoints are signed by a log of the trust root"),
        ("set", promises, "promises are signed by a log of the trust root"),
        ("timestamp", timestamps, "timestamps are by an authority of the trust root"),
    ];
    for (name, count, what) in several.into_iter().filter(|(_, count, _)| *count > 0) {
        checks.pass(name, format!("{count} {what}"));
    }
    checks.pass("signature", format!("it is by the key in the certificate of {who}"));
    Ok(())
}
