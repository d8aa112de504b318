//! A cached blob that the store has lost: its upstream has it, and nobody who asks is told that it is gone.

use super::caching;
use super::origin::Origin;
use crate::durability::faults::lose_objects;
use crate::harness::http::blob;
use crate::harness::image::{Blob, Image};

const LOCAL: &str = "up/library/app";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_fetched_again_at_once() {
    let layer = Blob::random("lost", 5 << 20);
    let mut image = Image::layered("lost", 1).edited(|manifest| {
        manifest["layers"][0] = layer.descriptor(crate::harness::image::LAYER);
    });
    image.blobs.push(layer.clone());
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
