//! `[sbom] attach`: what a push leaves behind it.

use std::time::Duration;

use rreg_oci::Digest;
use serde_json::Value;

use super::{PURL, debian, json};
use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{Api, Backend, Registry};

const BOTH: &[(&str, &str)] =
    &[("RREG_SBOM__ATTACH", "both"), ("RREG_SBOM__REPOSITORIES", "it/**"), ("RREG_METRICS__ENABLED", "true")];
const KINDS: [&str; 2] = ["application/spdx+json", "application/vnd.cyclonedx+json"];

on_each_backend!(BOTH => each_platform_once, only_images, outside_the_globs, a_crash_in_between);

/// The referrers of an image, ordered by type.
async fn referrers(api: &Api, repository: &str, subject: &Digest) -> Vec<Value> {
    let answer = api.get(format!("/v2/{repository}/referrers/{subject}")).expect(200).await;
    let mut found = answer.json()["manifests"].as_array().unwrap().clone();
    found.sort_by_key(|entry| entry["artifactType"].to_string());
    found
}

/// The same, once both documents are there.
async fn both(api: &Api, repository: &str, subject: &Digest) -> Vec<Value> {
    for _ in 0..1200 {
        let found = referrers(api, repository, subject).await;
        if found.len() >= 2 {
            let kinds: Vec<_> = found.iter().map(|entry| entry["artifactType"].as_str().unwrap()).collect();
            assert_eq!(kinds, KINDS);
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing was attached to {subject} in two minutes");
}

/// The document that a referrer holds.
async fn document(api: &Api, repository: &str, entry: &Value) -> Value {
    let manifest = api.get_manifest(repository, entry["digest"].as_str().unwrap()).expect(200).await.json();
    let blob = manifest["layers"][0]["digest"].as_str().unwrap();
    api.get(format!("/v2/{repository}/blobs/{blob}")).expect(200).await.json()
}

async fn metric(api: &Api, name: &str) -> u64 {
    let text = String::from_utf8(api.get("/metrics").expect(200).await.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Two replicas (where they can be had): each platform of an index gets each document once, and they say what
/// `rreg sbom` says.
async fn each_platform_once(registry: Registry) {
    let replica = registry.is_shareable().then(|| registry.replica());
    let (api, repository) = (registry.api(), registry.repository());
    let platforms = ["amd64", "arm64"].map(|platform| (debian(&repository, platform), platform));
    let index = Image::for_platforms(platforms.clone());
    api.push(&repository, &index, Some("v1")).await;
    let mut attached = Vec::new();
    for (image, platform) in &platforms {
        let subject = image.root().digest;
        let found = both(&api, &repository, &subject).await;
        assert!(found.iter().all(|entry| entry["annotations"]["rreg.creator"].is_string()), "{found:?}");
        let (spdx, cyclonedx) =
            (document(&api, &repository, &found[0]).await, document(&api, &repository, &found[1]).await);
        let source = format!("{}/{repository}@{subject}", registry.address());
        let scanned = |format| json(&[&source, "--attached", "never", "--format", format]);
        assert_eq!(cyclonedx["components"], scanned("cyclonedx")["components"]);
        assert_eq!(cyclonedx["serialNumber"], scanned("cyclonedx")["serialNumber"]);
        assert_eq!(spdx["relationships"], scanned("spdx")["relationships"]);
        let listed = json(&[&source, "--attached", "only", "--format", "json"]);
        let purl = PURL.replace("amd64", platform);
        assert_eq!(listed["attached"]["document"]["packages"][0]["purl"], purl, "{listed}");
        assert_eq!(listed["signature"], "unsigned");
        attached.push(found);
    }
    assert!(referrers(&api, &repository, &index.root().digest).await.is_empty(), "an index has no packages");
    // Elsewhere, and by another replica perhaps, the same image gets the same manifests.
    let other = registry.repository();
    api.push(&other, &platforms[0].0, Some("copy")).await;
    assert_eq!(both(&api, &other, &platforms[0].0.root().digest).await, attached[0]);
    let mut done = metric(&api, "rreg_sbom_attached_total").await;
    if let Some(replica) = &replica {
        done += metric(&replica.api(), "rreg_sbom_attached_total").await;
    }
    assert_eq!(done, 3, "each image was read once");
    // They hold: an image pushed again gets nothing new.
    api.push(&repository, &index, Some("v1")).await;
    assert_eq!(both(&api, &repository, &platforms[1].0.root().digest).await, attached[1]);
}

async fn only_images(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let others = [
        Image::artifact(&repository, EXAMPLE),
        Image::chart(&repository),
        // What BuildKit pushes: the configuration of an image, and no layer that is one.
        Image::layered(&repository, 1)
            .edited(|manifest| manifest["layers"][0]["mediaType"] = "application/vnd.in-toto+json".into()),
    ];
    for other in &others {
        api.push(&repository, other, None).await;
    }
    // Jobs are done in order, so this one is done after all of theirs would be.
    let image = debian(&repository, "amd64");
    api.push(&repository, &image, None).await;
    for entry in both(&api, &repository, &image.root().digest).await {
        let subject: Digest = entry["digest"].as_str().unwrap().parse().unwrap();
        assert!(referrers(&api, &repository, &subject).await.is_empty(), "an SBOM of an SBOM");
    }
    for other in &others {
        assert!(referrers(&api, &repository, &other.root().digest).await.is_empty());
    }
}

async fn outside_the_globs(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let outside = format!("other/{repository}");
    let image = debian(&repository, "amd64");
    api.push(&outside, &image, None).await;
    api.push(&repository, &image, None).await;
    both(&api, &repository, &image.root().digest).await;
    assert!(referrers(&api, &outside, &image.root().digest).await.is_empty());
}

/// Killed at several moments after the push, among them while the image is read; whoever comes next goes on.
async fn a_crash_in_between(mut registry: Registry) {
    let repository = registry.repository();
    let mut images = Vec::new();
    for (number, pause) in [0, 300, 1200].into_iter().enumerate() {
        // Long enough to be read for a while.
        let label = format!("{repository}/{number}");
        let content = vec![0; 48 << 20];
        let status = "Package: hello\nVersion: 2.10-3\nArchitecture: amd64\n";
        let image = Image::of_files(
            &[("zeros", &content), ("label", label.as_bytes()), ("var/lib/dpkg/status", status.as_bytes())],
            "amd64",
        );
        registry.api().push(&repository, &image, None).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        registry.kill();
        registry.resume();
        images.push(image);
    }
    for image in &images {
        let found = both(&registry.api(), &repository, &image.root().digest).await;
        let document = document(&registry.api(), &repository, &found[1]).await;
        assert_eq!(document["components"][0]["name"], "hello", "{document}");
    }
}

/// An image that cannot be listed is given up, counted and named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_seen() {
    let settings = [("RREG_SBOM__ATTACH", "cyclonedx"), ("RREG_SBOM__MAX_IMAGE_SIZE", "100B")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = debian(&repository, "amd64");
    api.push(&repository, &image, None).await;
    for _ in 0..600 {
        if metric(&api, "rreg_sbom_given_up_total").await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(metric(&api, "rreg_sbom_given_up_total").await, 1);
    let log = std::fs::read_to_string(registry.home().join("log")).unwrap();
    let line = log.lines().find(|line| line.contains("given up")).unwrap();
    assert!(line.contains("image-too-large") && line.contains(&image.root().digest.to_string()), "{line}");
    assert!(referrers(&api, &repository, &image.root().digest).await.is_empty());
}
