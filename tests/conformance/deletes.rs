//! Deletes take effect at once and touch nothing else.

use crate::harness::Registry;
use crate::harness::http::{blob, manifest};
use crate::harness::image::{EXAMPLE, Image};

on_each_backend!(tag_only, manifest_with_its_tags, blobs_one_by_one, everything_in_order, child_of_an_index);

async fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    registry.api().get(format!("/v2/{repository}/tags/list")).expect(200).await.texts("tags")
}

async fn tag_only(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    for tag in ["stays", "goes"] {
        api.push(&repository, &image, Some(tag)).await;
    }
    api.delete(manifest(&repository, "goes")).expect(202).await;
    api.head(manifest(&repository, "goes")).expect(404).await;
    api.get_manifest(&repository, "goes").refused(404, "MANIFEST_UNKNOWN").await;
    assert_eq!(tags(&registry, &repository).await, ["stays"]);
    api.assert_image(&repository, &image, Some("stays")).await;
    if api.is_strict() {
        api.delete(manifest(&repository, "goes")).refused(404, "MANIFEST_UNKNOWN").await;
    }
    // The manifest stays without any tag.
    api.delete(manifest(&repository, "stays")).expect(202).await;
    api.assert_image(&repository, &image, None).await;
}

async fn manifest_with_its_tags(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    let other = Image::artifact(&repository, EXAMPLE);
    for tag in ["one", "two"] {
        api.push(&repository, &image, Some(tag)).await;
    }
    api.push(&repository, &other, Some("other")).await;
    let digest = image.root().digest;
    api.delete(manifest(&repository, digest)).expect(202).await;
    for reference in [digest.to_string(), "one".to_owned(), "two".to_owned()] {
        api.head(manifest(&repository, &reference)).expect(404).await;
        api.get_manifest(&repository, &reference).expect(404).await;
    }
    if api.is_strict() {
        api.delete(manifest(&repository, digest)).refused(404, "MANIFEST_UNKNOWN").await;
    }
    assert_eq!(tags(&registry, &repository).await, ["other"]);
    api.assert_image(&repository, &other, Some("other")).await;
    // And it can come back.
    api.push(&repository, &image, Some("one")).await;
    api.assert_image(&repository, &image, Some("one")).await;
}

async fn blobs_one_by_one(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 2);
    for content in &image.blobs {
        api.push_blob(&repository, content).await;
    }
    let (gone, stays) = (&image.blobs[0], &image.blobs[1]);
    let target = blob(&repository, &gone.digest);
    api.delete(&target).expect(202).await;
    api.head(&target).expect(404).await;
    api.get(&target).refused(404, "BLOB_UNKNOWN").await;
    api.delete(&target).refused(404, "BLOB_UNKNOWN").await;
    assert_eq!(api.get(blob(&repository, &stays.digest)).expect(200).await.body, stays.bytes);
    api.push_blob(&repository, gone).await;
    assert_eq!(api.get(&target).expect(200).await.body, gone.bytes);
}

async fn everything_in_order(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::index(&repository);
    api.push(&repository, &image, Some("v1")).await;
    api.delete(manifest(&repository, "v1")).expect(202).await;
    for stored in image.manifests.iter().rev() {
        api.delete(manifest(&repository, stored.digest)).expect(202).await;
        api.head(manifest(&repository, stored.digest)).expect(404).await;
    }
    for content in &image.blobs {
        api.delete(blob(&repository, &content.digest)).expect(202).await;
        api.head(blob(&repository, &content.digest)).expect(404).await;
    }
    api.push(&repository, &image, Some("v1")).await;
    api.assert_image(&repository, &image, Some("v1")).await;
}

/// Whether a referenced child or blob may be deleted is the registry's choice; that no reference dangles in
/// what it then says is not: either the delete is refused, or the parent is still served and the child is gone.
async fn child_of_an_index(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::index(&repository);
    api.push(&repository, &image, Some("v1")).await;
    let child = manifest(&repository, image.manifests[0].digest);
    let answer = api.delete(&child).send().await;
    let expected = match answer.status {
        202 => 404,
        405 | 409 => 200,
        _ => panic!("{answer}"),
    };
    api.head(&child).expect(expected).await;
    assert_eq!(api.get_manifest(&repository, "v1").expect(200).await.body, image.root().bytes);
}
