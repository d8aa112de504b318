//! Opens the storage that the configuration names.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector as _};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::prefix::PrefixStore;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use rreg_auth::Htpasswd;
use rreg_storage::{BlobStore, CacheLimits, Claim, MetadataStore, Storage, StorageError, StorageOptions};

use crate::config::{self, Backend, Config, DatabaseUrl};
use crate::private::{keep_private, make_directory};
use crate::store_client::Patience;

/// For whoever reads beside a server: caches would not be told what it writes.
const UNCACHED: CacheLimits = CacheLimits { manifests: 0, blobs: 0, tags: 0 };

/// The storage, and what keeps others away from it while it is open.
pub struct Opened {
    /// The storage.
    pub storage: Storage,
    /// Held as long as the embedded database is in use.
    _lock: Option<File>,
}

/// Opens database and object store, to change them.
///
/// # Errors
/// When one of them cannot be used, or the embedded database is in use by another process.
pub async fn open(config: &Config) -> Result<Opened, StorageError> {
    open_with(config, Claim::Serve).await
}

/// The same for whoever restores the database from the store: an empty one becomes the store's.
///
/// # Errors
/// As [`open`].
pub async fn open_to_rebuild(config: &Config) -> Result<Opened, StorageError> {
    open_with(config, Claim::Rebuild).await
}

/// The same for whoever begins anew beside what is in the store: an empty database becomes the store's.
///
/// # Errors
/// As [`open`].
pub async fn open_to_adopt(config: &Config) -> Result<Opened, StorageError> {
    open_with(config, Claim::Adopt).await
}

async fn open_with(config: &Config, claim: Claim) -> Result<Opened, StorageError> {
    keep_private();
    let data = &config.storage.data;
    let limits = CacheLimits {
        manifests: config.cache.manifests.0,
        blobs: config.cache.blobs.0,
        tags: config.cache.tags.into(),
    };
    let lock = match &config.database.url {
        Some(DatabaseUrl::Postgres(_)) => None,
        Some(DatabaseUrl::Sqlite(path)) => {
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(lock(directory)?)
        }
        None => Some(lock(data)?),
    };
    let metadata = connect(config, limits).await?;
    let storage = join(config, metadata)?.claimed(claim).await?;
    Ok(Opened { storage, _lock: lock })
}

/// Opens database and object store, to read them; also beside a running server.
///
/// # Errors
/// When one of them cannot be used.
pub async fn open_to_read(config: &Config) -> Result<Storage, StorageError> {
    let metadata = match config.database_url() {
        DatabaseUrl::Postgres(url) => {
            MetadataStore::postgres(url.expose(), config.database.max_connections, UNCACHED).await?
        }
        DatabaseUrl::Sqlite(path) => MetadataStore::sqlite_to_read(&path).await?,
    };
    join(config, metadata)?.as_named().await
}

fn join(config: &Config, metadata: MetadataStore) -> Result<Storage, StorageError> {
    let options = StorageOptions {
        inline_max: config.storage.inline_max.as_usize(),
        max_blob_size: match config.uploads.max_blob_size.0 {
            0 => u64::MAX,
            limit => limit,
        },
    };
    let metadata = metadata.with_tag_rules(config.tags.immutable.rules());
    Ok(Storage::new(blob_store(&config.storage)?, metadata, options))
}

async fn connect(config: &Config, limits: CacheLimits) -> Result<MetadataStore, StorageError> {
    match config.database_url() {
        DatabaseUrl::Postgres(url) => {
            MetadataStore::postgres(url.expose(), config.database.max_connections, limits).await
        }
        DatabaseUrl::Sqlite(path) => MetadataStore::sqlite(&path, limits).await,
    }
}

/// Opens the database beside a server that may be running, for tables that no server caches: accounts, roles and the
/// audit trail. Content must not be touched through it. Whoever does not mean to make one asks [`has_database`] first.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_metadata(config: &Config) -> Result<MetadataStore, StorageError> {
    keep_private();
    connect(config, UNCACHED).await
}

/// Whether there is a database where the configuration says. Looking makes none.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn has_database(config: &Config) -> Result<bool, StorageError> {
    match config.database_url() {
        DatabaseUrl::Postgres(url) => MetadataStore::is_in_postgres(url.expose()).await,
        DatabaseUrl::Sqlite(path) => Ok(path.exists()),
    }
}

/// Makes the database of a registry that was never started, with its directory.
///
/// # Errors
/// When it cannot be made.
pub async fn create_database(config: &Config) -> Result<(), StorageError> {
    keep_private();
    if let DatabaseUrl::Sqlite(path) = config.database_url()
        && let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty())
    {
        make_directory(directory).map_err(|source| StorageError::Io {
            what: format!("making the directory {}", directory.display()),
            source,
        })?;
    }
    connect(config, UNCACHED).await?.close().await;
    Ok(())
}

/// Users of the file that `auth.htpasswd` names; nobody where it names none.
///
/// # Errors
/// When it cannot be read, with the line that is wrong.
pub fn read_htpasswd(config: &Config) -> Result<Htpasswd, StorageError> {
    let Some(path) = &config.auth.htpasswd else { return Ok(Htpasswd::default()) };
    let text = std::fs::read_to_string(path).map_err(|source| StorageError::Io {
        what: format!("reading auth.htpasswd = {}", path.display()),
        source,
    })?;
    let wrong = |error| StorageError::Setting(format!("auth.htpasswd = {}: {error}", path.display()));
    Htpasswd::parse(&text).map_err(wrong)
}

