//! Uploads: mounts, resumption, chunks, and what the source's own failures look like.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rreg_oci::{Descriptor, Digest};

use super::harness::{Asked, Server, answer};
use crate::{ErrorKind, MountHint, Pushed};

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::sha256(bytes), bytes.len() as u64)
}

/// A registry that keeps one upload. `spoil` may answer a request itself, after keeping what it likes.
async fn registry(
    spoil: impl Fn(&Asked, &mut Vec<u8>) -> Option<axum::response::Response> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let store = kept.clone();
    let server = Server::start(move |_, asked| {
        let mut store = store.lock().unwrap();
        if let Some(spoiled) = spoil(asked, &mut store) {
            return spoiled;
        }
        let here = ("location", "/v2/a/blobs/uploads/1?state=x%3D");
        let range = format!("0-{}", store.len().saturating_sub(1));
        match asked.line.split_once(' ').unwrap() {
            ("POST", _) => {
                store.clear();
                answer(202, &[here], "")
            }
            ("GET", _) => answer(204, &[here, ("range", &range)], ""),
            ("PATCH", _) => {
                let first = format!("{}-", store.len());
                if !asked.header("content-range").is_some_and(|range| range.starts_with(&first)) {
                    return answer(416, &[here, ("range", &range)], "");
                }
                store.extend_from_slice(&asked.body);
                answer(202, &[here], "")
            }
            ("PUT", path) => {
                store.extend_from_slice(&asked.body);
                let digest = Digest::sha256(&store).to_string().replace(':', "%3A");
                let good = path == format!("/v2/a/blobs/uploads/1?state=x%3D&digest={digest}");
                answer(if good { 201 } else { 400 }, &[], "")
            }
            _ => answer(404, &[], ""),
        }
    })
    .await;
    (server, kept)
}

#[tokio::test]
async fn one_put() {
    let (server, kept) = registry(|_, _| None).await;
    let content = Bytes::from(vec![7; 300_000]);
    let pushed =
        server.client().push_blob(&"a".parse().unwrap(), &blob(&content), &content, None).await.unwrap();
    assert_eq!((pushed, &*kept.lock().unwrap()), (Pushed::Uploaded, &content.to_vec()));
    assert_eq!(server.asked.lock().unwrap()[1].header("content-length"), Some("300000"));
    let empty = Bytes::new();
    server.client().push_blob(&"a".parse().unwrap(), &blob(&empty), &empty, None).await.unwrap();
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_got_to() {
    let content = Bytes::from((0..50_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    let broke = Mutex::new(false);
    let (server, kept) = registry(move |asked, store| {
        let mut broke = broke.lock().unwrap();
        if asked.line.starts_with("PUT") && !*broke {
            *broke = true;
            store.extend_from_slice(&asked.body[..70_000]);
            return Some(answer(502, &[], ""));
        }
        None
    })
    .await;
    server.client().push_blob(&"a".parse().unwrap(), &blob(&content), &content, None).await.unwrap();
    assert_eq!(*kept.lock().unwrap(), content);
    let patch = server.asked.lock().unwrap().iter().find(|a| a.line.starts_with("PATCH")).unwrap().clone();
    assert_eq!(patch.header("content-range"), Some("70000-199999"), "nothing is sent twice");
}

#[tokio::test]
async fn too_long_for_one_request_goes_in_chunks() {
    let content = Bytes::from(vec![3; 20 << 20]);
    let (server, kept) = registry(|asked, _| {
        (asked.line.starts_with("PUT") && !asked.body.is_empty()).then(|| answer(413, &[], ""))
    })
    .await;
    server.client().push_blob(&"a".parse().unwrap(), &blob(&content), &content, None).await.unwrap();
    assert_eq!(kept.lock().unwrap().len(), content.len());
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("PATCH")).count(), 2);
}

#[tokio::test]
async fn mounts_and_their_refusal() {
    for (status, expected) in [(201, Pushed::Mounted), (202, Pushed::Uploaded), (403, Pushed::Uploaded)] {
        let (server, _) = registry(move |asked, _| {
            let here = [("location", "/v2/a/blobs/uploads/1?state=x%3D")];
            asked.line.contains("mount=").then(|| answer(status, &here, ""))
        })
        .await;
        let hint = MountHint { from: "other/b".parse().unwrap() };
        let content = Bytes::from_static(b"content");
        let pushed =
            server.client().push_blob(&"a".parse().unwrap(), &blob(&content), &content, Some(&hint)).await;
        assert_eq!(pushed.unwrap(), expected, "{status}");
        assert!(server.lines()[0].ends_with("&from=other/b"), "{:?}", server.lines());
    }
}

#[tokio::test]
async fn a_source_that_ends_early_is_told_as_that() {
    let (server, _) = registry(|_, _| None).await;
    let descriptor = Descriptor { size: 10, ..blob(b"short") };
    let content = Bytes::from_static(b"short");
    let error =
        server.client().push_blob(&"a".parse().unwrap(), &descriptor, &content, None).await.unwrap_err();
    assert!(
        matches!(*error.kind, ErrorKind::Source(_)) && error.to_string().contains("5 bytes early"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let (server, _) = registry(|asked, _| asked.line.starts_with("PUT").then(|| answer(400, &[], ""))).await;
    let content = Bytes::from_static(b"content");
    let error =
        server.client().push_blob(&"a".parse().unwrap(), &blob(&content), &content, None).await.unwrap_err();
    assert_eq!(error.status().unwrap(), 400);
    assert_eq!(server.lines().len(), 2);
}
