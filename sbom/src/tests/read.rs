//! Documents of others: what is tolerated, what is named, and that nothing brings the reader down.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::build;
use crate::FindingKind;
use crate::read::{Attached, DocumentFormat, attached, carries_sbom, is_sbom_predicate};

const ABOUT: &str = "sha256:aaaa";

fn read(media_type: &str, bytes: impl Into<Vec<u8>>) -> Result<Option<Attached>, FindingKind> {
    attached(media_type, bytes.into(), &[ABOUT.into()]).map_err(|finding| finding.kind)
}

fn cyclonedx(components: &Value) -> String {
    json!({"bomFormat": "CycloneDX", "specVersion": "1.7", "components": components}).to_string()
}

fn statement(digest: &str, predicate: &Value) -> String {
    json!({"predicateType": "https://cyclonedx.org/bom", "subject": [{"digest": {"sha256": digest}}],
        "predicate": predicate})
    .to_string()
}

#[test]
fn own_documents() {
    let sbom = super::scan(&[build::tar(&[
        ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20\n"),
        ("lib/apk/db/installed", b"P:a\nV:1-r0\nL:MIT\n\nP:b\nV:2\nL:custom\n\n"),
        ("app/package.json", b"{\"name\":\"@s/n\",\"version\":\"1\"}"),
    ])]);
    let purls: Vec<&str> = super::purls(&sbom);
    for (media_type, document) in [
        ("application/vnd.cyclonedx+json; version=1.6", crate::cyclonedx(&sbom).unwrap()),
        ("application/spdx+json", crate::spdx(&sbom).unwrap()),
    ] {
        let read = read(media_type, document.to_string()).unwrap().unwrap();
        let mut found: Vec<_> = read.document.packages.iter().filter_map(|p| p.purl.as_deref()).collect();
        found.sort_unstable();
        assert_eq!((found, read.signed), (purls.clone(), false), "{media_type}");
        assert_eq!(
            read.document.packages[0].licenses.len(),
            usize::from(read.document.packages[0].name == "a")
        );
        assert!(!read.document.creators.is_empty(), "{media_type}");
    }
}

#[test]
fn one_bad_entry_is_a_finding() {
    let components = json!([{"type": "library", "name": "a", "components": [{"type": "library", "name": "b"}]},
        {"type": "library", "name": 7}, {"type": "file", "name": "f"}, null]);
    let document = read("application/vnd.cyclonedx+json", cyclonedx(&components)).unwrap().unwrap().document;
    let names: Vec<&str> = document.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!((names, document.findings.len()), (vec!["a", "b"], 2));
    assert!(document.findings.iter().all(|finding| finding.kind == FindingKind::Malformed));
}

#[test]
fn tag_value() {
    let text = "SPDXVersion: SPDX-2.2\nDocumentName: x\nCreator: Tool: t\nRelationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-0\n\
        PackageName: image\nSPDXID: SPDXRef-0\nPackageName: a\nSPDXID: SPDXRef-1\nPackageVersion: 1\n\
        PackageComment: <text>\nPackageName: not one\n</text>\nPackageLicenseDeclared: MIT\n\
        ExternalRef: PACKAGE-MANAGER purl pkg:npm/a@1\nFileName: ./f\nSPDXID: SPDXRef-2\n";
    let document = read("text/spdx", text).unwrap().unwrap().document;
    assert_eq!(document.format, DocumentFormat::SpdxTagValue);
    assert_eq!(document.packages.len(), 1, "{document:?}");
    let package = &document.packages[0];
    assert_eq!((package.purl.as_deref(), package.purl_type()), (Some("pkg:npm/a@1"), Some("npm")));
    assert_eq!(
        (package.version.as_deref(), package.licenses.as_slice()),
        (Some("1"), &["MIT".to_owned()][..])
    );
}

