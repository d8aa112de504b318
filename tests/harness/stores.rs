//! Object stores that were written by others, each started with a fresh bucket where it is installed.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::signer::Signer as _;
use rustix::process::Signal;

use super::proxy::Proxy;
use super::run_dir::{Child, RunDir, wait_until};
use super::{port, tool};

const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";
/// Azurite's only account and its key, as in its manual.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Versity,
    Moto,
    Minio,
    Azurite,
}

/// A running store with a bucket, behind a proxy that can do harm. It ends when it is dropped.
pub(crate) struct Store {
    maker: Maker,
    pub(crate) proxy: Proxy,
    /// Where it is spoken to, if not through the proxy, which knows no TLS.
    direct: Option<SocketAddr>,
    _process: Child,
    home: tempfile::TempDir,
}

impl Store {
    /// `None` where it is not installed.
    pub(crate) async fn start(maker: Maker) -> Option<Self> {
        Self::start_as(maker, false).await
    }

    /// One that speaks TLS, with a certificate of an authority that nobody else knows.
    pub(crate) async fn start_with_tls() -> Option<Self> {
        Self::start_as(Maker::Versity, true).await
    }

    async fn start_as(maker: Maker, tls: bool) -> Option<Self> {
        let program = maker.program();
        let Some(file) = tool::find(program) else {
            tool::skip(&format!("{program} is not installed"));
            return None;
        };
        let home = RunDir::get().subdir("store-");
        let address = SocketAddr::from(([127, 0, 0, 1], port::free()));
        let mut command = Command::new(file);
        let port = address.port().to_string();
        match maker {
            Maker::Versity => command
                .env("ROOT_ACCESS_KEY", ACCESS_KEY)
                .env("ROOT_SECRET_KEY", SECRET_KEY)
                .args(["--port", &address.to_string()])
                .args(if tls { identity(home.path()) } else { Vec::new() })
                .arg("posix")
                .arg(objects(home.path())),
            Maker::Moto => command.args(["-H", "127.0.0.1", "-p", &port]),
            Maker::Minio => command
                .env("HOME", home.path())
                .env("MINIO_ROOT_USER", ACCESS_KEY)
                .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
                .env("MINIO_UPDATE", "off")
                .args([
                    "server",
                    "--quiet",
                    "--address",
                    &address.to_string(),
                    "--console-address",
                    "127.0.0.1:0",
                ])
                .arg(objects(home.path())),
            Maker::Azurite => command
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--skipApiVersionCheck", "--silent"])
                .arg("--location")
                .arg(home.path()),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Child::spawn(&mut command, Signal::TERM);
        wait_until(program, || TcpStream::connect(address).is_ok());
        let direct = tls.then_some(address);
        let store = Self { maker, proxy: Proxy::before(address), direct, _process: process, home };
        store.make_bucket("images", address).await;
        Some(store)
    }

    /// Makes another bucket.
    async fn make_bucket(&self, name: &str, address: SocketAddr) {
        let pem = self.authority().map(|path| std::fs::read(path).unwrap());
        let authorities = pem.map(|pem| reqwest::Certificate::from_pem(&pem).unwrap());
        let client = reqwest::Client::builder().no_proxy().tls_certs_only(authorities).build().unwrap();
        let request = match self.maker {
            Maker::Versity | Maker::Moto | Maker::Minio => {
                let signer = AmazonS3Builder::new()
                    .with_region("us-east-1")
                    .with_endpoint(format!("{}://{address}", self.scheme()))
                    .with_allow_http(true)
                    .with_access_key_id(ACCESS_KEY)
                    .with_secret_access_key(SECRET_KEY)
                    .with_bucket_name(name)
                    .build()
                    .unwrap();
                let expiry = Duration::from_secs(60);
                let address = signer
                    .signed_url(reqwest::Method::PUT, &object_store::path::Path::from(""), expiry)
                    .await
                    .unwrap();
                client.put(address).header("content-length", "0")
            }
            Maker::Azurite => {
                let date: chrono::DateTime<chrono::Utc> = SystemTime::now().into();
                let date = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
                let version = "2023-11-03";
                let text = format!(
                    "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n\
                     /{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
                );
                let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(ACCOUNT_KEY).unwrap());
                let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
                client
                    .put(format!("http://{address}/{ACCOUNT}/{name}?restype=container"))
                    .header("x-ms-date", date)
                    .header("x-ms-version", version)
                    .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
                    .header("content-length", "0")
            }
        };
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The settings of a registry that keeps its bytes there.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let endpoint = format!("{}://{}", self.scheme(), self.direct.unwrap_or(self.proxy.address()));
        match self.maker {
            Maker::Versity | Maker::Moto | Maker::Minio => vec![
                ("RREG_STORAGE__BACKEND", "s3".into()),
                ("RREG_STORAGE__S3__BUCKET", "images".into()),
                ("RREG_STORAGE__S3__REGION", "us-east-1".into()),
                ("RREG_STORAGE__S3__ENDPOINT", endpoint),
                ("RREG_STORAGE__S3__ACCESS_KEY_ID", ACCESS_KEY.into()),
                ("RREG_STORAGE__S3__SECRET_ACCESS_KEY", SECRET_KEY.into()),
                ("RREG_STORAGE__S3__ALLOW_HTTP", "true".into()),
                ("RREG_STORAGE__S3__PREFIX", "some/where".into()),
            ],
            Maker::Azurite => vec![
                ("RREG_STORAGE__BACKEND", "azure".into()),
                ("RREG_STORAGE__AZURE__ACCOUNT", ACCOUNT.into()),
                ("RREG_STORAGE__AZURE__CONTAINER", "images".into()),
                ("RREG_STORAGE__AZURE__ACCESS_KEY", ACCOUNT_KEY.into()),
                ("RREG_STORAGE__AZURE__ENDPOINT", format!("{endpoint}/{ACCOUNT}")),
                ("RREG_STORAGE__AZURE__PREFIX", "some/where".into()),
            ],
        }
    }

