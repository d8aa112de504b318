//! Clients that ask for a blob and take nothing of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::trouble::{blob, path, pull};
use crate::harness::{Backend, Registry};

const CLIENTS: usize = 400;
/// Bytes that all of them may take: the room for all of one network, and what each connection has besides.
const MOST: u64 = (48 << 20) + (CLIENTS as u64) * (128 << 10);

/// Of a file. What comes from an object store comes in pieces as large as its client reads them, which are counted when they
/// are there: how many are on their way at that moment is up to the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_network_that_take_nothing_hold_little() {
    let Some(registry) = Registry::start(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(6 << 20, 1);
    api.push_blob(&repository, &blob).await;
    pull(&api, &repository, &blob).await;
    let Some(before) = registry.peak_memory() else { return };
    let request = format!("GET {} HTTP/1.1\r\nhost: h\r\n\r\n", path(&repository, &blob));
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut client = socket.connect(registry.address().parse().unwrap()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        held.push(client);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = registry.peak_memory().unwrap() - before;
    assert!(more <= MOST, "{CLIENTS} clients hold {more} bytes, at most {MOST} should be");
    for client in &mut held {
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&status));
    }
    pull(&api, &repository, &blob).await;
    drop(held);
}
