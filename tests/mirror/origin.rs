//! An upstream registry in the test's own process: it serves one image, keeps a record of what it was asked, and
//! misbehaves as told.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::serve::Listener;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rreg_oci::media_type;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(super) use super::fault::Fault;
use super::tls_listener::TlsListener;
use crate::harness::http::base64;
use crate::harness::image::{Image, Stored};

/// Repository name of everything that the origin has.
pub(super) const REPOSITORY: &str = "library/app";
/// Another repository with the same content.
pub(super) const OTHER: &str = "library/other";

/// The account that may read, in an upstream's entry, and as it is shown to the token endpoint.
pub(super) const ACCOUNT: &str = r#", username="user", password="hush""#;
const BASIC: &str = "Basic dXNlcjpodXNo";

/// Tags in one page.
const TAGS: usize = 3;

#[derive(Default)]
struct Content {
    manifests: HashMap<String, Stored>,
    blobs: HashMap<String, Bytes>,
    fault: Fault,
    asked: Vec<(String, HeaderMap)>,
    /// Blobs stop half-way until this is true.
    gate: Option<watch::Receiver<bool>>,
}

impl Content {
    /// A page of the tags and, if there are more, the last one of it.
    fn tags(&self, query: &str, next: &mut Option<String>) -> (Bytes, String) {
        let last = query.split('&').find_map(|pair| pair.strip_prefix("last=")).unwrap_or_default();
        let mut tags: Vec<&String> = self.manifests.keys().filter(|tag| !tag.contains(':')).collect();
        tags.sort();
        tags.retain(|tag| tag.as_str() > last);
        if tags.len() > TAGS {
            tags.truncate(TAGS);
            *next = tags.last().map(ToString::to_string);
        }
        let list = json!({"name": REPOSITORY, "tags": tags});
        (serde_json::to_vec(&list).unwrap().into(), "application/json".to_owned())
    }

    fn referrers(&self, subject: &str) -> (Bytes, String) {
        let about = |it: &&Stored| it.json()["subject"]["digest"] == subject;
        let by_digest = self.manifests.iter().filter(|(reference, _)| reference.contains(':'));
        let mut found: Vec<Value> = by_digest
            .map(|(_, stored)| stored)
            .filter(about)
            .map(|stored| {
                let mut descriptor = stored.descriptor();
                descriptor["artifactType"] = stored.json()["artifactType"].clone();
                descriptor
            })
            .collect();
        found.sort_by_key(|it| it["digest"].to_string());
        let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": found});
        (serde_json::to_vec(&list).unwrap().into(), media_type::OCI_INDEX.to_owned())
    }
}

