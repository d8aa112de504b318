mod outgoing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Extension;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

const LONG: Duration = Duration::from_secs(600);

fn options() -> Options {
    Options {
        header_timeout: LONG,
        write_idle_timeout: LONG,
        shutdown_timeout: LONG,
        max_connections: 100,
        max_header_bytes: 64 << 10,
        tls: None,
        proxies: Proxies::default(),
        busy: None,
    }
}

/// A server, and two signals: a request to `/slow` has arrived, and it may go on.
struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
    server: JoinHandle<io::Result<()>>,
}

async fn start(options: Options) -> Running {
    start_with(options, Router::new()).await
}

/// The same with more to ask for.
async fn start_with(options: Options, router: Router) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrived_, go_on_) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let slow = async move || {
        arrived_.notify_one();
        go_on_.notified().await;
        "slow"
    };
    let router = router
        .route("/", get(async |Extension(peer): Extension<Peer>| format!("{} {}", peer.address, peer.tls)))
        .route("/slow", get(slow))
        .route("/refuse", post(async || http::StatusCode::FORBIDDEN))
        .route("/large", get(async || Bytes::from(vec![0; 128 << 10])))
        .route("/endless", get(async || Bytes::from(vec![0; 64 << 20])));
    let server = tokio::spawn(serve(listener, router, options, shutdown.clone()));
    Running { address, shutdown, arrived, go_on, server }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends `request` and reads to the end of the connection.
    async fn talk(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_all(&mut stream).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

async fn read_until(stream: &mut TcpStream, end: &str) {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn http1_answers_and_knows_the_peer() {
    let server = start(options()).await;
    let answer = server.talk(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1 false"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let server = start(options()).await;
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    // Begins like the preface of HTTP/2 and is not.
    for byte in b"PRI /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 404"));
    server.stop().await;
}

#[tokio::test]
async fn http2_by_prior_knowledge() {
    let server = start(options()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = || http::Request::get("http://h/").body(Empty::new()).unwrap();
    for response in futures_util::future::join_all((0..20).map(|_| client.send_request(request()))).await {
        let response = response.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "127.0.0.1 false");
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn an_oversize_head_is_refused() {
    let server = start(Options { max_header_bytes: 8 << 10, ..options() }).await;
    let head =
        |size| format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(size));
    assert!(server.talk(head(4 << 10).as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert!(server.talk(head(9 << 10).as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(server.talk(head(1 << 20).as_bytes()).await.starts_with("HTTP/1.1 431"), "the answer arrives");
    let many = "x: y\r\n".repeat(1000);
    let answer = server.talk(format!("GET / HTTP/1.1\r\nhost: h\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::get("http://h/").header("x", "x".repeat(12 << 10)).body(Empty::new()).unwrap();
    let outcome = client.send_request(request).await;
    assert!(outcome.is_err() || outcome.is_ok_and(|r| r.status() == 431));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_in_the_middle_of_its_body() {
    let server = start(options()).await;
    let mut stream = server.connect().await;
    let size = 8 << 20;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let send = async {
        let _ = writer.write_all(&vec![0; size]).await;
    };
    let (read, ()) = tokio::join!(reader.read_to_end(&mut answer), send);
    assert!(answer.starts_with(b"HTTP/1.1 403"), "{read:?} {}", String::from_utf8_lossy(&answer));
    server.stop().await;
}

#[tokio::test]
async fn slow_heads_are_cut_off() {
    let server = start(Options { header_timeout: Duration::from_millis(200), ..options() }).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost:"] {
        let answer = server.talk(begun.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{begun:?} {answer}");
    }
    // Idle after a request.
    assert!(server.talk(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let server = start(Options { write_idle_timeout: Duration::from_millis(200), ..options() }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(read_all(&mut stream).await.len() < 64 << 20);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_finishes_requests_in_flight() {
    let server = start(options()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    read_until(&mut idle, "127.0.0.1 false").await;
    let mut fresh = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    server.arrived.notified().await;

    server.shutdown.cancel();
    assert_eq!(read_all(&mut idle).await, "", "idle connections end at once");
    assert_eq!(read_all(&mut fresh).await, "");
    assert!(!server.server.is_finished());
    server.go_on.notify_one();
    let answer = read_all(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("slow"), "{answer}");
    server.server.await.unwrap().unwrap();
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = start(Options { shutdown_timeout: Duration::from_millis(100), ..options() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    server.arrived.notified().await;
    server.shutdown.cancel();
    let error = server.server.await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("1 connections were cut"), "{error}");
    assert_eq!(read_all(&mut busy).await, "");
}

/// HTTP/2 has no time between two requests after which the connection ends, and a client may answer pings for ever.
#[tokio::test]
async fn a_client_that_has_asked_once_makes_room() {
    let server = start(Options { max_connections: 2, ..options() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let io = TokioIo::new(server.connect().await);
        let (mut client, connection) =
            hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io)
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("http://h/").body(Empty::new()).unwrap();
        client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        held.push(client);
    }
    let answer = server.talk(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    held.clear();
    server.stop().await;
}

/// What nobody reads is not taken in: it would lie in memory for as long as a stranger likes.
#[tokio::test]
async fn an_unread_body_over_http2_stays_with_its_client() {
    let server = start(options()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, axum::body::Body>(TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let pieces = futures_util::stream::repeat_with(move || {
        counted.fetch_add(16 << 10, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, io::Error>(Bytes::from_static(&[0; 16 << 10]))
    });
    let body = axum::body::Body::from_stream(futures_util::StreamExt::take(pieces, 1024));
    let request = http::Request::get("http://h/slow").body(body).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    server.arrived.notified().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let taken = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(taken <= 256 << 10, "{taken} bytes were taken in");
    server.go_on.notify_one();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    drop(client);
    server.stop().await;
}

/// Over HTTP/2 an answer that nobody takes costs its client nothing.
#[tokio::test]
async fn answers_that_nobody_takes_are_few_over_http2() {
    // A client that has room for a byte is given all that it asked for, as far as the server's memory is concerned.
    for window in [0, 1] {
        answers_that_nobody_takes_are_few(window).await;
    }
}

async fn answers_that_nobody_takes_are_few(window: u32) {
    let server = start(options()).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..12 {
        let io = TokioIo::new(server.connect().await);
        let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake::<_, Empty<Bytes>>(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        for _ in 0..100 {
            let request = http::Request::get("http://h/large").body(Empty::new()).unwrap();
            let answer = client.clone().send_request(request).await.unwrap();
            match answer.status().as_u16() {
                200 => held.push(answer),
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
    }
    assert!(held.len() < 800 && refused > 400, "{} are held, {refused} were refused", held.len());
    let answer = server.talk(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
    server.stop().await;
}

/// A stream waits for as long as its client likes, with every ping answered: that ends its connection, however small the
/// answer is.
#[tokio::test]
async fn an_answer_that_nobody_takes_ends_its_connection_over_http2() {
    for (path, window) in [("/", 0), ("/large", 0), ("/large", 1), ("/endless", 0)] {
        let server = start(Options { write_idle_timeout: Duration::from_millis(300), ..options() }).await;
        let io = TokioIo::new(server.connect().await);
        let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake::<_, Empty<Bytes>>(io)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get(format!("http://h{path}")).body(Empty::new()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let ended = tokio::time::timeout(Duration::from_secs(60), connection).await;
        assert!(ended.is_ok(), "{path} with a window of {window} is held for ever");
        server.stop().await;
    }
}

/// Whoever takes a step of an answer now and then gets all of it.
#[tokio::test]
async fn an_answer_that_is_taken_slowly_comes_whole_over_http2() {
    let server = start(Options { write_idle_timeout: Duration::from_secs(4), ..options() }).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(16 << 10)
        .handshake::<_, Empty<Bytes>>(io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://h/large").body(Empty::new()).unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        taken += frame.unwrap().into_data().unwrap().len();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(taken, 128 << 10);
    server.stop().await;
}

/// Clients that take nothing of their answers, of one network, wait behind each other and before nobody else.
#[tokio::test]
async fn another_network_does_not_wait_behind() {
    let server = start(Options { max_connections: 2, ..options() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    held[0].read_u8().await.unwrap();
    held[1].read_u8().await.unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = read_all(&mut other).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    held.clear();
    server.stop().await;
}

#[tokio::test]
async fn more_clients_than_slots_wait() {
    let server = start(Options { max_connections: 1, ..options() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    server.arrived.notified().await;
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut byte)).await;
    assert!(early.is_err(), "answered although the only slot was taken");
    server.go_on.notify_one();
    assert!(read_all(&mut first).await.ends_with("slow"));
    assert!(read_all(&mut second).await.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

/// Behind a proxy that does TLS for an address of a network, nothing else is taken; a loopback address has no network, and
/// who says `insecure` wants it so.
#[test]
fn clear_text_is_refused_where_a_network_is() {
    let tls_only = |address: &str, insecure| {
        let server = config::Server { insecure, ..Default::default() };
        Options::new(&server, address.parse().unwrap(), None).proxies.tls_only
    };
    assert!(tls_only("0.0.0.0:5000", false) && tls_only("[2001:db8::1]:5000", false));
    assert!(!tls_only("0.0.0.0:5000", true) && !tls_only("127.0.0.1:5000", false));
    assert!(!tls_only("[::ffff:127.0.0.1]:5000", false));
}
