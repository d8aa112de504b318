//! `rreg fsck --rebuild`: a database that was lost comes back from the store alone.

use std::fs;

use futures_util::{StreamExt as _, stream};
use rreg_oci::Digest;
use serde_json::Value;

use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, EXAMPLE, Image, LAYER};
use crate::harness::{Api, Backend, Registry};

const AT_ONCE: &[(&str, &str)] = &[
    ("RREG_RECLAIM__BLOBS_AFTER", "0s"),
    ("RREG_RECLAIM__UNTAGGED_AFTER", "0s"),
    ("RREG_RECLAIM__PERIOD", "24h"),
    ("RREG_UPLOADS__RECLAIM_GRACE", "0s"),
];

on_each_backend!(AT_ONCE =>
    everything_comes_back, a_server_that_is_asked_to_stop_writes_its_records, a_database_that_says_otherwise_is_left_alone);

/// Stops the server and has everything recorded that it had no time for.
fn settle(registry: &mut Registry) {
    registry.stop();
    let (report, code) = registry.rreg_json(&["gc", "run"]);
    assert_eq!(code, 0, "{report}");
}

fn rebuild(registry: &Registry, more: &[&str]) -> (Value, i32) {
    registry.rreg_json(&[&["fsck", "--rebuild", "--deep"], more].concat())
}

/// An image whose layer is several objects: it was uploaded in chunks.
async fn push_in_chunks(api: &Api, repository: &str, tag: &str) -> Image {
    let mut image = Image::layered(&format!("{repository}-{tag}"), 1);
    let layer = Blob::random(&format!("{repository}-{tag}-chunks"), 300_000);
    let location = api.open_upload(repository).await;
    let mut at = location.clone();
    for (n, chunk) in layer.bytes.chunks(100_000).enumerate() {
        let call = api.patch(&at, chunk.to_vec()).octets().chunk_at(n * 100_000, chunk.len());
        at = call.expect(202).await.location();
    }
    api.put(crate::harness::http::commit(&at, &layer.digest), "").octets().expect(201).await;
    image = image.edited(|json| json["layers"].as_array_mut().unwrap().push(layer.descriptor(LAYER)));
    api.push(repository, &image, Some(tag)).await;
    image.blobs.push(layer);
    image
}

async fn everything_comes_back(mut registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let other = format!("{repository}/other");
    let index = Image::index(&repository);
    api.push(&repository, &index, Some("latest")).await;
    let referrer = Image::artifact(&format!("{repository}-sbom"), EXAMPLE).about(&index.root().descriptor());
    api.push(&repository, &referrer, None).await;
    let chunked = push_in_chunks(&api, &other, "big").await;
    let image = Image::layered(&other, 3);
    for tag in ["moved", "1.0"] {
        api.push(&other, &image, Some(tag)).await;
    }
    api.push_manifest(&other, "moved", chunked.root()).await;
    let gone = Image::layered(&format!("{other}-gone"), 2);
    api.push(&other, &gone, Some("gone")).await;
    api.delete(manifest(&other, gone.root().digest)).expect(202).await;
    let before = registry.rreg_json(&["fsck", "--deep", "--extra-after", "0s"]).0;
    assert_eq!(before["count"], 0, "{before}");
    settle(&mut registry);

    registry.lose_database();
    let (rebuilt, code) = rebuild(&registry, &[]);
    assert_eq!((code, &rebuilt["count"]), (0, &0.into()), "{rebuilt}");
    let manifests = index.manifests.len() + referrer.manifests.len() + 2;
    assert_eq!((&rebuilt["records"], &rebuilt["manifests"]), (&manifests.into(), &manifests.into()));
    assert_eq!(rebuilt["tags"], 4);
    let (again, code) = rebuild(&registry, &[]);
    assert_eq!(
        (code, &again["blobs"], &again["manifests"], &again["tags"]),
        (0, &0.into(), &0.into(), &0.into())
    );

    registry.resume();
    let api = registry.api();
    api.assert_image(&repository, &index, Some("latest")).await;
    api.assert_image(&repository, &referrer, None).await;
    api.assert_image(&other, &image, Some("1.0")).await;
    for tag in ["big", "moved"] {
        api.assert_image(&other, &chunked, Some(tag)).await;
    }
    api.head(manifest(&other, gone.root().digest)).expect(404).await;
    let referrers = api.get(format!("/v2/{repository}/referrers/{}", index.root().digest)).expect(200).await;
    assert_eq!(referrers.json()["manifests"][0]["digest"], referrer.root().digest.to_string());
    // Children are held by their index again.
    api.delete(manifest(&repository, index.manifests[0].digest)).refused(409, "DENIED").await;
    let found = registry.rreg_json(&["fsck", "--deep", "--extra-after", "0s"]).0;
    assert_eq!(found["count"], 0, "{found}");
    // Nothing that is needed goes in a sweep without patience.
    settle(&mut registry);
    registry.resume();
    registry.api().assert_image(&repository, &index, Some("latest")).await;
    registry.api().assert_image(&other, &chunked, Some("moved")).await;
}

