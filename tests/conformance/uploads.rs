//! Every way to push a blob, in both digest algorithms, right and wrong.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use rreg_oci::Algorithm;

use crate::harness::http::{blob, commit, uploads};
use crate::harness::image::{Blob, noise};
use crate::harness::{Answer, Api, Registry};

on_each_backend!(
    every_style_in_both_algorithms,
    wrong_digest_in_every_style,
    chunks_out_of_order,
    chunk_length_and_range_disagree,
    status_and_cancel,
    uploads_belong_to_their_repository,
    declared_algorithm,
    two_commits_of_one_upload,
    resumes_after_a_dropped_connection,
    same_blob_pushed_concurrently,
);

/// The ways a client may send a blob.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    PostOnly,
    PostPut,
    Stream,
    OneChunk,
    Chunks,
    ChunksLastInPut,
    StreamedPut,
}

const STYLES: [Style; 7] = [
    Style::PostOnly,
    Style::PostPut,
    Style::Stream,
    Style::OneChunk,
    Style::Chunks,
    Style::ChunksLastInPut,
    Style::StreamedPut,
];

/// Sends `content` in this style; the answer is the last one, whatever it is.
async fn send(api: &Api, repository: &str, style: Style, content: &Blob) -> Answer {
    let (bytes, length) = (content.bytes.clone(), content.bytes.len());
    if style == Style::PostOnly {
        let target = commit(&uploads(repository), &content.digest);
        return api.post(target).body(bytes).octets().send().await;
    }
    let mut location = api.open_upload(repository).await;
    let third = length.div_ceil(3);
    let pieces: Vec<Bytes> = (0..3).map(|i| bytes.slice(i * third..length.min((i + 1) * third))).collect();
    let mut last = Bytes::new();
    match style {
        Style::PostOnly => {}
        Style::PostPut => last = bytes,
        Style::StreamedPut => {
            return api.put(commit(&location, &content.digest), "").octets().stream(pieces).send().await;
        }
        Style::Stream => {
            location = api.patch(&location, "").octets().stream(pieces).expect(202).await.location();
        }
        Style::OneChunk => {
            location = api.patch(&location, bytes).chunk_at(0, length).expect(202).await.location();
        }
        Style::Chunks | Style::ChunksLastInPut => {
            let patched = if style == Style::Chunks { 3 } else { 2 };
            for (i, piece) in pieces.iter().take(patched).enumerate() {
                let (first, end) = (i * third, i * third + piece.len());
                let answer =
                    api.patch(&location, piece.clone()).chunk_at(first, piece.len()).expect(202).await;
                assert_eq!(answer.header("range"), format!("0-{}", end - 1), "{answer}");
                location = answer.location();
            }
            if patched == 2 {
                let (first, piece) = (2 * third, pieces[2].clone());
                let call = api.put(commit(&location, &content.digest), piece.clone());
                return call.chunk_at(first, piece.len()).send().await;
            }
        }
    }
    api.put(commit(&location, &content.digest), last).octets().send().await
}

async fn every_style_in_both_algorithms(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for style in STYLES {
            for length in [3, 512, 200_001] {
                let content = Blob::with(algorithm, noise(&format!("{repository}{style:?}{length}"), length));
                let answer = send(&api, &repository, style, &content).await;
                assert_eq!(answer.status, 201, "{style:?} {length}: {answer}");
                answer.assert_digest(&content.digest, api.is_strict());
                let back = api.get(answer.location()).expect(200).await;
                assert!(back.body == content.bytes, "{style:?} {length}: other bytes came back");
                api.head(blob(&repository, &content.digest)).expect(200).await;
            }
        }
    }
}

async fn wrong_digest_in_every_style(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for style in STYLES {
            let mut content = Blob::with(algorithm, noise(&format!("{repository}{style:?}"), 5000));
            content.bytes = [&content.bytes[..], b"more"].concat().into();
            let answer = send(&api, &repository, style, &content).await;
            assert_eq!(answer.status, 400, "{style:?}: {answer}");
            assert_eq!(answer.json()["errors"][0]["code"], "DIGEST_INVALID", "{style:?}");
            api.head(blob(&repository, &content.digest)).expect(404).await;
        }
    }
    let location = api.open_upload(&repository).await;
    for digest in ["", "sha256:short", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256"] {
        let separator = if location.contains('?') { '&' } else { '?' };
        api.put(format!("{location}{separator}digest={digest}"), "").refused(400, "DIGEST_INVALID").await;
    }
}

async fn chunks_out_of_order(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 3000);
    let mut location = api.open_upload(&repository).await;
    for first in [0, 1000, 2000] {
        for wrong in [first + 1000, first + 1].into_iter().chain((first > 0).then_some(0)) {
            let chunk = content.bytes.slice(0..1000);
            let answer = api.patch(&location, chunk.clone()).chunk_at(wrong, 1000).expect(416).await;
            if api.is_strict() {
                assert_eq!(answer.json()["errors"][0]["code"], "BLOB_UPLOAD_INVALID", "{answer}");
            }
            let late = api.put(commit(&location, &content.digest), chunk).chunk_at(wrong, 1000);
            late.expect(416).await;
            let status = api.get(&location).expect(204).await;
            if first > 0 {
                assert_eq!(status.header("range"), format!("0-{}", first - 1), "{status}");
            }
            location = status.location();
        }
        let chunk = content.bytes.slice(first..first + 1000);
        location = api.patch(&location, chunk).chunk_at(first, 1000).expect(202).await.location();
    }
    api.put(commit(&location, &content.digest), "").expect(201).await;
    let back = api.get(blob(&repository, &content.digest)).expect(200).await;
    assert_eq!(back.body, content.bytes);
}

