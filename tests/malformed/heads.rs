//! Request heads that two readers could understand differently, that are too large, or that are no HTTP.

use super::raw::{assert_alive, place, send, send_all};

/// A second request hidden in the first must never be answered as a request of its own.
#[tokio::test]
async fn smuggled_requests_are_not_seen() {
    let (_data, mut server) = place();
    let hidden = "GET /v2/_catalog HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = hidden.len();
    let framings = [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        format!("content-length: {length}\r\ncontent-length: 0\r\n\r\n{hidden}"),
        format!("content-length: 0, {length}\r\n\r\n{hidden}"),
        format!("content-length : {length}\r\n\r\n{hidden}"),
        format!("content-length: +{length}\r\n\r\n{hidden}"),
        format!("content-length: -1\r\n\r\n{hidden}"),
        format!("content-length: 0x10\r\n\r\n{hidden}"),
        format!("content-length: \r\n\r\n{hidden}"),
        format!("content-length: 99999999999999999999\r\n\r\n{hidden}"),
        format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: identity\r\n\r\n{hidden}"),
        format!("x: a\r\n content-length: {length}\r\n\r\n{hidden}"),
        format!("x: a\r\n\ttransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!(" content-length: {length}\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n1;{}\r\na\r\n0\r\n\r\n{hidden}", "e".repeat(100_000)),
        format!("transfer-encoding: chunked\r\n\r\n0\r\n{}\r\n{hidden}", "t: x\r\n".repeat(100_000)),
    ];
    for method in ["PUT /v2/a/manifests/x", "POST /v2/a/blobs/uploads/", "GET /v2/a/manifests/x"] {
        for framing in &framings {
            let request = format!("{method} HTTP/1.1\r\nhost: x\r\n{framing}");
            let shown = framing.get(..60.min(framing.len())).unwrap();
            let answers = send_all(server.address, request.as_bytes(), 2).await;
            let catalog = answers.iter().filter(|answer| answer.status == 200).count();
            // A head that is valid and ends before the hidden request makes two honest requests of it: a GET
            // with an ended chunked body, for example. Anything ambiguous must have closed the connection.
            let honest = ["xchunked"].iter().all(|word| !framing.contains(word))
                && framing.starts_with("transfer-encoding: chunked\r\n\r\n0\r\n\r\n");
            assert!(catalog == 0 || honest, "{method} with {shown:?}: {answers:?}");
        }
    }
    assert_alive(&mut server).await;
}

#[tokio::test]
async fn heads_that_are_none() {
    let (_data, mut server) = place();
    let requests: [&[u8]; 22] = [
        b"\r\n\r\n\r\n\r\n",
        b"GET /v2/\r\n",
        b"GET /v2/ HTTP/0.9\r\n\r\n",
        b"GET /v2/ HTTP/3.0\r\n\r\n",
        b"GET /v2/ HTTP/1.2\r\n\r\n",
        b"GET  /v2/ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2/  HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2/ a HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET\t/v2/\tHTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2/a/manifests/x HTTP/1.1\nhost: x\n\n",
        b"GET /v2/a/manifests/x HTTP/1.1\rhost: x\r\r",
        b"GET /v2/a/manifests/x HTTP/1.1\r\nhost\r\n\r\n",
        b"GET /v2/a/manifests/x HTTP/1.1\r\n: x\r\n\r\n",
        b"GET /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\nx\x00y: z\r\n\r\n",
        b"GET /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\nx: \x00\r\n\r\n",
        b"GET /v2/a/manifests/x HTTP/1.1\r\nhost: \xff\xfe\r\nx-request-id: \xff\r\nif-none-match: \xff\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-x\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"garbage garbage garbage\r\nGET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    for request in requests {
        if request.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM") {
            // The answer is HTTP/2's own; that the server lives on is checked below.
            let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
            continue;
        }
        send(server.address, request).await;
    }
    assert_alive(&mut server).await;
}

#[tokio::test]
async fn everything_oversized_is_refused() {
    let (_data, mut server) = place();
    let many: String = (0..2000).map(|n| format!("x{n}: y\r\n")).collect();
    let long = "a".repeat(2 << 20);
    for request in [
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{long}: x\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /v2/{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /v2/_catalog?last={long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("{long} /v2/ HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        if let Some(answer) = send(server.address, request.as_bytes()).await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    let manifest = "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\n\
        content-type: application/vnd.oci.image.manifest.v1+json\r\n";
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let repeated = "{\"layers\":[],".repeat(100_000);
    for body in [" ".repeat(5 << 20), nested, repeated, "1e999999".into(), "\"\\ud800\"".into(), long] {
        let request = format!("{manifest}content-length: {}\r\n\r\n{body}", body.len());
        let answer = send(server.address, request.as_bytes()).await.unwrap();
        assert_eq!(answer.code().as_deref(), Some("MANIFEST_INVALID"), "{answer:?}");
    }
    // As long as nobody ever sends: refused once the limit is passed, not at the end.
    let endless =
        format!("{manifest}transfer-encoding: chunked\r\n\r\n500000\r\n{}\r\n", " ".repeat(5 << 20));
    let answer = send(server.address, endless.as_bytes()).await;
    assert!(answer.is_none_or(|answer| answer.status == 413 || answer.status == 400));
    assert_alive(&mut server).await;
}
