//! Chunks of a few bytes: gathered, and not an object each.

use bytes::Bytes;
use sqlx::{Connection as _, Row as _};

use crate::harness::Registry;
use crate::harness::http::{blob, commit};
use crate::harness::image::Blob;

on_each_backend!(small_chunks_are_no_objects_of_their_own);

/// How many rows answer.
async fn count(registry: &Registry, statement: &'static str) -> i64 {
    sqlx::any::install_default_drivers();
    let mut conn = sqlx::AnyConnection::connect(&registry.database_url()).await.unwrap();
    sqlx::query(statement).fetch_one(&mut conn).await.unwrap().get(0)
}

/// A first chunk that is an object, then many of few bytes, with the server killed between any two of them: nothing that was
/// acknowledged is lost, and the objects are as many as the bytes ask for.
async fn small_chunks_are_no_objects_of_their_own(mut registry: Registry) {
    let repository = registry.repository();
    let content = Blob::random(&repository, 40_000 + 300 * 301);
    let mut location = registry.api().open_upload(&repository).await;
    let lengths = std::iter::once(40_000).chain([300, 1].into_iter().cycle()).take(601);
    let mut at = 0;
    for (n, length) in lengths.enumerate() {
        let chunk: Bytes = content.bytes.slice(at..at + length);
        let answer = registry.api().patch(&location, chunk).chunk_at(at, length).expect(202).await;
        at += length;
        assert_eq!(answer.header("range"), format!("0-{}", at - 1), "{answer}");
        location = answer.location();
        if n % 200 == 100 {
            let path = location.strip_prefix("http://").map_or(location.clone(), |rest| {
                rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}"))
            });
            registry.kill();
            registry.resume();
            let status = registry.api().get(&path).expect(204).await;
            assert_eq!(status.header("range"), format!("0-{}", at - 1), "after a kill: {status}");
            location = status.location();
        }
    }
    assert_eq!(at, content.bytes.len());
    let pieces = count(&registry, "SELECT COUNT(*) FROM upload_segments").await;
    assert!(pieces <= 4, "{pieces} objects of {at} bytes");
    let api = registry.api();
    api.put(commit(&location, &content.digest), "").expect(201).await;
    let back = api.get(blob(&repository, &content.digest)).expect(200).await;
    assert!(back.body == content.bytes, "other bytes came back");
    let pieces = count(&registry, "SELECT COUNT(*) FROM blob_segments").await;
    assert!(pieces <= 5, "{pieces} objects of {at} bytes");
}
