//! `[storage]` and `[database]`: where bytes and metadata are kept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::Findings;
use super::secret::{DatabaseUrl, Secret, is_without_secrets};
use super::section::section;
use super::units::{ByteSize, HumanDuration};

/// Which kind of store holds the blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A local directory.
    Directory,
    /// Amazon S3 or a service with its API.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl FromStr for Backend {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "directory" => Ok(Self::Directory),
            "s3" => Ok(Self::S3),
            "gcs" => Ok(Self::Gcs),
            "azure" => Ok(Self::Azure),
            _ => Err("is no kind of store"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
        })
    }
}

section! {
    /// Where blobs are kept.
    pub struct Storage {
        /// Directory of everything local: the SQLite file, and the blobs of the directory backend.
        data: PathBuf = "./rreg-data".into(),
        /// Kind of store: directory, s3, gcs or azure.
        backend: Backend = Backend::Directory,
        /// Blobs up to this size are kept in the database beside the manifests; 0 turns that off. At most 1MiB.
        inline_max: ByteSize = ByteSize::kib(32),
        /// Part size of uploads to object stores. 5MiB (the least that S3 takes) to 1GiB.
        part_size: ByteSize = ByteSize::mib(8),
        /// Answers blob downloads with a redirect to a presigned URL of the object store.
        redirect: bool = false,
        /// How long such a URL is valid. 1s to 7d.
        redirect_expiry: HumanDuration = HumanDuration::seconds(15 * 60),
        /// Longest time of one request that brings bytes to an object store: 8 MiB at 14 kB/s by default. 1s to 1d.
        request_timeout: HumanDuration = HumanDuration::seconds(600),
        /// Longest silence of an object store: before it answers, while it takes nothing of what is sent (and as long
        /// again for each MiB on its way, which it may be reading), and between two pieces of an answer. The request is
        /// tried again then, as after any failure. 1s to 1h.
        answer_timeout: HumanDuration = HumanDuration::seconds(30),
        /// How long a request to an object store that fails is tried again: outages shorter than that are ridden out. 0 to
        /// 1h.
        retry_for: HumanDuration = HumanDuration::seconds(60),
        /// PEM file of certificate authorities of the object store, beside the system's.
        ca_file: Option<PathBuf> = None,
        /// A stored object that was read whole, had the right digest and has not changed since is not hashed again
        /// for so long; 0 hashes it on every read.
        verify_interval: HumanDuration = HumanDuration::seconds(24 * 3600),
        sections {
            /// Amazon S3.
            s3: S3,
            /// Google Cloud Storage.
            gcs: Gcs,
            /// Azure Blob Storage.
            azure: Azure,
        }
    }
}

section! {
    /// Amazon S3, or a service with its API. Without keys, the machine's own role is used.
    pub struct S3 {
        /// Bucket.
        bucket: Option<String> = None,
        /// Region, such as eu-central-1.
        region: Option<String> = None,
        /// Base URL of a service other than Amazon's.
        endpoint: Option<String> = None,
        /// Access key's name.
        access_key_id: Option<String> = None,
        /// Access key's secret.
        secret_access_key: Option<Secret> = None,
        /// File that holds `secret_access_key`.
        secret_access_key_file: Option<PathBuf> = None,
        /// Token of a temporary access key.
        session_token: Option<Secret> = None,
        /// File that holds `session_token`.
        session_token_file: Option<PathBuf> = None,
        /// Allows an `http://` endpoint.
        allow_http: bool = false,
        /// Names the bucket in the host (`bucket.host`) and not in the path (`host/bucket`).
        virtual_hosted: bool = false,
        /// What every key begins with.
        prefix: Option<String> = None,
    }
}

section! {
    /// Google Cloud Storage. Without a key file, the machine's own service account is used.
    pub struct Gcs {
        /// Bucket.
        bucket: Option<String> = None,
        /// File with the service account's JSON key.
        service_account_path: Option<PathBuf> = None,
        /// Base URL of a service other than Google's.
        endpoint: Option<String> = None,
        /// What every key begins with.
        prefix: Option<String> = None,
    }
}