/// Pushes are quicker than records: SIGTERM finds some that are still to be written.
async fn a_server_that_is_asked_to_stop_writes_its_records(mut registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("0")).await;
    let more: Vec<Image> = (1..300)
        .map(|n| image.clone().edited(|json| json["annotations"] = serde_json::json!({"n": n.to_string()})))
        .collect();
    let pushes = more.iter().enumerate().map(|(n, image)| {
        let (api, repository) = (&api, &repository);
        async move { api.push_manifest(repository, &format!("{}", n + 1), image.root()).await }
    });
    // As many at once as are one client's share.
    stream::iter(pushes).buffer_unordered(16).collect::<Vec<_>>().await;
    registry.stop();
    registry.lose_database();
    let (rebuilt, code) = rebuild(&registry, &[]);
    assert_eq!((code, &rebuilt["count"]), (0, &0.into()), "{rebuilt}");
    assert_eq!((&rebuilt["manifests"], &rebuilt["tags"]), (&300.into(), &300.into()), "{rebuilt}");
}

async fn a_database_that_says_otherwise_is_left_alone(mut registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let images = [0, 1, 2].map(|n| Image::layered(&format!("{repository}-{n}"), 2));
    api.push(&repository, &images[0], Some("latest")).await;
    api.push(&repository, &images[1], Some("other")).await;
    settle(&mut registry);
    registry.lose_database();
    // An empty database is not this store's, until somebody says so.
    let refused = registry.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fsck --rebuild"), "{refused:?}");
    assert!(registry.rreg(&["fsck", "--adopt"]).status.success());
    registry.resume();
    registry.api().push(&repository, &images[2], Some("latest")).await;
    registry.stop();
    let refused = registry.rreg(&["fsck", "--rebuild"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    let (old, new) = (images[0].root().digest, images[2].root().digest);
    assert!(text.contains(&format!("latest is {new} here and {old} there")), "{text}");
    let (merged, code) = rebuild(&registry, &["--merge"]);
    assert_eq!((code, &merged["manifests"], &merged["tags"]), (0, &2.into(), &1.into()), "{merged}");
    registry.resume();
    let api = registry.api();
    api.assert_image(&repository, &images[0], None).await;
    api.assert_image(&repository, &images[1], Some("other")).await;
    api.assert_image(&repository, &images[2], Some("latest")).await;
}

/// What cannot be restored is named, and pushing it again uploads what is missing and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named() {
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = push_in_chunks(&api, &repository, "latest").await;
    let stays = Image::layered(&repository, 2);
    api.push(&repository, &stays, Some("stays")).await;
    settle(&mut registry);
    let large = registry.home().join("data/objects/blobs");
    let objects =
        fs::read_dir(large).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let object = objects.map(|file| file.unwrap()).find(|file| file.metadata().unwrap().len() == 100_000);
    fs::remove_file(object.unwrap().path()).unwrap();
    let not_one = registry.home().join(format!("data/objects/manifests/{repository}/_sha256/00"));
    fs::write(not_one, b"{}").unwrap();
    registry.lose_database();

    let (rebuilt, code) = rebuild(&registry, &[]);
    let (lost, root) = (image.blobs.last().unwrap(), image.root().digest);
    assert_eq!((code, &rebuilt["count"]), (1, &2.into()), "{rebuilt}");
    assert_eq!(rebuilt["incomplete"][0]["manifest"], root.to_string());
    assert_eq!(rebuilt["incomplete"][0]["missing"], lost.digest.to_string());
    assert_eq!(rebuilt["unreadable"].as_array().unwrap().len(), 1);
    registry.resume();
    let api = registry.api();
    api.assert_image(&repository, &stays, Some("stays")).await;
    api.head(manifest(&repository, root)).expect(404).await;
    let missing: Vec<Digest> = {
        let mut missing = Vec::new();
        for content in &image.blobs {
            if api.head(blob(&repository, &content.digest)).send().await.status == 404 {
                missing.push(content.digest);
            }
        }
        missing
    };
    assert_eq!(missing, [lost.digest]);
    api.push_blob(&repository, lost).await;
    api.push_manifest(&repository, "latest", image.root()).await;
    api.assert_image(&repository, &image, Some("latest")).await;
}
