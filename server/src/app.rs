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
use http::header::{HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use rreg_auth::{Action, Caller, Denied};
use rreg_oci::{ManifestLimits, Operation};
use rreg_storage::Storage;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, review};
use crate::auth::{Authenticator, Context, serve_bootstrap, serve_token};
use crate::body::Pace;
use crate::config::Config;
use crate::error::{ApiError, Cause};
use crate::handlers;
use crate::lately::Lately;
use crate::listen::Peer;
use crate::looks::Looks;
use crate::mirror::Mirror;
use crate::sbom::Covered;
use crate::shares::{Refused, Share, Shares, Source, Turns};
use crate::telemetry::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 64;

/// Seconds after which a client that found no upload slot shall try again.
const RETRY_AFTER: u64 = 2;

/// Between two rows of the trail for the same read of what nobody may pull, and reads that are remembered.
const READ_AGAIN: Duration = Duration::from_secs(60);
const READS: usize = 20_000;
/// Between two tries of one damaged blob, each of which reads it whole, and blobs that are remembered.
const HEAL_AGAIN: Duration = Duration::from_secs(10);
const HEALS: usize = 1000;

/// Lists that are read for one source at a time: the database has few readers.
const LISTS: usize = 4;

/// Bytes on their way in memory, where one manifest may not have more.
const ARRIVING: usize = 64 << 20;

/// The end of the server, in two steps.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// No more uploads begin. Everything else is still answered.
    pub(crate) begun: CancellationToken,
    /// Uploads that wait for their clients end, so that they can go on at the next server.
    pub(crate) late: CancellationToken,
}

/// What every handler can use.
pub(crate) struct App {
    pub(crate) storage: Storage,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) limits: ManifestLimits,
    pub(crate) allow_sparse: bool,
    pub(crate) reclaim_grace: Duration,
    /// `server.absolute_locations`
    absolute_locations: bool,
    pub(crate) pace: Pace,
    /// [`Stopping::begun`]
    pub(crate) stopping: CancellationToken,
    pub(crate) mirror: Mirror,
    /// What may be pulled, pushed and tagged.
    pub(crate) admission: Admission,
    /// Whose images get lists of packages.
    pub(crate) sbom: Covered,
    pub(crate) metrics: Arc<Metrics>,
    /// A slot for each upload that receives bytes.
    pub(crate) uploads: Shares,
    /// A byte for each of those that manifests and policies on their way hold in memory.
    pub(crate) arriving: Shares,
    /// Lists that are read from the database.
    pub(crate) lists: Turns,
    /// Reads of what nobody may pull, by those who push or sign it.
    pub(crate) reads: Lately,
    /// Tries to read content again that was found damaged.
    pub(crate) heals: Lately,
    pub(crate) looks: Looks,
    /// What admission reviews have together.
    pub(crate) reviews: review::Rooms,
    /// Work that goes on when its client has left; waited for at the end.
    pub(crate) tasks: TaskTracker,
    request_ids: RequestIds,
}

