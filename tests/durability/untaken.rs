//! Clients that ask for a blob and take nothing of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::trouble::{blob, path, pull};
use crate::harness::{Backend, Registry};

const CLIENTS: usize = 400;
/// Bytes that all of them may take: the room for all of one network, and what each connection has besides.
const MOST: u64 = (48 << 20) + (CLIENTS as u64) * (128 << 10);

/// The same where the blob is a file and where it comes from an object store: it has been handed on in pieces of half a
/// megabyte for each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_network_that_take_nothing_hold_little() {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(registry) = Registry::start(backend).await else { continue };
        let (api, repository) = (registry.api(), registry.repository());
        let blob = blob(6 << 20, 1);
        api.push_blob(&repository, &blob).await;
        pull(&api, &repository, &blob).await;
        let Some(before) = registry.peak_memory() else { continue };
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
        assert!(more <= MOST, "{CLIENTS} clients hold {more} bytes, at most {MOST} should be ({backend:?})");
        for client in &mut held {
            let mut status = [0; 12];
            client.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&status));
        }
        pull(&api, &repository, &blob).await;
        drop(held);
    }
}
