//! A client of one registry (distribution-spec 1.1), and nothing that depends on which software serves it.
//!
//! [`RegistryClient`] is cheap to clone. Every URL comes from [`rreg_oci::Operation::render`], except where the
//! specification makes the registry name one (`Location` of uploads, `Link` of lists).
//! How to add a request: write it in the file of its subject (`manifests`, `blobs`, `upload`, `lists`,
//! `referrers`) over `transport`, which does authentication, retries and redirects.

mod auth;
mod blobs;
mod body;
mod credentials;
mod documents;
mod endpoint;
mod error;
mod fetch;
mod guard;
mod limits;
mod lists;
mod manifests;
mod own;
mod referrers;
mod retry;
mod signs;
mod source;
#[cfg(test)]
mod tests;
mod transport;
mod upload;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use rreg_oci::Operation;
use tokio::sync::Mutex;

pub use auth::AuthError;
pub use blobs::BlobReader;
pub use credentials::{Credential, CredentialError, Kept, Keychain};
pub use documents::DocumentClient;
pub use error::{ClientError, ErrorClass, ErrorKind, RegistryError};
pub use fetch::fetch;
pub use limits::Limits;
pub use manifests::FetchedManifest;
pub use retry::RetryPolicy;
pub use source::{BlobSource, ByteStream, RemoteBlob, SourceError};
pub use upload::{MountHint, Pushed};

use auth::Authorizer;

/// How to reach registries.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// http for hosts that are not loopback too.
    pub plain_http: bool,
    /// A PEM file of certificate authorities to trust beside the system's. It means https on loopback too.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate. It means https on loopback too.
    pub insecure_skip_tls_verify: bool,
    /// Where credentials are looked for.
    pub keychain: Arc<Keychain>,
    /// Neither redirects nor token realms may lead to an address of this machine or link, unless it is the
    /// registry's own. For a server that follows what strangers say.
    pub guard_local: bool,
    /// Hosts of token services that credentials may go to, beside the registry's own and those that are known to belong to
    /// it.
    pub token_realms: Vec<String>,
    /// It looks at images in order to sign or to judge them, and runs none. It says so in its `User-Agent`, and a rreg
    /// lets who may push to a repository read a manifest for that, even where its policies refuse a pull.
    pub evidence: bool,
    /// Told what registries warn of, with the host: texts for people, which may say anything.
    pub on_warning: Option<fn(&str, &str)>,
    /// What registries may send.
    pub limits: Limits,
    /// When to try again.
    pub retry: RetryPolicy,
}

/// A client of the registry at one host.
#[derive(Clone)]
pub struct RegistryClient(Arc<Inner>, Word);

/// Whether what a cache says of its upstream is believed at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Doubted,
    Taken,
}

struct Inner {
    host: String,
    base: Url,
    http: reqwest::Client,
    auth: Authorizer,
    limits: Limits,
    retry: RetryPolicy,
    /// [`ClientOptions::on_warning`].
    on_warning: Option<fn(&str, &str)>,
    /// [`ClientOptions::guard_local`].
    guarded: bool,
    /// Two pushes must not both read the fallback index before either writes it.
    fallback_index: Mutex<()>,
}

impl RegistryClient {
    /// A client of the registry at `host[:port]`, or at a URL of scheme and host where the scheme matters. Nothing
    /// is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Setup`] when the host is none or the CA file cannot be used.
    pub fn new(host: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let setup = |why: String| ClientError::new(&Operation::Ping, host, ErrorKind::Setup(why));
        let tls = options.ca_file.is_some() || options.insecure_skip_tls_verify;
        let base = endpoint::base_url(host, options.plain_http, tls).map_err(setup)?;
        // Credentials are kept under the host's name alone, and people are told that.
        let host = endpoint::bare(host);
        let http = transport::http_client(&base, options).map_err(setup)?;
        let auth = Authorizer::new(
            host,
            base.clone(),
            auth::Trusted { guarded: options.guard_local, realms: options.token_realms.clone().into() },
            options.keychain.clone(),
            http.clone(),
            options.limits.token,
        );
        Ok(Self(
            Arc::new(Inner {
                host: host.to_owned(),
                base,
                http,
                auth,
                limits: options.limits,
                retry: options.retry,
                on_warning: options.on_warning,
                guarded: options.guard_local,
                fallback_index: Mutex::default(),
            }),
            Word::Doubted,
        ))
    }

    /// The registry as given to [`RegistryClient::new`], without a scheme.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The same, for what can be done without: an answer by which a cache says that its upstream cannot be asked
    /// (`Warning: 111` or `112`) is final, and the request is not sent again.
    #[must_use]
    pub fn taking_a_caches_word(&self) -> Self {
        Self(self.0.clone(), Word::Taken)
    }

    /// Whether both talk to the same registry, so that blobs can be mounted.
    pub fn is_same_registry(&self, other: &Self) -> bool {
        endpoint::same_origin(&self.0.base, &other.0.base)
    }

    /// Asks whether the registry speaks the API and takes our credentials.
    ///
    /// # Errors
    /// [`ClientError`] when it does not.
    pub async fn ping(&self) -> Result<(), ClientError> {
        let request = self.request(Operation::Ping)?;
        self.expect(&request, self.send(&request).await?, &[200]).await.map(|_| ())
    }

    /// Whether the registry has asked who is calling, in any answer so far.
    pub async fn asks_for_login(&self) -> bool {
        self.0.auth.was_challenged().await
    }
}
