//! A cached blob that the store has lost: its upstream has it, and nobody who asks is told that it is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::origin::Origin;
use super::{caching, metric};
use crate::durability::faults::lose_objects;
use crate::harness::http::blob;
use crate::harness::image::{Blob, Image};

const LOCAL: &str = "up/library/app";

/// An image with a layer of so many bytes.
fn image_of(name: &str, size: usize) -> (Image, Blob) {
    let layer = Blob::random(name, size);
    let mut image = Image::layered(name, 1).edited(|manifest| {
        manifest["layers"][0] = layer.descriptor(crate::harness::image::LAYER);
    });
    image.blobs.push(layer.clone());
    (image, layer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_fetched_again_at_once() {
    let (image, layer) = image_of("lost", 5 << 20);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let api = registry.api();
    api.assert_image(LOCAL, &image, Some("1")).await;
    for _ in 0..3 {
        lose_objects(&registry.home().join("data/objects"), layer.bytes.len());
        let answer = api.get(blob(LOCAL, &layer.digest)).expect(200).await;
        assert!(answer.body == layer.bytes);
        assert_eq!(api.get(blob(LOCAL, &layer.digest)).expect(200).await.body.len(), layer.bytes.len());
    }
}

/// The files below `directory`, if it is there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What has come whole and right is given, also where it cannot be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_is_given_all_the_same() {
    let (image, layer) = image_of("unkept", 24 << 20);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", timeout=\"30s\"").await else { return };
    let objects = registry.home().join("data/objects/blobs");
    let target = blob(LOCAL, &layer.digest);
    let lose = || files(&objects).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    // Several parts are given of what is stored, and not before.
    while registry.api().get(target.clone()).header("range", "bytes=0-0,2-2").send().await.status != 206 {}
    // What takes the place of something lost has to be there before it counts as stored.
    lose();
    let gate = origin.gate();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.get(format!("http://{}{target}", registry.address())).send().await.unwrap();
    while files(&objects).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lose();
    gate.send_replace(true);
    // The client reads on when it is known that the blob is not kept.
    while metric(&registry, "rreg_mirror_failed_fills_total").await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let body = answer.bytes().await;
    assert!(body.as_ref().is_ok_and(|body| *body == layer.bytes), "{:?}", body.map(|it| it.len()));
    let api = registry.api();
    assert_eq!(api.get(target).expect(200).await.body.len(), layer.bytes.len());
    assert_eq!(origin.count("GET /v2/library/app/blobs/"), 3, "what was not kept is fetched again");
}
