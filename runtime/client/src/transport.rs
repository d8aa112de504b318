//! Sends requests: authentication, redirects, retries, and error bodies into errors.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Response, StatusCode, Url};
use rreg_oci::Operation;
use serde::Deserialize;

use super::error::{ClientError, ErrorKind, RegistryError};
use super::signs::{is_of_a_cache, is_old_address, warnings};
use super::{ClientOptions, RegistryClient, Word, body, endpoint, guard, retry, words};

/// Longest chain of redirects followed.
const MAX_REDIRECTS: usize = 5;
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// How much of a registry's message and detail is shown, in characters.
const SHOWN: usize = 500;

/// Redirects are followed by hand, where it can be seen what goes along.
pub(crate) fn http_client(base: &Url, options: &ClientOptions) -> Result<reqwest::Client, String> {
    let extra = options.ca_file.as_ref().map(|path| {
        let shown = path.display();
        let pem = std::fs::read(path).map_err(|e| format!("cannot read the CA file {shown}: {e}"))?;
        let found = reqwest::Certificate::from_pem_bundle(&pem);
        let found = found.map_err(|_| format!("the CA file {shown} has no valid PEM certificates"))?;
        if found.is_empty() { Err(format!("the CA file {shown} has no certificate")) } else { Ok(found) }
    });
    let extra = extra.transpose()?.unwrap_or_default();
    let agent = match options.evidence {
        true => concat!("rreg/", env!("CARGO_PKG_VERSION"), " (evidence)"),
        false => concat!("rreg/", env!("CARGO_PKG_VERSION")),
    };
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(agent)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tls_danger_accept_invalid_certs(options.insecure_skip_tls_verify);
        let builder = match (options.guard_local, base.host_str()) {
            (true, Some(host)) => builder.dns_resolver(guard::Resolver::new(host)),
            _ => builder,
        };
        // A proxy has no business with this machine's own registry.
        if endpoint::is_loopback(base) { builder.no_proxy() } else { builder }
    };
    match builder().tls_certs_merge(extra.clone()).build() {
        Ok(client) => Ok(client),
        // A machine without system certificates can still talk http, and https to the CA given.
        Err(_) if base.scheme() == "http" || !extra.is_empty() => {
            builder().tls_certs_only(extra).build().map_err(|e| e.to_string())
        }
        Err(e) => Err(format!("cannot set up TLS: {}", body::transport_text(&e))),
    }
}

/// A request that can be sent again.
#[derive(Clone)]
pub(crate) struct Request {
    /// What it is about: decides scopes and names errors.
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // Values are digests, media types that came out of a header or a parsed manifest, and numbers.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl RegistryClient {
    /// The request that `operation` renders to.
    pub(crate) fn request(&self, operation: Operation) -> Result<Request, ClientError> {
        let (method, path) = operation.render();
        let url =
            self.0.base.join(&path).map_err(|e| self.error(&operation, ErrorKind::Setup(e.to_string())))?;
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        Ok(Request { operation, method, url, headers: HeaderMap::new(), body: Bytes::new() })
    }

    pub(crate) fn error(&self, operation: &Operation, kind: ErrorKind) -> ClientError {
        ClientError::new(operation, &self.0.host, kind).at(self.0.base.as_str())
    }

