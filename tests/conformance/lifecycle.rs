//! Ends and beginnings: what was acknowledged survives them, and replicas share one truth.

use crate::harness::Registry;
use crate::harness::http::{blob, commit, manifest};
use crate::harness::image::{Blob, EXAMPLE, Image};

on_each_backend!(survives_restarts, upload_goes_on_after_a_kill, replicas_share_uploads);

async fn survives_restarts(mut registry: Registry) {
    if !registry.is_rreg() {
        return;
    }
    let repository = registry.repository();
    let mut pushed: Vec<(String, Image)> = Vec::new();
    for round in 0..4 {
        let api = registry.api();
        for (tag, image) in &pushed {
            api.assert_image(&repository, image, Some(tag)).await;
        }
        let image = Image::index(&format!("{repository}/{round}"));
        let tag = format!("v{round}");
        api.push(&repository, &image, Some(&tag)).await;
        pushed.push((tag, image));
        if round % 2 == 0 {
            registry.kill();
        } else {
            let status = registry.stop();
            assert!(status.success(), "a stop that was asked for is a success: {status}");
        }
        registry.resume();
    }
    let api = registry.api();
    api.delete(manifest(&repository, "v0")).expect(202).await;
    registry.kill();
    registry.resume();
    registry.api().head(manifest(&repository, "v0")).expect(404).await;
}

async fn upload_goes_on_after_a_kill(mut registry: Registry) {
    if !registry.is_rreg() {
        return;
    }
    let repository = registry.repository();
    let content = Blob::random(&repository, 300_000);
    let api = registry.api();
    let location = api.open_upload(&repository).await;
    let location =
        api.patch(location, content.bytes.slice(..100_000)).chunk_at(0, 100_000).expect(202).await.location();
    registry.kill();
    registry.resume();
    let api = registry.api();
    // The port is another one now; the location's path is what counts.
    let path = location.find("/v2/").map(|at| location[at..].to_owned()).unwrap();
    let status = api.get(&path).expect(204).await;
    assert_eq!(status.header("range"), "0-99999", "{status}");
    let rest = content.bytes.slice(100_000..);
    let answer = api.patch(path, rest).chunk_at(100_000, 200_000).expect(202).await;
    api.put(commit(&answer.location(), &content.digest), "").expect(201).await;
    assert!(api.get(blob(&repository, &content.digest)).expect(200).await.body == content.bytes);
}

/// Stateless replicas over one PostgreSQL and one bucket; the embedded default has no such thing.
async fn replicas_share_uploads(registry: Registry) {
    if !registry.is_shareable() {
        return;
    }
    let other = registry.replica();
    let apis = [registry.api(), other.api()];
    let repository = registry.repository();
    let content = Blob::random(&repository, 50_000);
    let location = apis[0].open_upload(&repository).await;
    let path = location.find("/v2/").map(|at| location[at..].to_owned()).unwrap();
    for (i, first) in (0..50_000).step_by(10_000).enumerate() {
        let chunk = content.bytes.slice(first..first + 10_000);
        apis[i % 2].patch(&path, chunk).chunk_at(first, 10_000).expect(202).await;
    }
    let status = apis[1].get(&path).expect(204).await;
    assert_eq!(status.header("range"), "0-49999", "{status}");
    apis[1].put(commit(&path, &content.digest), "").expect(201).await;
    let back = apis[0].get(blob(&repository, &content.digest)).expect(200).await;
    assert!(back.body == content.bytes, "other bytes came back");
    // A tag that moves on one replica has moved on the other: no stale answers.
    for round in 0..5 {
        let image = Image::artifact(&format!("{repository}{round}"), EXAMPLE);
        apis[round % 2].push(&repository, &image, Some("latest")).await;
        apis[(round + 1) % 2].assert_image(&repository, &image, Some("latest")).await;
    }
    apis[0].delete(manifest(&repository, "latest")).expect(202).await;
    apis[1].head(manifest(&repository, "latest")).expect(404).await;
    // Nor is a manifest served by digest that the other has deleted, though its body is still in memory here.
    let image = Image::artifact(&format!("{repository} gone"), EXAMPLE);
    apis[0].push(&repository, &image, None).await;
    apis[1].assert_image(&repository, &image, None).await;
    let target = manifest(&repository, image.root().digest);
    apis[0].delete(&target).expect(202).await;
    apis[1].head(&target).expect(404).await;
    apis[1].get(&target).expect(404).await;
}
