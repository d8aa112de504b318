//! Upstreams that answer in every odd way that is known: what is served is what they have, or an error that says whether they
//! do not have it, refuse it, cannot be reached or make no sense. Nothing is short, and nothing wrong is kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::odd::{CASES, Case, Want};
use crate::harness::http::{blob, manifest};
use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{Backend, Registry};

/// A request, and what is answered unless a case changes it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) head: &'a str,
    /// The place of the origin.
    pub(super) host: &'a str,
    /// Which of the requests for the same it is, from 1.
    pub(super) nth: usize,
    /// The layer.
    pub(super) blob: &'a [u8],
}

impl Asked<'_> {
    pub(super) fn is(&self, kind: &str) -> bool {
        self.target.contains(&format!("/{kind}/"))
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

#[derive(Default)]
pub(super) struct Plain {
    /// The first line.
    pub(super) line: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// No length: the end of the connection is the end.
    pub(super) is_open: bool,
    /// The connection ends after so many bytes of the body.
    pub(super) cut: Option<usize>,
}

impl Plain {
    pub(super) fn status(&mut self, status: u16) {
        self.line = format!("HTTP/1.1 {status} x");
    }

    /// Another answer altogether.
    pub(super) fn be(&mut self, status: u16, kind: &str, body: &str) {
        self.status(status);
        self.headers.clear();
        self.set("content-type", kind);
        self.body = body.into();
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.retain(|(it, _)| *it != name);
        self.headers.push((name, value.into()));
    }

    fn bytes(self, is_head: bool) -> Vec<u8> {
        let mut head = format!("{}\r\nconnection: close\r\n", self.line);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.is_open && !self.headers.iter().any(|(name, _)| *name == "transfer-encoding") {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        let body = &self.body[..self.cut.unwrap_or(self.body.len()).min(self.body.len())];
        let body = if is_head { &[][..] } else { body };
        [head.as_bytes(), b"\r\n", body].concat()
    }
}

/// What the origins have.
struct Content {
    image: Image,
    referrer: Image,
}

impl Content {
    fn answer(&self, target: &str) -> Plain {
        let mut plain = Plain::default();
        let path = target.split('?').next().unwrap();
        let Some((kind, rest)) = path.split_once("/library/app/").and_then(|(_, rest)| rest.split_once('/'))
        else {
            plain.be(404, "text/plain", "nothing");
            return plain;
        };
        let stored = self.image.manifests.iter().chain(&self.referrer.manifests);
        let by_tag = (rest == "1").then(|| self.image.root());
        match kind {
            "manifests" => match by_tag.or_else(|| stored.clone().find(|it| it.digest.to_string() == rest)) {
                Some(found) => {
                    plain.be(200, &found.media_type, std::str::from_utf8(&found.bytes).unwrap());
                    plain.set("docker-content-digest", found.digest.to_string());
                }
                None => plain.be(404, "application/json", r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
            },
            "blobs" => {
                plain.be(200, "application/octet-stream", "");
                let found = self.image.blobs.iter().find(|it| it.digest.to_string() == rest);
                plain.body = found.map(|it| it.bytes.to_vec()).unwrap_or_default();
            }
            "tags" => plain.be(200, "application/json", r#"{"name":"library/app","tags":["1","2"]}"#),
            _ => {
                let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [self.referrer.root().descriptor()]});
                plain.be(200, INDEX, &list.to_string());
            }
        }
        plain
    }
}

const INDEX: &str = rreg_oci::media_type::OCI_INDEX;

async fn serve(listener: TcpListener, case: &'static Case, content: Arc<Content>, is_odd: Arc<AtomicBool>) {
    let host = listener.local_addr().unwrap().to_string();
    let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (host, counts, content, is_odd) = (host.clone(), counts.clone(), content.clone(), is_odd.clone());
        tokio::spawn(async move { one(stream, case, &host, &counts, &content, &is_odd).await });
    }
}

async fn one(
    mut stream: TcpStream,
    case: &Case,
    host: &str,
    counts: &Mutex<HashMap<String, usize>>,
    content: &Content,
    is_odd: &AtomicBool,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut plain = content.answer(target);
    if is_odd.load(Ordering::SeqCst) {
        let nth = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(format!("{method} {}", target.split('?').next().unwrap())).or_default();
            *count += 1;
            *count
        };
        let blob = &content.image.blobs[0].bytes;
        (case.change)(&Asked { method, target, head: &head, host, nth, blob }, &mut plain);
    }
    let _ = stream.write_all(&plain.bytes(method == "HEAD")).await;
    let _ = stream.shutdown().await;
}

