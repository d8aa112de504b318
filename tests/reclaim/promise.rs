//! A client that was told with HEAD that something is here can push the manifest that refers to it.

use bytes::Bytes;
use rreg_oci::{Digest, RepositoryName};
use rreg_storage::{ReviewKind, Settled};
use sqlx::{AnyConnection, Connection as _};

use super::store::{Rows, open, push};
use crate::harness::Registry;
use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, EXAMPLE, Image};

const PATIENT: &[(&str, &str)] = &[("RREG_RECLAIM__UNTAGGED_AFTER", "30d"), ("RREG_RECLAIM__PERIOD", "24h")];

on_each_backend!(PATIENT => a_head_postpones_what_is_due);

/// All reviews were queued a hundred days ago.
async fn age(url: &str) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let aged = sqlx::query("UPDATE reviews SET queued_at = queued_at - 8640000000").execute(&mut connection);
    assert!(aged.await.unwrap().rows_affected() > 0);
    connection.close().await.unwrap();
}

fn due(registry: &Registry) -> Vec<String> {
    let (plan, _) = registry.rreg_json(&["gc", "plan"]);
    let candidates = plan["candidates"].as_array().unwrap().clone();
    let mut due: Vec<String> = candidates.iter().map(|c| c["digest"].as_str().unwrap().to_owned()).collect();
    due.sort();
    due
}

async fn a_head_postpones_what_is_due(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    // In the database, in an object, and a manifest.
    let blobs = [10, 100_000].map(|length| Blob::random(&repository, length));
    let asked = Image::artifact(&format!("{repository}-asked"), EXAMPLE);
    let other = Blob::random(&format!("{repository}-other"), 10);
    for content in blobs.iter().chain([&other]) {
        api.push_blob(&repository, content).await;
    }
    api.push(&repository, &asked, None).await;
    // Nobody has asked for anything yet but by pushing.
    age(&registry.database_url()).await;
    let root = asked.root().digest;
    let mut all: Vec<String> = blobs.iter().chain([&other]).map(|blob| blob.digest.to_string()).collect();
    all.push(root.to_string());
    all.sort();
    assert_eq!(due(&registry), all);
    for _ in 0..2 {
        for content in &blobs {
            api.head(blob(&repository, &content.digest)).expect(200).await;
        }
        api.head(manifest(&repository, root)).expect(200).await;
    }
    // Reading it is no promise.
    api.get(blob(&repository, &other.digest)).expect(200).await;
    assert_eq!(due(&registry), [other.digest.to_string()]);
}

/// A worker has claimed the review already when the client asks: it finds that it is not due any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_review_is_taken_back() {
    const HOUR_MS: u64 = 3_600_000;
    let data = tempfile::tempdir().unwrap();
    let storage = open(&Rows::Sqlite, data.path()).await;
    let (repository, content): (RepositoryName, _) = ("it/claimed".parse().unwrap(), Bytes::from("content"));
    push(&storage, &repository, &content).await.unwrap();
    age(&format!("sqlite://{}/rreg.db", data.path().display())).await;
    let metadata = storage.metadata();
    let claimed = metadata.claim_reviews(ReviewKind::Blob, HOUR_MS, HOUR_MS, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let record = metadata.blob(&repository, &Digest::sha256(&content)).await.unwrap();
    assert!(!record.is_promised());
    metadata.promise_blob(&repository, &record).await.unwrap();
    assert!(record.is_promised());
    assert_eq!(metadata.settle_review(&claimed[0], 0).await.unwrap(), Settled::Postponed);
    assert!(metadata.claim_reviews(ReviewKind::Blob, HOUR_MS, HOUR_MS, 10).await.unwrap().is_empty());
    metadata.close().await;
}
