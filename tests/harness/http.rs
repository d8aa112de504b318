//! An HTTP client for the distribution API that checks, on every answer, what every answer must have.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use rreg_oci::{Digest, media_type};
use serde_json::Value;

use super::image::{Blob, Image, Stored};

/// A client of one registry.
#[derive(Clone)]
pub(crate) struct Api {
    address: String,
    client: reqwest::Client,
    /// Hold the registry to more than the specification's MUSTs.
    strict: bool,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Method and target, for messages.
    request: String,
}

/// A request being put together.
pub(crate) struct Call<'a> {
    api: &'a Api,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Option<reqwest::Body>,
}

impl Api {
    pub(super) fn new(address: &str, strict: bool) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(300))
            .build()
            .unwrap();
        Self { address: address.to_owned(), client, strict }
    }

    /// Whether the registry is rreg.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// `target` is a path with its query, or an absolute URL out of a `Location`.
    pub(crate) fn call(&self, method: Method, target: impl Into<String>) -> Call<'_> {
        Call { api: self, method, target: target.into(), headers: HeaderMap::new(), body: None }
    }

    /// A GET.
    pub(crate) fn get(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, target)
    }

    /// A HEAD.
    pub(crate) fn head(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::HEAD, target)
    }

    /// A POST with an empty body.
    pub(crate) fn post(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, target).body(Bytes::new())
    }

    /// A PUT.
    pub(crate) fn put(&self, target: impl Into<String>, body: impl Into<Bytes>) -> Call<'_> {
        self.call(Method::PUT, target).body(body)
    }

    /// A PATCH.
    pub(crate) fn patch(&self, target: impl Into<String>, body: impl Into<Bytes>) -> Call<'_> {
        self.call(Method::PATCH, target).body(body)
    }

    /// A DELETE.
    pub(crate) fn delete(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, target)
    }

    /// Opens an upload and gives its location.
    pub(crate) async fn open_upload(&self, repository: &str) -> String {
        let answer = self.post(uploads(repository)).expect(202).await;
        answer.location()
    }

    /// Pushes a blob by POST and PUT.
    pub(crate) async fn push_blob(&self, repository: &str, blob: &Blob) {
        let location = self.open_upload(repository).await;
        let answer = self.put(commit(&location, &blob.digest), blob.bytes.clone()).octets().expect(201).await;
        answer.assert_digest(&blob.digest, self.strict);
    }

    /// Pushes one manifest under `reference`.
    pub(crate) async fn push_manifest(&self, repository: &str, reference: &str, manifest: &Stored) -> Answer {
        let answer = self.put_manifest(repository, reference, manifest).expect(201).await;
        answer.assert_digest(&manifest.digest, self.strict);
        answer
    }

    /// The request that pushes a manifest, not yet sent.
    pub(crate) fn put_manifest(&self, repository: &str, reference: &str, manifest: &Stored) -> Call<'_> {
        self.put(self::manifest(repository, reference), manifest.bytes.clone())
            .header("content-type", &manifest.media_type)
    }

    /// Pushes all of an image, children first, the root under `tag` too.
    pub(crate) async fn push(&self, repository: &str, image: &Image, tag: Option<&str>) {
        for blob in &image.blobs {
            self.push_blob(repository, blob).await;
        }
        for stored in &image.manifests {
            self.push_manifest(repository, &stored.digest.to_string(), stored).await;
        }
        if let Some(tag) = tag {
            self.push_manifest(repository, tag, image.root()).await;
        }
    }

    /// Reads everything of an image back and compares each byte.
    pub(crate) async fn assert_image(&self, repository: &str, image: &Image, tag: Option<&str>) {
        for blob in &image.blobs {
            let answer = self.get(self::blob(repository, &blob.digest)).expect(200).await;
            assert_eq!(answer.body, blob.bytes, "{}", blob.digest);
            answer.assert_digest(&blob.digest, self.strict);
        }
        let references = image.manifests.iter().map(|m| (m.digest.to_string(), m));
        for (reference, stored) in references.chain(tag.map(|t| (t.to_owned(), image.root()))) {
            let answer = self.get_manifest(repository, &reference).expect(200).await;
            assert_eq!(answer.body, stored.bytes, "{reference}");
            assert_eq!(answer.header("content-type"), stored.media_type, "{reference}");
            answer.assert_digest(&stored.digest, self.strict);
        }
    }

    /// A manifest GET that accepts all types.
    pub(crate) fn get_manifest(&self, repository: &str, reference: &str) -> Call<'_> {
        self.get(manifest(repository, reference)).header("accept", media_type::ACCEPT_MANIFESTS)
    }

    /// A blob as it comes in, for those that are too large to hold.
    pub(crate) async fn open(&self, target: &str) -> impl Stream<Item = reqwest::Result<Bytes>> + use<> {
        let response = self.client.get(format!("http://{}{target}", self.address)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{target}");
        response.bytes_stream()
    }

    /// Sends bytes as they are and gives what comes until the peer closes. For requests that a well-behaved
    /// client cannot write.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is the peer's right when it did not want the rest of the request.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection of one's own, for requests that stop half way.
    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }
}