/// An answer; no body where it was cut.
struct Got {
    status: u16,
    length: Option<usize>,
    body: Option<Vec<u8>>,
}

impl Got {
    fn json(&self) -> Value {
        self.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default()
    }
}

/// What is asked of each.
struct Questions<'a> {
    registry: &'a Registry,
    content: &'a Content,
    case: &'a Case,
    client: &'a reqwest::Client,
}

impl Questions<'_> {
    async fn send(&self, method: Method, target: String) -> Got {
        let sent = self.client.request(method, format!("http://{}{target}", self.registry.address()));
        let Ok(answer) = sent.send().await else { return Got { status: 0, length: None, body: None } };
        let length = answer.headers().get("content-length").and_then(|it| it.to_str().ok()?.parse().ok());
        let status = answer.status().as_u16();
        Got { status, length, body: answer.bytes().await.ok().map(|body| body.to_vec()) }
    }

    /// What is wrong with the answer to `kind`.
    fn judge(&self, (kind, is_odd): (&str, bool), got: &Got, is_right: bool) -> Option<String> {
        let own = self.case.wants.iter().find(|(it, _)| *it == kind).map(|(_, want)| want);
        let fits = match own.filter(|_| is_odd).unwrap_or(&Want::Right) {
            Want::Right => got.status == 200 && is_right,
            Want::Says(_) if kind == "length" => got.status >= 400,
            Want::Says(word) => got.status >= 400 && got.json()["errors"][0]["detail"]["answer"] == *word,
            Want::Nothing => {
                let json = got.json();
                let list = json.get("tags").or(json.get("manifests"));
                got.status == 200 && list.is_some_and(|list| *list == json!([]))
            }
        };
        let shown: String =
            String::from_utf8_lossy(got.body.as_deref().unwrap_or(b"cut")).chars().take(300).collect();
        (!fits).then(|| format!("{} {kind} (odd: {is_odd}): {} {shown}", self.case.name, got.status))
    }

    async fn ask(&self, is_odd: bool) -> Vec<String> {
        let local = format!("{}/library/app", self.case.name);
        let (root, layer) = (self.content.image.root(), &self.content.image.blobs[0]);
        let mut wrong = Vec::new();
        // Twice: what is here is confirmed by HEAD.
        for _ in 0..2 {
            let got = self.send(Method::GET, manifest(&local, "1")).await;
            let is_right = got.body.as_deref() == Some(&root.bytes[..]);
            wrong.extend(self.judge(("manifest", is_odd), &got, is_right));
        }
        let got = self.send(Method::HEAD, blob(&local, &layer.digest)).await;
        wrong.extend(self.judge(("length", is_odd), &got, got.length == Some(layer.bytes.len())));
        let got = self.send(Method::GET, blob(&local, &layer.digest)).await;
        let is_right = got.body.as_deref() == Some(&layer.bytes[..]);
        wrong.extend(self.judge(("blob", is_odd), &got, is_right));
        let got = self.send(Method::GET, format!("/v2/{local}/tags/list")).await;
        wrong.extend(self.judge(("tags", is_odd), &got, got.json()["tags"] == json!(["1", "2"])));
        let got = self.send(Method::GET, format!("/v2/{local}/referrers/{}", root.digest)).await;
        let (list, digest) = (got.json()["manifests"].clone(), self.content.referrer.root().digest);
        let is_right =
            list.as_array().is_some_and(|it| it.len() == 1 && it[0]["digest"] == digest.to_string());
        wrong.extend(self.judge(("referrers", is_odd), &got, is_right));
        wrong
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_upstreams() {
    let image = Image::layered("odd", 1);
    let referrer = Image::artifact("odd", EXAMPLE).about(&image.root().descriptor());
    let (content, is_odd) = (Arc::new(Content { image, referrer }), Arc::new(AtomicBool::new(true)));
    let (mut entries, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
    for case in CASES {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        entries.push(format!(
            r#"{{name="{}", url="http://{}", tag_ttl="0s", timeout="5s", username="u", password="p"}}"#,
            case.name,
            listener.local_addr().unwrap()
        ));
        tasks.spawn(serve(listener, case, content.clone(), is_odd.clone()));
    }
    let entries = format!("[{}]", entries.join(","));
    let settings = [("RREG_UPSTREAMS", entries.as_str())];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut wrong = Vec::new();
    for odd in [true, false] {
        is_odd.store(odd, Ordering::SeqCst);
        let all = join_all(CASES.iter().map(|case| async {
            Questions { registry: &registry, content: &content, case, client: &client }.ask(odd).await
        }));
        wrong.extend(all.await.concat());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
