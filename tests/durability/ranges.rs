//! Reading blobs. A part of a blob that nobody has read whole since the server began: the blob is read before the part is served.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use rreg_storage::{BlobStore, CacheLimits, ChunkHeaders, MetadataStore, Storage, StorageOptions};

use super::trouble::{SIZES, blob, path, pull, registry};
use crate::harness::Registry;
use crate::harness::image::Blob;
use crate::harness::proxy::{Harm, Rule};

/// Status and bytes of a part; none where the answer is cut.
async fn part(registry: &Registry, path: &str, range: &str) -> (u16, Option<Vec<u8>>) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let request = client.get(format!("http://{}{path}", registry.address())).header("range", range);
    let Ok(answer) = request.send().await else { return (0, None) };
    (answer.status().as_u16(), answer.bytes().await.ok().map(|bytes| bytes.to_vec()))
}

fn is_right(blob: &Blob, (code, bytes): &(u16, Option<Vec<u8>>), range: std::ops::Range<usize>) -> bool {
    *code == 206 && bytes.as_deref() == Some(&blob.bytes[range])
}

/// Bytes were changed in the store before anybody read them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_bytes_are_no_part() {
    let Some((mut registry, proxy)) = registry(&[]).await else { return };
    let repository = registry.repository();
    for (seed, size) in (1..).zip(&SIZES[..2]) {
        let blob = blob(*size, seed);
        registry.api().push_blob(&repository, &blob).await;
        let path = path(&repository, &blob);
        proxy.harm(Rule::new(Method::GET, "/blobs/", usize::MAX, Harm::Flip));
        for range in ["bytes=0-2000", "bytes=500-900,1500-2000"] {
            let (code, bytes) = part(&registry, &path, range).await;
            assert!(
                !matches!(code, 200..300) || bytes.is_none(),
                "{code}: wrong bytes of {size} were served"
            );
        }
        proxy.mend();
        registry.stop();
        registry.resume();
        let api = registry.api();
        let mut right = false;
        for _ in 0..100 {
            // What was found wrong is read again after a while.
            right = is_right(&blob, &part(&registry, &path, "bytes=1000-1999").await, 1000..2000);
            if right {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(right, "what is right again is not served");
        pull(&api, &repository, &blob).await;
    }
}

/// However many ask for parts, the store is asked for the whole once, and from then on for parts only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_read_once_for_all() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[1], 1);
    api.push_blob(&repository, &blob).await;
    let path = path(&repository, &blob);
    let before = proxy.count(&Method::GET, "/blobs/");
    let all = (0..16).map(|_| part(&registry, &path, "bytes=1000-1999"));
    for answer in futures_util::future::join_all(all).await {
        assert!(is_right(&blob, &answer, 1000..2000), "{}", answer.0);
    }
    // One whole, which all waited for or found done, and a part for each.
    assert_eq!(proxy.count(&Method::GET, "/blobs/") - before, 17);
}

/// Once: another range than was asked for is no part and no damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_reading_is_no_damage() {
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[1], 1);
    api.push_blob(&repository, &blob).await;
    let path = path(&repository, &blob);
    proxy.harm(Rule::new(Method::GET, "/blobs/", 1, Harm::Status(503)));
    assert_eq!(part(&registry, &path, "bytes=5-9").await.0, 503);
    proxy.mend();
    assert!(is_right(&blob, &part(&registry, &path, "bytes=5-9").await, 5..10));
}

/// Whoever reads on after the end gets nothing, and no panic: readers of archives without an end do so.
#[tokio::test]
async fn after_the_end_comes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let database = data.path().join("rreg.db");
    let metadata = MetadataStore::sqlite(&database, CacheLimits::default()).await.unwrap();
    let blobs = BlobStore::directory(data.path().join("objects"), Duration::from_secs(3600)).unwrap();
    let storage = Storage::new(blobs, metadata, StorageOptions::default());
    let repository = "team/app".parse().unwrap();
    for blob in [blob(SIZES[1], 1), blob(SIZES[2], 2)] {
        let body = stream::iter([Ok::<_, &str>(blob.bytes.clone())]);
        storage.store(&repository, &blob.digest, ChunkHeaders::default(), body, None).await.unwrap();
        let record = storage.metadata().blob(&repository, &blob.digest).await.unwrap();
        let reader = storage.open(record.clone(), 0..record.size).await.unwrap();
        let mut pieces = pin!(reader.into_stream());
        let mut length = 0;
        while let Some(piece) = pieces.next().await {
            length += piece.unwrap().len();
        }
        assert_eq!(length, blob.bytes.len());
        assert!(pieces.next().await.is_none() && pieces.next().await.is_none());
    }
}

/// What one request with many parts costs the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_parts_are_few_reads() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (repository, blob) = (registry.repository(), blob(4 << 20, 9));
    registry.api().push_blob(&repository, &blob).await;
    pull(&registry.api(), &repository, &blob).await;
    let path = path(&repository, &blob);
    let ranges = |count: usize, step: usize| {
        let parts: Vec<_> = (0..count).map(|it| format!("{0}-{0}", it * step)).collect();
        format!("bytes={}", parts.join(","))
    };
    for (count, step, status) in [(1000, 1000, 206), (30, 100_000, 206), (40, 100_000, 200)] {
        let before = proxy.count(&Method::GET, "/blobs/");
        let (code, bytes) = part(&registry, &path, &ranges(count, step)).await;
        assert_eq!(code, status, "{count} parts");
        let bytes = bytes.unwrap();
        assert!(code == 206 || bytes == blob.bytes, "the whole");
        let heads = bytes.windows(14).filter(|it| it == b"Content-Range:").count();
        assert!(code == 200 || heads == count, "{heads} of {count} parts");
        assert!(proxy.count(&Method::GET, "/blobs/") - before <= 32, "{count} parts");
    }
}
