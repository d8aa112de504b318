//! The listener for reviews and probes alone.

use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// An address that nobody listens on.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_has_connections_of_its_own_and_serves_nothing_else() {
    let address = free();
    let settings = [
        ("RREG_POLICY__ADMISSION_LISTEN", address.as_str()),
        ("RREG_POLICY__OPEN_ADMISSION", "true"),
        ("RREG_SERVER__MAX_CONNECTIONS", "1"),
    ];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    // The only connection of the other listener is taken by a client that has asked for something.
    let mut client = std::net::TcpStream::connect(registry.address()).unwrap();
    std::io::Write::write_all(&mut client, b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let url = |path: &str| format!("http://{address}{path}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(url(path)).send().await.unwrap().status(), 200, "{path}");
    }
    let review = pod(&["nginx:1"]);
    let answer = http.post(url("/admission/v1/validate")).body(review.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(http.get(url("/v2/")).send().await.unwrap().status(), 404);
    drop(client);
}

/// Certificates of one authority, as PEM files in `home`: `ca.pem`, `server.pem` and `server.key`; and a client's,
/// `client.pem` and `client.key`.
pub(crate) struct Authority {
    ca: rcgen::Certificate,
    client: (rcgen::Certificate, rcgen::KeyPair),
}

pub(crate) fn authority(home: &Path) -> Authority {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, key) = make("localhost");
    fs::write(home.join("ca.pem"), ca.pem()).unwrap();
    fs::write(home.join("server.pem"), server.pem()).unwrap();
    fs::write(home.join("server.key"), key.serialize_pem()).unwrap();
    let client = make("apiserver");
    fs::write(home.join("client.pem"), client.0.pem()).unwrap();
    fs::write(home.join("client.key"), client.1.serialize_pem()).unwrap();
    Authority { ca, client }
}

/// What is answered to `request`, or `None` where the handshake or the connection fails.
async fn ask(address: &str, authority: &Authority, with_certificate: bool, request: &str) -> Option<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if with_certificate {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(authority.client.1.serialize_der()));
        builder.with_client_auth_cert(vec![authority.client.0.der().clone()], key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned()).filter(|answer| !answer.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_a_login() {
    let policies = Policies::new();
    let home = policies.home().to_owned();
    let authority = authority(&home);
    let (address, directory) = (free(), policies.directory());
    let file = |name: &str| home.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let settings = [
        ("RREG_POLICY__DIRECTORY", directory.as_str()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST),
        ("RREG_POLICY__ADMISSION_LISTEN", &address),
        ("RREG_POLICY__ADMISSION_CLIENT_CA", &ca),
        ("RREG_SERVER__TLS__CERT", &cert),
        ("RREG_SERVER__TLS__KEY", &key),
    ];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let review = pod(&[&format!("{HOST}/it/nothing:v1")]).to_string();
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{review}",
            review.len()
        )
    };
    let answer = ask(&address, &authority, true, &request("/admission/v1/validate")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("push it first"), "{answer}");
    assert_eq!(ask(&address, &authority, false, &request("/admission/v1/validate")).await, None);
    // The certificate counts on that listener alone.
    drop(registry);
}
