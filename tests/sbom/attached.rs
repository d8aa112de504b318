//! Documents that others attached, in the places where their tools put them.

use rreg_oci::media_type;
use serde_json::{Value, json as value};

use super::{PURL, command, debian, json, sbom};
use crate::harness::Registry;
use crate::harness::http::base64;
use crate::harness::image::{Blob, Image, Stored};

on_each_backend!(found_wherever_it_hangs, forms_are_not_converted, hostile_ones_are_named);

const STATEMENT: &str = "application/vnd.in-toto+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// In the shape that trivy writes.
fn cyclonedx() -> Value {
    value!({"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"tools": {"components": [
        {"type": "application", "name": "trivy", "version": "0.66.0"}]}},
        "components": [
            {"type": "operating-system", "name": "debian", "version": "12"},
            {"type": "library", "name": "attached", "version": "1", "purl": "pkg:deb/debian/attached@1",
             "licenses": [{"license": {"name": "MIT"}}]}]})
}

/// In the shape that syft writes.
fn spdx() -> Value {
    value!({"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "an image",
        "creationInfo": {"created": "2026-01-02T03:04:05Z", "creators": ["Tool: syft-1.33.0"]},
        "packages": [
            {"name": "an image", "SPDXID": "SPDXRef-DocumentRoot", "primaryPackagePurpose": "CONTAINER"},
            {"name": "attached", "SPDXID": "SPDXRef-Package-1", "versionInfo": "1", "licenseDeclared": "MIT",
             "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": "pkg:deb/debian/attached@1"}]}],
        "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
            "relatedSpdxElement": "SPDXRef-DocumentRoot"}]})
}

/// An in-toto statement about `image`.
fn statement(image: &Stored, predicate_type: &str, predicate: &Value) -> Value {
    value!({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate_type, "predicate": predicate,
        "subject": [{"name": "_", "digest": {"sha256": image.digest.hex().to_string()}}]})
}

/// The statement in a DSSE envelope.
fn envelope(statement: &Value) -> Value {
    value!({"payloadType": STATEMENT, "payload": base64(statement.to_string().as_bytes()),
        "signatures": [{"keyid": "", "sig": "MEUCIQ=="}]})
}

/// A manifest with one blob of a type.
fn holding(kind: &str, content: impl Into<bytes::Bytes>) -> Image {
    let blob = Blob::new(content);
    let manifest = value!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": Blob::new("{}").descriptor(media_type::OCI_EMPTY), "layers": [blob.descriptor(kind)],
    });
    Image { blobs: vec![Blob::new("{}"), blob], manifests: vec![Stored::new(&manifest)] }
}

/// What BuildKit pushes: the image's index has a second entry with the statements about the first.
fn buildkit(image: &Image) -> Image {
    let provenance = statement(image.root(), "https://slsa.dev/provenance/v0.2", &value!({}));
    let list = statement(image.root(), "https://spdx.dev/Document", &spdx());
    let blobs = [provenance, list].map(|statement| Blob::new(statement.to_string()));
    let layers: Vec<Value> = blobs
        .iter()
        .zip(["https://slsa.dev/provenance/v0.2", "https://spdx.dev/Document"])
        .map(|(blob, kind)| {
            let mut layer = blob.descriptor(STATEMENT);
            layer["annotations"] = value!({"in-toto.io/predicate-type": kind});
            layer
        })
        .collect();
    let config =
        Blob::new(r#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#);
    let manifest = Stored::new(&value!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor(media_type::OCI_CONFIG), "layers": layers,
    }));
    let mut first = image.root().descriptor();
    first["platform"] = value!({"os": "linux", "architecture": "amd64"});
    let mut second = manifest.descriptor();
    second["platform"] = value!({"os": "unknown", "architecture": "unknown"});
    second["annotations"] = value!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.root().digest.to_string()});
    let index = Stored::new(&value!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [first, second],
    }));
    let mut blobs = blobs.to_vec();
    blobs.push(config);
    blobs.extend(image.blobs.clone());
    Image { blobs, manifests: image.manifests.iter().cloned().chain([manifest, index]).collect() }
}

