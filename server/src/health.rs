//! `/healthz`: the process answers. `/readyz`: what it needs answers too.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A result is good for so long: probes of many load balancers must not become load on the database.
const FRESH: Duration = Duration::from_secs(1);
/// A check that takes longer has failed; probes give up after a second or a few themselves.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Result of a check: the reasons why the server is not ready, none when it is.
pub type Reasons = Vec<String>;
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
            return vec!["shutting down".to_owned()];
        }
        let mut last = self.last.lock().await;
        if let Some((when, reasons)) = &*last
            && when.elapsed() < FRESH
        {
            return reasons.clone();
        }
        let reasons = timeout(CHECK_TIMEOUT, (self.check)()).await.unwrap_or_else(|_| {
            vec![format!("the check took more than {} seconds", CHECK_TIMEOUT.as_secs())]
        });
        if !reasons.is_empty() {
            tracing::warn!(?reasons, "not ready");
        }
        *last = Some((Instant::now(), reasons.clone()));
        reasons
    }
}

/// The two routes. `/readyz` answers 503 with one reason a line when `check` gives reasons, and during
/// `shutdown`.
pub fn routes(check: Check, shutdown: CancellationToken) -> Router {
    let readiness = Arc::new(Readiness { check, shutdown, last: Mutex::new(None) });
    let ready = move || {
        let readiness = Arc::clone(&readiness);
        async move {
            match readiness.reasons().await {
                reasons if reasons.is_empty() => plain(StatusCode::OK, "ready\n".to_owned()),
                reasons => plain(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            }
        }
    };
    Router::new()
        .route("/healthz", get(async || plain(StatusCode::OK, "alive\n".to_owned())))
        .route("/readyz", get(ready))
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

    fn counted(reasons: &'static [&'static str]) -> (Check, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let check: Check = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { reasons.iter().map(|&r| r.to_owned()).collect() })
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
        let (check, _) = counted(&["database: connection refused", "store: timed out"]);
        let router = routes(check, CancellationToken::new());
        let body = "database: connection refused\nstore: timed out\n";
        assert_eq!(get(&router, "/readyz").await, (503, body.into()));
        assert_eq!(get(&router, "/healthz").await, (200, "alive\n".into()));
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
        assert_eq!(get(&router, "/readyz").await, (503, "shutting down\n".into()));
        assert_eq!(calls.load(Ordering::SeqCst), 0);
    }
}
