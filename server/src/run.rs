//! Composes the server from its configuration and runs it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::{StatusCode, header};
use rreg_storage::{Storage, StorageError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::review::asker::OfApiServer;
use crate::admission::{Admission, LoadError, keep_deciding};
use crate::app::{App, Stopping};
use crate::auth::Authenticator;
use crate::config::Config;
use crate::health::{self, Check, Reason};
use crate::listen::{self, Immediate, Options, Site};
use crate::mirror::Mirror;
use crate::open::{check_store, open, read_htpasswd};
use crate::private::{exposed, exposed_secrets};
use crate::sbom::Worker;
use crate::telemetry::Metrics;
use crate::tls::{Tls, TlsError};
use crate::upkeep;

/// File descriptors beside those of connections: database, store, logs.
const OTHER_FILES: u64 = 1024;

/// Why the server did not start, or did not stop in good order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {source}{}", advice(source))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The TLS files are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Database or object store cannot be used.
    #[error("cannot open the storage: {0}")]
    Storage(#[from] StorageError),
    /// Policies cannot be read.
    #[error(transparent)]
    Policies(#[from] LoadError),
    /// An upstream's settings cannot be used.
    #[error("upstream: {0}")]
    Upstream(Box<rreg_client::ClientError>),
    /// An upstream's password cannot be read.
    #[error("upstreams: {0}")]
    Password(String),
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Requests were cut at the end.
    #[error("{0}")]
    Serve(io::Error),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop the other server there, or choose another address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// Runs the server until `shutdown` is cancelled and the requests in flight are done. `ready` gets the
/// address that it listens on, with the real port.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    // From the first moment on: until somebody asks for it, a hangup ends a process.
    let hangup = signal(SignalKind::hangup());
    raise_open_files(config.server.max_connections.into());
    let tls = Tls::load(&config.server.tls)?;
    let metrics = Arc::new(Metrics::new()?);
    let opened = open(&config).await?;
    let storage = opened.storage.clone();
    warn_of_exposed(&config);
    let tasks = TaskTracker::new();
    let auth = Arc::new(Authenticator::new(&config, storage.clone(), read_htpasswd(&config)?, &metrics)?);
    auth.start(shutdown.clone()).await?;
    let mirror = open_mirror(&config)?;
    mirror.prepare()?;
    let sbom_metrics = metrics.sbom.clone();
    let admission = Admission::new(&config.policy, storage.clone(), metrics.policy.clone()).await?;
    let stopping = Stopping { begun: shutdown.clone(), late: CancellationToken::new() };
    let app = App::new(
        &config,
        storage.clone(),
        auth.clone(),
        mirror,
        admission,
        metrics.clone(),
        (tasks.clone(), &stopping),
    );
    let app = Arc::new(app);
    let uploads = app.uploads.clone();
    let deciding = TaskTracker::new();
    deciding.spawn(keep_deciding(app.clone(), shutdown.clone()));
    deciding.close();
    tokio::spawn(Mirror::keep_to_limits(app.clone(), config.reclaim.period.0, shutdown.clone()));
    let health = router(&config, &app, metrics, shutdown.clone());
    let ended = CancellationToken::new();
    let reviews = serve_reviews(&config, &app, health.clone(), (ended.clone(), shutdown.clone())).await?;
    let router = Arc::clone(&app).router().merge(health);
    let reloaded = Arc::clone(&app);
    let immediate: Immediate = Arc::new(move |client, parts| app.immediate(client, parts));
    let site = Site { router, immediate: Some(immediate) };

    tokio::spawn(reload_on_hangup(hangup, reloaded, tls.is_some(), shutdown.clone()));
    let (listener, address) = bind(config.server.listen, "server.listen").await?;
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).watch(shutdown.clone()));
    }
    upkeep::begin(&config, &storage, &stopping);
    let listing =
        Worker::new(&config.sbom, storage.clone(), sbom_metrics, config.manifests.max_size.as_usize());
    let listing = listing.start(&config.sbom, &shutdown);
    let busy: listen::Busy = Arc::new(move || !uploads.is_idle());
    let options = Options { busy: Some(busy), ..Options::new(&config.server, address, tls) };
    tracing::info!(%address, tls = options.tls.is_some(), "listening");
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    auth.offer_bootstrap(&format!("{scheme}://{address}")).await?;
    ready(address);
    let result = listen::serve(listener, site, options, shutdown).await;
    // Reviews are answered for as long as anything is.
    ended.cancel();
    finish(&config, reviews, tasks, deciding, listing).await;
    auth.trail.flush().await;
    upkeep::last_records(&storage).await;
    storage.metadata().close().await;
    drop(opened);
    tracing::info!("stopped");
    result.map_err(RunError::Serve)
}

