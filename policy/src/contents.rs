//! What the SBOMs among the evidence say.

use crate::evidence::{Evidence, EvidenceKind};
use crate::facts::{Fact, SbomFacts};

/// The facts of the SBOM that was attached: a document, a statement with one, or a signed one. Of several, the one with
/// the best score counts, since each is about the same content; whether it was signed, and by whom, a rule asks of the
/// attestation.
pub fn sbom_facts(evidence: &[Evidence]) -> Fact<SbomFacts> {
    let mut best: Option<SbomFacts> = None;
    let mut unreadable = None;
    for piece in evidence.iter().filter(|piece| may_carry(piece)) {
        let about = [piece.subject.to_string()];
        match rreg_sbom::read::attached(&piece.media_type, piece.content.to_vec(), &about) {
            Ok(Some(attached)) => {
                let mut facts = SbomFacts::of_document(&attached.document);
                facts.evidence = Some(piece.id());
                if best.as_ref().is_none_or(|best| facts.quality > best.quality) {
                    best = Some(facts);
                }
            }
            Ok(None) => {}
            Err(finding) => unreadable = Some(format!("{}: {}", piece.manifest, finding.message)),
        }
    }
    match (best, unreadable) {
        (Some(facts), _) => Fact::Known(facts),
        (None, Some(why)) => Fact::NotGathered(why),
        (None, None) => Fact::Absent,
    }
}

fn may_carry(piece: &Evidence) -> bool {
    match piece.kind {
        EvidenceKind::Sbom
        | EvidenceKind::Statement
        | EvidenceKind::CosignAttestation
        | EvidenceKind::Bundle => rreg_sbom::read::carries_sbom(&piece.media_type),
        EvidenceKind::CosignSignature | EvidenceKind::Notation => false,
    }
}
