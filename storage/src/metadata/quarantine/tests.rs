use std::time::Duration;

use super::*;
use crate::metadata::tests::store;
use crate::{BlobStore, Storage, StorageOptions};

/// A registry with so many quarantined blobs: the first are damaged, the others right.
async fn quarantined(damaged: usize, right: usize) -> (tempfile::TempDir, Storage) {
    let (dir, store) = store().await;
    for i in 0..damaged + right {
        let bytes = i.to_be_bytes();
        let kept = if i < damaged { [255; 8] } else { bytes };
        store
            .db
            .write(
                (Digest::sha256(&bytes), kept),
                |conn, (digest, kept)| {
                    Box::pin(async move {
                        sqlx::query(
                            "INSERT INTO blobs (digest, size, content, quarantined, created_at) \
                             VALUES ($1, 8, $2, 1, 0)",
                        )
                        .bind(digest.to_string())
                        .bind(kept.to_vec())
                        .execute(conn)
                        .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
            .unwrap();
    }
    let blobs = BlobStore::directory(dir.path().join("objects"), Duration::ZERO).unwrap();
    (dir, Storage::new(blobs, store, StorageOptions::default()))
}

async fn left(storage: &Storage) -> usize {
    storage.metadata().quarantined(-1, 10_000).await.unwrap().len()
}

#[tokio::test]
async fn what_stays_damaged_keeps_nothing_else_in_quarantine() {
    let (_dir, storage) = quarantined(201, 1).await;
    let (next, failure) = storage.heal_all(-1, 200).await.unwrap();
    assert!(failure.is_none() && left(&storage).await == 202);
    assert_eq!(storage.heal_all(next.unwrap(), 200).await.unwrap().0, None);
    assert_eq!(left(&storage).await, 201);
}

#[tokio::test]
async fn while_something_is_quarantined_it_is_known() {
    let (_dir, storage) = quarantined(0, 201).await;
    storage.heal_all(-1, 200).await.unwrap();
    assert!(storage.metadata().may_lack_content(), "one is left");
    storage.heal_all(-1, 200).await.unwrap();
    assert!(!storage.metadata().may_lack_content());
    // What is noted while the rows are read is not forgotten: nothing is there yet.
    storage.metadata().note_quarantine();
    assert!(storage.metadata().may_lack_content());
}
