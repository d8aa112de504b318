//! Slots for what is fetched from an upstream: one client that asks for much leaves some for others.

use rreg_oci::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::origin::{Origin, REPOSITORY};
use super::{caching, metric};
use crate::harness::Registry;
use crate::harness::http::blob;
use crate::harness::image::Image;

const LOCAL: &str = "up/library/app";
const BLOBS: usize = 40;

/// Asks for a blob from this address of the machine.
async fn ask(registry: &Registry, from: &str, digest: &Digest) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let address = registry.address().to_string().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request =
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", blob(LOCAL, digest));
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer's first line.
async fn status(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Waits until the origin was asked for so many blobs.
async fn begun(origin: &Origin, count: usize) {
    let start = format!("GET /v2/{REPOSITORY}/blobs/");
    while origin.count(&start) < count {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Waits until so many requests are being answered, the one that asks this among them.
async fn in_flight(registry: &Registry, enough: impl Fn(u64) -> bool) {
    while !enough(metric(registry, "rreg_requests_in_flight").await) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// One address asks for many blobs that the origin holds back, and another address for one, while they are. `goes`: the first
/// does not wait for any.
async fn much_leaves_some(goes: bool) {
    let image = Image::layered("much", BLOBS);
    let origin = Origin::with(&image, "1").await;
    let small = Image::layered("small", 1);
    origin.put(&small, "2");
    let more = ", timeout=\"30s\", revalidate_timeout=\"5s\", max_fills=8";
    let Some(registry) = caching(&origin, more).await else { return };
    let held = origin.gate();
    let mut streams = Vec::new();
    for layer in image.blobs.iter().take(BLOBS) {
        let stream = ask(&registry, "127.0.0.9", &layer.digest).await;
        // Until the registry has read the request.
        if streams.len() < 6 {
            begun(&origin, streams.len() + 1).await;
        }
        streams.push(stream);
    }
    in_flight(&registry, |count| count >= BLOBS as u64 - 6).await;
    if goes {
        streams.clear();
        in_flight(&registry, |count| count <= 1).await;
    }
    // What is asked for from now on comes at once.
    let open = origin.gate();
    open.send(true).unwrap();
    let first = ask(&registry, "127.0.0.1", &small.blobs[0].digest).await;
    assert_eq!(status(first).await, "HTTP/1.1 200 OK");
    // Nothing that was held back has failed meanwhile, which would have made room.
    assert_eq!(metric(&registry, "rreg_mirror_failed_fills_total").await, 0);
    let asked = metric(&registry, "rreg_mirror_fills_total").await;
    assert_eq!(asked, 7, "three quarters of eight, and one");
    held.send(true).unwrap();
    for stream in streams {
        assert_eq!(status(stream).await, "HTTP/1.1 200 OK");
    }
    // What had begun is kept, and asked for no second time.
    for layer in image.blobs.iter().take(6) {
        let again = ask(&registry, "127.0.0.1", &layer.digest).await;
        assert_eq!(status(again).await, "HTTP/1.1 200 OK");
    }
    let asked = metric(&registry, "rreg_mirror_fills_total").await;
    assert_eq!(asked, if goes { 7 } else { BLOBS as u64 + 1 }, "what nobody waits for is not fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_much_and_waits_leaves_some() {
    much_leaves_some(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_much_and_goes_leaves_some() {
    much_leaves_some(true).await;
}
