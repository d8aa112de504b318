//! Pushes and promotions.

use rreg_oci::media_type;
use serde_json::json;

use crate::harness::Backend;
use crate::harness::http::manifest;
use crate::harness::image::{Blob, Image, Stored};

use super::{Desk, refusal, signed};

const LABELS: &str = r#"
apiVersion: rreg/v1
kind: Policy
name: labelled
match: {repos: ["it/**"]}
at: [push]
mode: enforce
onError: deny
require:
  - image: {labels: {"org.opencontainers.image.source": "https://git.example/**"}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_for_what_is_signed() {
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "promote"));
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(registry) = desk.registry(backend).await else { return };
        let (api, repository) = (registry.api(), registry.repository());
        let image = Image::layered(&repository, 1);
        // By digest it may come in; signatures come after.
        api.push(&repository, &image, None).await;
        let digest = image.root().digest.to_string();
        api.get(manifest(&repository, &digest)).expect(200).await;
        let (message, detail) = refusal(&api.put_manifest(&repository, "v1", image.root()).send().await);
        assert!(message.contains("may not be tagged") && message.contains("not signed"), "{message}");
        assert_eq!(detail["at"], "promote");
        assert_eq!(api.get(manifest(&repository, "v1")).send().await.status, 404);
        desk.sign(&registry, &repository, &digest, &desk.team);
        api.put_manifest(&repository, "v1", image.root()).expect(201).await;
        api.get(manifest(&repository, "v1")).expect(200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_push_must_have() {
    let desk = Desk::new();
    desk.set("labelled", LABELS);
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    for blob in &image.blobs {
        api.push_blob(&repository, blob).await;
    }
    let digest = image.root().digest.to_string();
    for reference in ["v1", &digest] {
        let (message, _) = refusal(&api.put_manifest(&repository, reference, image.root()).send().await);
        assert!(message.contains("org.opencontainers.image.source"), "{message}");
    }
    let config = Blob::new(
        json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"org.opencontainers.image.source": "https://git.example/team/app"}},
            "rootfs": {"type": "layers", "diff_ids": []},
        })
        .to_string(),
    );
    let labelled = Stored::new(&json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor(media_type::OCI_CONFIG), "layers": [],
    }));
    let labelled = Image { blobs: vec![config], manifests: vec![labelled] };
    api.push(&repository, &labelled, Some("v1")).await;
    // What is no image, such as a signature, is not asked for labels.
    desk.sign(&registry, &repository, "v1", &desk.team);
}
