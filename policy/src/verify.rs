//! One way to judge evidence, whatever it is: each format is known in its own module.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::VerifyContext;
use crate::evidence::{Evidence, EvidenceKind};
use crate::facts::EvidenceFact;
use crate::limits::Limits;
use crate::notation;
use crate::sigstore;
use crate::statement::Statement;
use crate::trust::TrustRoot;
use crate::verdict::{Verdict, Verification};

/// Judges a piece of evidence about [`Evidence::subject`] under a trust root. What nobody signed, and what this kind of
/// trust root says nothing about, is `unverifiable`.
pub fn verify(evidence: &Evidence, trust: &TrustRoot, context: &VerifyContext<'_>) -> Verification {
    match evidence.kind {
        EvidenceKind::Bundle | EvidenceKind::CosignSignature | EvidenceKind::CosignAttestation => {
            sigstore::verify(evidence, trust, context)
        }
        EvidenceKind::Notation => match trust {
            TrustRoot::Notation(trust) => notation::verify(evidence, trust, context),
            TrustRoot::Key(_) | TrustRoot::Certificates(_) | TrustRoot::Sigstore(_) => Verification::failed(
                "kind",
                Verdict::Unverifiable,
                "this is a signature of Notation; only a Notation trust policy or store judges it",
            ),
        },
        EvidenceKind::Statement | EvidenceKind::Sbom => {
            Verification::failed("signature", Verdict::Unverifiable, "nobody signed it")
        }
    }
}

/// The facts that evidence becomes: what it says, and what its verification found under each trust root.
pub fn evidence_facts(
    evidence: &[Evidence],
    trust: &[TrustRoot],
    context: &VerifyContext<'_>,
) -> Vec<EvidenceFact> {
    evidence.iter().map(|piece| fact(piece, trust, context)).collect()
}

fn fact(evidence: &Evidence, trust: &[TrustRoot], context: &VerifyContext<'_>) -> EvidenceFact {
    let mut fact = EvidenceFact::unverified(evidence, context.limits);
    if fact.is_signed() {
        let judged = trust.iter().map(|root| (root.id().to_string(), verify(evidence, root, context)));
        fact.verifications = judged.collect();
    }
    fact
}

impl EvidenceFact {
    /// What a piece of evidence says, before anybody is asked whether it is true.
    pub fn unverified(evidence: &Evidence, limits: &Limits) -> Self {
        let (statement, unread) = match statement(evidence, limits) {
            Some(Ok(statement)) => (Some(Arc::new(statement)), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        Self {
            id: evidence.id(),
            manifest: evidence.manifest,
            subject: evidence.subject,
            kind: evidence.kind,
            found: evidence.found.iter().copied().collect(),
            statement,
            unread,
            verifications: BTreeMap::new(),
        }
    }
}

/// What it says. An unsigned statement about something else is not what was attached here.
fn statement(evidence: &Evidence, limits: &Limits) -> Option<Result<Statement, String>> {
    match evidence.kind {
        EvidenceKind::Bundle | EvidenceKind::CosignAttestation => sigstore::statement(evidence, limits),
        EvidenceKind::Statement => match Statement::parse(&evidence.content, limits) {
            Ok(statement) => statement.covers(&evidence.subject).then_some(Ok(statement)),
            Err(error) => Some(Err(error.to_string())),
        },
        EvidenceKind::CosignSignature | EvidenceKind::Notation | EvidenceKind::Sbom => None,
    }
}

#[cfg(test)]
mod tests;