#[test]
fn what_cannot_be_used_has_a_name() {
    let json = "application/spdx+json";
    let deep = format!("{}{}", "{\"a\":".repeat(200), "}".repeat(200));
    let many = cyclonedx(&Value::Array(vec![json!(0); 200_001]));
    for (media_type, bytes, kind) in [
        (json, "{\"spdxVersion\":\"SPDX-3.0\"}".to_owned(), FindingKind::Unsupported),
        (json, "{\"@graph\":[]}".to_owned(), FindingKind::Unsupported),
        (json, "<bom/>".to_owned(), FindingKind::Unsupported),
        (json, "{\"spdxVersion\":".to_owned(), FindingKind::Truncated),
        (json, "{}".to_owned(), FindingKind::Malformed),
        (json, String::new(), FindingKind::Malformed),
        (json, deep, FindingKind::TooDeep),
        (json, many, FindingKind::Malformed),
        ("application/vnd.in-toto+json", statement("bbbb", &json!({})), FindingKind::OtherSubject),
        ("application/vnd.in-toto+json", "[]".to_owned(), FindingKind::Malformed),
        (
            "application/vnd.dsse.envelope.v1+json",
            r#"{"payloadType":"application/vnd.in-toto+json","payload":"*"}"#.to_owned(),
            FindingKind::Malformed,
        ),
    ] {
        assert_eq!(read(media_type, bytes.clone()).unwrap_err(), kind, "{media_type} {:.60}", bytes);
    }
    assert_eq!(read(json, vec![b' '; (64 << 20) + 1]).unwrap_err(), FindingKind::FileTooLarge);
}

#[test]
fn other_statements_are_none() {
    let provenance = json!({"predicateType": "https://slsa.dev/provenance/v1", "predicate": {}}).to_string();
    assert_eq!(read("application/vnd.in-toto+json", provenance), Ok(None));
    let signature = "application/vnd.dev.sigstore.bundle.v0.3+json";
    assert_eq!(read(signature, r#"{"messageSignature":{}}"#), Ok(None));
    for (predicate, sbom) in [
        ("https://spdx.dev/Document", true),
        ("https://spdx.dev/Document/v2.3", true),
        ("https://cyclonedx.org/bom/v1.6", true),
        ("https://cyclonedx.org/bomber", false),
        ("spdx", false),
    ] {
        assert_eq!(is_sbom_predicate(predicate), sbom, "{predicate}");
    }
    assert!(carries_sbom("application/vnd.dev.sigstore.bundle+json;version=0.2"));
    assert!(!carries_sbom("application/vnd.oci.image.layer.v1.tar+gzip"));
}

/// Intact ones, of every form.
fn intact() -> Vec<(&'static str, String)> {
    let list = cyclonedx(&json!([{"type": "library", "name": "a", "licenses": [{"expression": "MIT"}]}]));
    let spdx = json!({"spdxVersion": "SPDX-2.3", "packages": [{"name": "a", "externalRefs": [
        {"referenceType": "purl", "referenceLocator": "pkg:npm/a@1"}]}],
        "relationships": [{"relationshipType": "DESCRIBES", "relatedSpdxElement": "x"}]});
    let syft = json!({"descriptor": {"name": "syft"}, "schema": {"version": "16"},
        "artifacts": [{"name": "a", "version": "1", "licenses": ["MIT", {"value": "ISC"}]}]});
    let predicate: Value = serde_json::from_str(&list).unwrap();
    vec![
        ("application/vnd.in-toto+json", statement("aaaa", &predicate)),
        ("application/vnd.cyclonedx+json", list),
        ("application/spdx+json", spdx.to_string()),
        ("application/vnd.syft+json", syft.to_string()),
        ("text/spdx", "SPDXVersion: SPDX-2.3\nPackageName: a\nSPDXID: x\n".to_owned()),
    ]
}

#[test]
fn intact_ones_are_read() {
    for (media_type, text) in intact() {
        let read = read(media_type, text).unwrap().unwrap();
        assert_eq!(read.document.packages.len(), 1, "{media_type}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Neither panics nor endless work, and the same answer twice.
    #[test]
    fn damaged_documents(
        which in 0..5_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (media_type, text) = intact().swap_remove(which);
        let mut bytes = text.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert_eq!(read(media_type, bytes.clone()), read(media_type, bytes));
    }
}
