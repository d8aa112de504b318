//! What clients do not take.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use futures_util::stream;
use rreg_storage::piece::{self, PIECE};
use tokio::net::TcpSocket;

use super::*;
use crate::body::held_with;

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
    let router = Router::new().route("/pieces", get(pieces)).route("/whole", get(whole));
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
