//! Names: prefixes, paths, containerd's `?ns=`, rules, and pushes.

use super::caching;
use super::origin::Origin;
use crate::harness::http::{blob, manifest, uploads};
use crate::harness::image::{Blob, Image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_rules_and_pushes() {
    let image = Image::layered("names", 1);
    let origin = Origin::with(&image, "1").await;
    let trap = Origin::start().await;
    let more = r#", ns=["origin.example"], deny=["secret/**"]"#;
    let Some(registry) = caching(&origin, more).await else { return };
    let api = registry.api();
    let tag = manifest("library/app", "1");
    api.get(&*tag).refused(404, "MANIFEST_UNKNOWN").await;
    let named = api.get(format!("{tag}?ns=origin.example")).expect(200).await;
    assert_eq!(named.body, image.root().bytes);
    let layer = blob("library/app", &image.blobs[0].digest);
    assert_eq!(api.get(format!("{layer}?ns=origin.example")).expect(200).await.body, image.blobs[0].bytes);
    // It may be a name of this registry: what is asked for is not here.
    api.get(format!("{tag}?ns={}", trap.address())).refused(404, "MANIFEST_UNKNOWN").await;
    assert_eq!(trap.count(""), 0, "a namespace is never dialled");
    // Its own name is no upstream.
    api.get(format!("{tag}?ns={}", registry.address())).refused(404, "MANIFEST_UNKNOWN").await;

    let before = origin.count("");
    api.get(manifest("up/secret/app", "1")).refused(403, "DENIED").await;
    api.get(manifest("upper/app", "1")).refused(404, "MANIFEST_UNKNOWN").await;
    assert_eq!(origin.count(""), before);

    api.post(uploads("up/library/app")).refused(405, "UNSUPPORTED").await;
    api.post(format!("{}?ns=origin.example", uploads("library/app"))).refused(405, "UNSUPPORTED").await;
    api.put_manifest("up/library/app", "1", image.root()).refused(405, "UNSUPPORTED").await;
    api.push("mine/app", &image, Some("1")).await;
    api.assert_image("mine/app", &image, Some("1")).await;
    // An own repository under any name of this registry, and a copy whose path has its prefix already.
    api.get(format!("{}?ns=registry.example", manifest("mine/app", "1"))).expect(200).await;
    api.get(format!("{}?ns=origin.example", manifest("up/library/app", "1"))).expect(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_upstream_does_not_have_is_unknown() {
    let image = Image::layered("unknown", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let api = registry.api();
    api.get(manifest("up/library/app", "none")).refused(404, "MANIFEST_UNKNOWN").await;
    api.get(blob("up/library/app", &image.root().digest)).refused(404, "BLOB_UNKNOWN").await;
    api.head(blob("up/library/app", &image.root().digest)).expect(404).await;
    let size = api.head(blob("up/library/app", &image.blobs[0].digest)).expect(200).await;
    assert_eq!(size.header("content-length"), image.blobs[0].bytes.len().to_string());
    assert_eq!(origin.count("GET /v2/library/app/blobs"), 0, "asking for a length fetches nothing");
}

/// Some upstreams serve manifests under `/blobs/` too: clients would keep them as bytes of no type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_no_blob_whatever_the_upstream_says() {
    let mut image = Image::layered("both", 1);
    let root = image.root().clone();
    image.blobs.push(Blob { digest: root.digest, bytes: root.bytes.clone() });
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let api = registry.api();
    api.get(manifest("up/library/app", "1")).expect(200).await;
    api.get(blob("up/library/app", &root.digest)).refused(404, "BLOB_UNKNOWN").await;
    api.head(blob("up/library/app", &root.digest)).expect(404).await;
}