impl App {
    pub(crate) fn new(
        config: &Config,
        storage: Storage,
        auth: Arc<Authenticator>,
        mirror: Mirror,
        admission: Admission,
        metrics: Arc<Metrics>,
        (tasks, stopping): (TaskTracker, &Stopping),
    ) -> Self {
        let usize_of = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            storage,
            auth,
            limits: ManifestLimits {
                max_size: config.manifests.max_size.as_usize(),
                max_descriptors: usize_of(config.manifests.max_descriptors),
                max_depth: usize_of(config.manifests.max_depth),
            },
            allow_sparse: config.manifests.allow_sparse,
            reclaim_grace: config.uploads.reclaim_grace.0,
            absolute_locations: config.server.absolute_locations,
            pace: Pace {
                idle: config.server.body_idle_timeout.0,
                min_rate: config.server.body_min_rate.0,
                stopping: stopping.late.clone(),
            },
            stopping: stopping.begun.clone(),
            mirror,
            admission,
            sbom: Covered::new(&config.sbom),
            metrics,
            uploads: Shares::new(usize_of(config.server.max_concurrent_uploads)),
            arriving: Shares::new(ARRIVING.max(4 * config.manifests.max_size.as_usize())),
            lists: Turns::new(LISTS),
            reads: Lately::new(READ_AGAIN, READS),
            heals: Lately::new(HEAL_AGAIN, HEALS),
            looks: Looks::default(),
            reviews: review::Rooms::new(config.policy.admission_fetches),
            tasks,
            request_ids: RequestIds::new(),
        }
    }

    /// The routes of the API. Names contain slashes, so [`Operation::parse`] does the routing, not axum.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let reviews = Arc::clone(&self).reviews_router();
        Router::new()
            .route("/v2", any(serve))
            .route("/v2/", any(serve))
            .route("/v2/token", any(serve_token))
            .route("/bootstrap", any(serve_bootstrap))
            .route("/v2/{*path}", any(serve))
            .fallback(serve)
            .with_state(self)
            .merge(reviews)
    }

    /// The routes of admission reviews.
    pub(crate) fn reviews_router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/admission/v1/validate", any(review::validate))
            .route("/admission/v1/mutate", any(review::mutate))
            .route("/admission/v1/validate/{secret}", any(review::validate))
            .route("/admission/v1/mutate/{secret}", any(review::mutate))
            .route("/admission", any(review::elsewhere))
            .route("/admission/{*path}", any(review::elsewhere))
            .with_state(self)
    }

    /// A slot for a request that receives content; 429 when all are taken, or as many as one source may have.
    pub(crate) fn upload_slot(&self, caller: &Caller, context: &Context) -> Result<Share, ApiError> {
        if self.stopping.is_cancelled() {
            return Err(ApiError::busy("the server is stopping; try again", RETRY_AFTER));
        }
        self.uploads.take(Source::of(caller, context)).map_err(|refused| {
            let message = match refused {
                Refused::All => "too many uploads are in progress (server.max_concurrent_uploads)",
                Refused::Own => "too many of your uploads are in progress: others need a share as well",
            };
            ApiError::busy(message, RETRY_AFTER)
        })
    }

    /// The answer, if it can be given from memory ([`crate::listen::Immediate`]).
    pub(crate) fn immediate(&self, client: Peer, parts: &Parts) -> Option<Response> {
        let Parts { method, uri, headers, .. } = parts;
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let started = Instant::now();
        let operation = self.parse(method, uri, headers).ok()?;
        let permit = match self.auth.immediate(headers) {
            Some(caller) => self.auth.access.authorize(caller, operation),
            None => self.auth.access.authorize(&self.auth.believed(headers)?, operation),
        };
        let permit = permit.ok()?;
        let answer = handlers::immediate(self, &permit, headers)?;
        let asked = Asked { client: Some(client), method, uri, headers };
        let seen = Seen::new(self, started, asked, Some(permit.operation()));
        Some(seen.answered(self, answer.unwrap_or_else(ApiError::into_response)))
    }

    fn parse(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Operation, ApiError> {
        let operation = Operation::parse(method.as_str(), uri.path(), uri.query())?;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
        Ok(self.mirror.in_namespace(operation, uri.query(), host)?)
    }

    /// Who may read a copy is told that nobody can push to it, and not which role would be needed.
    fn refuse_push(&self, caller: &Caller, denied: &Denied, operation: &Operation) -> Option<ApiError> {
        let refused = self.mirror.refuse_push(operation).err()?;
        let may_read = self.auth.access.judge(caller, Action::Pull, operation.repository()).is_ok();
        (may_read && !matches!(denied, Denied::Anonymous)).then(|| refused.into())
    }

    async fn answer(self: &Arc<Self>, operation: Operation, context: Context, request: Request) -> Response {
        let (uri, headers) = (request.uri(), request.headers());
        let asked = (uri, headers, context.tls);
        let caller = match self.auth.identify(headers, &context).await {
            Ok(caller) => caller,
            Err(rejected) => {
                return self.auth.rejected(rejected, asked, &[]).into_response();
            }
        };
        let permit = match self.auth.access.authorize(&caller, operation.clone()) {
            Ok(permit) => permit,
            Err(denied) => {
                self.auth.trail.denied(&context, &caller.identity, &operation, &denied).await;
                return match self.refuse_push(&caller, &denied, &operation) {
                    Some(refused) => refused.into_response(),
                    None => self.auth.denied(denied, asked, &operation).into_response(),
                };
            }
        };
        match handlers::dispatch(self, permit, &context, request).await {
            Ok(response) => response,
            Err(error) => {
                if let Some(why) = error.denial() {
                    self.auth.trail.refused(&context, &caller.identity, &operation, why).await;
                }
                error.into_response()
            }
        }
    }

    /// What is to be remembered of a request that is no operation.
    pub(crate) fn seen(&self, request: &Request) -> Seen {
        Seen::new(self, Instant::now(), Asked::of(request), None)
    }
}

