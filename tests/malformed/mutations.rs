//! Thousands of valid requests with random damage.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::raw::{assert_alive, place, send};
use crate::durability::random::{Random, rounds, seed};

const AT_ONCE: usize = 64;
const PER_ROUND: usize = 250;

/// Requests that are in order, on content that is there.
fn originals(location: &str, digest: &str) -> Vec<Vec<u8>> {
    let put = |target: &str, fields: &str, body: &str| {
        format!("{target} HTTP/1.1\r\nhost: x\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
    };
    let config = format!(r#"{{"mediaType":"application/json","digest":"{digest}","size":2}}"#);
    let image = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{image}","artifactType":"a/b","config":{config},"layers":[{config}],"subject":{config},"annotations":{{"a":"b"}}}}"#
    );
    let typed = format!("content-type: {image}\r\n");
    [
        put("GET /v2/", "", ""),
        put("GET /v2/_catalog?n=10&last=a", "", ""),
        put("GET /v2/a/tags/list?n=10&last=a", "", ""),
        put(&format!("GET /v2/a/referrers/{digest}?artifactType=a/b"), "", ""),
        put(&format!("GET /v2/a/blobs/{digest}"), "range: bytes=0-1\r\nif-none-match: \"x\"\r\n", ""),
        put(&format!("HEAD /v2/a/blobs/{digest}"), "", ""),
        put("GET /v2/a/manifests/tag", "accept: */*\r\n", ""),
        put("PUT /v2/a/manifests/tag", &typed, &manifest),
        put(&format!("PUT /v2/a/manifests/{digest}?tag=a&tag=b"), &typed, &manifest),
        put("DELETE /v2/a/manifests/none", "", ""),
        put("POST /v2/a/blobs/uploads/", "", ""),
        put(&format!("POST /v2/a/blobs/uploads/?mount={digest}&from=b"), "", ""),
        put(&format!("POST /v2/a/blobs/uploads/?digest={digest}"), "", "{}"),
        put(&format!("PATCH {location}"), "content-range: 0-3\r\n", "abcd"),
        put(&format!("PUT {location}?digest={digest}"), "content-range: 0-1\r\n", "{}"),
        put(&format!("GET {location}"), "", ""),
        format!(
            "PATCH {location} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
        ),
    ]
    .map(String::into_bytes)
    .to_vec()
}

const NASTY: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"%00",
    b"%ff",
    b"%2e%2e",
    b"../",
    b"//",
    b"\r\n",
    b"\n",
    b"-1",
    b"99999999999999999999",
    b"\"",
    b"\\",
    b"{",
    b"&",
    b"=",
];

fn mutate(random: &mut Random, mut request: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.below(request.len());
        let end = (at + random.below(12)).min(request.len());
        match random.below(7) {
            0 => request[at] ^= 1 << random.below(8),
            1 => drop(request.drain(at..end)),
            2 => {
                let copy = request[at..end].to_vec();
                request.splice(at..at, copy);
            }
            3 | 4 => {
                let nasty = NASTY[random.below(NASTY.len())];
                request.splice(at..end, nasty.iter().copied());
            }
            5 => request.truncate(at),
            _ => {
                let from = random.below(other.len());
                request.truncate(at);
                request.extend_from_slice(&other[from..]);
            }
        }
        if request.is_empty() {
            request.push(b'G');
        }
    }
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_requests_do_no_harm() {
    let (_data, mut server) = place();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let digest = rreg_oci::Digest::sha256(b"{}").to_string();
    for repository in ["a", "b"] {
        let url = server.url(&format!("/v2/{repository}/blobs/uploads/?digest={digest}"));
        assert_eq!(client.post(url).body("{}").send().await.unwrap().status(), 201);
    }
    let mut random = Random::new(seed(1));
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    for _ in 0..rounds(8) {
        let start = client.post(server.url("/v2/a/blobs/uploads/")).send().await.unwrap();
        let originals = originals(start.headers()["location"].to_str().unwrap(), &digest);
        let mut running = Vec::new();
        for _ in 0..PER_ROUND {
            let request = originals[random.below(originals.len())].clone();
            let other = originals[random.below(originals.len())].clone();
            let request = mutate(&mut random, request, &other);
            let (slot, address) = (slots.clone().acquire_owned().await.unwrap(), server.address);
            running.push(tokio::spawn(async move {
                send(address, &request).await;
                drop(slot);
            }));
        }
        for one in running {
            one.await.unwrap();
        }
    }
    assert_alive(&mut server).await;
}
