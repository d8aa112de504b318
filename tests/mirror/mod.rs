//! The pull-through cache, in front of an upstream that does whatever a test tells it to.

mod clients;
mod copies;
mod evict;
mod fault;
mod hostile;
mod lists;
mod lost;
mod many;
mod matrix;
mod names;
mod odd;
mod origin;
mod redirects;
mod refused;
mod shares;
mod tls;
mod tls_listener;
mod vain;

use bytes::Bytes;

use crate::harness::{Backend, Registry};
use origin::Origin;

/// A registry that caches `origin` under `up/`, with more fields of its entry. Tags are confirmed each time, and
/// nobody is waited for longer than a second, unless those say otherwise.
async fn caching(origin: &Origin, more: &str) -> Option<Registry> {
    caching_on(Backend::SqliteDirectory, origin, more).await
}

async fn caching_on(backend: Backend, origin: &Origin, more: &str) -> Option<Registry> {
    let timeout = if more.contains("timeout=") { "" } else { ", timeout=\"1s\", revalidate_timeout=\"1s\"" };
    let ttl = if more.contains("tag_ttl=") { "" } else { ", tag_ttl=\"0s\"" };
    let entry = format!(r#"[{{name="up", url="http://{}"{ttl}{timeout}{more}}}]"#, origin.address());
    Registry::start_with(backend, &[("RREG_UPSTREAMS", &entry)]).await
}

/// Status (0 when there was none), `Warning` header and body of a GET, or why the body did not come whole.
struct Got {
    status: u16,
    warning: Option<String>,
    retry_after: Option<u64>,
    body: Result<Bytes, String>,
}

async fn get(registry: &Registry, target: &str) -> Got {
    // Reading the system's authorities takes long enough for a server to lose its patience with fifty clients.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let response = client.get(format!("http://{}{target}", registry.address())).send().await;
    let response = match response {
        Ok(response) => response,
        // The connection was cut before the head of the answer had left.
        Err(e) => return Got { status: 0, warning: None, retry_after: None, body: Err(e.to_string()) },
    };
    let status = response.status().as_u16();
    let warning = response.headers().get("warning").map(|v| v.to_str().unwrap().to_owned());
    let retry_after = response.headers().get("retry-after").map(|v| v.to_str().unwrap().parse().unwrap());
    Got { status, warning, retry_after, body: response.bytes().await.map_err(|e| e.to_string()) }
}

/// The value of one metric.
async fn metric(registry: &Registry, name: &str) -> u64 {
    let text = get(registry, "/metrics").await.body.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().to_owned();
    line.parse().unwrap()
}
