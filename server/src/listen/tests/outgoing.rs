//! What clients do not take.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::routing::any;
use futures_util::stream;
use rreg_storage::piece::{self, PIECE};
use tokio::net::TcpSocket;

use super::super::connection::without_room;
use super::super::outgoing::{Asked, NoRoom, Outgoing, own_of_connection};
use super::*;
use crate::body::held_with;
use crate::shares::{Refused, Source};

/// Length of an answer.
const LENGTH: usize = 8 << 20;

/// Bytes in memory.
struct Counted(Arc<AtomicUsize>, usize);

impl Counted {
    fn bytes(counter: &Arc<AtomicUsize>, length: usize) -> Bytes {
        counter.fetch_add(length, Ordering::SeqCst);
        held_with(Bytes::from(vec![0; length]), Self(Arc::clone(counter), length))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}

/// A server with an answer in pieces and one in memory, and how many bytes of answers are in its memory.
async fn counting() -> (Running, Arc<AtomicUsize>) {
    let held = Arc::new(AtomicUsize::new(0));
    let (counter, whole) = (Arc::clone(&held), Arc::clone(&held));
    let pieces = async move || {
        let pieces = stream::unfold(LENGTH, move |left| {
            let piece = piece::most().unwrap_or(PIECE).min(left);
            let bytes = Counted::bytes(&counter, piece);
            std::future::ready((left > 0).then_some((Ok::<_, io::Error>(bytes), left - piece)))
        });
        ([("content-length", LENGTH.to_string())], Body::from_stream(pieces))
    };
    let whole = async move || Body::from(Counted::bytes(&whole, 4 << 20));
    // Whether a piece may be large, and a source that has none.
    let size = async || {
        Body::from_stream(stream::once(async {
            Ok::<_, io::Error>(if piece::most().is_none() { "large" } else { "small" })
        }))
    };
    let hangs =
        async || Body::from_stream(stream::once(piece::waiting(std::future::pending::<io::Result<&str>>())));
    let router = Router::new()
        .route("/pieces", get(pieces))
        .route("/whole", any(whole))
        .route("/size", get(size))
        .route("/hangs", get(hangs));
    (start_with(Options { max_connections: 1000, ..options() }, router).await, held)
}

/// A client that has asked, and has little room for the answer.
async fn ask(server: &Running, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    ask_by(socket, server, "127.0.0.1", path).await
}

async fn ask_by(socket: TcpSocket, server: &Running, address: &str, path: &str) -> TcpStream {
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// As many as there are once that is the same for a while.
async fn settled(held: &AtomicUsize) -> usize {
    let (mut before, mut same) = (0, 0);
    while same < 5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = held.load(Ordering::SeqCst);
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    before
}

/// Length of the answer that a client of that address gets.
async fn taken(server: &Running, address: &str, path: &str) -> usize {
    let mut stream = ask_by(TcpSocket::new_v4().unwrap(), server, address, path).await;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let head = all.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    all.len() - head - 4
}

/// Each that takes nothing, or a byte now and then, holds little; whoever takes his answer gets it.
#[tokio::test]
async fn streams_that_nobody_takes_hold_little() {
    const CLIENTS: usize = 400;
    let (server, held) = counting().await;
    let mut idle = Vec::new();
    for _ in 0..CLIENTS {
        idle.push(ask(&server, "/pieces").await);
    }
    let most = (48 << 20) + CLIENTS * (16 << 10) + PIECE;
    let found = settled(&held).await;
    assert!(found <= most && found > 40 << 20, "{found} bytes are held, at most {most} should be");
    for _ in 0..3 {
        for client in &mut idle {
            client.read_u8().await.unwrap();
        }
        let found = settled(&held).await;
        assert!(found <= most, "{found} bytes are held, at most {most} should be");
    }
    assert_eq!(taken(&server, "127.0.0.2", "/pieces").await, LENGTH);
    assert_eq!(taken(&server, "127.0.0.1", "/pieces").await, LENGTH, "in small pieces");
    drop(idle);
    assert_eq!(settled(&held).await, 0);
    server.stop().await;
}

/// What lies in memory as a whole is refused where there is no room for it, and given back when it is sent.
#[tokio::test]
async fn answers_in_memory_have_room_until_they_are_sent() {
    let (server, held) = counting().await;
    let (mut kept, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        let mut client = ask(&server, "/whole").await;
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        match &status {
            b"HTTP/1.1 200" => kept.push(client),
            b"HTTP/1.1 429" => refused += 1,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
    assert!(settled(&held).await <= 96 << 20 && refused > 70, "{refused} were refused");
    assert_eq!(taken(&server, "127.0.0.2", "/whole").await, 4 << 20);
    kept.clear();
    assert_eq!(settled(&held).await, 0);
    assert_eq!(taken(&server, "127.0.0.1", "/whole").await, 4 << 20);
    server.stop().await;
}

/// Takes all the room for answers in memory that one network has.
async fn crowd(server: &Running) -> Vec<TcpStream> {
    let mut kept = Vec::new();
    loop {
        let mut client = ask(server, "/whole").await;
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        if &status != b"HTTP/1.1 200" {
            return kept;
        }
        kept.push(client);
    }
}

/// "Try again" is said only of what can be tried again, and says whose answers are in the way.
#[tokio::test]
async fn what_is_done_is_answered() {
    let (server, held) = counting().await;
    let kept = crowd(&server).await;
    let request = |method: &str| format!("{method} /whole HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert!(server.talk(request(method).as_bytes()).await.starts_with("HTTP/1.1 200"), "{method}");
    }
    let refused = server.talk(request("GET").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("answers to your network"), "{refused}");

    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (method, path, status) in [("GET", "/whole", 429), ("POST", "/whole", 200), ("GET", "/", 200)] {
        let url = format!("http://h{path}");
        let request = http::Request::builder().method(method).uri(url).body(Empty::new()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        response.into_body().collect().await.unwrap();
    }
    drop((client, kept));
    assert_eq!(settled(&held).await, 0);
    server.stop().await;
}

/// How many answers of `size` bytes each have room.
fn have_room(
    outgoing: &Outgoing,
    asked: impl Fn() -> Asked<'static>,
    size: usize,
) -> (Vec<Response>, NoRoom) {
    let mut held = Vec::new();
    loop {
        match outgoing.with_room(asked(), Response::new(Body::from(vec![0; size]))) {
            Ok(answer) => held.push(answer),
            Err(why) => return (held, why),
        }
        assert!(held.len() < 1 << 20);
    }
}

#[test]
fn small_answers_of_a_connection_have_room_of_its_own() {
    let asked = |host: u8, own| {
        let source = Source::of_address(Some([192, 0, 2, host].into()));
        move || Asked { source: source.clone(), is_safe: true, own }
    };
    let outgoing = Outgoing::default();
    let (first, why) = have_room(&outgoing, asked(1, None), 1 << 20);
    assert_eq!((first.len(), why), (96, NoRoom::Now(Refused::Own)));
    // The rest of the room, for each of some others.
    let others: Vec<_> = (2..20).map(|host| have_room(&outgoing, asked(host, None), 20 << 10)).collect();
    assert_eq!(others.last().unwrap().1, NoRoom::Now(Refused::All));
    let own: &Arc<_> = Box::leak(Box::new(own_of_connection()));
    let (small, _) = have_room(&outgoing, asked(1, Some(own)), 16 << 10);
    assert_eq!(small.len(), 4, "what is not taken has a bound");
    drop(small);
    assert_eq!(have_room(&outgoing, asked(1, Some(own)), 1 << 10).0.len(), 64);
    // Over HTTP/1 there is one.
    assert!(outgoing.with_room(asked(1, None)(), Response::new(Body::from(vec![0; 16 << 10]))).is_ok());
    let changes = Asked { is_safe: false, ..asked(1, Some(own))() };
    assert!(outgoing.with_room(changes, Response::new(Body::from(vec![0; 1 << 20]))).is_ok());
}

#[test]
fn what_can_never_be_sent_is_no_matter_of_trying_again() {
    let asked = || Asked { source: Source::Nobody, is_safe: true, own: None };
    let (held, why) = have_room(&Outgoing::default(), asked, 97 << 20);
    assert_eq!((held.len(), why), (0, NoRoom::Ever(97 << 20)));
    let statuses = [why, NoRoom::Now(Refused::All)].map(|why| without_room(why).status().as_u16());
    assert_eq!(statuses, [500, 429]);
}

/// The room is for what lies in memory.
#[tokio::test]
async fn a_stream_that_waits_for_its_source_keeps_no_room() {
    let (server, _) = counting().await;
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let mut client = ask(&server, "/hangs").await;
        read_until(&mut client, "\r\n\r\n").await;
        waiting.push(client);
    }
    let answer = server.talk(b"GET /size HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("large"), "{answer}");
    drop(waiting);
    server.stop().await;
}