    /// Sends until an answer stands or the retries are used up.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, ClientError> {
        let (mut attempt, mut is_again) = (0, false);
        loop {
            let outcome = self.send_authorized(request).await;
            // Where a blob is, is signed for a short while: the registry signs anew.
            if !is_again && outcome.as_ref().is_ok_and(|response| is_old_address(request, response)) {
                is_again = true;
                continue;
            }
            let retry = &self.0.retry;
            let wait = match &outcome {
                Ok(response) if self.1 == Word::Taken && is_of_a_cache(response) => None,
                Ok(response) => {
                    retry.after_status(attempt, response.status(), response.headers(), rand::random())
                }
                Err(error) if matches!(*error.kind, ErrorKind::Timeout(_)) && !retry.after_silence => None,
                Err(error) => retry.after_error(attempt, error, rand::random()),
            };
            let Some(wait) = wait else {
                if let (Ok(response), Some(warn)) = (&outcome, self.0.on_warning) {
                    warnings(response).iter().for_each(|text| warn(&self.0.host, text));
                }
                return outcome;
            };
            attempt += 1;
            tracing::debug!(operation = request.operation.name(), attempt, ?wait, "trying again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn send_authorized(&self, request: &Request) -> Result<Response, ClientError> {
        let failed = |kind| self.error(&request.operation, kind);
        // A registry may place uploads on another server: what is for the registry stays there.
        if !endpoint::same_origin(&request.url, &self.0.base) {
            return self.follow(request, None).await;
        }
        let mut header = self.0.auth.header(&request.operation).await.map_err(failed)?;
        let mut response = self.follow(request, header.as_ref()).await?;
        let is_own = |response: &Response| endpoint::same_origin(response.url(), &self.0.base);
        if response.status() == StatusCode::UNAUTHORIZED && is_own(&response) {
            let better = self.0.auth.challenged(&request.operation, header.as_ref(), response.headers());
            if let Some(better) = better.await.map_err(failed)? {
                response = self.follow(request, Some(&better)).await?;
                header = Some(better);
            }
        }
        // Credentials change while we run; some registries say of an old one that it is forbidden.
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && is_own(&response)
        {
            let renewed = self.0.auth.refused(&request.operation, header.as_ref());
            match renewed.await.map_err(failed)? {
                Some(header) => response = self.follow(request, Some(&header)).await?,
                None => return Ok(response),
            }
        }
        // Who a redirect has led to asks for itself: what it says is not this registry's word.
        if response.status() == StatusCode::UNAUTHORIZED && !is_own(&response) {
            let there = response.url().clone();
            let header = self.0.auth.elsewhere(&request.operation, &there, response.headers());
            if let Some(header) = header.await.map_err(failed)? {
                return self.follow(&Request { url: there, ..request.clone() }, Some(&header)).await;
            }
        }
        Ok(response)
    }

    /// Follows redirects of reads. Credentials stay with the origin they were meant for, and https stays https.
    async fn follow(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, ClientError> {
        let refused = |why: String| self.error(&request.operation, ErrorKind::Redirect(why));
        let mut authorization = authorization;
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(request, &url, authorization).await?;
            let readable = matches!(request.method, Method::GET | Method::HEAD);
            if !readable || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = location(&response, &url).map_err(refused)?;
            if !matches!(next.scheme(), "http" | "https")
                || (url.scheme() == "https" && next.scheme() != "https")
            {
                let host = next.host_str().unwrap_or_default();
                return Err(refused(format!("from {} to {} ({host})", url.scheme(), next.scheme())));
            }
            if !endpoint::same_origin(&url, &next) {
                authorization = None;
                if self.0.guarded && guard::is_local(&next) {
                    let host = next.host_str().unwrap_or_default();
                    return Err(refused(format!("to {host}, an address of this machine or link")));
                }
            }
            url = next;
        }
        Err(refused(format!("more than {MAX_REDIRECTS} in a row")))
    }

    async fn once(
        &self,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, ClientError> {
        let mut headers = request.headers.clone();
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let sending = self.0.http.request(request.method.clone(), url.clone()).headers(headers);
        let sending = sending.body(request.body.clone()).send();
        let idle = self.0.limits.idle;
        let kind = match tokio::time::timeout(idle, sending).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(e)) => broken(&e),
            Err(_) => ErrorKind::Timeout(idle.as_secs()),
        };
        let mut error = self.error(&request.operation, kind);
        if !endpoint::same_origin(url, &self.0.base) {
            error = error.at(endpoint::origin(url).0.as_str());
            error.elsewhere = true;
        }
        Err(error)
    }

