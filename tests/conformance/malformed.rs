//! What strangers send: path tricks, smuggling, broken framing. Never a 5xx, never a surprise; the client
//! checks on each 4xx that its body is an error of the specification.

use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{Api, Registry};

on_each_backend!(names_and_digests, paths_as_sent, framing, many_headers);

async fn names_and_digests(registry: Registry) {
    let api = registry.api();
    if !api.is_strict() {
        return;
    }
    let long = "a".repeat(256);
    let deep = ["a"; 129].join("/");
    for name in ["A", "a_-b", "a..b", "-a", "a-", "a/-b", "a%00b", "a%20b", "%C3%A9", "a:b", &long, &deep] {
        for tail in ["manifests/v1", "tags/list", "blobs/uploads/"] {
            let target = format!("/v2/{name}/{tail}");
            let call = if tail.ends_with('/') { api.post(target) } else { api.get(target) };
            call.refused(400, "NAME_INVALID").await;
        }
    }
    let upper = "sha256:".to_owned() + &"A".repeat(64);
    let short = "sha256:".to_owned() + &"a".repeat(63);
    for digest in ["sha256", "sha256:", "sha256:zz", "md5:00", "SHA256:00", &upper, &short] {
        api.get(format!("/v2/name/blobs/{digest}")).refused(400, "DIGEST_INVALID").await;
        api.get(format!("/v2/name/referrers/{digest}")).refused(400, "DIGEST_INVALID").await;
        api.delete(format!("/v2/name/blobs/{digest}")).refused(400, "DIGEST_INVALID").await;
    }
    for target in ["/v2/name", "/v2/name/manifests", "/v2/name/unknown/x", "/v1/", "/v2x", "/v2/_catalog/x"] {
        let answer = api.get(target).send().await;
        assert_eq!(answer.status, 404, "{answer}");
    }
}

fn status_of(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

/// Sends the path exactly as written; HTTP clients would tidy it up.
fn get_raw(api: &Api, path: &str) -> String {
    api.raw(format!("GET {path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n").as_bytes())
}

async fn paths_as_sent(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    api.push(&repository, &Image::artifact(&repository, EXAMPLE), Some("v1")).await;
    let ok = get_raw(&api, &format!("/v2/{repository}/manifests/v1"));
    assert_eq!(status_of(&ok), 200, "{ok}");
    for path in [
        format!("/v2/../v2/{repository}/manifests/v1"),
        format!("/v2/x/../{repository}/manifests/v1"),
        format!("/v2/./{repository}/manifests/v1"),
        format!("/v2//{repository}/manifests/v1"),
        format!("/v2/{repository}//manifests/v1"),
        format!("/v2/{repository}/manifests/../manifests/v1"),
        format!("/v2/{repository}%2Fmanifests%2Fv1"),
        format!("/v2/{}/manifests/v1", repository.replace('/', "%2F")),
        format!("/v2/{}/manifests/v1", repository.replace('/', "%2f")),
        format!("/v2/{repository}/manifests/v1%00"),
        format!("/v2/{repository}/manifests/%2e%2e/manifests/v1"),
        "/v2/..%2f..%2f..%2fetc/passwd/manifests/v1".to_owned(),
        "/../../../../etc/passwd".to_owned(),
        "/v2/%ff%fe/manifests/v1".to_owned(),
        "/v2/%/manifests/v1".to_owned(),
    ] {
        let answer = get_raw(&api, &path);
        let status = status_of(&answer);
        if api.is_strict() {
            assert!(matches!(status, 400 | 404), "{path}: {answer}");
        }
        assert!(!answer.contains("root:"), "{path}: {answer}");
    }
}

/// Requests that two readers could cut up differently are refused, or at least answered once only.
async fn framing(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let target = format!("/v2/{repository}/manifests/v1");
    let hidden = "GET /v2/ HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Bad Header: x\r\n",
    ] {
        let request = format!("PUT {target} HTTP/1.1\r\nHost: registry\r\n{headers}\r\n0\r\n\r\n{hidden}");
        let answer = api.raw(request.as_bytes());
        assert!((400..500).contains(&status_of(&answer)), "{headers}: {answer}");
        assert!(!answer.contains("HTTP/1.1 200"), "the hidden request was answered: {headers}: {answer}");
    }
    let answer = api.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert!(!answer.contains("HTTP/1.1 2"), "{answer}");
    api.get("/v2/").expect(200).await;
}

async fn many_headers(registry: Registry) {
    let api = registry.api();
    if !api.is_strict() {
        return;
    }
    let long = "a".repeat(2 << 20);
    let many: String = (0..5000).map(|i| format!("X-{i}: 1\r\n")).collect();
    for request in [
        format!("GET /v2/{long}/tags/list HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: registry\r\nX-Long: {long}\r\nConnection: close\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: registry\r\n{many}Connection: close\r\n\r\n"),
    ] {
        let answer = api.raw(request.as_bytes());
        // The server may hang up before the sender is through; then there is nothing to read.
        assert!(answer.is_empty() || (400..500).contains(&status_of(&answer)), "{answer:.200}");
    }
    api.get("/v2/").expect(200).await;
}
