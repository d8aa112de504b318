//! `rreg serve`: the registry server.

use std::io::Write as _;
use std::net::SocketAddr;

use rreg_server::RunError;
use rreg_server::telemetry::init_logging;
use rreg_storage::StorageError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::config::Settings;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Arguments of `rreg serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT.
    pub(crate) async fn run(&self, _: &Output) -> Result<Exit, Failure> {
        let config = self.settings.load()?.config;
        let internal = |e: &dyn std::error::Error| Failure::new(Exit::Internal, e.to_string());
        init_logging(&config.log).map_err(|e| internal(&e))?;
        let scheme = if config.server.tls.is_enabled() { "https" } else { "http" };
        crate::allocator::give_back_when_idle();
        let shutdown = CancellationToken::new();
        // Before the server is ready: whoever reads that line may stop it at once.
        let terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
        let interrupt = signal(SignalKind::interrupt()).map_err(|e| internal(&e))?;
        tokio::spawn(stop_on_signal((terminate, interrupt), shutdown.clone()));
        rreg_server::run(config, |address| announce(scheme, address), shutdown).await?;
        Ok(Exit::Ok)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match error {
            RunError::Storage(StorageError::Held(_)) => {
                return Self::new(Exit::Busy, error.to_string()).hint(
                    "stop that one, or give this one its own --data; several replicas need PostgreSQL and an object \
                     store (database.url, storage.backend)",
                );
            }
            RunError::Storage(StorageError::Setting(_)) => Exit::Config,
            RunError::Bind { .. } | RunError::Storage(_) => Exit::Unreachable,
            RunError::Tls(_) | RunError::Policies(_) | RunError::Upstream(_) | RunError::Password(_) => {
                Exit::Config
            }
            RunError::Metrics(_) | RunError::Serve(_) => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

/// The one line on standard output: whoever started the server waits for it and reads the port from it.
fn announce(scheme: &str, address: SocketAddr) {
    let mut out = std::io::stdout().lock();
    let version = env!("CARGO_PKG_VERSION");
    // A closed standard output is no reason not to serve.
    let _ = writeln!(out, "rreg {version} listening on {scheme}://{address}").and_then(|()| out.flush());
}

/// Begins the shutdown at the first SIGTERM or SIGINT; a second one ends the process at once.
async fn stop_on_signal((mut terminate, mut interrupt): (Signal, Signal), shutdown: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    tracing::info!("finishing requests in flight; a second signal stops at once");
    shutdown.cancel();
    next().await;
    std::process::exit(1);
}