async fn found_wherever_it_hangs(registry: Registry) {
    let api = registry.api();
    let subject = |image: &Image| image.root().descriptor();
    let tag = |image: &Image, suffix: &str| format!("sha256-{}.{suffix}", image.root().digest.hex());
    let of = |image: &Image| statement(image.root(), "https://cyclonedx.org/bom", &cyclonedx());
    type Hang = (&'static str, &'static str, &'static str);
    let cases: [Hang; 6] = [
        ("referrer", "referrer", "unsigned"),
        ("bundle", "referrer", "not checked"),
        ("buildkit", "index-entry", "unsigned"),
        ("att", "cosign-tag", "not checked"),
        ("sbom", "cosign-tag", "unsigned"),
        ("wrapped", "cosign-tag", "not checked"),
    ];
    for (case, place, signature) in cases {
        let repository = registry.repository();
        let image = debian(&repository, "amd64");
        api.push(&repository, &image, Some("v1")).await;
        match case {
            "referrer" => {
                let list = holding("application/spdx+json", spdx().to_string()).about(&subject(&image));
                api.push(&repository, &list, None).await;
            }
            "bundle" => {
                let bundle = value!({"mediaType": BUNDLE, "dsseEnvelope": envelope(&of(&image)),
                    "verificationMaterial": {}});
                let list = holding(BUNDLE, bundle.to_string()).about(&subject(&image));
                api.push(&repository, &list, None).await;
            }
            "buildkit" => api.push(&repository, &buildkit(&image), Some("v1")).await,
            "att" => {
                let list = holding(ENVELOPE, envelope(&of(&image)).to_string());
                api.push(&repository, &list, Some(&tag(&image, "att"))).await;
            }
            "wrapped" => {
                let data = value!({"Data": cyclonedx(), "Timestamp": ""});
                let list = statement(image.root(), "https://cyclonedx.org/bom/v1.4", &data);
                let list = holding(ENVELOPE, envelope(&list).to_string());
                api.push(&repository, &list, Some(&tag(&image, "att"))).await;
            }
            _ => {
                let text = "SPDXVersion: SPDX-2.3\nPackageName: attached\nSPDXID: SPDXRef-1\nPackageVersion: 1\n\
                    ExternalRef: PACKAGE-MANAGER purl pkg:deb/debian/attached@1\n";
                api.push(&repository, &holding("text/spdx", text), Some(&tag(&image, "sbom"))).await;
            }
        }
        let source = format!("{}/{repository}:v1", registry.address());
        let shown = json(&[&source, "--format", "json", "--platform", "linux/amd64"]);
        let attached = &shown["attached"];
        assert_eq!(
            (&attached["place"], &shown["signature"]),
            (&place.into(), &signature.into()),
            "{case}: {shown}"
        );
        let packages = attached["document"]["packages"].as_array().unwrap();
        assert_eq!(packages.len(), 1, "{case}: {shown}");
        assert_eq!(packages[0]["purl"], "pkg:deb/debian/attached@1", "{case}");
        assert!(shown["findings"].as_array().unwrap().is_empty(), "{case}: {shown}");
        let table = sbom(&[&source, "--attached", "only", "--platform", "linux/amd64"]);
        assert!(table.contains("attached") && table.contains("sign"), "{table}");
        let own = json(&[&source, "--attached", "never", "--format", "json", "--platform", "linux/amd64"]);
        assert_eq!(own["packages"][0]["purl"], PURL, "{case}");
    }
}

async fn forms_are_not_converted(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = debian(&repository, "amd64");
    api.push(&repository, &image, Some("v1")).await;
    let source = format!("{}/{repository}:v1", registry.address());
    let none = command(&[&source, "--attached", "only"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    let bytes = serde_json::to_string_pretty(&spdx()).unwrap();
    let list = holding("application/spdx+json", bytes.clone()).about(&image.root().descriptor());
    api.push(&repository, &list, None).await;
    assert_eq!(sbom(&[&source, "--format", "spdx"]), bytes, "its maker's bytes");
    let own = json(&[&source, "--format", "cyclonedx"]);
    assert_eq!(own["components"][1]["purl"], PURL, "there is no attached document of this form");
}

/// What cannot be used is named, and the layers are read instead.
async fn hostile_ones_are_named(registry: Registry) {
    let (api, spaces) = (registry.api(), vec![b' '; (64 << 20) + 1]);
    let other = debian("another image", "amd64");
    let transplanted =
        envelope(&statement(other.root(), "https://cyclonedx.org/bom", &cyclonedx())).to_string();
    let deep = format!("{{\"bomFormat\":\"CycloneDX\",\"components\":{}", "[".repeat(100_000));
    let cut = &spdx().to_string()[..200];
    let many = format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.6\",\"components\":[{}0]}}",
        "0,".repeat(300_000)
    );
    let cases: [(&str, &str, Vec<u8>); 7] = [
        ("file-too-large", "application/spdx+json", spaces),
        ("too-deep", "application/vnd.cyclonedx+json", deep.into_bytes()),
        ("truncated", "application/spdx+json", cut.as_bytes().to_vec()),
        ("malformed", "application/vnd.cyclonedx+json", many.into_bytes()),
        ("malformed", "application/vnd.cyclonedx+json", b"\x7fELF".to_vec()),
        ("unsupported", "application/vnd.cyclonedx+xml", b"<bom/>".to_vec()),
        ("other-subject", ENVELOPE, transplanted.into_bytes()),
    ];
    for (finding, kind, content) in cases {
        let repository = registry.repository();
        let image = debian(&repository, "amd64");
        api.push(&repository, &image, Some("v1")).await;
        let list = holding(kind, content).about(&image.root().descriptor());
        api.push(&repository, &list, None).await;
        let source = format!("{}/{repository}:v1", registry.address());
        let output = command(&[&source, "--format", "json"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(finding), "{finding}: {told}");
        let scanned: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(scanned["packages"][0]["purl"], PURL, "{finding}");
        let only = command(&[&source, "--attached", "only"]).output().unwrap();
        assert_eq!(only.status.code(), Some(1), "{finding}");
    }
}
