//! What the SBOMs among the evidence say.

use crate::evidence::{Evidence, EvidenceKind};
use crate::facts::{Fact, SbomFacts};

/// The facts of the SBOMs that were attached: documents, statements with one, or signed ones. Anybody who may push may
/// attach one that looks better than what is so: what is said of an image is held against it whoever says it. Of several
/// that say something, the packages and licences of all count, and the worst score; of several formats each is one.
///
/// Beside them those of signed evidence, each by itself: a rule may ask for one that is signed by somebody.
pub fn sbom_facts(evidence: &[Evidence]) -> (Fact<SbomFacts>, Vec<SbomFacts>) {
    let mut all: Option<SbomFacts> = None;
    let mut signed = Vec::new();
    let mut unreadable = None;
    for piece in evidence.iter().filter(|piece| may_carry(piece)) {
        let about = [piece.subject.to_string()];
        match rreg_sbom::read::attached(&piece.media_type, piece.content.to_vec(), &about) {
            Ok(Some(attached)) => {
                let mut facts = SbomFacts::of_document(&attached.document);
                facts.evidence = Some(piece.id());
                if matches!(piece.kind, EvidenceKind::Bundle | EvidenceKind::CosignAttestation) {
                    signed.push(facts.clone());
                }
                all = Some(match all {
                    None => facts,
                    Some(known) => together(known, facts),
                });
            }
            Ok(None) => {}
            Err(finding) => unreadable = Some(format!("{}: {}", piece.manifest, finding.message)),
        }
    }
    let all = match (all, unreadable) {
        (Some(facts), _) => Fact::Known(facts),
        (None, Some(why)) => Fact::NotGathered(why),
        (None, None) => Fact::Absent,
    };
    (all, signed)
}

/// What both say, as it counts against the image.
pub(crate) fn together(a: SbomFacts, b: SbomFacts) -> SbomFacts {
    // The evidence named is that of the worse one, which has what is missed.
    let (mut worse, better) = if b.quality < a.quality { (b, a) } else { (a, b) };
    let mut formats: Vec<&str> = worse.format.split(", ").chain(better.format.split(", ")).collect();
    formats.sort_unstable();
    formats.dedup();
    worse.format = formats.join(", ");
    worse.packages = worse.packages.max(better.packages);
    for (expression, packages) in better.licenses {
        let known = worse.licenses.entry(expression).or_default();
        known.extend(packages);
        known.sort();
        known.dedup();
    }
    worse
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rreg_oci::Digest;
    use serde_json::json;

    use super::*;

    fn document(license: &str, good: bool) -> Evidence {
        let mut component =
            json!({"type": "library", "name": "a", "licenses": [{"license": {"id": license}}]});
        if good {
            component["version"] = "1.0".into();
            component["purl"] = "pkg:npm/a@1.0".into();
        }
        let bom =
            json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": [component]});
        let subject = Digest::sha256(b"image");
        Evidence {
            subject,
            manifest: Digest::sha256(license.as_bytes()),
            kind: EvidenceKind::Sbom,
            media_type: "application/vnd.cyclonedx+json".to_owned(),
            content: bom.to_string().into(),
            annotations: BTreeMap::new(),
            found: BTreeSet::new(),
        }
    }

    #[test]
    fn a_prettier_document_takes_nothing_away() {
        let (honest, pretty) = (document("AGPL-3.0-only", false), document("MIT", true));
        for both in [[honest.clone(), pretty.clone()], [pretty.clone(), honest.clone()]] {
            let (Fact::Known(facts), signed) = sbom_facts(&both) else { panic!("there are two") };
            let licenses: Vec<&str> = facts.licenses.keys().map(String::as_str).collect();
            assert_eq!(licenses, ["AGPL-3.0-only", "MIT"]);
            let (Fact::Known(alone), _) = sbom_facts(std::slice::from_ref(&honest)) else {
                panic!("there is one")
            };
            assert!(facts.quality <= alone.quality && signed.is_empty());
        }
    }
}
