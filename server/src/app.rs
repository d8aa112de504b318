//! The distribution API: every request becomes an [`Operation`], an operation a permit, a permit an answer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::BytesMut;
use http::{HeaderName, HeaderValue};
use rreg_auth::{Access, Identity};
use rreg_oci::{ManifestLimits, Operation};
use rreg_storage::Storage;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::{ApiError, Cause};
use crate::handlers;
use crate::telemetry::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 64;

/// What every handler can use.
pub(crate) struct App {
    pub(crate) storage: Storage,
    pub(crate) access: Access,
    pub(crate) limits: ManifestLimits,
    pub(crate) allow_sparse: bool,
    pub(crate) reclaim_grace: Duration,
    pub(crate) body_idle: Duration,
    pub(crate) metrics: Arc<Metrics>,
    /// A slot for each upload that receives bytes.
    pub(crate) uploads: Arc<Semaphore>,
    /// Work that goes on when its client has left; waited for at the end.
    pub(crate) tasks: TaskTracker,
    request_ids: RequestIds,
}

impl App {
    pub(crate) fn new(config: &Config, storage: Storage, metrics: Arc<Metrics>, tasks: TaskTracker) -> Self {
        let usize_of = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            storage,
            access: Access { read_only: config.server.read_only },
            limits: ManifestLimits {
                max_size: config.manifests.max_size.as_usize(),
                max_descriptors: usize_of(config.manifests.max_descriptors),
                max_depth: usize_of(config.manifests.max_depth),
            },
            allow_sparse: config.manifests.allow_sparse,
            reclaim_grace: config.uploads.reclaim_grace.0,
            body_idle: config.server.body_idle_timeout.0,
            metrics,
            uploads: Arc::new(Semaphore::new(usize_of(config.server.max_concurrent_uploads))),
            tasks,
            request_ids: RequestIds::new(),
        }
    }

    /// The routes of the API. Names contain slashes, so [`Operation::parse`] does the routing, not axum.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/v2", any(serve))
            .route("/v2/", any(serve))
            .route("/v2/{*path}", any(serve))
            .fallback(serve)
            .with_state(self)
    }

    async fn answer(self: &Arc<Self>, operation: Result<Operation, ApiError>, request: Request) -> Response {
        let permit =
            operation.and_then(|operation| Ok(self.access.authorize(Identity::Anonymous, operation)?));
        match permit {
            Ok(permit) => handlers::dispatch(self, permit, request).await,
            Err(error) => Err(error),
        }
        .unwrap_or_else(ApiError::into_response)
    }
}

async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let started = Instant::now();
    let _in_flight = app.metrics.in_flight();
    let id = app.request_ids.of(&request);
    let operation = Operation::parse(request.method().as_str(), request.uri().path(), request.uri().query());
    let logged = tracing::enabled!(tracing::Level::INFO);
    let target = logged.then(|| (request.method().clone(), request.uri().path().to_owned()));
    // What metrics and log need, before the handler takes the operation.
    let index = operation.as_ref().ok().map(Operation::index);

    let mut response = app.answer(operation.map_err(ApiError::from), request).await;
    if let Some(Cause(cause)) = response.extensions_mut().remove() {
        tracing::error!(id = id.to_str().unwrap_or_default(), cause, "request failed");
    }
    response.headers_mut().insert(REQUEST_ID, id.clone());
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    let elapsed = started.elapsed();
    app.metrics.observe(index, response.status(), elapsed);
    if let Some((method, path)) = target {
        let (id, status) = (id.to_str().unwrap_or_default(), response.status().as_u16());
        let operation = index.map_or("other", |index| Operation::NAMES[index]);
        tracing::info!(id, %method, path, status, operation, elapsed_us = elapsed.as_micros(), "answered");
    }
    response
}

/// Identifiers that no two requests of any replica share.
struct RequestIds {
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self { prefix: uuid::Uuid::new_v4().as_fields().0, next: AtomicU64::new(0) }
    }

    /// The client's own, if it has sent a sensible one.
    fn of(&self, request: &Request) -> HeaderValue {
        let sensible = |c: &u8| c.is_ascii_alphanumeric() || b"-_.".contains(c);
        match request.headers().get(&REQUEST_ID) {
            Some(id) if (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(sensible) => {
                id.clone()
            }
            _ => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let mut text = BytesMut::with_capacity(28);
                // Writing into memory cannot fail, and hexadecimal digits are a header.
                let _ = write!(text, "{:08x}-{number:x}", self.prefix);
                HeaderValue::from_maybe_shared(text.freeze())
                    .unwrap_or_else(|_| HeaderValue::from_static("0"))
            }
        }
    }
}
