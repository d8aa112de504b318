//! Sigstore: bundles (0.1 to 0.3) and what cosign 2 keeps in annotations, by key, by certificates, or keyless.
//!
//! Everything is read into a `piece::Piece` first. A key and configured certificates are judged here; a keyless
//! signature is judged by `sigstore-verify`, behind `keyless`, in whichever form it came. The signed digest must be
//! the digest that is asked about: a signature moved to another subject is invalid (CVE-2026-22703).
//!
//! Two things in a bundle are signed by nobody and decide nothing: the hint of a key that is no digest, and `keyid`.

mod bundle;
mod claims;
mod cosign;
mod errors;
mod keyless;
mod piece;
mod proofs;
mod root;
mod shape;
mod signed;
mod timestamp;

use rreg_oci::Digest;

pub use root::SigstoreRoot;

use crate::context::VerifyContext;
use crate::evidence::{Evidence, EvidenceKind};
use crate::limits::Limits;
use crate::statement::Statement;
use crate::trust::TrustRoot;
use crate::verdict::{Verdict, Verification};
use errors::Failure;
use piece::{Message, Piece};

/// Judges a bundle, or a signature or attestation of cosign 2, under a trust root.
pub fn verify(evidence: &Evidence, trust: &TrustRoot, context: &VerifyContext<'_>) -> Verification {
    match read(evidence, context.limits) {
        Ok(piece) => judge(&piece, &evidence.subject, trust, context),
        Err(failure) => failure.into_verification(),
    }
}

/// Judges a bundle about a file of which the digest is known: its `messageSignature` signs the file, or the statement
/// in its DSSE envelope names the digest.
pub fn verify_blob(
    bundle: &[u8],
    artifact: Digest,
    trust: &TrustRoot,
    context: &VerifyContext<'_>,
) -> Verification {
    match bundle::read(bundle, context.limits) {
        Ok(piece) => judge(&piece, &artifact, trust, context),
        Err(failure) => failure.into_verification(),
    }
}

/// The in-toto statement inside a bundle or an attestation of cosign 2, or why it cannot be read; `None` where there is
/// none. Nothing of it is proved by this.
pub fn statement(evidence: &Evidence, limits: &Limits) -> Option<Result<Statement, String>> {
    match read(evidence, limits).ok()?.message {
        Message::Statement { statement, .. } => Some(Ok(statement)),
        Message::Unread { why, .. } => Some(Err(why.detail)),
        Message::Artifact { .. } | Message::Payload(_) => None,
    }
}

fn read(evidence: &Evidence, limits: &Limits) -> Result<Piece, Failure> {
    match evidence.kind {
        EvidenceKind::Bundle => bundle::read(&evidence.content, limits),
        EvidenceKind::CosignSignature => cosign::read_signature(evidence, limits),
        EvidenceKind::CosignAttestation => cosign::read_attestation(evidence, limits),
        EvidenceKind::Notation | EvidenceKind::Statement | EvidenceKind::Sbom => Err(Failure::new(
            "kind",
            Verdict::Unverifiable,
            format!("{:?} is no signature of Sigstore or cosign", evidence.kind),
        )),
    }
}

fn judge(piece: &Piece, artifact: &Digest, trust: &TrustRoot, context: &VerifyContext<'_>) -> Verification {
    match trust {
        TrustRoot::Key(key) => signed::by_key(piece, artifact, key),
        TrustRoot::Certificates(roots) => signed::by_certificates(piece, artifact, roots, context),
        TrustRoot::Sigstore(root) => keyless::verify(piece, artifact, root, context),
        TrustRoot::Notation(_) => Verification::failed(
            "kind",
            Verdict::Unverifiable,
            "this is a signature of Sigstore or cosign; a Notation trust policy says nothing about it",
        ),
    }
}

#[cfg(test)]
mod tests;
