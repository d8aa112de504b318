//! `rreg serve`: the registry server.

use std::io::Write as _;
use std::net::SocketAddr;

use rreg_server::telemetry::init_logging;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::config::Settings;

/// Arguments of `rreg serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// Runs `rreg serve` until SIGTERM or SIGINT.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let config = args.settings.load()?.config;
    init_logging(&config.log)?;
    let scheme = if config.server.tls.is_enabled() { "https" } else { "http" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        // Before the server is ready: whoever reads that line may stop it at once.
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(stop_on_signal(signals, shutdown.clone()));
        Ok(rreg_server::run(config, |address| announce(scheme, address), shutdown).await?)
    })
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