/// The running origin; it ends with the test's runtime.
pub(super) struct Origin {
    address: String,
    content: Arc<Mutex<Content>>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// An origin that has nothing.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::serve(listener, address)
    }

    /// An origin that has `image` under `tag`, over TLS, and the authority that vouches for it, as PEM.
    pub(super) async fn with_tls(image: &Image, tag: &str) -> (Self, String) {
        let (listener, authority) = TlsListener::bind().await;
        let address = listener.local_addr().unwrap().to_string();
        let origin = Self::serve(listener, address);
        origin.put(image, tag);
        (origin, authority)
    }

    fn serve<L: Listener<Addr: std::fmt::Debug>>(listener: L, address: String) -> Self {
        let content = Arc::new(Mutex::new(Content::default()));
        let shared = content.clone();
        let handler = move |request: Request| {
            let content = shared.clone();
            let (request, _) = request.into_parts();
            async move { answer(&content, &request).await }
        };
        let router = Router::new().fallback(handler);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, content, task }
    }

    /// An origin that has `image` under `tag`.
    pub(super) async fn with(image: &Image, tag: &str) -> Self {
        let origin = Self::start().await;
        origin.put(image, tag);
        origin
    }

    pub(super) fn put(&self, image: &Image, tag: &str) {
        let mut content = self.content.lock().unwrap();
        for blob in &image.blobs {
            content.blobs.insert(blob.digest.to_string(), blob.bytes.clone());
        }
        for manifest in &image.manifests {
            content.manifests.insert(manifest.digest.to_string(), manifest.clone());
        }
        content.manifests.insert(tag.to_owned(), image.root().clone());
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.content.lock().unwrap().fault = fault;
    }

    /// Lets blobs stop half-way until the sender says true.
    pub(super) fn gate(&self) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.content.lock().unwrap().gate = Some(receiver);
        sender
    }

    /// How many requests began like this: `GET /v2/library/app/blobs/…`.
    pub(super) fn count(&self, start: &str) -> usize {
        self.content.lock().unwrap().asked.iter().filter(|(line, _)| line.starts_with(start)).count()
    }

    /// Headers of all requests.
    pub(super) fn headers(&self) -> Vec<HeaderMap> {
        self.content.lock().unwrap().asked.iter().map(|(_, headers)| headers.clone()).collect()
    }

    /// Nobody answers any more.
    pub(super) fn switch_off(&self) {
        self.task.abort();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn plain(status: u16) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn challenge(text: &str) -> Response {
    let answer = Response::builder().status(401).header("www-authenticate", text);
    answer.body(Body::empty()).unwrap()
}

/// What is answered before anything is looked for.
fn instead(fault: &Fault, request: &Parts) -> Option<Response> {
    let path = request.uri.path();
    match fault {
        Fault::Status(status) => return Some(plain(*status)),
        Fault::Busy(status) => {
            let answer = Response::builder().status(*status).header("retry-after", "60");
            return Some(answer.body(Body::empty()).unwrap());
        }
        Fault::Redirect(to) => {
            let location = format!("{to}{path}");
            let answer = Response::builder().status(307).header("location", location);
            return Some(answer.body(Body::empty()).unwrap());
        }
        Fault::Challenge if !request.headers.contains_key("authorization") => {
            return Some(challenge("Basic realm=origin"));
        }
        Fault::Token => {
            let shown = request.headers.get("authorization").map_or("", |it| it.to_str().unwrap());
            match (path, shown) {
                ("/token", BASIC) => {
                    let token = json!({"token": "let-me-in"});
                    return Some(Response::new(Body::from(token.to_string())));
                }
                ("/token", _) => return Some(plain(401)),
                (_, "Bearer let-me-in") => {}
                _ => {
                    let host = request.headers["host"].to_str().unwrap();
                    return Some(challenge(&format!(
                        "Bearer realm=\"https://{host}/token\",service=\"origin\""
                    )));
                }
            }
        }
        Fault::Password(password) => {
            let expected = format!("Basic {}", base64(format!("AWS:{password}").as_bytes()));
            let shown = request.headers.get("authorization").map(|it| it.to_str().unwrap());
            if shown != Some(&expected) {
                return Some(challenge("Basic realm=origin"));
            }
        }
        Fault::OfOther(status) if path.contains(OTHER) => return Some(plain(*status)),
        Fault::Optional(status)
            if request.method == Method::HEAD || path.contains("/tags/") || path.contains("/referrers/") =>
        {
            return Some(plain(*status));
        }
        Fault::Realm(realm) if !request.headers.contains_key("authorization") => {
            return Some(challenge(&format!("Bearer realm=\"{realm}\",service=\"origin\"")));
        }
        _ => {}
    }
    None
}

async fn answer(content: &Mutex<Content>, request: &Parts) -> Response {
    let path = request.uri.path().to_owned();
    let (fault, gate) = {
        let mut content = content.lock().unwrap();
        content.asked.push((format!("{} {path}", request.method), request.headers.clone()));
        (content.fault.clone(), content.gate.clone())
    };
    if matches!(fault, Fault::Silent) {
        std::future::pending().await
    }
    if let Some(answer) = instead(&fault, request) {
        return answer;
    }
    match fault {
        Fault::Head(status) if request.method == Method::HEAD && path.contains("/manifests/") => {
            return plain(status);
        }
        Fault::Gone => {
            let of_manifest = path.contains("/manifests/");
            let code = if of_manifest { "MANIFEST_UNKNOWN" } else { "NAME_UNKNOWN" };
            let body = json!({"errors": [{"code": code, "message": "unknown"}]}).to_string();
            let answer = Response::builder().status(404).header("content-type", "application/json");
            return answer.body(Body::from(body)).unwrap();
        }
        _ => {}
    }
    let Some((kind, reference)) =
        [REPOSITORY, OTHER].iter().find_map(|it| path.strip_prefix(&format!("/v2/{it}/"))?.split_once('/'))
    else {
        return plain(404);
    };
    let mut next = None;
    let found = {
        let content = content.lock().unwrap();
        match kind {
            "tags" => Some(content.tags(request.uri.query().unwrap_or_default(), &mut next)),
            "referrers" => Some(content.referrers(reference)),
            "manifests" => content.manifests.get(reference).map(|m| (m.bytes.clone(), m.media_type.clone())),
            _ => content.blobs.get(reference).map(|b| (b.clone(), "application/octet-stream".to_owned())),
        }
    };
    let Some((bytes, media_type)) = found else { return plain(404) };
    let gate = gate.filter(|_| kind == "blobs");
    let mut response = respond(request, &fault, bytes, &media_type, gate);
    if let Some(last) = next {
        let link = format!("</v2/{REPOSITORY}/tags/list?last={last}>; rel=\"next\"");
        response.headers_mut().insert("link", link.parse().unwrap());
    }
    response
}

/// A pause before each piece.
fn in_pieces(bytes: &Bytes, length: usize, pause: Duration) -> Body {
    let pieces: Vec<Bytes> = bytes.chunks(length).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, io::Error>(piece)
    }))
}