section! {
    /// Azure Blob Storage. Without a key, the machine's managed identity is used.
    pub struct Azure {
        /// Storage account.
        account: Option<String> = None,
        /// Container.
        container: Option<String> = None,
        /// Account's access key.
        access_key: Option<Secret> = None,
        /// File that holds `access_key`.
        access_key_file: Option<PathBuf> = None,
        /// Base URL of a service other than Azure's public one.
        endpoint: Option<String> = None,
        /// What every key begins with.
        prefix: Option<String> = None,
    }
}

section! {
    /// Where metadata is kept.
    pub struct Database {
        /// `sqlite:PATH` or a `postgres://` URL. Default: `rreg.db` in `storage.data`.
        url: Option<DatabaseUrl> = None,
        /// File that holds `url`, to keep its password out of environment and configuration.
        url_file: Option<PathBuf> = None,
        /// Connections to the database. 2 to 1000.
        max_connections: u32 = 16,
    }
}

impl Storage {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.within("storage.inline_max", self.inline_max, ByteSize(0), ByteSize::mib(1));
        findings.within("storage.part_size", self.part_size, ByteSize::mib(5), ByteSize::mib(1024));
        let week = HumanDuration::seconds(7 * 86_400);
        findings.within("storage.redirect_expiry", self.redirect_expiry, HumanDuration::seconds(1), week);
        let day = HumanDuration::seconds(86_400);
        findings.within("storage.request_timeout", self.request_timeout, HumanDuration::seconds(1), day);
        let hour = HumanDuration::seconds(3600);
        findings.within("storage.answer_timeout", self.answer_timeout, HumanDuration::seconds(1), hour);
        findings.within("storage.retry_for", self.retry_for, HumanDuration::default(), hour);
        for (field, prefix) in [
            ("storage.s3.prefix", &self.s3.prefix),
            ("storage.gcs.prefix", &self.gcs.prefix),
            ("storage.azure.prefix", &self.azure.prefix),
        ] {
            // It would lie inside what a registry above it takes for its own.
            let mut parts = prefix.iter().flat_map(|prefix| prefix.split('/'));
            if let Some(part) = parts.find(|part| ["blobs", "manifests"].contains(part)) {
                let why = format!("{part:?} is where a registry keeps its own, and there may be one above");
                findings.reject(field, &why, Some("another name"));
            }
        }
        match self.backend {
            Backend::Directory if self.redirect => findings.reject(
                "storage.redirect",
                "a directory has no presigned URLs",
                Some("false, or another storage.backend"),
            ),
            Backend::Directory => {}
            Backend::S3 => self.s3.validate(findings),
            Backend::Gcs => {
                findings.required("storage.gcs.bucket", self.gcs.bucket.as_ref(), "storage.backend is gcs");
                endpoint("storage.gcs.endpoint", self.gcs.endpoint.as_deref(), true, findings);
            }
            Backend::Azure => {
                let why = "storage.backend is azure";
                findings.required("storage.azure.account", self.azure.account.as_ref(), why);
                findings.required("storage.azure.container", self.azure.container.as_ref(), why);
                endpoint("storage.azure.endpoint", self.azure.endpoint.as_deref(), true, findings);
            }
        }
    }
}

/// Whether the cloud's own variable has a value.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

