//! "Push it again" means something: an image whose bytes are gone from the store is whole again after a push by any
//! client, as it was done before.

use std::fs;
use std::path::PathBuf;

use super::Home;
use crate::harness::image::{Blob, Image};
use crate::harness::{Backend, Registry, tool};

/// An image with a layer that has an object of its own, an index over it, and what loses all objects.
async fn lost(index: bool) -> Option<(Registry, String, Image)> {
    // Everything in objects, so that the configuration goes too.
    let registry =
        Registry::start_with(Backend::SqliteDirectory, &[("RREG_STORAGE__INLINE_MAX", "0")]).await?;
    let repository = registry.repository();
    let layer = Blob::random(&repository, 1 << 20);
    let mut image = Image::layered(&repository, 1).over_layer(layer);
    if index {
        image = Image::for_platforms([(image, "amd64")]);
    }
    let api = registry.api();
    api.push(&repository, &image, Some("v1")).await;
    let blobs = registry.home().join("data/objects/blobs");
    fs::remove_dir_all(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    // Somebody notices. The quarantine is written beside the answer.
    for blob in &image.blobs {
        let path = crate::harness::http::blob(&repository, &blob.digest);
        api.get(path).expect(404).await;
    }
    let head = crate::harness::http::manifest(&repository, "v1");
    for _ in 0..300 {
        if api.head(head.clone()).send().await.status == 404 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Some((registry, repository, image))
}

async fn is_whole_after(programs: &[&str], push: impl Fn(&Home, &Registry, &PathBuf, &str)) {
    let Some(home) = Home::for_programs(programs) else { return };
    for index in [false, true] {
        let Some((registry, repository, image)) = lost(index).await else { return };
        let layout = home.layout(&format!("layout-{index}"), &image);
        let remote = format!("{}/{repository}:v1", registry.address());
        push(&home, &registry, &layout, &remote);
        registry.api().assert_image(&repository, &image, Some("v1")).await;
        let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
        assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crane() {
    is_whole_after(&["crane"], |home, _, layout, remote| {
        tool::run(home.command("crane").args(["--insecure", "push", &layout.display().to_string(), remote]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oras() {
    is_whole_after(&["oras"], |home, _, layout, remote| {
        let local = format!("{}:v1", layout.display());
        let args = ["cp", "--from-oci-layout", "--to-plain-http", &local, remote];
        tool::run(home.command("oras").args(args));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regctl() {
    is_whole_after(&["regctl"], |home, registry, layout, remote| {
        let host = format!("reg={},tls=disabled", registry.address());
        let local = format!("ocidir://{}:v1", layout.display());
        let mut command = home.command("regctl");
        command.env("REGCTL_CONFIG", home.path("regctl.json"));
        tool::run(command.args(["--host", &host, "image", "copy", &local, remote]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo() {
    is_whole_after(&["skopeo"], |home, _, layout, remote| {
        let local = format!("oci:{}:v1", layout.display());
        let remote = format!("docker://{remote}");
        let args = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &local, &remote];
        tool::run(home.command("skopeo").args(args));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rreg() {
    is_whole_after(&[], |home, _, layout, remote| {
        let mut command = home.command(env!("CARGO_BIN_EXE_rreg"));
        tool::run(command.args(["push", &layout.display().to_string(), remote]));
    })
    .await;
}