async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let _in_flight = app.metrics.in_flight();
    let started = Instant::now();
    let operation = app.parse(request.method(), request.uri(), request.headers());
    let seen = Seen::new(&app, started, Asked::of(&request), operation.as_ref().ok());
    let response = match operation {
        Ok(operation) => app.answer(operation, seen.context(), request).await,
        Err(error) => error.into_response(),
    };
    seen.answered(&app, response)
}

/// What a request says before its body.
struct Asked<'a> {
    client: Option<Peer>,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request) -> Self {
        let client = request.extensions().get::<Peer>().copied();
        Self { client, method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

/// What metrics, log and trail need of a request once it is answered.
pub(crate) struct Seen {
    started: Instant,
    client: Option<Peer>,
    /// What stands before paths of this registry in `Location`, where these are to be whole addresses.
    base: Option<String>,
    id: HeaderValue,
    /// [`Operation::index`].
    operation: Option<usize>,
    /// Method and path, where requests are logged.
    target: Option<(Method, String)>,
}

impl Seen {
    fn new(app: &App, started: Instant, asked: Asked<'_>, operation: Option<&Operation>) -> Self {
        let Asked { client, method, uri, headers } = asked;
        let logged = tracing::enabled!(tracing::Level::INFO);
        let tls = client.is_some_and(|client| client.tls);
        Self {
            started,
            client,
            base: app.absolute_locations.then(|| app.auth.base((uri, headers, tls))),
            id: app.request_ids.of(headers),
            operation: operation.map(Operation::index),
            target: logged.then(|| (method.clone(), review::asker::shown(app, uri))),
        }
    }

    /// Where the request comes from, for the audit trail.
    pub(crate) fn context(&self) -> Context {
        let tls = self.client.is_some_and(|client| client.tls);
        Context { address: self.client.map(|client| client.address), tls, request_id: self.id.clone() }
    }

    /// Counts and logs the answer, and adds the headers that every answer has.
    pub(crate) fn answered(self, app: &App, mut response: Response) -> Response {
        let id = self.id.to_str().unwrap_or_default();
        if let Some(Cause(cause)) = response.extensions_mut().remove() {
            tracing::error!(id, cause, "request failed");
        }
        let elapsed = self.started.elapsed();
        app.metrics.observe(self.operation, response.status(), elapsed);
        if let Some((method, path)) = self.target {
            let operation = self.operation.map_or("other", |index| Operation::NAMES[index]);
            let (status, elapsed_us) = (response.status().as_u16(), elapsed.as_micros());
            let client = self.client.map(|client| tracing::field::display(client.address));
            tracing::info!(id, %method, path, status, operation, elapsed_us, client, "answered");
        }
        if let Some(base) = self.base {
            make_absolute(response.headers_mut(), &base);
        }
        response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        response.headers_mut().insert(REQUEST_ID, self.id);
        response
    }
}

/// Puts `base` before a `Location` that is a path of this registry.
fn make_absolute(headers: &mut HeaderMap, base: &str) {
    let path = headers.get(LOCATION).and_then(|to| to.to_str().ok()).filter(|to| to.starts_with('/'));
    // A request that names no host has none to be sent to.
    let whole = path.filter(|_| !base.ends_with('/')).map(|path| format!("{base}{path}"));
    if let Some(whole) = whole.and_then(|whole| HeaderValue::from_str(&whole).ok()) {
        headers.insert(LOCATION, whole);
    }
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
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let sensible = |c: &u8| c.is_ascii_alphanumeric() || b"-_.".contains(c);
        match headers.get(&REQUEST_ID) {
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
