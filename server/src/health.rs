//! `/healthz`: the process answers. `/readyz`: what it needs answers too.

use std::fmt::{self, Display, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, Uri, header};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A result is good for so long: probes of many load balancers must not become load on the database.
const FRESH: Duration = Duration::from_secs(1);
/// A check that takes longer has failed; probes give up after a second or a few themselves.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// What is wrong with the process itself, which nobody can leave out.
const SERVER: &str = "server";

/// A reason why the server is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What was looked at: one word.
    pub check: &'static str,
    /// What is wrong with it, in one line.
    pub why: String,
}

impl Reason {
    /// One about `check`.
    pub fn new(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, why: why.into() }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.why)
    }
}

/// Result of a check: the reasons why the server is not ready, none when it is.
pub type Reasons = Vec<Reason>;
/// Finds out whether everything the server needs can be reached.
pub type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Reasons> + Send>> + Send + Sync>;

/// Readiness, checked at most once a second.
struct Readiness {
    check: Check,
    shutdown: CancellationToken,
    /// Held during a check, so that there is one at a time.
    last: Mutex<Option<(Instant, Reasons)>>,
}

impl Readiness {
    async fn reasons(&self) -> Reasons {
        if self.shutdown.is_cancelled() {
            return vec![Reason::new(SERVER, "shutting down")];
        }
        let mut last = self.last.lock().await;
        if let Some((when, reasons)) = &*last
            && when.elapsed() < FRESH
        {
            return reasons.clone();
        }
        let reasons = timeout(CHECK_TIMEOUT, (self.check)()).await.unwrap_or_else(|_| {
            let why = format!("the check took more than {} seconds", CHECK_TIMEOUT.as_secs());
            vec![Reason::new(SERVER, why)]
        });
        if !reasons.is_empty() {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            tracing::warn!(?reasons, "not ready");
        }
        *last = Some((Instant::now(), reasons.clone()));
        reasons
    }
}

/// The two routes. `/readyz` answers 503 with one reason a line when `check` gives reasons, and during `shutdown`.
/// `/readyz?exclude=NAME`, as often as one likes, leaves out what is wrong with `NAME`; a name that there is not leaves
/// out nothing.
pub fn routes(check: Check, shutdown: CancellationToken) -> Router {
    let readiness = Arc::new(Readiness { check, shutdown, last: Mutex::new(None) });
    let ready = move |uri: Uri| {
        let readiness = Arc::clone(&readiness);
        async move {
            let reasons = readiness.reasons().await;
            let lines: Vec<String> = reasons
                .iter()
                .filter(|reason| reason.check == SERVER || !is_excluded(&uri, reason.check))
                .map(|reason| format!("{reason}\n"))
                .collect();
            match lines.concat() {
                none if none.is_empty() => plain(StatusCode::OK, "ready\n".to_owned()),
                lines => plain(StatusCode::SERVICE_UNAVAILABLE, lines),
            }
        }
    };
    Router::new()
        .route("/healthz", get(async || plain(StatusCode::OK, "alive\n".to_owned())))
        .route("/readyz", get(ready))
}

fn is_excluded(uri: &Uri, check: &str) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.strip_prefix("exclude=")).any(|name| name == check)
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn counted(reasons: &'static [(&'static str, &'static str)]) -> (Check, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let check: Check = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { reasons.iter().map(|&(check, why)| Reason::new(check, why)).collect() })
        });
        (check, calls)
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_is_checked_once_a_second() {
        let (check, calls) = counted(&[]);
        let router = routes(check, CancellationToken::new());
        for _ in 0..5 {
            assert_eq!(get(&router, "/readyz").await, (200, "ready\n".into()));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        tokio::time::advance(FRESH).await;
        get(&router, "/readyz").await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unready_server_says_why_and_is_alive() {
        let (check, _) = counted(&[("database", "connection refused"), ("store", "timed out")]);
        let router = routes(check, CancellationToken::new());
        let body = "database: connection refused\nstore: timed out\n";
        assert_eq!(get(&router, "/readyz").await, (503, body.into()));
        assert_eq!(get(&router, "/healthz").await, (200, "alive\n".into()));
    }

    /// For probes: what is wrong with all replicas alike must not take all of them out.
    #[tokio::test(start_paused = true)]
    async fn what_is_excluded_is_left_out() {
        let (check, calls) = counted(&[("policies", "all.yaml: no policy"), ("store", "timed out")]);
        let router = routes(check, CancellationToken::new());
        let (policies, store) = ("policies: all.yaml: no policy\n", "store: timed out\n");
        for (query, expected) in [
            ("", (503, format!("{policies}{store}"))),
            ("?exclude=policies", (503, store.to_owned())),
            ("?exclude=store", (503, policies.to_owned())),
            ("?exclude=policies&exclude=store", (200, "ready\n".to_owned())),
            ("?exclude=", (503, format!("{policies}{store}"))),
            ("?exclude=polic&exclude=server&x=policies", (503, format!("{policies}{store}"))),
        ] {
            assert_eq!(get(&router, &format!("/readyz{query}")).await, expected, "{query}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "one check for all questions");
        let shutdown = CancellationToken::new();
        let router = routes(counted(&[]).0, shutdown.clone());
        shutdown.cancel();
        assert_eq!(get(&router, "/readyz?exclude=server").await.0, 503);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_has_failed() {
        let check: Check = Arc::new(|| Box::pin(std::future::pending()));
        let router = routes(check, CancellationToken::new());
        assert_eq!(get(&router, "/readyz").await.0, 503);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_is_not_ready() {
        let (check, calls) = counted(&[]);
        let shutdown = CancellationToken::new();
        let router = routes(check, shutdown.clone());
        shutdown.cancel();
        assert_eq!(get(&router, "/readyz").await, (503, "server: shutting down\n".into()));
        assert_eq!(calls.load(Ordering::SeqCst), 0);
    }
}
