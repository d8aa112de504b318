//! Two copies of one database on one store: the one that was opened first stops writing. And markers that were written
//! over.

use std::fs;
use std::time::{Duration, Instant};

use super::store::status;
use super::trouble::{SIZES, blob, pull};
use crate::harness::http::commit;
use crate::harness::image::Blob;
use crate::harness::{Backend, Registry, s3};

/// The status of a push of this blob.
async fn push(registry: &Registry, repository: &str, blob: &Blob) -> u16 {
    let at = commit(&registry.api().open_upload(repository).await, &blob.digest);
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let put = client.put(format!("http://{}{at}", registry.address())).body(blob.bytes.clone());
    put.send().await.unwrap().status().as_u16()
}

async fn stands_back(registry: &Registry) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (code, text) = status(registry, "/readyz").await;
        if code == 503 && text.contains("copy of this registry's database") {
            return;
        }
        assert!(Instant::now() < deadline, "{code}: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn two_copies(mut one: Registry) {
    let repository = one.repository();
    let blobs: Vec<Blob> = (1..=4).map(|seed| blob(SIZES[1], seed)).collect();
    assert_eq!(push(&one, &repository, &blobs[0]).await, 201);
    one.stop();
    let mut other = one.copy();
    one.resume();
    assert_eq!(push(&one, &repository, &blobs[1]).await, 201);
    // The copy is tried out.
    other.resume();
    pull(&other.api(), &repository, &blobs[0]).await;
    stands_back(&one).await;
    assert_eq!(push(&one, &repository, &blobs[2]).await, 503);
    assert_eq!(push(&other, &repository, &blobs[2]).await, 201);
    // The right one is started again.
    other.stop();
    one.stop();
    one.resume();
    assert_eq!(push(&one, &repository, &blobs[3]).await, 201);
    for blob in [&blobs[0], &blobs[1], &blobs[3]] {
        pull(&one.api(), &repository, blob).await;
    }
    // A command of the copy that may delete takes the store over as well.
    let (_, code) = other.rreg_json(&["fsck", "--reclaim-extra"]);
    assert!(code <= 1, "{code}");
    stands_back(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_database_and_its_copy_one_writes() {
    let Some(one) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    two_copies(one).await;
    let (settings, _proxy) = s3::bucket_behind_proxy();
    let all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Some(one) = Registry::start_with(Backend::SqliteDirectory, &all).await else { return };
    two_copies(one).await;
}

/// A database that begins anew on the store of a registry that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_adopts_a_store_has_it() {
    let (settings, _proxy) = s3::bucket_behind_proxy();
    let all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Some(mut one) = Registry::start_with(Backend::SqliteDirectory, &all).await else { return };
    let repository = one.repository();
    assert_eq!(push(&one, &repository, &blob(SIZES[1], 1)).await, 201);
    one.stop();
    let mut other = one.copy();
    other.lose_database();
    one.resume();
    assert!(other.rreg(&["fsck", "--adopt"]).status.success());
    stands_back(&one).await;
    assert_eq!(push(&one, &repository, &blob(SIZES[1], 2)).await, 503);
}

/// Replicas share a database: none of them is a copy, in whatever order they begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_no_copies() {
    let Some(mut one) = Registry::start_with(Backend::PostgresS3, &[]).await else { return };
    let repository = one.repository();
    let mut two = one.replica();
    for (seed, again) in (1..).zip([false, true, true]) {
        if again {
            one.stop();
            one.resume();
        }
        assert_eq!(push(&one, &repository, &blob(SIZES[1], seed)).await, 201);
        assert_eq!(push(&two, &repository, &blob(SIZES[1], 100 + seed)).await, 201);
        // Longer than a store is believed without being asked.
        tokio::time::sleep(Duration::from_secs(3)).await;
        for registry in [&one, &two] {
            assert_eq!(status(registry, "/readyz").await.0, 200);
        }
    }
    two.stop();
}

/// The marker was written over, or cut by a crash: nothing is served until somebody says whose the store is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_that_was_written_over() {
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let repository = registry.repository();
    let blob = blob(SIZES[1], 1);
    assert_eq!(push(&registry, &repository, &blob).await, 201);
    registry.stop();
    let marker = registry.home().join("data/objects/rreg-installation");
    for text in ["", "somebody else's\n", &"long".repeat(10_000)] {
        fs::write(&marker, text).unwrap();
        let output = registry.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("fsck --adopt"), "{said}");
        assert!(registry.rreg(&["fsck", "--adopt"]).status.success());
        registry.resume();
        pull(&registry.api(), &repository, &blob).await;
        registry.stop();
    }
    // Where nothing is known by what is in it, it stays another's.
    let Some(mut small) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    small.stop();
    fs::write(small.home().join("data/objects/rreg-installation"), "somebody else's\n").unwrap();
    assert!(!small.rreg(&["fsck", "--adopt"]).status.success());
}
