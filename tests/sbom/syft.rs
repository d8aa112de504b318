//! The same images through syft, where one is installed (`RREG_TEST_SYFT=PATH`, or on the PATH): every difference is
//! in [`as_ours`], with its reason. And what syft writes is read back as what it lists.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::json;
use crate::harness::image::{Blob, Image, Stored};
use crate::harness::{Registry, tool};

/// Type, name, version.
type Packages = BTreeSet<(String, String, String)>;

fn program() -> Option<PathBuf> {
    let found = env::var_os("RREG_TEST_SYFT").map(PathBuf::from).or_else(|| tool::find("syft"));
    if found.is_none() {
        tool::skip("the comparison with syft: it is not installed (RREG_TEST_SYFT=PATH)");
    }
    found
}

/// What syft says of a package in our words.
fn as_ours(artifact: &Value) -> (String, String, String) {
    let text = |key: &str| artifact[key].as_str().unwrap_or_default().to_owned();
    let (kind, name, version) = (text("type"), text("name"), text("version"));
    match kind.as_str() {
        "python" => ("pypi".into(), name, version),
        // A program built from a directory has no version; syft calls that one UNKNOWN. And its version of the
        // standard library has the prefix of the release's name, which advisories do not have.
        "go-module" if version == "UNKNOWN" => ("golang".into(), name, String::new()),
        "go-module" if name == "stdlib" => {
            ("golang".into(), name, version.trim_start_matches("go").to_owned())
        }
        "go-module" => ("golang".into(), name, version),
        "java-archive" => ("maven".into(), name, version),
        "rust-crate" => ("cargo".into(), name, version),
        _ => (kind, name, version),
    }
}

/// What we list, named as syft names it.
fn as_named(package: &Value) -> (String, String, String) {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text("type"), text("name"));
    let name = match package["namespace"].as_str() {
        Some(scope) if kind == "npm" => format!("@{scope}/{name}"),
        // Syft writes names in their normal form (PEP 503) where we keep the author's; the URLs are the same.
        None if kind == "pypi" => name.to_lowercase().replace(['_', '.'], "-"),
        _ => name,
    };
    (kind, name, text("version"))
}

/// Compares `listed` with syft's list of the image in `layout`, and reads syft's documents back.
pub(super) async fn compare(registry: &Registry, image: &Image, layout: &Path, listed: &Value) {
    let Some(syft) = program() else { return };
    let formats = [
        ("syft-json", "application/vnd.syft+json"),
        ("cyclonedx-json", "application/vnd.cyclonedx+json"),
        ("spdx-json", "application/spdx+json"),
    ];
    let mut command = Command::new(syft);
    command.arg("scan").arg(format!("oci-dir:{}", layout.display())).arg("-q");
    for (format, _) in formats {
        command.arg("-o").arg(format!("{format}={}", layout.join(format).display()));
    }
    tool::run(command.env("SYFT_CHECK_FOR_APP_UPDATE", "false"));
    let read = |format: &str| std::fs::read(layout.join(format)).unwrap();
    let said: Value = serde_json::from_slice(&read("syft-json")).unwrap();
    let theirs: Packages = said["artifacts"].as_array().unwrap().iter().map(as_ours).collect();
    let ours: Packages = listed["packages"].as_array().unwrap().iter().map(as_named).collect();
    assert_eq!(ours, theirs, "ours on the left, syft's on the right");
    for (format, kind) in formats {
        let blob = Blob::new(read(format));
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": rreg_oci::media_type::OCI_MANIFEST, "artifactType": kind,
            "config": Blob::new("{}").descriptor(rreg_oci::media_type::OCI_EMPTY), "layers": [blob.descriptor(kind)],
        });
        let document = Image { blobs: vec![Blob::new("{}"), blob], manifests: vec![Stored::new(&manifest)] };
        let repository = format!("syft/{format}");
        registry.api().push(&repository, image, Some("v1")).await;
        registry.api().push(&repository, &document.about(&image.root().descriptor()), None).await;
        let source = format!("{}/{repository}:v1", registry.address());
        let attached = json(&[&source, "--attached", "only", "--format", "json"]);
        let packages = attached["attached"]["document"]["packages"].as_array().unwrap();
        let purls: BTreeSet<&str> = packages.iter().filter_map(|p| p["purl"].as_str()).collect();
        let expected: BTreeSet<&str> =
            said["artifacts"].as_array().unwrap().iter().filter_map(|p| p["purl"].as_str()).collect();
        assert_eq!(purls, expected, "{format}");
    }
}
