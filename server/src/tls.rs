//! TLS from PEM files, read again when they change.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config;

/// Time for a handshake; honest clients need a few round trips.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks at the files.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {}: {why}", path.display())]
pub struct TlsError {
    field: &'static str,
    path: PathBuf,
    why: String,
}

impl TlsError {
    /// As of the setting `real`, where it was `used` that was given its value.
    pub(crate) fn of(self, used: &str, real: &'static str) -> Self {
        if self.field == used { Self { field: real, ..self } } else { self }
    }
}

/// The files that TLS is made from.
#[derive(Clone, Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// What tells a changed file: replaced, rewritten or its link moved to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Vec<Option<[i64; 5]>>);

struct Current {
    config: Arc<ServerConfig>,
    /// The files as they were when they were last tried, also without success.
    tried: Stamp,
}

/// TLS for all connections. Each handshake uses what the files held last; open connections keep theirs.
/// A new configuration starts with an empty session cache, so that nobody resumes what a replaced client
/// authority had vouched for.
pub struct Tls {
    files: Files,
    current: Mutex<Current>,
}

impl Tls {
    /// Reads the files; `None` when the configuration has no TLS.
    ///
    /// # Errors
    /// [`TlsError`] names the field and the file.
    pub fn load(config: &config::Tls) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else { return Ok(None) };
        let files = Files { cert: cert.clone(), key: key.clone(), client_ca: config.client_ca.clone() };
        let tried = files.stamp();
        let config = files.read()?;
        Ok(Some(Arc::new(Self { files, current: Mutex::new(Current { config, tried }) })))
    }

    /// Performs the server's side of a handshake.
    ///
    /// # Errors
    /// The client's transport or its handshake failed.
    pub(crate) async fn accept<T>(&self, stream: T) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current().config);
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Reads the files again if they changed since they were last tried, or always when `force`d.
    ///
    /// # Errors
    /// [`TlsError`]: the new files are unusable, and the old configuration stays.
    pub fn reload(&self, force: bool) -> Result<bool, TlsError> {
        let stamp = self.files.stamp();
        if !force && self.current().tried == stamp {
            return Ok(false);
        }
        self.current().tried = stamp;
        let config = self.files.read()?;
        self.current().config = config;
        Ok(true)
    }

    /// Reloads when the files change and on SIGHUP, until `shutdown`.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(signal) => Some(signal),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP will not reload TLS; changed files still do");
                None
            }
        };
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            let force = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hung_up => true,
                () = tokio::time::sleep(POLL_INTERVAL) => false,
            };
            match self.reload(force) {
                Ok(true) => tracing::info!("TLS files reloaded"),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "changed TLS files are unusable; the old ones stay"),
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Nothing can panic while the lock is held, and if: each field is whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn stamp(&self) -> Stamp {
        let paths = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        let stamp = |m: Metadata| {
            [m.mtime(), m.mtime_nsec(), m.ctime_nsec(), m.size().cast_signed(), m.ino().cast_signed()]
        };
        Stamp(paths.into_iter().flatten().map(|path| std::fs::metadata(path).ok().map(stamp)).collect())
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates("server.tls.cert", &self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| error("server.tls.key", &self.key, format!("holds no usable PEM key: {e}")))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| error("server.tls.cert", &self.cert, e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let field = "server.tls.client_ca";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(field, path)? {
                    roots.add(certificate).map_err(|e| error(field, path, e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|e| error(field, path, e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| {
            let why = format!("does not go with the key in {}: {e}", self.key.display());
            error("server.tls.cert", &self.cert, why)
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn error(field: &'static str, path: &Path, why: impl ToString) -> TlsError {
    TlsError { field, path: path.to_owned(), why: why.to_string() }
}

fn certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| error(field, path, format!("cannot be read as PEM: {e}")))?;
    if chain.is_empty() {
        return Err(error(
            field,
            path,
            "holds no certificate; expected PEM, beginning with BEGIN CERTIFICATE",
        ));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests;
