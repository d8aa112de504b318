//! `rreg sbom IMAGE|DIR|ARCHIVE`.

use std::fs;
use std::path::Path;

use super::{PURL, command, debian, json, sbom};
use crate::harness::image::Image;
use crate::harness::{Registry, RunDir};

on_each_backend!(from_everywhere, documents_are_the_same_each_time, damage_is_told);

async fn from_everywhere(registry: Registry) {
    let repository = registry.repository();
    let image = debian(&repository, "amd64");
    let index = Image::for_platforms([(image.clone(), "amd64"), (debian(&repository, "arm64"), "arm64")]);
    registry.api().push(&repository, &image, Some("single")).await;
    registry.api().push(&repository, &index, Some("index")).await;
    let home = RunDir::get().subdir("sbom-");
    image.write_layout(&home.path().join("layout"), "v1");
    let archive = home.path().join("archive.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_dir_all(".", home.path().join("layout")).unwrap();
    tar.finish().unwrap();
    let tree = home.path().join("tree");
    for (path, content) in [
        ("etc/os-release", "ID=debian\nVERSION_ID=12\n"),
        ("var/lib/dpkg/status", "Package: hello\nVersion: 2.10-3\nArchitecture: amd64\n"),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let remote = |tag: &str| format!("{}/{repository}:{tag}", registry.address());
    let local = |path: &Path| path.display().to_string();
    for source in
        [remote("single"), remote("index"), local(&home.path().join("layout")), local(&archive), local(&tree)]
    {
        let listed = json(&[&source, "--format", "json", "--platform", "linux/amd64"]);
        assert_eq!(listed["packages"][0]["purl"], PURL, "{source}: {listed}");
        assert_eq!(listed["findings"].as_array().unwrap().len(), 0, "{source}: {listed}");
    }
    let other = json(&[&remote("index"), "--format", "json", "--platform", "linux/arm64"]);
    assert_eq!(other["packages"][0]["purl"], PURL.replace("amd64", "arm64"));
    assert!(sbom(&[&remote("single")]).contains("hello"));
}

async fn documents_are_the_same_each_time(registry: Registry) {
    let repository = registry.repository();
    let image = debian(&repository, "amd64");
    let index = Image::for_platforms([(image.clone(), "amd64")]);
    registry.api().push(&repository, &index, Some("index")).await;
    let by_tag = format!("{}/{repository}:index", registry.address());
    let by_digest = format!("{}/{repository}@{}", registry.address(), image.root().digest);
    for format in ["cyclonedx", "spdx"] {
        let args = |source| ["--format", format, "--platform", "linux/amd64", source];
        assert_eq!(sbom(&args(&by_tag)), sbom(&args(&by_tag)));
        let (one, other) = (json(&args(&by_tag)), json(&args(&by_digest)));
        for field in ["serialNumber", "components", "documentNamespace", "relationships"] {
            assert_eq!(one[field], other[field], "{field}");
        }
    }
    let document = json(&[&by_digest, "--format", "cyclonedx"]);
    let layer = image.blobs[0].digest.to_string();
    assert_eq!(document["components"][1]["properties"][0]["value"], layer, "{document}");
    let document = json(&[&by_digest, "--format", "spdx"]);
    assert_eq!(document["creationInfo"]["created"], "2024-01-01T00:00:00Z");
}

/// A layer of a layout that was changed since is not read as if it were the image's; a broken database is a finding.
async fn damage_is_told(registry: Registry) {
    let image = debian("damaged", "amd64");
    let home = RunDir::get().subdir("sbom-");
    image.write_layout(home.path(), "v1");
    let layout = home.path().display().to_string();
    let blob = home.path().join("blobs/sha256").join(image.blobs[0].digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[4] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let failed = command(&[&layout]).output().unwrap();
    let error = String::from_utf8_lossy(&failed.stderr);
    assert!(failed.status.code() == Some(1) && error.contains("its content is"), "{error}");
    let repository = registry.repository();
    let broken = Image::of_files(
        &[("var/lib/rpm/rpmdb.sqlite", b"SQLite format 3\0cut"), ("a.jar", b"PK\x03\x04cut")],
        "amd64",
    );
    registry.api().push(&repository, &broken, Some("v1")).await;
    let listed = json(&[&format!("{}/{repository}:v1", registry.address()), "--format", "json"]);
    let found: Vec<_> =
        listed["findings"].as_array().unwrap().iter().map(|f| (&f["kind"], &f["path"])).collect();
    assert_eq!(found.len(), 2, "{listed}");
    assert!(found.iter().all(|(kind, path)| kind.is_string() && path.is_string()), "{listed}");
}
