//! An S3 server in this process (`s3s` over a directory), one a test run, one bucket a registry. It can be made to
//! fail now and then ([`disturb`]).

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock};
use std::thread;

use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

use super::run_dir::RunDir;
use crate::durability::random::Random;

const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";

/// The settings of a registry that keeps its bytes in a fresh bucket.
pub(super) fn bucket() -> Vec<(&'static str, String)> {
    static SERVER: OnceLock<(SocketAddr, PathBuf)> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (address, root) = SERVER.get_or_init(start);
    let bucket = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    fs::create_dir(root.join(&bucket)).unwrap();
    vec![
        ("RREG_STORAGE__BACKEND", "s3".into()),
        ("RREG_STORAGE__S3__BUCKET", bucket),
        ("RREG_STORAGE__S3__REGION", "us-east-1".into()),
        ("RREG_STORAGE__S3__ENDPOINT", format!("http://{address}")),
        ("RREG_STORAGE__S3__ACCESS_KEY_ID", ACCESS_KEY.into()),
        ("RREG_STORAGE__S3__SECRET_ACCESS_KEY", SECRET_KEY.into()),
        ("RREG_STORAGE__S3__ALLOW_HTTP", "true".into()),
    ]
}

/// Settings as of [`bucket`], with a proxy in between that can do harm.
pub(crate) fn bucket_behind_proxy() -> (Vec<(&'static str, String)>, super::proxy::Proxy) {
    let mut settings = bucket();
    let endpoint = settings.iter_mut().find(|(name, _)| *name == "RREG_STORAGE__S3__ENDPOINT").unwrap();
    let store = endpoint.1.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = super::proxy::Proxy::before(store);
    endpoint.1 = format!("http://{}", proxy.address());
    (settings, proxy)
}

/// On its own thread and runtime: the runtime of the test that came first ends with that test.
fn start() -> (SocketAddr, PathBuf) {
    let root = RunDir::get().path().join("s3");
    fs::create_dir(&root).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).unwrap());
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            serve(listener, service).await;
        });
    });
    (receiver.recv().unwrap(), root)
}

/// Buckets that fail, each with what decides about its next request.
static DISTURBED: Mutex<Option<HashMap<String, Random>>> = Mutex::new(None);

/// From now on one in twenty requests for the bucket is refused, every other of those after it was carried out. Clients
/// take a refusal to be final. `None`: no more.
pub(crate) fn disturb(bucket: &str, seed: Option<u64>) {
    let mut disturbed = DISTURBED.lock().unwrap();
    let disturbed = disturbed.get_or_insert_default();
    match seed {
        Some(seed) => drop(disturbed.insert(bucket.to_owned(), Random::new(seed))),
        None => drop(disturbed.remove(bucket)),
    }
}

#[derive(PartialEq)]
enum Fate {
    Fine,
    RefusedBefore,
    RefusedAfter,
}

fn fate(path: &str) -> Fate {
    let bucket = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut disturbed = DISTURBED.lock().unwrap();
    match disturbed.as_mut().and_then(|all| all.get_mut(bucket)).map(|random| random.below(40)) {
        Some(0) => Fate::RefusedBefore,
        Some(1) => Fate::RefusedAfter,
        _ => Fate::Fine,
    }
}

fn refused() -> Response<s3s::Body> {
    Response::builder().status(403).body(s3s::Body::empty()).unwrap()
}

async fn answer(
    service: S3Service,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let fate = fate(request.uri().path());
    if fate == Fate::RefusedBefore {
        return Ok(refused());
    }
    let answer = Service::call(&service, request).await?;
    Ok(if fate == Fate::RefusedAfter { refused() } else { answer })
}

async fn serve(listener: tokio::net::TcpListener, service: S3Service) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Small answers must not wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(service.clone(), request));
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