fn respond(
    request: &Parts,
    fault: &Fault,
    bytes: Bytes,
    media_type: &str,
    gate: Option<watch::Receiver<bool>>,
) -> Response {
    let mut answer = Response::builder().status(StatusCode::OK).header("content-type", media_type);
    let head = request.method == Method::HEAD;
    let broken = !matches!(
        fault,
        Fault::None
            | Fault::Slow
            | Fault::Challenge
            | Fault::Token
            | Fault::Realm(_)
            | Fault::Head(_)
            | Fault::Password(_)
            | Fault::OfOther(_)
            | Fault::Optional(_)
    );
    // A tag that seems to have moved has to be fetched, and then the body is what goes wrong.
    let named = if head && broken { Bytes::from_static(b"moved") } else { bytes.clone() };
    answer = answer.header("docker-content-digest", rreg_oci::Digest::sha256(&named).to_string());
    if head {
        return answer.header("content-length", bytes.len()).body(Body::empty()).unwrap();
    }
    let half = bytes.slice(..bytes.len() / 2);
    let ok = |piece: Bytes| Ok::<_, io::Error>(piece);
    let (length, body) = match fault {
        Fault::Slow => (Some(bytes.len()), in_pieces(&bytes, bytes.len() / 5 + 1, Duration::from_millis(20))),
        Fault::Trickle => (Some(bytes.len()), in_pieces(&bytes, 1, Duration::from_millis(100))),
        Fault::Short => {
            let short = bytes.slice(..bytes.len() - 1);
            (Some(short.len()), Body::from(short))
        }
        Fault::Stall => {
            let stream = stream::iter([ok(half)]).chain(stream::pending());
            (Some(bytes.len()), Body::from_stream(stream))
        }
        Fault::Reset => {
            let stream = stream::iter([ok(half), Err(io::Error::other("reset"))]);
            (Some(bytes.len()), Body::from_stream(stream))
        }
        Fault::Truncate => (None, Body::from_stream(stream::iter([ok(half)]))),
        Fault::WrongDigest => {
            let mut wrong = bytes.to_vec();
            *wrong.last_mut().unwrap() ^= 1;
            (Some(bytes.len()), Body::from(wrong))
        }
        Fault::WrongLength => {
            let mut wrong = bytes.to_vec();
            wrong.push(b' ');
            (Some(wrong.len()), Body::from(wrong))
        }
        Fault::Endless => {
            let noise = Bytes::from(vec![b'x'; 64 << 10]);
            (None, Body::from_stream(stream::repeat_with(move || ok(noise.clone()))))
        }
        _ => match gate {
            Some(mut gate) => {
                let rest = bytes.slice(bytes.len() / 2..);
                let rest = stream::once(async move {
                    let _ = gate.wait_for(|open| *open).await;
                    ok(rest)
                });
                (Some(bytes.len()), Body::from_stream(stream::iter([ok(half)]).chain(rest)))
            }
            None => (Some(bytes.len()), Body::from(bytes)),
        },
    };
    if let Some(length) = length {
        answer = answer.header("content-length", length);
    }
    answer.body(body).unwrap()
}
