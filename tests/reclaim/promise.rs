//! A client that was told with HEAD that something is here can push the manifest that refers to it.

use sqlx::{AnyConnection, Connection as _};

use crate::harness::Registry;
use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, EXAMPLE, Image};

const PATIENT: &[(&str, &str)] = &[("RREG_RECLAIM__UNTAGGED_AFTER", "30d"), ("RREG_RECLAIM__PERIOD", "24h")];

on_each_backend!(PATIENT => a_head_postpones_what_is_due);

/// All reviews were queued a hundred days ago.
async fn age(registry: &Registry) {
    sqlx::any::install_default_drivers();
    let url = registry.database_url();
    let mut connection = AnyConnection::connect(&url).await.unwrap();
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
    age(&registry).await;
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