impl Call<'_> {
    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.headers.append(name, HeaderValue::try_from(value).unwrap());
        self
    }

    /// A body with `Content-Length`.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into().into());
        self
    }

    /// A body without `Content-Length`, in pieces.
    pub(crate) fn stream(mut self, pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Vec<Result<Bytes, std::io::Error>> = pieces.into_iter().map(Ok).collect();
        self.body = Some(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)));
        self
    }

    /// The type that blob bytes are sent with.
    pub(crate) fn octets(self) -> Self {
        self.header("content-type", "application/octet-stream")
    }

    /// `Content-Range` of an upload's chunk.
    pub(crate) fn chunk_at(self, first: usize, length: usize) -> Self {
        let range = format!("{first}-{}", first + length - 1);
        self.octets().header("content-range", &range)
    }

    /// Sends, and holds the answer to what every answer must have.
    pub(crate) async fn send(self) -> Answer {
        let url = if self.target.starts_with("http") {
            self.target.clone()
        } else {
            format!("http://{}{}", self.api.address, self.target)
        };
        let mut request = self.api.client.request(self.method.clone(), url).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let name = format!("{} {}", self.method, self.target);
        let response = request.send().await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|e| panic!("{name}: {status}, then {e:?}"));
        let answer = Answer { status, headers, body, request: name };
        answer.check(&self.method, self.api.strict);
        answer
    }

    /// Sends and wants this status.
    pub(crate) async fn expect(self, status: u16) -> Answer {
        let answer = self.send().await;
        assert_eq!(answer.status, status, "{answer}");
        answer
    }

    /// Sends and wants an error of this status and code; of other registries any refusal will do.
    pub(crate) async fn refused(self, status: u16, code: &str) -> Answer {
        let strict = self.api.strict;
        let answer = self.send().await;
        if strict {
            assert_eq!(answer.status, status, "{answer}");
            assert_eq!(answer.json()["errors"][0]["code"], code, "{answer}");
        } else {
            assert!((400..500).contains(&answer.status), "{answer}");
        }
        answer
    }
}

impl Answer {
    fn check(&self, method: &Method, strict: bool) {
        assert!(self.status < 500, "no input may give a server error: {self}");
        if method == Method::HEAD || self.status == StatusCode::NO_CONTENT.as_u16() {
            assert!(self.body.is_empty(), "{self}");
            return;
        }
        // What is written as it is found has no length beforehand.
        if matches!(self.status, 200 | 206) && strict && !self.request.ends_with("/what-if") {
            let length = self.headers.get("content-length").map(HeaderValue::to_str);
            assert_eq!(length.and_then(Result::ok), Some(&*self.body.len().to_string()), "{self}");
        }
        if (400..500).contains(&self.status) && strict {
            assert!(self.header("content-type").starts_with("application/json"), "{self}");
            let json = self.json();
            // What Kubernetes is told, in its own form.
            if self.request.contains(" /admission") {
                assert_eq!((&json["kind"], &json["apiVersion"]), (&"Status".into(), &"v1".into()), "{self}");
                assert!(self.find_header("retry-after").is_none(), "{self}");
                return;
            }
            let errors = json["errors"].as_array().unwrap_or_else(|| panic!("no errors list: {self}"));
            assert!(!errors.is_empty(), "{self}");
            for error in errors {
                let code = error["code"].as_str().unwrap_or_default();
                let known = rreg_oci::ErrorCode::ALL.iter().any(|c| c.as_str() == code);
                assert!(known, "{code:?} is no code of the specification: {self}");
                assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "no message: {self}");
            }
        }
    }

    /// A header that must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.find_header(name).unwrap_or_else(|| panic!("no {name} header: {self}"))
    }

    /// A header that may be there.
    pub(crate) fn find_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Where to go next; relative ones stay relative to the registry.
    pub(crate) fn location(&self) -> String {
        self.header("location").to_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    /// The texts of a JSON list in the body.
    pub(crate) fn texts(&self, field: &str) -> Vec<String> {
        let json = self.json();
        let list = json[field].as_array().unwrap_or_else(|| panic!("no list {field}: {self}"));
        list.iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    }

    /// `Docker-Content-Digest`: right wherever it is, and everywhere on rreg.
    pub(crate) fn assert_digest(&self, digest: &Digest, required: bool) {
        match self.find_header("docker-content-digest") {
            Some(found) => assert_eq!(found, digest.to_string(), "{self}"),
            None => assert!(!required, "no Docker-Content-Digest: {self}"),
        }
    }

    /// The target of `Link: <…>; rel="next"`.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.find_header("link")?;
        let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
        assert!(rest.contains("rel=\"next\"") || rest.contains("rel=next"), "{self}");
        Some(target.to_owned())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match std::str::from_utf8(&self.body) {
            Ok(text) => text.chars().take(2000).collect(),
            Err(_) => format!("({} bytes that are no text)", self.body.len()),
        };
        write!(f, "{} gave {}\n{:#?}\n{text}", self.request, self.status, self.headers)
    }
}

/// Path of a blob.
pub(crate) fn blob(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// Path of a manifest.
pub(crate) fn manifest(repository: &str, reference: impl std::fmt::Display) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

/// Where uploads begin.
pub(crate) fn uploads(repository: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/")
}

/// An upload's location with the digest that ends it.
pub(crate) fn commit(location: &str, digest: &Digest) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

/// Value of an `Authorization` header (RFC 7617).
pub(crate) fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", base64(format!("{name}:{secret}").as_bytes()))
}

/// RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
