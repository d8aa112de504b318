//! What a cache is for: one request to the upstream, whoever asks, and everything from here afterwards.

use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::origin::{Fault, Origin, REPOSITORY};
use super::{caching, caching_on, get, metric};
use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, Image};
use crate::harness::{Backend, Registry};

const LOCAL: &str = "up/library/app";
/// For tests that hold the upstream back themselves.
const PATIENT: &str = ", timeout=\"60s\"";

/// An image with one layer of `size` bytes.
fn with_large_layer(label: &str, size: usize) -> (Image, Blob) {
    let layer = Blob::random(label, size);
    let mut image = Image::layered(label, 1);
    let descriptor = layer.descriptor(crate::harness::image::LAYER);
    image = image.edited(|manifest| manifest["layers"] = serde_json::json!([descriptor]));
    image.blobs.push(layer.clone());
    (image, layer)
}

async fn pulls_once(backend: Backend) {
    let image = Image::index("pulls-once");
    let origin = Origin::with(&image, "1").await;
    let Some(mut registry) = caching_on(backend, &origin, ", ns=[\"origin.example\"]").await else { return };
    let api = registry.api();
    api.assert_image(LOCAL, &image, Some("1")).await;
    api.assert_image(LOCAL, &image, Some("1")).await;
    assert_eq!(origin.count("GET /v2/library/app/blobs/"), image.blobs.len(), "each is fetched once");
    // The root by its digest and by its tag.
    assert_eq!(origin.count("GET /v2/library/app/manifests/"), image.manifests.len() + 1);
    // From here on, and after a restart, without the upstream.
    origin.switch_off();
    registry.stop();
    registry.resume();
    let api = registry.api();
    for part in &image.blobs {
        assert_eq!(api.get(blob(LOCAL, &part.digest)).expect(200).await.body, part.bytes);
    }
    let tagged = get(&registry, &manifest(LOCAL, "1")).await;
    assert_eq!((tagged.status, tagged.body.unwrap()), (200, image.root().bytes.clone()));
    assert!(tagged.warning.unwrap().starts_with("111 "));
    assert!(metric(&registry, "rreg_mirror_stale_total").await > 0);
    // What is cached is not all that there is.
    assert!(get(&registry, &format!("/v2/{LOCAL}/tags/list")).await.status >= 500);
    // What a cached manifest needs cannot be deleted under it.
    api.delete(blob(LOCAL, &image.blobs[0].digest)).refused(409, "DENIED").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_once_and_serves_from_then_on() {
    pulls_once(Backend::SqliteDirectory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_once_and_serves_from_then_on_postgres_s3() {
    pulls_once(Backend::PostgresS3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moves_is_followed_and_one_within_its_time_is_not_asked_for() {
    let (old, new) = (Image::layered("old", 1), Image::layered("new", 1));
    let origin = Origin::with(&old, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let api = registry.api();
    let digest = async || {
        let answer = api.get_manifest(LOCAL, "1").expect(200).await;
        answer.header("docker-content-digest").to_owned()
    };
    assert_eq!(digest().await, old.root().digest.to_string());
    assert_eq!(digest().await, old.root().digest.to_string());
    assert_eq!((origin.count("GET"), origin.count("HEAD")), (1, 1), "confirmed by HEAD");
    origin.put(&new, "1");
    assert_eq!(digest().await, new.root().digest.to_string());
    let before = origin.count("");
    api.get_manifest(LOCAL, &old.root().digest.to_string()).expect(200).await;
    assert_eq!(origin.count(""), before, "a digest is never asked for again");

    let patient = format!(r#"[{{name="up", url="http://{}", tag_ttl="1h"}}]"#, origin.address());
    let settings = [("RREG_UPSTREAMS", patient.as_str())];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    registry.api().get_manifest(LOCAL, "1").expect(200).await;
    let before = origin.count("");
    registry.api().get_manifest(LOCAL, "1").expect(200).await;
    assert_eq!(origin.count(""), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_clients_share_one_request() {
    const CLIENTS: usize = 50;
    let (image, layer) = with_large_layer("cold", 5_000_000);
    let origin = Origin::with(&image, "1").await;
    let gate = origin.gate();
    let Some(registry) = caching(&origin, PATIENT).await else { return };
    registry.api().get_manifest(LOCAL, "1").expect(200).await;
    let target = blob(LOCAL, &layer.digest);
    let pulls = join_all((0..CLIENTS).map(|_| get(&registry, &target)));
    let opened = async {
        // All of them are waiting in the middle of the blob when the rest comes.
        registry.api().get(&*target).header("range", "bytes=0-9").expect(206).await;
        gate.send(true).unwrap();
    };
    let (pulls, ()) = tokio::join!(pulls, opened);
    for pull in pulls {
        assert_eq!(pull.status, 200);
        assert!(pull.body.unwrap() == layer.bytes);
    }
    assert_eq!(origin.count(&format!("GET /v2/{REPOSITORY}/blobs/{}", layer.digest)), 1);
    assert_eq!(metric(&registry, "rreg_mirror_fills_total").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_served_while_the_rest_is_on_its_way_and_nobody_has_to_stay() {
    let (image, layer) = with_large_layer("parts", 3_000_000);
    let origin = Origin::with(&image, "1").await;
    let gate = origin.gate();
    let Some(registry) = caching(&origin, PATIENT).await else { return };
    let api = registry.api();
    api.get_manifest(LOCAL, "1").expect(200).await;
    let target = blob(LOCAL, &layer.digest);
    let answer = api.get(&*target).header("range", "bytes=1000-1999").expect(206).await;
    assert_eq!(answer.header("content-range"), format!("bytes 1000-1999/{}", layer.bytes.len()));
    assert_eq!(answer.body, layer.bytes.slice(1000..2000));
    api.get(&*target).header("range", "bytes=3000000-").refused(416, "SIZE_INVALID").await;
    let mut leaving = Box::pin(api.open(&target).await);
    assert!(!leaving.next().await.unwrap().unwrap().is_empty());
    drop(leaving);
    gate.send(true).unwrap();
    let suffix = api.get(&*target).header("range", "bytes=-5").expect(206).await;
    assert_eq!(suffix.body, layer.bytes.slice(2_999_995..));
    assert_eq!(api.get(&*target).expect(200).await.body, layer.bytes);
    assert_eq!(origin.count(&format!("GET /v2/{REPOSITORY}/blobs/{}", layer.digest)), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_one_request() {
    let (image, layer) = with_large_layer("replicas", 5_000_000);
    let origin = Origin::with(&image, "1").await;
    let gate = origin.gate();
    let Some(registry) = caching_on(Backend::PostgresS3, &origin, PATIENT).await else { return };
    let replica = registry.replica();
    registry.api().get_manifest(LOCAL, "1").expect(200).await;
    let target = blob(LOCAL, &layer.digest);
    registry.api().get(&*target).header("range", "bytes=0-9").expect(206).await;
    // The first replica stands in the middle of the blob; the second one waits for it.
    let (pulled, ()) = tokio::join!(get(&replica, &target), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        gate.send(true).unwrap();
    });
    assert_eq!(pulled.status, 200);
    assert!(pulled.body.unwrap() == layer.bytes);
    assert_eq!(origin.count(&format!("GET /v2/{REPOSITORY}/blobs/{}", layer.digest)), 1);
    assert_eq!(metric(&replica, "rreg_mirror_fills_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replica_does_not_keep_its_lease() {
    let (image, layer) = with_large_layer("dead", 1_000_000);
    let origin = Origin::with(&image, "1").await;
    let gate = origin.gate();
    let Some(mut registry) = caching_on(Backend::PostgresS3, &origin, PATIENT).await else { return };
    let replica = registry.replica();
    registry.api().get_manifest(LOCAL, "1").expect(200).await;
    let target = blob(LOCAL, &layer.digest);
    registry.api().get(&*target).header("range", "bytes=0-9").expect(206).await;
    registry.kill();
    gate.send(true).unwrap();
    assert!(get(&replica, &target).await.body.unwrap() == layer.bytes);
}

/// Whoever stands before an upstream may refuse HEAD: GET says what a tag is, and that it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_head_keeps_no_tag_and_a_deleted_one_is_gone() {
    let (image, other) = (Image::layered("head", 1), Image::layered("head-other", 1));
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let tag = manifest(LOCAL, "1");
    assert_eq!(get(&registry, &tag).await.body.unwrap(), image.root().bytes);
    for status in [400, 403, 404, 405, 500, 501] {
        origin.fail(Fault::Head(status));
        let next = if status % 2 == 0 { &other } else { &image };
        origin.put(next, "1");
        let found = get(&registry, &tag).await;
        assert_eq!((found.status, found.body.unwrap()), (200, next.root().bytes.clone()), "{status}");
    }
    origin.fail(Fault::Gone);
    assert_eq!(get(&registry, &tag).await.status, 404);
}