async fn chunk_length_and_range_disagree(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let content = Blob::random(&repository, 100);
    let location = api.open_upload(&repository).await;
    for range in ["0-98", "0-100", "nonsense", "5-2", "0-18446744073709551616"] {
        let call = api.patch(&location, content.bytes.clone()).octets().header("content-range", range);
        let answer = call.send().await;
        assert!(matches!(answer.status, 400 | 416), "{range}: {answer}");
    }
    // Nothing of those was kept.
    let location = api.get(&location).expect(204).await.location();
    let answer = api.patch(location, content.bytes.clone()).chunk_at(0, 100).expect(202).await;
    api.put(commit(&answer.location(), &content.digest), "").expect(201).await;
}

async fn status_and_cancel(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 500);
    let location = api.open_upload(&repository).await;
    api.get(&location).expect(204).await;
    let answer = api.patch(&location, content.bytes.slice(..300)).chunk_at(0, 300).expect(202).await;
    let status = api.get(answer.location()).expect(204).await;
    assert_eq!(status.header("range"), "0-299", "{status}");
    api.delete(status.location()).expect(204).await;
    for _ in 0..2 {
        api.get(status.location()).refused(404, "BLOB_UPLOAD_UNKNOWN").await;
        api.delete(status.location()).refused(404, "BLOB_UPLOAD_UNKNOWN").await;
        api.patch(status.location(), "x").octets().refused(404, "BLOB_UPLOAD_UNKNOWN").await;
        let end = commit(&status.location(), &content.digest);
        api.put(end, content.bytes.clone()).octets().refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    }
    api.head(blob(&repository, &content.digest)).expect(404).await;
    api.get(format!("{}not-an-upload", uploads(&repository))).refused(404, "BLOB_UPLOAD_UNKNOWN").await;
}

/// Knowing an upload's identifier opens nothing in another repository.
async fn uploads_belong_to_their_repository(registry: Registry) {
    let (api, mine, yours) = (registry.api(), registry.repository(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let location = api.open_upload(&mine).await;
    let moved = location.replacen(&mine, &yours, 1);
    assert_ne!(location, moved);
    api.get(&moved).refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    api.patch(&moved, "x").octets().refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    api.delete(&moved).refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    api.get(&location).expect(204).await;
}

/// `?digest-algorithm=` is a hint; the digest at the end decides.
async fn declared_algorithm(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for declared in [Algorithm::Sha256, Algorithm::Sha512] {
        for used in [Algorithm::Sha256, Algorithm::Sha512] {
            let content = Blob::with(used, noise(&format!("{repository}{declared}{used}"), 900));
            let target = format!("{}?digest-algorithm={declared}", uploads(&repository));
            let location = api.post(target).expect(202).await.location();
            let answer = api.patch(location, content.bytes.slice(..400)).chunk_at(0, 400).expect(202).await;
            let answer = api.patch(answer.location(), content.bytes.slice(400..)).chunk_at(400, 500);
            let location = answer.expect(202).await.location();
            api.put(commit(&location, &content.digest), "").expect(201).await;
            let back = api.get(blob(&repository, &content.digest)).expect(200).await;
            assert_eq!(back.body, content.bytes);
        }
    }
    if api.is_strict() {
        let target = format!("{}?digest-algorithm=md5", uploads(&repository));
        api.post(target).refused(400, "DIGEST_INVALID").await;
    }
}

async fn two_commits_of_one_upload(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 100);
    let location = api.open_upload(&repository).await;
    let end = commit(&location, &content.digest);
    api.put(&end, content.bytes.clone()).octets().expect(201).await;
    // Again, because the answer was lost: what it was to do is done. With other content it was not.
    api.put(&end, content.bytes.clone()).octets().expect(201).await;
    let other = commit(&location, &Blob::random("other", 100).digest);
    api.put(&other, content.bytes.clone()).octets().refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    // The same content in an upload of its own is no conflict.
    api.push_blob(&repository, &content).await;
}

/// What arrived before the connection broke is kept, or at least the status says truthfully what is there.
async fn resumes_after_a_dropped_connection(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 3 << 20);
    let location = api.open_upload(&repository).await;
    let path = location.trim_start_matches("http://").trim_start_matches(registry.address()).to_owned();
    let mut stream = api.connect();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        registry.address(),
        content.bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content.bytes[..2 << 20]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // The server closes when it has dealt with what came; an answer may come first.
    let _ = stream.read_to_end(&mut Vec::new());
    let status = api.get(&location).expect(204).await;
    let kept = status.find_header("range").and_then(|r| r.strip_prefix("0-")?.parse::<usize>().ok());
    let kept = kept.map_or(0, |last| if last == 0 { 0 } else { last + 1 });
    assert!(kept <= 2 << 20, "{status}");
    if api.is_strict() {
        assert_eq!(kept, 2 << 20, "bytes that arrived are kept: {status}");
    }
    let rest = content.bytes.slice(kept..);
    let answer = api.patch(status.location(), rest.clone()).chunk_at(kept, rest.len()).expect(202).await;
    api.put(commit(&answer.location(), &content.digest), "").expect(201).await;
    let back = api.get(blob(&repository, &content.digest)).expect(200).await;
    assert!(back.body == content.bytes, "other bytes came back");
}

async fn same_blob_pushed_concurrently(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 100_000);
    let pushes = (0..8).map(|i| {
        let (api, content) = (api.clone(), content.clone());
        let repository = format!("{repository}/{}", i % 2);
        tokio::spawn(async move { api.push_blob(&repository, &content).await })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap();
    }
    for i in 0..2 {
        let back = api.get(blob(&format!("{repository}/{i}"), &content.digest)).expect(200).await;
        assert!(back.body == content.bytes, "other bytes came back");
    }
}
