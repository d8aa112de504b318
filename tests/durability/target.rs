//! What the random clients talk to: a server over HTTP, or the storage crate itself ([`super::direct`]).

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response};
use rreg_oci::Digest;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Why there is no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fail {
    /// No answer, or one that leaves open whether it was done: the connection broke, the machinery failed.
    Lost,
    /// A definite no, as the HTTP status.
    Refused(u16),
}

pub(super) type Answer<T> = Result<T, Fail>;

/// A manifest to be pushed.
#[derive(Clone, Debug)]
pub(super) struct Push<'a> {
    pub(super) media_type: &'static str,
    pub(super) digest: Digest,
    pub(super) body: Bytes,
    pub(super) tags: &'a [String],
}

/// The operations of the random clients.
pub(super) trait Target: Clone + Send + Sync + 'static {
    fn begin(&self, repository: &str, sha512: bool) -> impl Future<Output = Answer<String>> + Send;
    /// A chunk at offset `at`. With `cut`, the client leaves after so many bytes.
    fn append(
        &self,
        repository: &str,
        upload: &str,
        at: u64,
        chunk: Bytes,
        cut: Option<usize>,
    ) -> impl Future<Output = Answer<u64>> + Send;
    fn commit(
        &self,
        repository: &str,
        upload: &str,
        last: Bytes,
        digest: &Digest,
    ) -> impl Future<Output = Answer<()>> + Send;
    fn status(&self, repository: &str, upload: &str) -> impl Future<Output = Answer<u64>> + Send;
    fn cancel(&self, repository: &str, upload: &str) -> impl Future<Output = Answer<()>> + Send;
    fn post(&self, repository: &str, digest: &Digest, body: Bytes)
    -> impl Future<Output = Answer<()>> + Send;
    /// Whether there was something to mount.
    fn mount(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
    ) -> impl Future<Output = Answer<bool>> + Send;
    fn put_manifest(&self, repository: &str, push: Push<'_>) -> impl Future<Output = Answer<()>> + Send;
    fn delete_manifest(&self, repository: &str, reference: &str) -> impl Future<Output = Answer<()>> + Send;
    fn delete_blob(&self, repository: &str, digest: &Digest) -> impl Future<Output = Answer<()>> + Send;
    fn blob(&self, repository: &str, digest: &Digest) -> impl Future<Output = Answer<Bytes>> + Send;
    fn manifest(&self, repository: &str, reference: &str) -> impl Future<Output = Answer<Bytes>> + Send;
    fn tags(&self, repository: &str) -> impl Future<Output = Answer<Vec<String>>> + Send;
}

/// A server.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    address: SocketAddr,
}

impl Http {
    pub(super) fn new(address: SocketAddr) -> Self {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { client, address }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}/v2/{path}", self.address))
    }

    async fn send(request: RequestBuilder) -> Answer<Response> {
        let response = request.send().await.map_err(|_| Fail::Lost)?;
        match response.status().as_u16() {
            200..300 => Ok(response),
            // Too busy: nothing was done, but to the model that is the same as not knowing.
            429 | 500.. => Err(Fail::Lost),
            status => Err(Fail::Refused(status)),
        }
    }

    async fn body(request: RequestBuilder) -> Answer<Bytes> {
        Self::send(request).await?.bytes().await.map_err(|_| Fail::Lost)
    }
}

fn size(response: &Response) -> u64 {
    let range = response.headers()["range"].to_str().unwrap();
    match range.strip_prefix("0-").unwrap().parse().unwrap() {
        // Nothing and one byte look alike; the clients never send one.
        0 => 0,
        last => last + 1,
    }
}

impl Target for Http {
    async fn begin(&self, repository: &str, sha512: bool) -> Answer<String> {
        let query = if sha512 { "?digest-algorithm=sha512" } else { "" };
        let path = format!("{repository}/blobs/uploads/{query}");
        let response = Self::send(self.request(Method::POST, &path)).await?;
        let location = response.headers()["location"].to_str().unwrap();
        Ok(location.rsplit_once('/').unwrap().1.to_owned())
    }

    async fn append(
        &self,
        repository: &str,
        upload: &str,
        at: u64,
        chunk: Bytes,
        cut: Option<usize>,
    ) -> Answer<u64> {
        let path = format!("{repository}/blobs/uploads/{upload}");
        let last = at + chunk.len() as u64 - 1;
        let Some(cut) = cut else {
            let request = self.request(Method::PATCH, &path).header("content-range", format!("{at}-{last}"));
            return Ok(size(&Self::send(request.body(chunk)).await?));
        };
        let head = format!(
            "PATCH /v2/{path} HTTP/1.1\r\nhost: x\r\ncontent-range: {at}-{last}\r\ncontent-length: {}\r\n\r\n",
            chunk.len()
        );
        if let Ok(mut stream) = TcpStream::connect(self.address).await {
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&chunk[..cut]).await;
            let _ = stream.shutdown().await;
        }
        Err(Fail::Lost)
    }

    async fn commit(&self, repository: &str, upload: &str, last: Bytes, digest: &Digest) -> Answer<()> {
        let path = format!("{repository}/blobs/uploads/{upload}?digest={digest}");
        Self::send(self.request(Method::PUT, &path).body(last)).await.map(drop)
    }

    async fn status(&self, repository: &str, upload: &str) -> Answer<u64> {
        let path = format!("{repository}/blobs/uploads/{upload}");
        Ok(size(&Self::send(self.request(Method::GET, &path)).await?))
    }

    async fn cancel(&self, repository: &str, upload: &str) -> Answer<()> {
        let path = format!("{repository}/blobs/uploads/{upload}");
        Self::send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    async fn post(&self, repository: &str, digest: &Digest, body: Bytes) -> Answer<()> {
        let path = format!("{repository}/blobs/uploads/?digest={digest}");
        Self::send(self.request(Method::POST, &path).body(body)).await.map(drop)
    }

    async fn mount(&self, repository: &str, digest: &Digest, from: Option<&str>) -> Answer<bool> {
        let from = from.map_or(String::new(), |from| format!("&from={from}"));
        let path = format!("{repository}/blobs/uploads/?mount={digest}{from}");
        Ok(Self::send(self.request(Method::POST, &path)).await?.status() == 201)
    }

    async fn put_manifest(&self, repository: &str, push: Push<'_>) -> Answer<()> {
        let path = match push.tags {
            [one] => format!("{repository}/manifests/{one}"),
            tags => {
                let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
                format!("{repository}/manifests/{}?{}", push.digest, query.join("&"))
            }
        };
        let request = self.request(Method::PUT, &path).header("content-type", push.media_type);
        Self::send(request.body(push.body)).await.map(drop)
    }

    async fn delete_manifest(&self, repository: &str, reference: &str) -> Answer<()> {
        let path = format!("{repository}/manifests/{reference}");
        Self::send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    async fn delete_blob(&self, repository: &str, digest: &Digest) -> Answer<()> {
        let path = format!("{repository}/blobs/{digest}");
        Self::send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    async fn blob(&self, repository: &str, digest: &Digest) -> Answer<Bytes> {
        Self::body(self.request(Method::GET, &format!("{repository}/blobs/{digest}"))).await
    }

    async fn manifest(&self, repository: &str, reference: &str) -> Answer<Bytes> {
        Self::body(self.request(Method::GET, &format!("{repository}/manifests/{reference}"))).await
    }

    async fn tags(&self, repository: &str) -> Answer<Vec<String>> {
        let body = Self::body(self.request(Method::GET, &format!("{repository}/tags/list"))).await?;
        let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Ok(list["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect())
    }
}
