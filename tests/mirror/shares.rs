//! Slots for what is fetched from an upstream: one client that asks for much leaves some for others.

use rreg_oci::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::origin::{Fault, Origin, REPOSITORY};
use super::{caching, metric};
use crate::harness::Registry;
use crate::harness::http::{blob, manifest};
use crate::harness::image::Image;

const LOCAL: &str = "up/library/app";
const BLOBS: usize = 40;

/// Asks for a blob from this address of the machine.
async fn ask(registry: &Registry, from: &str, digest: &Digest) -> TcpStream {
    send(registry, from, &format!("GET {}", blob(LOCAL, digest))).await
}

/// Sends a request like `GET /v2/` from this address of the machine.
async fn send(registry: &Registry, from: &str, line: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let address = registry.address().to_string().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer's first line.
async fn status(stream: TcpStream) -> String {
    whole(stream).await.lines().next().unwrap_or_default().to_owned()
}

async fn whole(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
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

/// Of the requests that an upstream has to answer at a time, one address has three quarters, whatever they are for and whether
/// or not their clients wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_an_upstream_that_hangs_leaves_some() {
    const EACH: usize = 110;
    const MOST: usize = 192;
    let image = Image::layered("hangs", 1);
    let origin = Origin::with(&image, "1").await;
    let more = ", timeout=\"60s\", revalidate_timeout=\"60s\"";
    let Some(registry) = caching(&origin, more).await else { return };
    let known = format!("GET {}", manifest(LOCAL, "1"));
    assert_eq!(status(send(&registry, "127.0.0.9", &known).await).await, "HTTP/1.1 200 OK");
    let before = origin.count("");
    origin.fail(Fault::Silent);
    let mut answers = JoinSet::new();
    for number in 0..EACH {
        let digest = Digest::sha256(format!("{number}").as_bytes());
        for line in [
            format!("GET {}", manifest(LOCAL, format!("t{number}"))),
            format!("HEAD {}", blob(LOCAL, &digest)),
            format!("GET /v2/{LOCAL}/referrers/{digest}"),
        ] {
            answers.spawn(whole(send(&registry, "127.0.0.9", &line).await));
        }
    }
    for _ in MOST..3 * EACH {
        let refused = answers.join_next().await.unwrap().unwrap();
        assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    }
    while origin.count("") < before + MOST {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What is here is served all the same, though nobody confirms it.
    let stale = whole(send(&registry, "127.0.0.9", &known).await).await;
    assert!(stale.starts_with("HTTP/1.1 200 ") && stale.contains("warning: 111 "), "{stale}");
    assert_eq!(origin.count(""), before + MOST);
    origin.fail(Fault::None);
    let small = Image::layered("small", 1);
    origin.put(&small, "2");
    let other = format!("GET {}", manifest(LOCAL, "2"));
    let refused = status(send(&registry, "127.0.0.9", &other).await).await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert_eq!(status(send(&registry, "127.0.0.1", &other).await).await, "HTTP/1.1 200 OK");
    // What is fetched has slots of its own.
    let layer = ask(&registry, "127.0.0.9", &small.blobs[0].digest).await;
    assert_eq!(status(layer).await, "HTTP/1.1 200 OK");
    assert_eq!(answers.len(), MOST, "none of them has ended, which would have made room");
}
