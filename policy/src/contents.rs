//! What the SBOMs among the evidence say.

use rreg_sbom::{Finding, FindingKind};

use crate::evidence::{Evidence, EvidenceKind};
use crate::facts::{Fact, SbomFacts, UnreadSbom};

/// What the SBOMs that were attached say.
pub struct SbomsRead {
    /// What all say together, as it counts against the image.
    pub all: Fact<SbomFacts>,
    /// Each by itself.
    pub each: Vec<SbomFacts>,
    /// Those in signed evidence, each by itself: a rule may ask for one that is signed by somebody.
    pub signed: Vec<SbomFacts>,
    /// Those of which some or all could not be read.
    pub unread: Vec<UnreadSbom>,
}

/// The facts of the SBOMs that were attached: documents, statements with one, or signed ones. Anybody who may push may
/// attach one that looks better than what is so: what is said of an image is held against it whoever says it. Of several
/// that say something, the packages and licences of all count, and the worst score; of several formats each is one.
/// What nobody can read stays so, and may say anything: it is kept apart and makes rules fail.
pub fn sbom_facts(evidence: &[Evidence]) -> SbomsRead {
    let mut all: Option<SbomFacts> = None;
    let (mut each, mut signed, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for (piece, media_type) in evidence.iter().filter_map(|piece| Some((piece, read_as(piece)?))) {
        let unreadable = |finding: &Finding| UnreadSbom {
            evidence: piece.id(),
            why: format!("{}: {}", piece.manifest, finding.message),
        };
        let about = [piece.subject.to_string()];
        match rreg_sbom::read::attached(media_type, piece.content.to_vec(), &about) {
            Ok(Some(attached)) => {
                unread.extend(attached.document.findings.first().map(unreadable));
                let mut facts = SbomFacts::of_document(&attached.document);
                facts.evidence = Some(piece.id());
                if matches!(piece.kind, EvidenceKind::Bundle | EvidenceKind::CosignAttestation) {
                    signed.push(facts.clone());
                }
                each.push(facts.clone());
                all = Some(match all {
                    None => facts,
                    Some(known) => together(known, facts),
                });
            }
            Ok(None) => {}
            // It says nothing about this image.
            Err(finding) if finding.kind == FindingKind::OtherSubject => {}
            Err(finding) => unread.push(unreadable(&finding)),
        }
    }
    SbomsRead { all: all.map_or(Fact::Absent, Fact::Known), each, signed, unread }
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

/// The media type that a piece is read as, where it may carry an SBOM: what is evidence of a kind is read as that whatever
/// its layer says.
fn read_as(piece: &Evidence) -> Option<&str> {
    match piece.kind {
        EvidenceKind::Bundle | EvidenceKind::CosignAttestation => {
            Some("application/vnd.dsse.envelope.v1+json")
        }
        EvidenceKind::Statement => Some("application/vnd.in-toto+json"),
        EvidenceKind::Sbom => Some(&piece.media_type),
        EvidenceKind::CosignSignature | EvidenceKind::Notation => None,
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
            let SbomsRead { all: Fact::Known(facts), signed, .. } = sbom_facts(&both) else {
                panic!("there are two")
            };
            let licenses: Vec<&str> = facts.licenses.keys().map(String::as_str).collect();
            assert_eq!(licenses, ["AGPL-3.0-only", "MIT"]);
            let Fact::Known(alone) = sbom_facts(std::slice::from_ref(&honest)).all else {
                panic!("there is one")
            };
            assert!(facts.quality <= alone.quality && signed.is_empty());
        }
    }

    #[test]
    fn what_nobody_can_read_is_told() {
        let honest = document("MIT", true);
        let unread = |content: &str, media_type: &str| {
            let media_type = media_type.to_owned();
            let piece = Evidence { content: content.to_owned().into(), media_type, ..honest.clone() };
            let read = sbom_facts(&[honest.clone(), piece.clone()]);
            assert!(matches!(read.all, Fact::Known(_)));
            assert!(read.unread.iter().all(|it| it.evidence == piece.id()), "{:?}", read.unread);
            read.unread.len()
        };
        let cyclonedx = "application/vnd.cyclonedx+json";
        assert_eq!(unread("<bom/>", "application/vnd.cyclonedx+xml"), 1);
        assert_eq!(
            unread(r#"{"@context": "https://spdx.org/rdf/3.0.1", "@graph": []}"#, "application/spdx+json"),
            1
        );
        assert_eq!(unread("{}", cyclonedx), 1);
        // A part that is not understood may be what is denied.
        let part = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[
            {"type":"library","name":"a","version":"1","licenses":[{"license":{"id":"MIT"}}]},
            {"type":"library","name":"b","version":1,"licenses":[{"license":{"id":"AGPL-3.0-only"}}]}]}"#;
        assert_eq!(unread(part, cyclonedx), 1);
        assert_eq!(unread(&part.replace("\"version\":1,", "\"version\":\"1\","), cyclonedx), 0);
    }

    /// What is said of the image itself, its files and services counts as what is said of its packages.
    #[test]
    fn licences_count_wherever_a_document_has_them() {
        let agpl = json!([{"expression": "AGPL\u{200b}-3.0-only"}]);
        let mit = json!([{"type": "library", "name": "a", "licenses": [{"license": {"id": "MIT"}}]}]);
        for (media_type, content) in [
            (
                "application/vnd.cyclonedx+json",
                json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": mit,
                    "metadata": {"component": {"type": "container", "name": "i", "licenses": agpl}}}),
            ),
            (
                "application/vnd.cyclonedx+json",
                json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": mit,
                    "services": [{"name": "i", "licenses": agpl}]}),
            ),
            (
                "application/spdx+json",
                json!({"spdxVersion": "SPDX-2.3", "packages": [{"name": "a", "licenseDeclared": "MIT"}],
                    "files": [{"fileName": "i", "licenseInfoInFiles": ["AGPL-3.0-only", "NOASSERTION"]}]}),
            ),
        ] {
            let content = content.to_string().into();
            let piece = Evidence { content, media_type: media_type.to_owned(), ..document("MIT", true) };
            let Fact::Known(facts) = sbom_facts(&[piece]).all else { panic!("there is one") };
            let licenses: Vec<&str> = facts.licenses.keys().map(String::as_str).collect();
            assert_eq!(licenses, ["AGPL-3.0-only", "MIT"]);
            assert_eq!((facts.packages, &facts.licenses["AGPL-3.0-only"][..]), (1, &["i".to_owned()][..]));
        }
    }
}