/// A hangup ends no server: what can be read again is.
async fn reload_on_hangup(hangup: io::Result<Signal>, app: Arc<App>, tls: bool, shutdown: CancellationToken) {
    let mut hangup = match hangup {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP reloads nothing");
            return;
        }
    };
    while tokio::select! { () = shutdown.cancelled() => None, hung_up = hangup.recv() => hung_up }.is_some() {
        let tls = if tls { ", TLS files" } else { "" };
        match app.admission.reload().await {
            Ok(()) => tracing::info!("SIGHUP: read again: policies{tls}; all other settings need a restart"),
            Err(error) => {
                tracing::error!(%error, "SIGHUP: policies cannot be read; those read before go on to hold")
            }
        }
    }
}

/// Whether the files that the configuration names can be used, as far as that can be told without a database or anybody
/// else: certificates, password files, policies with their trust.
///
/// # Errors
/// What [`run`] would say of the first that cannot.
pub fn check_files(config: &Config) -> Result<(), RunError> {
    Tls::load(&config.server.tls)?;
    if config.policy.admission_listen.is_some() {
        reviews_tls(config)?;
    }
    read_htpasswd(config)?;
    check_store(config)?;
    open_mirror(config)?;
    if let Some(directory) = &config.policy.directory {
        crate::admission::load_directory(directory)?;
    }
    Ok(())
}