impl Storage {
    /// As whom the object store is asked; `None` for a directory. In the order in which `object_store` looks.
    pub fn identity(&self) -> Option<String> {
        const MACHINE: &str = "the machine's own, from its metadata service";
        let first = |known: &[(bool, &str)], otherwise: &str| {
            known.iter().find(|(has, _)| *has).map_or(otherwise, |(_, name)| name).to_owned()
        };
        match self.backend {
            Backend::Directory => None,
            Backend::S3 => Some(first(
                &[
                    (self.s3.access_key_id.is_some(), "storage.s3.access_key_id"),
                    (is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY"), "AWS_ACCESS_KEY_ID"),
                    (
                        is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && is_set("AWS_ROLE_ARN"),
                        "AWS_ROLE_ARN, by the token in AWS_WEB_IDENTITY_TOKEN_FILE",
                    ),
                    (
                        is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
                        "the container's, from AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                    ),
                    (
                        is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
                        "the pod's, from AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    ),
                ],
                MACHINE,
            )),
            Backend::Gcs => Some(first(
                &[
                    (self.gcs.service_account_path.is_some(), "storage.gcs.service_account_path"),
                    (is_set("GOOGLE_SERVICE_ACCOUNT"), "GOOGLE_SERVICE_ACCOUNT"),
                    (is_set("GOOGLE_SERVICE_ACCOUNT_PATH"), "GOOGLE_SERVICE_ACCOUNT_PATH"),
                    (is_set("GOOGLE_SERVICE_ACCOUNT_KEY"), "GOOGLE_SERVICE_ACCOUNT_KEY"),
                    (is_set("GOOGLE_APPLICATION_CREDENTIALS"), "GOOGLE_APPLICATION_CREDENTIALS"),
                ],
                MACHINE,
            )),
            Backend::Azure => Some(first(
                &[
                    (self.azure.access_key.is_some(), "storage.azure.access_key"),
                    (is_set("AZURE_STORAGE_ACCOUNT_KEY"), "AZURE_STORAGE_ACCOUNT_KEY"),
                    (is_set("AZURE_STORAGE_TOKEN"), "AZURE_STORAGE_TOKEN"),
                    (
                        is_set("AZURE_FEDERATED_TOKEN_FILE") && is_set("AZURE_CLIENT_ID"),
                        "AZURE_CLIENT_ID, by the token in AZURE_FEDERATED_TOKEN_FILE",
                    ),
                    (is_set("AZURE_CLIENT_SECRET"), "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"),
                    (
                        is_set("AZURE_STORAGE_SAS_KEY") || is_set("AZURE_STORAGE_SAS_TOKEN"),
                        "a shared access signature",
                    ),
                ],
                MACHINE,
            )),
        }
    }
}

impl S3 {
    fn validate(&self, findings: &mut Findings) {
        findings.required("storage.s3.bucket", self.bucket.as_ref(), "storage.backend is s3");
        let in_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| is_set(name));
        if self.endpoint.is_none() && !in_environment {
            let why = "Amazon's own S3 needs it (or AWS_REGION)";
            findings.required("storage.s3.region", self.region.as_ref(), why);
        }
        if self.access_key_id.is_some() {
            let key = self.secret_access_key.as_ref();
            findings.required("storage.s3.secret_access_key", key, "storage.s3.access_key_id is");
        }
        if self.secret_access_key.is_some() {
            let id = self.access_key_id.as_ref();
            findings.required("storage.s3.access_key_id", id, "storage.s3.secret_access_key is");
        }
        endpoint("storage.s3.endpoint", self.endpoint.as_deref(), self.allow_http, findings);
    }
}

fn endpoint(field: &str, value: Option<&str>, allow_http: bool, findings: &mut Findings) {
    let Some(value) = value else { return };
    let parsed = url::Url::parse(value);
    // Every error of a request names its URL.
    let is_bare = |url: &url::Url| is_without_secrets(url) && url.fragment().is_none();
    if parsed.as_ref().is_ok_and(|url| !is_bare(url)) {
        let why = "is not a base URL alone: a user, a password or parameters in it would be in logs";
        return findings.reject(field, why, Some("https://HOST[:PORT], and keys in their own fields"));
    }
    match parsed {
        Ok(url) if url.scheme() == "https" && url.has_host() => {}
        Ok(url) if url.scheme() == "http" && url.has_host() => {
            if !allow_http {
                let why = "would send credentials and content in clear text";
                findings.reject(field, why, Some("an https:// URL, or storage.s3.allow_http = true"));
            }
        }
        _ => findings.reject(field, "is not a base URL", Some("https://HOST[:PORT]")),
    }
}

impl Database {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.within("database.max_connections", self.max_connections, 2, 1000);
    }
}
