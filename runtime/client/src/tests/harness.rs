//! A server on loopback whose answers are a function, and a record of what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;

use crate::{ClientOptions, Keychain, RegistryClient, RetryPolicy};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Method, path and query.
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(super) struct Server {
    pub(super) host: String,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server that answers request `n` (from 0) by `answer(n, request)`.
    pub(super) async fn start(answer: impl Fn(usize, &Asked) -> Response + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (asked.clone(), Arc::new(answer));
        let handler = move |request: Request| {
            let (record, answer) = (record.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
                let line = format!("{} {path}", parts.method);
                let asked = Asked { line, headers: parts.headers, body };
                let mut record = record.lock().unwrap();
                record.push(asked.clone());
                answer(record.len() - 1, &asked)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
        Self { host, asked, task }
    }

    pub(super) fn client(&self) -> RegistryClient {
        self.client_with(Keychain::empty())
    }

    pub(super) fn client_with(&self, keychain: Keychain) -> RegistryClient {
        let retry = RetryPolicy { retries: 3, first: Duration::from_millis(1), ..RetryPolicy::default() };
        let options = ClientOptions { keychain: Arc::new(keychain), retry, ..ClientOptions::default() };
        RegistryClient::new(&self.host, &options).unwrap()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.line.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with headers and a body.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// A body that announces `bytes` and breaks off after `sent` of them.
pub(super) fn broken(bytes: &[u8], sent: usize) -> Response {
    let head: Result<Bytes, std::io::Error> = Ok(Bytes::copy_from_slice(&bytes[..sent]));
    let parts = [head, Err(std::io::Error::other("broken off for the test"))];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    answer(200, &[("content-length", &bytes.len().to_string())], body)
}
