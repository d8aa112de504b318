//! Many clients, one cold image: one request a blob, and memory that does not grow with clients times bytes.

use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::json;

use super::caching;
use super::origin::{Origin, REPOSITORY};
use crate::durability::random::rounds;
use crate::harness::Api;
use crate::harness::http::blob;
use crate::harness::image::{Blob, Image, LAYER};

const LOCAL: &str = "up/library/app";
const LAYERS: usize = 4;
/// Layers of an image of small ones.
const SMALL: usize = 60;
/// Clients in a usual run; `RREG_TEST_ROUNDS` says otherwise.
const CLIENTS: u64 = 60;
/// From so many clients on, the image is a large one.
const MANY: u64 = 500;
/// Bytes that the server may have had resident at most: some for itself, for its fills and for the blobs on their
/// way into the store; and what a connection costs.
const BASE: u64 = 128 << 20;
const EACH: u64 = 256 << 10;

/// An image of [`LAYERS`] layers that do not compress, `size` bytes together.
fn image(size: usize) -> Image {
    let layers: Vec<Blob> = (0..LAYERS).map(|i| Blob::random(&format!("many/{i}"), size / LAYERS)).collect();
    let descriptors: Vec<_> = layers.iter().map(|layer| layer.descriptor(LAYER)).collect();
    let mut image = Image::layered("many", 1).edited(|manifest| manifest["layers"] = json!(descriptors));
    image.blobs.drain(..1);
    image.blobs.extend(layers);
    image
}

/// Pulls as a client does: the tag, then each blob; compares each byte as it comes.
async fn pull(api: &Api, image: &Image) {
    let manifest = api.get_manifest(LOCAL, "1").expect(200).await;
    assert_eq!(manifest.body, image.root().bytes);
    for part in &image.blobs {
        let mut stream = pin!(api.open(&blob(LOCAL, &part.digest)).await);
        let mut at = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.unwrap();
            assert!(part.bytes[at..].starts_with(&piece), "{} differs after byte {at}", part.digest);
            at += piece.len();
        }
        assert_eq!(at, part.bytes.len(), "{}", part.digest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_clients_cost_one_request_a_blob_and_little_memory() {
    let clients = rounds(CLIENTS);
    let size = if clients >= MANY { 200_000_000 } else { 20_000_000 };
    let image = image(size);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", timeout=\"60s\"").await else { return };
    let started = std::time::Instant::now();
    let pulls = (0..clients).map(|_| {
        let (api, image) = (registry.api(), image.clone());
        tokio::spawn(async move { pull(&api, &image).await })
    });
    for pulled in join_all(pulls).await {
        pulled.unwrap();
    }
    let elapsed = started.elapsed();
    for part in &image.blobs {
        let asked = origin.count(&format!("GET /v2/{REPOSITORY}/blobs/{}", part.digest));
        assert_eq!(asked, 1, "{}", part.digest);
    }
    let peak = registry.peak_memory().unwrap();
    eprintln!("{clients} clients of {size} bytes: {elapsed:.1?}, peak memory {} KiB", peak >> 10);
    let most = BASE + clients * EACH;
    assert!(peak <= most, "{peak} bytes resident with {clients} clients, more than {most}");
}

/// A small blob is there before all who wait for it have looked: those that come late do not fetch it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_blobs_cost_one_request_each() {
    let image = Image::layered("many/small", SMALL);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let pulls = (0..rounds(CLIENTS)).map(|_| {
        let (api, image) = (registry.api(), image.clone());
        tokio::spawn(async move { pull(&api, &image).await })
    });
    for pulled in join_all(pulls).await {
        pulled.unwrap();
    }
    let asked = |path: String| origin.count(&format!("GET /v2/{REPOSITORY}/{path}"));
    for part in &image.blobs {
        assert_eq!(asked(format!("blobs/{}", part.digest)), 1, "{}", part.digest);
    }
    assert_eq!(asked("manifests/1".to_owned()), 1);
}