    /// Sends a body that can be sent once only: no retries and no second answer to a challenge. `moved` counts
    /// the bytes taken from the body; as long as it grows the request is alive.
    pub(crate) async fn send_stream(
        &self,
        request: &Request,
        body: reqwest::Body,
        moved: Arc<AtomicU64>,
    ) -> Result<Response, ClientError> {
        let failed = |kind| self.error(&request.operation, kind);
        let mut headers = request.headers.clone();
        // As in `send_authorized`.
        if endpoint::same_origin(&request.url, &self.0.base)
            && let Some(header) = self.0.auth.header(&request.operation).await.map_err(failed)?
        {
            headers.insert(AUTHORIZATION, header);
        }
        let sending = self.0.http.request(request.method.clone(), request.url.clone()).headers(headers);
        let idle = self.0.limits.upload_idle;
        match while_moving(sending.body(body).send(), &moved, idle).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(e)) => Err(failed(broken(&e))),
            None => Err(failed(ErrorKind::Timeout(idle.as_secs()))),
        }
    }

    /// The answer, if its status is one of `accepted`; the registry's error otherwise.
    pub(crate) async fn expect(
        &self,
        request: &Request,
        response: Response,
        accepted: &[u16],
    ) -> Result<Response, ClientError> {
        if accepted.contains(&response.status().as_u16()) {
            return Ok(response);
        }
        let response = self.with_reason(request, response).await;
        Err(self.refusal(&request.operation, response).await)
    }

    /// An answer to HEAD has no body and so no reason: where something is forbidden, GET has one.
    async fn with_reason(&self, request: &Request, response: Response) -> Response {
        let status = response.status();
        if request.method != Method::HEAD || status != StatusCode::FORBIDDEN {
            return response;
        }
        match self.send_authorized(&Request { method: Method::GET, ..request.clone() }).await {
            Ok(reasoned) if reasoned.status() == status => reasoned,
            _ => response,
        }
    }

    /// Reads an error answer. A body that cannot be read leaves the status, which is what counts.
    pub(crate) async fn refusal(&self, operation: &Operation, response: Response) -> ClientError {
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            let why = format!("unexpected status {status}");
            return self.error(operation, ErrorKind::Protocol(why));
        }
        let (retry_after, of_a_cache) = (retry::retry_after(response.headers()), is_of_a_cache(&response));
        let body = body::read_up_to(response, self.0.limits.error, self.0.limits.idle).await;
        let errors = body.map_or(Vec::new(), |(bytes, _)| parse_errors(&bytes));
        let mut error = self.error(operation, ErrorKind::Status { status, errors, retry_after });
        error.of_a_cache = of_a_cache;
        error
    }

    /// The whole body, at most `limit` bytes.
    pub(crate) async fn read(
        &self,
        operation: &Operation,
        response: Response,
        limit: u64,
        what: &'static str,
    ) -> Result<Bytes, ClientError> {
        match body::read(response, limit, self.0.limits.idle).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(self.error(operation, ErrorKind::TooLarge { what, limit })),
            Err(e) => Err(self.error(operation, ErrorKind::Transport(e.to_string()))),
        }
    }
}

/// A failure without an answer. A certificate that is not trusted now will not be on the next attempt either.
fn broken(error: &reqwest::Error) -> ErrorKind {
    let text = body::transport_text(error);
    if text.contains("certificate") { ErrorKind::Certificate(text) } else { ErrorKind::Transport(text) }
}

/// Waits for `work` as long as `moved` grows at least once in every `idle`.
async fn while_moving<T>(work: impl Future<Output = T>, moved: &AtomicU64, idle: Duration) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        if let Ok(done) = tokio::time::timeout(idle, &mut work).await {
            return Some(done);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return None;
        }
        seen = now;
    }
}

/// The `Location` of an answer, resolved against the URL that gave it.
pub(crate) fn location(response: &Response, base: &Url) -> Result<Url, String> {
    let value = response.headers().get(LOCATION).ok_or("the answer has no Location header")?;
    let text = value.to_str().map_err(|_| "the Location header is not text")?;
    base.join(text).map_err(|e| format!("the Location header is no URL: {e}"))
}

/// What an error answer tells people: the specification's errors, the plain fields of other JSON, or a text that is no page.
pub(crate) fn told(bytes: &[u8], limit: usize) -> String {
    let errors = parse_errors(bytes);
    if !errors.is_empty() {
        return errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    }
    let text = String::from_utf8_lossy(bytes);
    let text = if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() };
    body::printable(&words::detail(&text).unwrap_or_default(), limit)
}

/// The specification's error body; anything else gives nothing.
fn parse_errors(bytes: &[u8]) -> Vec<RegistryError> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        detail: Option<serde_json::Value>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(bytes) else { return Vec::new() };
    let shown = |text: &str| body::printable(text, SHOWN);
    body.errors
        .into_iter()
        .take(16)
        .map(|entry| RegistryError {
            code: shown(&entry.code),
            message: shown(&entry.message),
            detail: entry.detail.filter(|d| !d.is_null()).map(|d| match d {
                serde_json::Value::String(text) => shown(&text),
                other => shown(&other.to_string()),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_told_in_words() {
        for (body, text) in [
            (r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong"}]}"#, "UNAUTHORIZED: wrong"),
            (r#"{"details":"incorrect username or password"}"#, "details incorrect username or password"),
            ("no such user\n", "no such user"),
            ("<html><body>401</body></html>", ""),
            ("[1", ""),
            ("", ""),
        ] {
            assert_eq!(told(body.as_bytes(), SHOWN), text, "{body}");
        }
    }
}
