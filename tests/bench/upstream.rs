//! The registry that the pull-through caches are put before: it has a few images in memory, counts what it is asked
//! for, and can be as far away as a registry usually is.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::Failure;
use super::content::{Blob, digest, manifest};
use super::http::Client;
use super::process::{Server, free_port};

/// Sent at once where the line is limited, in bytes.
const PIECE: usize = 64 << 10;
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The line between the upstream and everybody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Bytes a second, of all connections together; 0: as fast as loopback is.
    pub(crate) rate: u64,
    /// Time before each answer.
    pub(crate) delay: Duration,
}

/// An image that the upstream has: its name and the lengths of its layers.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    layers: &'static [usize],
}

/// One large image.
pub(crate) const LARGE: Image = Image { name: "bench/large", layers: &[50_000_000; 4] };
/// One for many clients at once.
pub(crate) const SHARED: Image = Image { name: "bench/shared", layers: &[8_000_000; 4] };
/// Blobs whose first byte is waited for.
pub(crate) const FIRST: Image = Image { name: "bench/first", layers: &[4_000_000; 15] };
/// A small one.
pub(crate) const SMALL: Image = Image { name: "bench/small", layers: &[4096; 4] };
const ALL: [&Image; 4] = [&LARGE, &SHARED, &FIRST, &SMALL];

impl Image {
    /// Config first. The same in each process.
    pub(crate) fn blobs(&self) -> Vec<Blob> {
        let seed = self.name.bytes().fold(0, |seed: u64, byte| seed * 31 + u64::from(byte));
        let config = Blob::random(seed, 1500);
        let layers = self.layers.iter().zip(1..).map(|(length, number)| Blob::random(seed + number, *length));
        [config].into_iter().chain(layers).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|length| *length as u64).sum()
    }

    /// Paths of manifest and blobs, in the order in which a client wants them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let blobs = self.blobs().into_iter().map(|blob| format!("/v2/{}/blobs/{}", self.name, blob.digest));
        [format!("/v2/{}/manifests/latest", self.name)].into_iter().chain(blobs).collect()
    }
}

/// Starts the upstream as a process of its own.
pub(crate) fn start(line: Line, log: &std::path::Path) -> Result<Server, Failure> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(super::UPSTREAM_SERVER).arg(port.to_string());
    command.arg(line.rate.to_string()).arg(line.delay.as_millis().to_string());
    Server::start(command, port, "/v2/", log)
}

/// How many blobs the upstream was asked for by GET since it was asked last.
pub(crate) fn blob_gets(address: SocketAddr) -> Result<u64, Failure> {
    let mut client = Client::connect(address)?;
    client.send("GET", "/blob-gets", "", &[], &[200])?;
    Ok(std::str::from_utf8(&client.body)?.parse()?)
}

struct Upstream {
    line: Line,
    /// By path.
    content: HashMap<String, (&'static str, Bytes)>,
    blob_gets: Mutex<u64>,
    /// When the line is free again.
    free: Mutex<Instant>,
}

/// Serves until the process is ended.
pub(crate) fn serve(mut words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut number = || -> Result<u64, Failure> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
    let (port, rate, delay) = (u16::try_from(number()?)?, number()?, Duration::from_millis(number()?));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let upstream = Arc::new(Upstream {
            line: Line { rate, delay },
            content: content(),
            blob_gets: Mutex::default(),
            free: Mutex::new(Instant::now()),
        });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        // Fails only on a connection that is gone already.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let router = Router::new().fallback(move |request: Request| {
            let upstream = upstream.clone();
            async move { upstream.answer(request.method(), request.uri()).await }
        });
        Ok(axum::serve(listener, router).await?)
    })
}

fn content() -> HashMap<String, (&'static str, Bytes)> {
    let mut content = HashMap::new();
    for image in ALL {
        let blobs = image.blobs();
        let layers: Vec<&Blob> = blobs.iter().skip(1).collect();
        let text = manifest(&blobs[0], &layers, image.name);
        for reference in ["latest".to_owned(), digest(text.as_bytes())] {
            let path = format!("/v2/{}/manifests/{reference}", image.name);
            content.insert(path, (OCI_MANIFEST, Bytes::from(text.clone())));
        }
        for blob in blobs {
            let path = format!("/v2/{}/blobs/{}", image.name, blob.digest);
            content.insert(path, ("application/octet-stream", Bytes::from(blob.bytes)));
        }
    }
    content
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    async fn answer(self: Arc<Self>, method: &Method, uri: &Uri) -> Response {
        let path = uri.path();
        match path {
            "/v2/" => return Response::new(Body::from("{}")),
            "/blob-gets" => {
                return Response::new(Body::from(std::mem::take(&mut *locked(&self.blob_gets)).to_string()));
            }
            _ => {}
        }
        tokio::time::sleep(self.line.delay).await;
        let Some((kind, bytes)) = self.content.get(path).cloned() else {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        if method == Method::GET && path.contains("/blobs/") {
            *locked(&self.blob_gets) += 1;
        }
        let answer = Response::builder().header("content-type", kind).header("content-length", bytes.len());
        let answer = match path.rsplit_once('/') {
            Some((_, digest)) if digest.starts_with("sha256:") => {
                answer.header("docker-content-digest", digest)
            }
            _ => answer.header("docker-content-digest", digest(&bytes)),
        };
        let body = match method {
            &Method::HEAD => Body::empty(),
            _ if self.line.rate == 0 => Body::from(bytes),
            _ => self.paced(bytes),
        };
        answer.body(body).unwrap_or_default()
    }

    fn paced(self: Arc<Self>, bytes: Bytes) -> Body {
        let pieces: Vec<Bytes> =
            (0..bytes.len()).step_by(PIECE).map(|at| bytes.slice(at..bytes.len().min(at + PIECE))).collect();
        Body::from_stream(stream::iter(pieces).then(move |piece| {
            let upstream = self.clone();
            async move {
                let takes = Duration::from_secs_f64(piece.len() as f64 / upstream.line.rate as f64);
                let at = {
                    let mut free = locked(&upstream.free);
                    *free = Instant::now().max(*free) + takes;
                    *free
                };
                tokio::time::sleep_until(at).await;
                Ok::<_, Infallible>(piece)
            }
        }))
    }
}
