//! Limits on what is kept: what was used longest ago goes, what was just asked for stays, and reclaim takes nothing
//! that a copy still needs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::origin::{Origin, REPOSITORY};
use super::{get, metric};
use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, Image, LAYER};
use crate::harness::{Backend, Registry, wait_until};

const LOCAL: &str = "up/library/app";
/// Bytes of an image's layer: too many to be kept in a row of the database.
const SIZE: usize = 200_000;

/// Everything that can be reclaimed is, as fast as can be.
const AT_ONCE: [(&str, &str); 4] = [
    ("RREG_RECLAIM__PERIOD", "100ms"),
    ("RREG_RECLAIM__BLOBS_AFTER", "0s"),
    ("RREG_RECLAIM__UNTAGGED_AFTER", "0s"),
    ("RREG_UPLOADS__RECLAIM_GRACE", "0s"),
];

fn image(label: &str) -> Image {
    let layer = Blob::random(label, SIZE);
    let descriptor = layer.descriptor(LAYER);
    let mut image = Image::layered(label, 1).edited(|it| it["layers"] = json!([descriptor]));
    image.blobs = vec![layer, image.blobs.pop().unwrap()];
    image
}

async fn limited(backend: Backend, origin: &Origin, more: &str, keep: &str) -> Option<Registry> {
    let entry = format!(r#"[{{name="up", url="http://{}", tag_ttl="0s"{more}}}]"#, origin.address());
    let mut settings = AT_ONCE.to_vec();
    settings.extend([("RREG_UPSTREAMS", entry.as_str()), ("RREG_MIRROR__KEEP", keep)]);
    if !more.contains("max_size") {
        settings.push(("RREG_MIRROR__MAX_SIZE", "500KB"));
    }
    Registry::start_with(backend, &settings).await
}

async fn pull(registry: &Registry, image: &Image, tag: &str) {
    let pulled = get(registry, &manifest(LOCAL, tag)).await;
    assert_eq!(pulled.body.unwrap(), image.root().bytes, "{tag}");
    for part in &image.blobs {
        assert!(get(registry, &blob(LOCAL, &part.digest)).await.body.unwrap() == part.bytes, "{tag}");
    }
}

fn layer_gets(origin: &Origin, image: &Image) -> usize {
    origin.count(&format!("GET /v2/{REPOSITORY}/blobs/{}", image.blobs[0].digest))
}

/// Bytes of all files below a directory.
fn stored(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => stored(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

async fn oldest_goes_first(backend: Backend, more: &str) {
    let images = ["a", "b", "c"].map(image);
    let origin = Origin::start().await;
    for (image, tag) in images.iter().zip(["a", "b", "c"]) {
        origin.put(image, tag);
    }
    let Some(registry) = limited(backend, &origin, more, "0s").await else { return };
    for (image, tag) in images.iter().zip(["a", "b"]) {
        pull(&registry, image, tag).await;
    }
    // "a" is used again: "b" is the oldest now.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(get(&registry, &manifest(LOCAL, "a")).await.status, 200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(metric(&registry, "rreg_mirror_evicted_bytes_total").await, 0, "two are within the limit");
    pull(&registry, &images[2], "c").await;
    let mut evicted = 0;
    for _ in 0..300 {
        evicted = metric(&registry, "rreg_mirror_evicted_bytes_total").await;
        if evicted > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(evicted, images[1].blobs.iter().map(|part| part.bytes.len() as u64).sum::<u64>());
    if backend == Backend::SqliteDirectory {
        let objects = registry.home().join("data/objects/blobs");
        wait_until("reclaim", || stored(&objects) == 2 * SIZE as u64);
    }
    // Its manifest is still here, its blobs come again, and the others were not touched.
    let fetched = origin.count("GET /v2/library/app/manifests/b");
    pull(&registry, &images[1], "b").await;
    assert_eq!(origin.count("GET /v2/library/app/manifests/b"), fetched);
    assert!(layer_gets(&origin, &images[1]) <= 2);
    assert_eq!([0, 2].map(|i| layer_gets(&origin, &images[i])), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_upstream() {
    oldest_goes_first(Backend::SqliteDirectory, ", max_size=\"500KB\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_upstreams_postgres_s3() {
    oldest_goes_first(Backend::PostgresS3, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_asked_for_stays() {
    let images = ["x", "y", "z"].map(image);
    let origin = Origin::start().await;
    for (image, tag) in images.iter().zip(["x", "y", "z"]) {
        origin.put(image, tag);
    }
    let Some(registry) = limited(Backend::SqliteDirectory, &origin, "", "1h").await else { return };
    for (image, tag) in images.iter().zip(["x", "y", "z"]) {
        pull(&registry, image, tag).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(metric(&registry, "rreg_mirror_evicted_bytes_total").await, 0);
    for (image, tag) in images.iter().zip(["x", "y", "z"]) {
        pull(&registry, image, tag).await;
        assert_eq!(layer_gets(&origin, image), 1);
    }
}

/// Reclaim looks ten times a second while a client pulls one part after the other.
async fn reclaim_takes_nothing_that_is_needed(backend: Backend) {
    let index = Image::index("needed");
    let big = image("big");
    let origin = Origin::with(&index, "1").await;
    origin.put(&big, "big");
    let Some(registry) = limited(backend, &origin, "", "0s").await else { return };
    let pause = || tokio::time::sleep(Duration::from_millis(300));
    let get = async |path: String| {
        let got = get(&registry, &path).await;
        assert_eq!(got.status, 200, "{path}");
        pause().await;
        got.body.unwrap()
    };
    get(manifest(LOCAL, "1")).await;
    for part in index.manifests.iter().rev() {
        assert_eq!(get(manifest(LOCAL, part.digest)).await, part.bytes);
    }
    for part in &index.blobs {
        assert_eq!(get(blob(LOCAL, &part.digest)).await, part.bytes);
    }
    // A blob that is on its way for a while.
    get(manifest(LOCAL, "big")).await;
    let gate = origin.gate();
    let target = blob(LOCAL, &big.blobs[0].digest);
    let api = registry.api();
    api.get(&*target).header("range", "bytes=0-9").expect(206).await;
    pause().await;
    gate.send(true).unwrap();
    assert!(get(target.clone()).await == big.blobs[0].bytes);
    origin.switch_off();
    registry.api().assert_image(LOCAL, &index, None).await;
    assert!(get(target).await == big.blobs[0].bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reclaim_leaves_copies_alone() {
    reclaim_takes_nothing_that_is_needed(Backend::SqliteDirectory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reclaim_leaves_copies_alone_postgres_s3() {
    reclaim_takes_nothing_that_is_needed(Backend::PostgresS3).await;
}
