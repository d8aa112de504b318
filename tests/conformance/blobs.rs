//! Reading blobs: whole, by HEAD, in ranges, conditionally; and never from another repository.

use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, Image};
use crate::harness::{Answer, Registry};

on_each_backend!(
    head_equals_get,
    ranges,
    several_ranges,
    range_of_a_changed_blob,
    conditional_get,
    well_known_contents,
    large_blob_in_ranges,
    membership_is_per_repository,
);

/// What a HEAD must say like the GET.
fn assert_same_headers(head: &Answer, get: &Answer) {
    for name in ["content-length", "content-type", "docker-content-digest", "etag", "accept-ranges"] {
        assert_eq!(head.find_header(name), get.find_header(name), "{name}: {head}");
    }
    let length = head.header("content-length");
    assert_eq!(length, get.body.len().to_string(), "{head}");
}

async fn head_equals_get(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::index(&repository);
    api.push(&repository, &image, Some("v1")).await;
    let mut targets: Vec<String> = image.blobs.iter().map(|b| blob(&repository, &b.digest)).collect();
    targets.extend(image.manifests.iter().map(|m| manifest(&repository, m.digest)));
    targets.push(manifest(&repository, "v1"));
    for target in targets {
        let accept = rreg_oci::media_type::ACCEPT_MANIFESTS;
        let get = api.get(&target).header("accept", accept).expect(200).await;
        let head = api.head(&target).header("accept", accept).expect(200).await;
        assert_same_headers(&head, &get);
    }
}

async fn ranges(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 2048);
    api.push_blob(&repository, &content).await;
    let target = blob(&repository, &content.digest);
    for (range, first, end) in [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=-5000", 0, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 2048),
        ("bytes=2047-2047", 2047, 2048),
    ] {
        let answer = api.get(&target).header("range", range).expect(206).await;
        assert_eq!(answer.body, content.bytes[first..end], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{}/2048", end - 1), "{range}");
        assert_eq!(answer.header("content-length"), (end - first).to_string(), "{range}");
    }
    for range in ["bytes=2048-", "bytes=5000-10000"] {
        let answer = api.get(&target).header("range", range).expect(416).await;
        if api.is_strict() {
            assert_eq!(answer.header("content-range"), "bytes */2048", "{range}");
        }
    }
    // The specification's program wants 416 for this malformed range too.
    api.get(&target).header("range", "bytes=500-0").expect(416).await;
    if api.is_strict() {
        for ignored in ["bytes=0-2047,0-2047", "lines=1-2", "bytes=", "nonsense"] {
            let answer = api.get(&target).header("range", ignored).expect(200).await;
            assert_eq!(answer.body, content.bytes, "{ignored}");
        }
    }
}