/// The upstreams. Their passwords are read now: who starts a server hears at once what is wrong with them.
fn open_mirror(config: &Config) -> Result<Mirror, RunError> {
    config.upstreams.check_passwords().map_err(RunError::Password)?;
    Mirror::new(config).map_err(|error| RunError::Upstream(Box::new(error)))
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Bind { address, setting, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn warn_of_exposed(config: &Config) {
    for one in exposed(config).into_iter().chain(exposed_secrets(config)) {
        tracing::warn!("{one}; `rreg config check --fix` makes it private");
    }
}

/// Waits for work that goes on without its clients.
async fn finish(
    config: &Config,
    reviews: Option<tokio::task::JoinHandle<()>>,
    tasks: TaskTracker,
    deciding: TaskTracker,
    listing: TaskTracker,
) {
    if let Some(reviews) = reviews
        && let Err(error) = reviews.await
    {
        tracing::error!(%error, "the admission listener broke off");
    }
    let patience = config.server.shutdown_timeout.0;
    // Uploads whose clients have left are still being made durable.
    for (tracker, cut) in [
        (tasks, "uploads were cut at shutdown"),
        (deciding, "decisions were cut at shutdown; they will be made again"),
        // A list in work is given back before the database closes.
        (listing, "a list of packages was cut at shutdown; it will be made again"),
    ] {
        tracker.close();
        if tokio::time::timeout(patience, tracker.wait()).await.is_err() {
            tracing::warn!(left = tracker.len(), "{cut}");
        }
    }
}

/// Connections of the listener for reviews: API servers have a few each, and probes one.
const REVIEW_CONNECTIONS: usize = 256;

/// How reviews are encrypted: as everything else is. They may have an authority of clients of their own; without it, that
/// of everything else holds.
fn reviews_tls(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    let Some(own) = &config.policy.admission_client_ca else { return Tls::load(&config.server.tls) };
    let tls = crate::config::Tls { client_ca: Some(own.clone()), ..config.server.tls.clone() };
    Tls::load(&tls).map_err(|error| error.of("server.tls.client_ca", "policy.admission_client_ca"))
}

/// Serves admission reviews and probes on a listener of their own, where there is to be one, until `ended`. Should it end
/// by itself, the server ends too.
async fn serve_reviews(
    config: &Config,
    app: &Arc<App>,
    health: Router,
    (ended, shutdown): (CancellationToken, CancellationToken),
) -> Result<Option<tokio::task::JoinHandle<()>>, RunError> {
    let Some(address) = config.policy.admission_listen else { return Ok(None) };
    let knows_clients = config.policy.admission_client_ca.is_some();
    let tls = reviews_tls(config)?;
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).watch(ended.clone()));
    }
    let (listener, address) = bind(address, "policy.admission_listen").await?;
    let mut router = Arc::clone(app).reviews_router();
    if knows_clients {
        router = router.layer(axum::Extension(OfApiServer));
    }
    let options =
        Options { max_connections: REVIEW_CONNECTIONS, ..Options::new(&config.server, address, tls) };
    tracing::info!(%address, "listening for admission reviews");
    let serving = listen::serve(listener, router.merge(health), options, ended);
    Ok(Some(tokio::spawn(async move {
        // A registry that answers no reviews is to be started again.
        let _ends_too = shutdown.drop_guard();
        if let Err(error) = serving.await {
            tracing::error!(%error, "admission reviews were not served to the end");
        }
    })))
}

fn router(config: &Config, app: &Arc<App>, metrics: Arc<Metrics>, shutdown: CancellationToken) -> Router {
    let (checked, storage) = (app.clone(), app.storage.clone());
    let check: Check = Arc::new(move || {
        let app = checked.clone();
        Box::pin(async move {
            let (metadata, blobs) = (app.storage.metadata(), app.storage.blobs());
            let (rows, bytes) = tokio::join!(metadata.ping(), blobs.ping());
            let (rows, bytes) = (rows.and_then(|()| metadata.room()), bytes.and_then(|()| blobs.room()));
            let failed = |check, result: Result<(), StorageError>| {
                result.err().map(|error| Reason::new(check, error.to_string()))
            };
            let broken = app.admission.broken().map(|why| Reason::new("policies", why));
            [failed("database", rows), failed("store", bytes), broken].into_iter().flatten().collect()
        })
    });
    let router = health::routes(check, shutdown);
    if config.metrics.enabled {
        router.route("/metrics", get(async move || render(&metrics, &storage)))
    } else {
        router
    }
}

fn render(metrics: &Metrics, storage: &Storage) -> axum::response::Response {
    // Two scrapes at once must not both add what is new.
    static ADDING: Mutex<()> = Mutex::new(());
    let adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
    metrics.records_waiting.set(i64::try_from(storage.metadata().records_waiting()).unwrap_or(i64::MAX));
    let unseen = storage.damage_count().saturating_sub(metrics.integrity_failures.get());
    metrics.integrity_failures.inc_by(unseen);
    drop(adding);
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Every connection is a file descriptor, and the usual soft limit of 1024 is kept low only for programs
/// that use select(2); raising it to the hard limit needs no privilege.
fn raise_open_files(connections: u64) {
    let wanted = connections.saturating_add(OTHER_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|soft| soft >= wanted) {
        return;
    }
    let raised = maximum.map_or(wanted, |hard| hard.min(wanted));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    if raised < wanted {
        tracing::warn!(
            limit = raised,
            wanted,
            "the hard limit of open files is below what server.max_connections needs; raise it or lower that"
        );
    }
}
