//! The listener for reviews and probes alone.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::harness::port;

/// An address that nobody listens on.
fn free() -> String {
    format!("127.0.0.1:{}", port::free())
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

/// Where every client has to show a certificate, there is no way around it by the other port; and it is no login there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_of_all_clients_holds_here_too() {
    let home = RunDir::get().subdir("admission-");
    let authority = authority(home.path());
    let (address, main) = (free(), free());
    let file = |name: &str| home.path().join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let settings = [
        ("RREG_SERVER__LISTEN", main.as_str()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST),
        ("RREG_POLICY__ADMISSION_LISTEN", &address),
        ("RREG_POLICY__ADMISSION_PATH_SECRET", "a-secret-of-the-cluster-01"),
        ("RREG_SERVER__TLS__CLIENT_CA", &ca),
        ("RREG_SERVER__TLS__CERT", &cert),
        ("RREG_SERVER__TLS__KEY", &key),
    ];
    let Some(_registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let review = pod(&["nginx:1"]).to_string();
    let length = review.len();
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{review}"
        )
    };
    let with_secret = post("/admission/v1/validate/a-secret-of-the-cluster-01");
    let metrics = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for request in [with_secret.as_str(), metrics] {
        assert_eq!(ask(&address, &authority, false, request).await, None);
        let answer = ask(&address, &authority, true, request).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let answer = ask(&address, &authority, true, &post("/admission/v1/validate")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

/// At a stop slow uploads are cut after a while, and reviews are answered for as long as anything is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reviews_are_answered_after_slow_uploads_have_been_cut() {
    use std::io::{Read as _, Write as _};

    let address = free();
    let settings = [
        ("RREG_POLICY__ADMISSION_LISTEN", address.as_str()),
        ("RREG_POLICY__OPEN_ADMISSION", "true"),
        ("RREG_SERVER__SHUTDOWN_TIMEOUT", "30s"),
    ];
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = crate::harness::image::Blob::random("held", 64 << 20);
    let start = api.post(format!("/v2/{repository}/blobs/uploads/")).expect(202).await;
    let target = crate::harness::http::commit(&start.location(), &blob.digest);
    api.put(target, blob.bytes.clone()).octets().expect(201).await;
    let place = api.post(format!("/v2/{repository}/blobs/uploads/")).expect(202).await.location();
    let begun = |head: String| {
        let mut stream = std::net::TcpStream::connect(registry.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // A pull of which the client reads nothing keeps the server from its end, and an upload of a few bytes waits.
    let mut pull = begun(format!("GET /v2/{repository}/blobs/{} HTTP/1.1\r\nhost: x\r\n\r\n", blob.digest));
    pull.read_exact(&mut [0; 12]).unwrap();
    let mut upload = begun(format!(
        "PATCH {place} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: 100\r\n\r\nhello"
    ));
    let metrics = async || String::from_utf8_lossy(&api.get("/metrics").expect(200).await.body).into_owned();
    while !metrics().await.contains("rreg_uploads_in_progress 1") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stopping = std::thread::spawn(move || registry.stop());
    // Until it is cut.
    let _ = tokio::task::block_in_place(|| upload.read(&mut [0; 1]));
    let review = pod(&["nginx:1"]).to_string();
    let (first, rest) = review.split_at(10);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /admission/v1/validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{first}",
            review.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The rest comes later, as frames of HTTP/2 do.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"allowed\""), "{answer}");
    }
    drop(pull);
    stopping.join().unwrap();
}