/// Several ranges come as parts, each with its place; those that lie outside are left out (RFC 9110, section 14.6).
async fn several_ranges(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    for (name, size) in [("small", 2048), ("large", 300_000)] {
        let content = Blob::random(&format!("{repository}-{name}"), size);
        api.push_blob(&repository, &content).await;
        let target = blob(&repository, &content.digest);
        let answer = api.get(&target).header("range", "bytes=0-9, 100-299,-5,9999999-").expect(206).await;
        let kind = answer.header("content-type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let mut expected = Vec::new();
        for (first, end) in [(0, 10), (100, 300), (size - 5, size)] {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{}/{size}\r\n\r\n",
                end - 1
            );
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&content.bytes[first..end]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(answer.body == expected, "{}", String::from_utf8_lossy(&answer.body));
    }
}

async fn range_of_a_changed_blob(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let content = Blob::random(&repository, 100);
    api.push_blob(&repository, &content).await;
    let target = blob(&repository, &content.digest);
    let Some(etag) = api.head(&target).expect(200).await.find_header("etag").map(str::to_owned) else {
        assert!(!api.is_strict(), "no ETag");
        return;
    };
    let same = api.get(&target).header("range", "bytes=1-2").header("if-range", &etag).expect(206).await;
    assert_eq!(same.body, content.bytes[1..3]);
    let other =
        api.get(&target).header("range", "bytes=1-2").header("if-range", "\"other\"").expect(200).await;
    assert_eq!(other.body, content.bytes);
}

async fn conditional_get(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    if !api.is_strict() {
        return;
    }
    let targets = [
        blob(&repository, &image.blobs[0].digest),
        manifest(&repository, image.root().digest),
        manifest(&repository, "v1"),
    ];
    for target in targets {
        let etag = api.get(&target).expect(200).await.header("etag").to_owned();
        for tags in [etag.clone(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
            let answer = api.get(&target).header("if-none-match", &tags).expect(304).await;
            assert!(answer.body.is_empty(), "{answer}");
            assert_eq!(answer.header("etag"), etag, "{answer}");
            api.head(&target).header("if-none-match", &tags).expect(304).await;
        }
        api.get(&target).header("if-none-match", "\"other\"").expect(200).await;
    }
}

async fn well_known_contents(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for content in ["", "{}"] {
        let content = Blob::new(content);
        api.push_blob(&repository, &content).await;
        let answer = api.get(blob(&repository, &content.digest)).expect(200).await;
        assert_eq!(answer.body, content.bytes);
        let head = api.head(blob(&repository, &content.digest)).expect(200).await;
        assert_eq!(head.header("content-length"), content.bytes.len().to_string());
    }
}

async fn large_blob_in_ranges(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    // Larger than one part or segment of any backend's liking, and of odd length.
    let content = Blob::random(&repository, (20 << 20) + 13);
    let location = api.open_upload(&repository).await;
    let half = 7 << 20;
    let chunk = content.bytes.slice(..half);
    let location = api.patch(location, chunk).chunk_at(0, half).expect(202).await.location();
    let rest = content.bytes.slice(half..);
    let answer = api.patch(location, rest.clone()).chunk_at(half, rest.len()).expect(202).await;
    let end = crate::harness::http::commit(&answer.location(), &content.digest);
    api.put(end, "").expect(201).await;
    let target = blob(&repository, &content.digest);
    assert!(api.get(&target).expect(200).await.body == content.bytes, "the blob came back different");
    for (first, length) in [(0, 1), (half - 3, 6), (half, 1), (1 << 20, 15 << 20), (20 << 20, 13)] {
        let range = format!("bytes={first}-{}", first + length - 1);
        let answer = api.get(&target).header("range", &range).expect(206).await;
        assert!(answer.body == content.bytes[first..first + length], "{range}");
    }
}

/// Deduplication must not leak: a digest known elsewhere is unknown here (CVE-2024-39897).
async fn membership_is_per_repository(registry: Registry) {
    let (api, here, elsewhere) = (registry.api(), registry.repository(), registry.repository());
    let image = Image::layered(&elsewhere, 2);
    api.push(&elsewhere, &image, Some("v1")).await;
    for content in &image.blobs {
        api.head(blob(&here, &content.digest)).expect(404).await;
        api.get(blob(&here, &content.digest)).refused(404, "BLOB_UNKNOWN").await;
        api.get(blob(&here, &content.digest)).header("range", "bytes=0-1").refused(404, "BLOB_UNKNOWN").await;
    }
    api.get_manifest(&here, &image.root().digest.to_string()).refused(404, "MANIFEST_UNKNOWN").await;
    if api.is_strict() {
        // Knowing the digests is no way to get at the bytes.
        api.put_manifest(&here, "stolen", image.root()).refused(404, "MANIFEST_BLOB_UNKNOWN").await;
    }
    // Pushed a second time it is a member here, and stays one there when deleted here.
    api.push(&here, &image, Some("v1")).await;
    api.delete(manifest(&here, image.root().digest)).expect(202).await;
    for content in &image.blobs {
        api.delete(blob(&here, &content.digest)).expect(202).await;
        api.head(blob(&here, &content.digest)).expect(404).await;
    }
    api.assert_image(&elsewhere, &image, Some("v1")).await;
}
