//! The root endpoint, repositories that do not exist, and the catalog.

use crate::harness::Registry;
use crate::harness::image::Image;

on_each_backend!(root_answers, unknown_repository, catalog_is_sorted_and_paged, wrong_methods);

async fn root_answers(registry: Registry) {
    let api = registry.api();
    api.get("/v2/").expect(200).await;
    api.head("/v2/").expect(200).await;
}

async fn unknown_repository(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    api.get(format!("/v2/{repository}/tags/list")).refused(404, "NAME_UNKNOWN").await;
    api.get_manifest(&repository, "latest").refused(404, "MANIFEST_UNKNOWN").await;
    api.head(format!("/v2/{repository}/manifests/latest")).expect(404).await;
    let digest = "sha256:".to_owned() + &"0".repeat(64);
    api.get(format!("/v2/{repository}/blobs/{digest}")).refused(404, "BLOB_UNKNOWN").await;
    // Nothing refers to it, whether the repository exists or not.
    let answer = api.get(format!("/v2/{repository}/referrers/{digest}")).expect(200).await;
    assert_eq!(answer.json()["manifests"], serde_json::json!([]), "{answer}");
}

async fn catalog_is_sorted_and_paged(registry: Registry) {
    let (api, prefix) = (registry.api(), registry.repository());
    let mut pushed = Vec::new();
    for name in ["c", "a", "b/nested", "b"] {
        let repository = format!("{prefix}/{name}");
        api.push(&repository, &Image::artifact(&repository, "application/vnd.example"), Some("v1")).await;
        pushed.push(repository);
    }
    pushed.sort();
    let (mut seen, mut target) = (Vec::new(), Some("/v2/_catalog?n=1".to_owned()));
    while let Some(page) = target {
        let answer = api.get(page).expect(200).await;
        let names = answer.texts("repositories");
        assert!(names.len() <= 1, "{answer}");
        seen.extend(names);
        target = answer.next();
    }
    assert!(seen.is_sorted(), "{seen:?}");
    seen.retain(|name| name.starts_with(&prefix));
    assert_eq!(seen, pushed);
    let after = api.get(format!("/v2/_catalog?last={}", pushed[1])).expect(200).await.texts("repositories");
    assert!(after.contains(&pushed[2]) && !after.contains(&pushed[1]), "{after:?}");
}

async fn wrong_methods(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    for target in ["manifests/latest", "tags/list"] {
        let answer = api.post(format!("/v2/{repository}/{target}")).refused(405, "UNSUPPORTED").await;
        assert!(answer.header("allow").contains("GET"), "{answer}");
    }
}
