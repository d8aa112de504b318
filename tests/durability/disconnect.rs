//! Clients that leave in the middle of a body, and a server that is asked to stop in the middle of one.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Client;
use rreg_oci::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::random::Random;
use super::server::Server;

const UPLOADS: &str = "/v2/durability/disconnect/blobs/uploads/";

async fn begin(server: &Server, client: &Client) -> String {
    let answer = client.post(server.url(UPLOADS)).send().await.unwrap();
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// Sends a request whose body is as long as `body`, but of that only what `sent` says.
async fn partial(server: &Server, method: &str, target: &str, body: &[u8], sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..sent]).await.unwrap();
    stream
}

async fn size(server: &Server, client: &Client, location: &str) -> u64 {
    let answer = client.get(server.url(location)).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let range = answer.headers()["range"].to_str().unwrap().to_owned();
    range.strip_prefix("0-").unwrap().parse::<u64>().unwrap() + 1
}

/// Waits until the server has entered what a client that left had sent.
async fn arrived(server: &Server, client: &Client, location: &str, at_least: u64) -> u64 {
    for _ in 0..1000 {
        let size = size(server, client, location).await;
        if size >= at_least {
            return size;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what was sent did not arrive");
}

#[tokio::test]
async fn a_broken_chunk_keeps_what_arrived() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let client = Client::builder().no_proxy().build().unwrap();
    let mut random = Random::new(3);
    for (length, sent) in [(9_000, 5_000), (90_000, 33_000), (3_000_000, 1_048_576), (3_000_000, 2_999_999)] {
        let bytes = random.bytes(length);
        let location = begin(&server, &client).await;
        drop(partial(&server, "PATCH", &location, &bytes, sent).await);
        assert_eq!(arrived(&server, &client, &location, sent as u64).await, sent as u64);

        // It survives the server, too.
        server.kill();
        server = Server::start(data.path(), &[]);
        assert_eq!(size(&server, &client, &location).await, sent as u64);
        let rest = Bytes::copy_from_slice(&bytes[sent..]);
        let range = format!("{sent}-{}", length - 1);
        let chunk = client.patch(server.url(&location)).header("content-range", range).body(rest);
        assert_eq!(chunk.send().await.unwrap().status(), 202);
        commit(&server, &client, &location, &bytes).await;
    }
}

async fn commit(server: &Server, client: &Client, location: &str, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    let close = client.put(server.url(&format!("{location}?digest={digest}")));
    assert_eq!(close.send().await.unwrap().status(), 201);
    let blob = server.url(&format!("/v2/durability/disconnect/blobs/{digest}"));
    let body = client.get(blob).send().await.unwrap().bytes().await.unwrap();
    assert!(body == bytes, "{digest} has other bytes");
}

/// What a closing request brought is not kept when it breaks, but what came before is.
#[tokio::test]
async fn a_broken_commit_leaves_the_session_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let client = Client::builder().no_proxy().build().unwrap();
    let bytes = Random::new(4).bytes(2_000_000);
    let location = begin(&server, &client).await;
    let first = client.patch(server.url(&location)).body(bytes[..700_000].to_vec());
    assert_eq!(first.send().await.unwrap().status(), 202);
    let target = format!("{location}?digest={}", Digest::sha256(&bytes));
    let mut stream = partial(&server, "PUT", &target, &bytes[700_000..], 900_000).await;
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let size = size(&server, &client, &location).await;
    assert!((700_000..=1_600_000).contains(&size), "{size}");
    let rest = client.patch(server.url(&location)).body(bytes[usize::try_from(size).unwrap()..].to_vec());
    assert_eq!(rest.send().await.unwrap().status(), 202);
    commit(&server, &client, &location, &bytes).await;
    server.check_log();
}

#[tokio::test]
async fn sigterm_lets_a_slow_push_finish() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let bytes = Random::new(5).bytes(3_000_000);
    let digest = Digest::sha256(&bytes);
    let target = format!("{UPLOADS}?digest={digest}");
    let mut stream = partial(&server, "POST", &target, &bytes, 1_000_000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.terminate();
    for piece in bytes[1_000_000..].chunks(500_000) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(piece).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    // Others are served until the last upload has ended; then new clients are turned away, and the end is an orderly one.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.wait().success());

    let server = Server::start(data.path(), &[]);
    let client = Client::builder().no_proxy().build().unwrap();
    let blob = server.url(&format!("/v2/durability/disconnect/blobs/{digest}"));
    let body = client.get(blob).send().await.unwrap().bytes().await.unwrap();
    assert!(body == bytes);
}
