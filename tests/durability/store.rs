//! The right store, and what is believed of it: a wrong answer for a while takes nothing away for good.

use std::fs;

use crate::harness::http::commit;
use crate::harness::image::{Blob, Image};
use crate::harness::{Backend, Registry};

pub(super) async fn status(registry: &Registry, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.get(format!("http://{}{path}", registry.address())).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

pub(super) async fn registry_with_a_blob() -> Option<(Registry, String)> {
    let registry = Registry::start_with(Backend::SqliteDirectory, &[]).await?;
    let (api, repository) = (registry.api(), registry.repository());
    let blob = Blob::new(vec![7; 1 << 20]);
    api.push_blob(&repository, &blob).await;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    Some((registry, path))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_takes_nothing_with_it() {
    let Some((registry, path)) = registry_with_a_blob().await else { return };
    let objects = registry.objects();
    // As when a directory is not mounted: everything is "not found", the marker too.
    let aside = objects.with_file_name("aside");
    fs::rename(&objects, &aside).unwrap();
    fs::create_dir(&objects).unwrap();
    let (code, text) = status(&registry, &path).await;
    assert_eq!(code, 503, "not known to be gone: {text}");
    let (code, text) = status(&registry, "/readyz").await;
    assert!(code == 503 && text.contains("marker"), "{code} {text}");
    fs::remove_dir_all(&objects).unwrap();
    fs::rename(&aside, &objects).unwrap();
    assert_eq!(status(&registry, &path).await.0, 200);
    // An answer of readiness is good for a second.
    while status(&registry, "/readyz").await.0 != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// What is written where the store was is hidden by the next mount: it was never acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_by_a_store_that_is_away() {
    let Some((registry, _)) = registry_with_a_blob().await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let objects = registry.objects();
    let aside = objects.with_file_name("aside");
    // In one piece, and in several.
    for (seed, size) in [(1, 300_000), (2, 5 << 20)] {
        let blob = Blob::new(vec![seed; size]);
        let push = async |expected| {
            let at = commit(&api.open_upload(&repository).await, &blob.digest);
            let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
            let put = client.put(format!("http://{}{at}", registry.address())).body(blob.bytes.clone());
            assert_eq!(put.send().await.unwrap().status().as_u16(), expected);
        };
        fs::rename(&objects, &aside).unwrap();
        fs::create_dir(&objects).unwrap();
        push(503).await;
        fs::remove_dir_all(&objects).unwrap();
        fs::rename(&aside, &objects).unwrap();
        push(201).await;
        assert_eq!(status(&registry, &format!("/v2/{repository}/blobs/{}", blob.digest)).await.0, 200);
    }
}

/// What `--rebuild` needs is written to the right store, whenever that is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_wait_for_a_store_that_is_away() {
    let Some((mut registry, _)) = registry_with_a_blob().await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let objects = registry.objects();
    let aside = objects.with_file_name("aside");
    fs::rename(&objects, &aside).unwrap();
    // Its content is in the database's rows.
    api.push(&repository, &Image::layered(&repository, 1), Some("v1")).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!objects.exists(), "made where a directory should be mounted");
    fs::rename(&aside, &objects).unwrap();
    registry.stop();
    let (report, code) = registry.rreg_json(&["gc", "run"]);
    assert_eq!(code, 0, "{report}");
    let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_ends_when_the_bytes_are_right() {
    let Some((mut registry, path)) = registry_with_a_blob().await else { return };
    let blobs = registry.objects().join("blobs");
    let aside = blobs.with_file_name("aside");
    fs::rename(&blobs, &aside).unwrap();
    assert_eq!(status(&registry, &path).await.0, 404, "it is gone from the right store");
    // What is gone is found by fsck, and listed while it is quarantined.
    fs::rename(&aside, &blobs).unwrap();
    let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
    assert_eq!((found["count"].as_u64(), code), (Some(1), 1), "{found}");
    assert_eq!(found["findings"][0]["damage"], "quarantined", "{found}");
    registry.stop();
    let (found, code) = registry.rreg_json(&["fsck", "--heal"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
    registry.resume();
    assert_eq!(status(&registry, &path).await.0, 200);
    // And by itself when somebody asks for it.
    fs::rename(&blobs, &aside).unwrap();
    assert_eq!(status(&registry, &path).await.0, 404);
    fs::rename(&aside, &blobs).unwrap();
    assert_eq!(status(&registry, &path).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_pulled_is_pushed_again() {
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let layer = Blob::new(vec![9; 1 << 20]);
    let image = Image::layered(&repository, 1).over_layer(layer.clone());
    api.push(&repository, &image, Some("v1")).await;
    let blobs = registry.objects().join("blobs");
    fs::remove_dir_all(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    assert_eq!(status(&registry, &format!("/v2/{repository}/blobs/{}", layer.digest)).await.0, 404);
    for reference in ["v1".to_owned(), image.root().digest.to_string()] {
        let target = format!("/v2/{repository}/manifests/{reference}");
        // The quarantine is written beside the answer.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while api.head(target.clone()).send().await.status != 404 {
            assert!(std::time::Instant::now() < deadline, "clients would not push {reference} again");
        }
    }
    api.push_blob(&repository, &layer).await;
    api.head(format!("/v2/{repository}/manifests/v1")).expect(200).await;
    assert_eq!(status(&registry, &format!("/v2/{repository}/blobs/{}", layer.digest)).await.0, 200);
}

/// The first to ask is somebody who pushes, by an index above it or by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_missed_yet_is_pushed_again() {
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let layer = Blob::new(vec![9; 1 << 20]);
    let image = Image::layered(&repository, 1).edited(|manifest| {
        manifest["layers"][0] = layer.descriptor("application/vnd.oci.image.layer.v1.tar");
    });
    api.push_blob(&repository, &layer).await;
    api.push(&repository, &image, Some("v1")).await;
    let index = Image::index_of([image.clone()]);
    api.push(&repository, &index, Some("all")).await;
    let blobs = registry.objects().join("blobs");
    fs::remove_dir_all(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    for reference in ["all".to_owned(), "v1".to_owned(), image.root().digest.to_string()] {
        api.head(format!("/v2/{repository}/manifests/{reference}")).expect(404).await;
    }
    api.push_blob(&repository, &layer).await;
    api.head(format!("/v2/{repository}/manifests/v1")).expect(200).await;
    assert_eq!(status(&registry, &format!("/v2/{repository}/blobs/{}", layer.digest)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_store_is_noticed_at_the_start() {
    let Some((mut one, _)) = registry_with_a_blob().await else { return };
    let Some((mut other, _)) = registry_with_a_blob().await else { return };
    one.stop();
    other.stop();
    let (mine, theirs) = (one.objects(), other.objects());
    let start = |registry: &Registry| {
        let output = registry.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Another registry's store; nothing of it is deleted as unknown.
    let aside = mine.with_file_name("aside");
    fs::rename(&mine, &aside).unwrap();
    fs::rename(&theirs, &mine).unwrap();
    assert!(start(&one).contains("another registry"));
    let output = one.command(&["fsck", "--reclaim-extra", "--extra-after", "0s"]).output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    fs::rename(&mine, &theirs).unwrap();
    // An empty one.
    fs::create_dir(&mine).unwrap();
    assert!(start(&one).contains("none of the objects"));
    fs::remove_dir_all(&mine).unwrap();
    fs::rename(&aside, &mine).unwrap();
    // The store of a database that is lost.
    one.save_database();
    one.lose_database();
    assert!(start(&one).contains("fsck --rebuild"));
    one.restore_database();
    // What others keep in the store is not ours to delete.
    fs::create_dir_all(mine.join("blobs/ab")).unwrap();
    fs::write(mine.join("blobs/ab/notes.txt"), "not ours").unwrap();
    let (found, code) = one.rreg_json(&["fsck", "--reclaim-extra", "--extra-after", "0s"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
    one.resume();
    assert_eq!(status(&one, "/readyz").await.0, 200);
    assert!(mine.join("blobs/ab/notes.txt").exists());
}

/// Of a database whose content is all in its rows nothing can be recognised: an empty store is not taken for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_marker_is_not_taken_for_ours() {
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let small = Blob::new(b"small".to_vec());
    api.push_blob(&repository, &small).await;
    registry.stop();
    let objects = registry.objects();
    fs::remove_dir_all(&objects).unwrap();
    fs::create_dir(&objects).unwrap();
    let output = registry.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("fsck --adopt"), "{said}");
    assert!(registry.command(&["fsck", "--adopt"]).output().unwrap().status.success());
    registry.resume();
    assert_eq!(status(&registry, &format!("/v2/{repository}/blobs/{}", small.digest)).await.0, 200);
}

/// A command with these settings and nothing else, and what it says.
fn says(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.env_clear().args(arguments).envs(settings.iter().copied());
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

const S3: [(&str, &str); 2] = [("RREG_STORAGE__BACKEND", "s3"), ("RREG_STORAGE__S3__BUCKET", "images")];

#[test]
fn the_configuration_names_the_identity() {
    let pod = [("AWS_REGION", "eu-west-1"), ("AWS_ROLE_ARN", "r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
    let text = says(&["config", "print"], &[&S3[..], &pod[..]].concat());
    assert!(text.contains("asked with: AWS_ROLE_ARN"), "{text}");
    let text = says(&["config", "print"], &[&S3[..], &pod[..1]].concat());
    assert!(text.contains("metadata service"), "{text}");
    let azure = [
        ("RREG_STORAGE__BACKEND", "azure"),
        ("RREG_STORAGE__AZURE__ACCOUNT", "a"),
        ("RREG_STORAGE__AZURE__CONTAINER", "c"),
        ("AZURE_STORAGE_SAS_KEY", "sv=1&sig=x"),
    ];
    let text = says(&["config", "print"], &azure);
    assert!(text.contains("shared access signature") && !text.contains("sig=x"), "{text}");
}

#[test]
fn what_fails_is_named_with_its_cause() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    let keys = [
        ("RREG_STORAGE__S3__ACCESS_KEY_ID", "a"),
        ("RREG_STORAGE__S3__SECRET_ACCESS_KEY", "b"),
        ("RREG_STORAGE__S3__ALLOW_HTTP", "true"),
        ("RREG_STORAGE__RETRY_FOR", "0s"),
    ];
    for (endpoint, cause) in
        [("http://127.0.0.1:1", "Connection refused"), ("http://no-such-host.invalid", "dns error")]
    {
        let settings = [&S3[..], &keys[..], &[("RREG_STORAGE__S3__ENDPOINT", endpoint)]].concat();
        let text = says(&["serve", "--listen", "127.0.0.1:0", "--data", &data], &settings);
        assert!(text.contains(cause), "{text}");
    }
}
