use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::HumanDuration;
use crate::listen::{Options, serve};

/// A certificate authority.
struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Leaf {
    pem: String,
    key_pem: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

fn write(dir: &Path, leaf: &Leaf) {
    std::fs::write(dir.join("cert"), &leaf.pem).unwrap();
    std::fs::write(dir.join("key"), &leaf.key_pem).unwrap();
}

fn config(dir: &Path, client_ca: bool) -> config::Tls {
    config::Tls {
        cert: Some(dir.join("cert")),
        key: Some(dir.join("key")),
        client_ca: client_ca.then(|| dir.join("ca")),
    }
}

struct Served {
    dir: TempDir,
    tls: Arc<Tls>,
    address: SocketAddr,
    shutdown: CancellationToken,
}

async fn start(leaf: &Leaf, client_ca: Option<&Authority>) -> Served {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), leaf);
    if let Some(authority) = client_ca {
        std::fs::write(dir.path().join("ca"), &authority.pem).unwrap();
    }
    let tls = Tls::load(&config(dir.path(), client_ca.is_some())).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = config::Server { shutdown_timeout: HumanDuration::seconds(600), ..Default::default() };
    let options = Options::new(&server, ([127, 0, 0, 1], 0).into(), Some(Arc::clone(&tls)));
    let router = Router::new().route("/", get(async || "over TLS"));
    tokio::spawn(serve(listener, router, options, shutdown.clone()));
    Served { dir, tls, address, shutdown }
}

/// Asks for `/` and gives the server's certificate, the negotiated protocol and the answer.
async fn ask(
    address: SocketAddr,
    roots: &Authority,
    client: Option<&Leaf>,
    alpn: &[&str],
) -> io::Result<(CertificateDer<'static>, Option<Vec<u8>>, String)> {
    let mut store = RootCertStore::empty();
    store.add(roots.der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    let mut config = match client {
        Some(leaf) => builder.with_client_auth_cert(vec![leaf.der.clone()], leaf.key.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut answer = String::new();
    if protocol.as_deref() != Some(b"h2") {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        stream.read_to_string(&mut answer).await?;
    }
    Ok((certificate, protocol, answer))
}

#[tokio::test]
async fn serves_and_negotiates() {
    let authority = Authority::new();
    let leaf = authority.sign("localhost");
    let served = start(&leaf, None).await;
    let (certificate, _, answer) = ask(served.address, &authority, None, &[]).await.unwrap();
    assert_eq!(certificate, leaf.der);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("over TLS"), "{answer}");
    let (_, protocol, _) = ask(served.address, &authority, None, &["http/1.1", "h2"]).await.unwrap();
    assert_eq!(protocol.as_deref(), Some(b"h2".as_slice()));
    served.shutdown.cancel();
}

#[tokio::test]
async fn http2_over_tls_answers() {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let authority = Authority::new();
    let served = start(&authority.sign("localhost"), None).await;
    let mut store = RootCertStore::empty();
    store.add(authority.der.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(Empty::<axum::body::Bytes>::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "over TLS");
    served.shutdown.cancel();
}

#[tokio::test]
async fn changed_files_are_used_and_bad_ones_are_not() {
    let authority = Authority::new();
    let (first, second) = (authority.sign("localhost"), authority.sign("localhost"));
    let served = start(&first, None).await;
    assert!(!served.tls.reload(false).unwrap(), "nothing changed");

    // A certificate that does not go with the key, as half of a replacement looks.
    std::fs::write(served.dir.path().join("cert"), &second.pem).unwrap();
    let error = served.tls.reload(false).unwrap_err().to_string();
    assert!(error.starts_with("server.tls.cert: ") && error.contains("does not go with the key"), "{error}");
    assert!(!served.tls.reload(false).unwrap(), "the same bad files are not tried again");
    served.tls.reload(true).unwrap_err();
    let (certificate, _, _) = ask(served.address, &authority, None, &[]).await.unwrap();
    assert_eq!(certificate, first.der);

    std::fs::write(served.dir.path().join("key"), &second.key_pem).unwrap();
    assert!(served.tls.reload(false).unwrap());
    let (certificate, _, _) = ask(served.address, &authority, None, &[]).await.unwrap();
    assert_eq!(certificate, second.der);
    served.shutdown.cancel();
}

#[tokio::test]
async fn only_clients_of_the_authority_get_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let served = start(&authority.sign("localhost"), Some(&authority)).await;
    let member = authority.sign("ci");
    let (_, _, answer) = ask(served.address, &authority, Some(&member), &[]).await.unwrap();
    assert!(answer.ends_with("over TLS"));
    ask(served.address, &authority, None, &[]).await.unwrap_err();
    ask(served.address, &authority, Some(&stranger.sign("ci")), &[]).await.unwrap_err();

    // A replaced authority no longer vouches for anybody.
    std::fs::write(served.dir.path().join("ca"), &stranger.pem).unwrap();
    assert!(served.tls.reload(false).unwrap());
    ask(served.address, &authority, Some(&member), &[]).await.unwrap_err();
    served.shutdown.cancel();
}

#[test]
fn unusable_files_are_named() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &authority.sign("localhost"));
    let refused = |client_ca| match Tls::load(&config(dir.path(), client_ca)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    assert!(refused(true).starts_with("server.tls.client_ca: "), "{}", refused(true));
    std::fs::write(dir.path().join("ca"), "no PEM").unwrap();
    assert!(refused(true).contains("holds no certificate"), "{}", refused(true));
    std::fs::write(dir.path().join("key"), "no PEM").unwrap();
    assert!(refused(false).starts_with("server.tls.key: "), "{}", refused(false));
    std::fs::remove_file(dir.path().join("cert")).unwrap();
    assert!(refused(false).starts_with("server.tls.cert: "), "{}", refused(false));
    assert!(Tls::load(&config::Tls::default()).unwrap().is_none());
}
