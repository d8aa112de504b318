//! Clients that keep a connection by sending next to nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::raw::{assert_alive, place};

/// Reads to the end of the connection, which must come by the server's own doing.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let (_data, mut server) = place();
    for head in ["", "G", "PRI * HTTP/2.0\r\n", "GET /v2/ HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        until_closed(stream).await;
    }
    // One more header line each time does not buy more time.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\n").await.unwrap();
    for n in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if stream.write_all(format!("x{n}: y\r\n").as_bytes()).await.is_err() {
            return assert_alive(&mut server).await;
        }
    }
    panic!("a head may take forever");
}

#[tokio::test]
async fn slow_bodies_are_cut_and_keep_what_arrived() {
    let (_data, mut server) = place();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let start = client.post(server.url("/v2/a/blobs/uploads/")).send().await.unwrap();
    let location = start.headers()["location"].to_str().unwrap().to_owned();
    let digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let targets = [
        format!("PUT {location}?digest={digest}"),
        format!("PATCH {location}"),
        format!("POST /v2/a/blobs/uploads/?digest={digest}"),
        "PUT /v2/a/manifests/x".to_owned(),
    ];
    for target in targets {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("{target} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nsome of it");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = until_closed(stream).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
        assert!(answer.contains("ended early"), "{answer}");
    }
    let status = client.get(server.url(&location)).send().await.unwrap();
    assert_eq!(status.headers()["range"], "0-9");
    assert_alive(&mut server).await;
}