    fn scheme(&self) -> &'static str {
        if self.direct.is_some() { "https" } else { "http" }
    }

    /// The file with the authority of its certificate, where it has one.
    pub(crate) fn authority(&self) -> Option<PathBuf> {
        self.direct.map(|_| self.home.path().join("authority.pem"))
    }

    /// Whether it says of every upload that it was begun years ago.
    pub(crate) fn is_long_ago(&self) -> bool {
        self.maker == Maker::Moto
    }

    /// Whether it speaks S3, with uploads in parts that are begun and ended.
    pub(crate) fn is_s3(&self) -> bool {
        self.maker != Maker::Azurite
    }

    /// Whether it lists uploads that were never ended. MinIO does so for a whole key only, and ends them by itself after a
    /// day (`stale_uploads_expiry`).
    pub(crate) fn lists_unfinished(&self) -> bool {
        matches!(self.maker, Maker::Versity | Maker::Moto)
    }
}

/// Where the objects are.
fn objects(home: &Path) -> PathBuf {
    let objects = home.join("objects");
    std::fs::create_dir(&objects).unwrap();
    objects
}

/// Makes an authority and a certificate of it; the arguments that name the latter.
fn identity(home: &Path) -> Vec<String> {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = own.signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = home.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("authority.pem", authority.pem());
    let (certificate, key) =
        (write("certificate.pem", certificate.pem()), write("key.pem", key.serialize_pem()));
    vec!["--cert".to_owned(), certificate, "--key".to_owned(), key]
}

impl Maker {
    fn program(self) -> &'static str {
        match self {
            Self::Versity => "versitygw",
            Self::Moto => "moto_server",
            Self::Minio => "minio",
            Self::Azurite => "azurite-blob",
        }
    }
}