/// The embedded database and its caches belong to one process at a time.
fn lock(directory: &Path) -> Result<File, StorageError> {
    let failed =
        |what: &str, source| StorageError::Io { what: format!("{what} {}", directory.display()), source };
    std::fs::create_dir_all(directory).map_err(|e| failed("creating", e))?;
    let path = directory.join("rreg.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|e| failed("locking", e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StorageError::Held(directory.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed("locking", source)),
    }
}

/// How the store is spoken to: what is waited for, and whose certificates are believed besides those of the system's
/// authorities.
fn patience(config: &config::Storage) -> Result<Patience, StorageError> {
    let (request, answer) = (config.request_timeout.0, config.answer_timeout.0);
    let mut authorities = Vec::new();
    if let Some(path) = &config.ca_file {
        let wrong =
            |why: String| StorageError::Setting(format!("storage.ca_file = {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        authorities =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        if authorities.is_empty() {
            return Err(wrong("it has no certificate".to_owned()));
        }
    }
    Ok(Patience { request, answer, authorities })
}

/// Whether the files that the store's settings name can be used.
pub(crate) fn check_store(config: &Config) -> Result<(), StorageError> {
    patience(&config.storage).map(|_| ())
}

/// An outage is ridden out: as many tries as the time allows.
fn retry(config: &config::Storage) -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: config.retry_for.0 }
}

fn is_http(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// The endpoint, with the bucket in its host where that is wanted and not so already.
fn hosted(endpoint: &str, s3: &config::S3) -> String {
    let (Some(bucket), true) = (&s3.bucket, s3.virtual_hosted) else { return endpoint.to_owned() };
    match endpoint.split_once("://") {
        Some((scheme, host)) if !host.starts_with(&format!("{bucket}.")) => {
            format!("{scheme}://{bucket}.{host}")
        }
        _ => endpoint.to_owned(),
    }
}

fn blob_store(config: &config::Storage) -> Result<BlobStore, StorageError> {
    let (client, patience) = (ClientOptions::new(), patience(config)?);
    match config.backend {
        Backend::Directory => BlobStore::directory(config.data.join("objects"), config.verify_interval.0),
        Backend::S3 => {
            let s3 = &config.s3;
            let client = client.with_allow_http(s3.allow_http);
            // Identities of pods and machines, and encryption by KMS, are in the environment under Amazon's own names.
            let mut builder = AmazonS3Builder::from_env()
                .with_client_options(client.clone())
                .with_retry(retry(config))
                .with_http_connector(patience.clone())
                .with_virtual_hosted_style_request(s3.virtual_hosted)
                .with_bucket_name(s3.bucket.as_deref().unwrap_or_default());
            if let Some(region) = &s3.region {
                builder = builder.with_region(region);
            } else if s3.endpoint.is_some() {
                builder = builder.with_region("us-east-1");
            }
            if let Some(endpoint) = &s3.endpoint {
                builder = builder.with_endpoint(hosted(endpoint, s3));
            }
            if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose());
            }
            if let Some(token) = &s3.session_token {
                builder = builder.with_token(token.expose());
            }
            remote(config, builder.build()?, s3.prefix.as_deref(), &patience.connect(&client)?)
        }
        Backend::Gcs => {
            let gcs = &config.gcs;
            let client = client.with_allow_http(is_http(gcs.endpoint.as_deref()));
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_client_options(client.clone())
                .with_retry(retry(config))
                .with_http_connector(patience.clone())
                .with_bucket_name(gcs.bucket.as_deref().unwrap_or_default());
            if let Some(path) = &gcs.service_account_path {
                builder = builder.with_service_account_path(path.display().to_string());
            }
            if let Some(endpoint) = &gcs.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            remote(config, builder.build()?, gcs.prefix.as_deref(), &patience.connect(&client)?)
        }
        Backend::Azure => {
            let azure = &config.azure;
            let client = client.with_allow_http(is_http(azure.endpoint.as_deref()));
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_client_options(client.clone())
                .with_retry(retry(config))
                .with_http_connector(patience.clone())
                .with_account(azure.account.as_deref().unwrap_or_default())
                .with_container_name(azure.container.as_deref().unwrap_or_default());
            if let Some(key) = &azure.access_key {
                builder = builder.with_access_key(key.expose());
            }
            if let Some(endpoint) = &azure.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            remote(config, builder.build()?, azure.prefix.as_deref(), &patience.connect(&client)?)
        }
    }
}

/// A cloud store with its prefix. What signs addresses knows nothing of the prefix, so they go together or not.
fn remote<S>(
    config: &config::Storage,
    store: S,
    prefix: Option<&str>,
    client: &HttpClient,
) -> Result<BlobStore, StorageError>
where
    S: ObjectStore + Signer,
{
    let (part, verify) = (config.part_size.as_usize(), config.verify_interval.0);
    let store = Arc::new(store);
    let prefix = prefix.map(|p| p.trim_matches('/')).filter(|p| !p.is_empty());
    let objects: Arc<dyn ObjectStore> = match prefix {
        Some(prefix) => Arc::new(PrefixStore::new(store.clone(), prefix)),
        None => store.clone(),
    };
    let blobs = BlobStore::new(objects, part, verify);
    let prefix = prefix.map(str::to_owned);
    // Azure forgets by itself what was never ended, and does not know ranges that count from the end.
    let azure = config.backend == Backend::Azure;
    let blobs =
        if azure { blobs } else { blobs.with_unfinished(store.clone(), client.clone(), prefix.clone()) };
    Ok(if config.redirect {
        blobs.with_redirects(store, prefix, config.redirect_expiry.0, !azure)
    } else {
        blobs
    })
}
