//! A database that takes everything and answers nothing: API servers are told before they give up.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::*;
use crate::harness::postgres;

/// Before the socket of PostgreSQL. Ends with the runtime.
pub(super) struct Between {
    _home: tempfile::TempDir,
    pub(super) url: String,
    pub(super) hangs: watch::Sender<bool>,
}

const SOCKET: &str = ".s.PGSQL.5432";

impl Between {
    pub(super) fn start() -> Option<Self> {
        let url = postgres::database()?;
        let (begin, directory) = url.split_once("?host=").unwrap();
        let home = RunDir::get().subdir("pg-");
        let listener = UnixListener::bind(home.path().join(SOCKET)).unwrap();
        let (hangs, seen) = watch::channel(false);
        let database = PathBuf::from(directory).join(SOCKET);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_database, to_database) = UnixStream::connect(&database).await.unwrap().into_split();
                tokio::spawn(pass(from_client, to_database, seen.clone()));
                tokio::spawn(pass(from_database, to_client, seen.clone()));
            }
        });
        let url = format!("{begin}?host={}", home.path().display());
        Some(Self { _home: home, url, hangs })
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut hangs: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if hangs.wait_for(|hangs| !hangs).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_told_in_time() {
    let Some(between) = Between::start() else { return };
    let policies = Policies::new();
    let directory = policies.directory();
    let settings = [
        ("RREG_DATABASE__URL", between.url.as_str()),
        ("RREG_POLICY__DIRECTORY", &directory),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST),
        // Longer than the API server waits.
        ("RREG_POLICY__TIMEOUT", "30s"),
    ];
    let Some(registry) = Registry::start_with(Backend::PostgresS3, &settings).await else { return };
    let cluster = Cluster { registry, policies };
    let (name, _) = cluster.push(&cluster.registry.repository()).await;
    let review = pod(&[&name]);
    message(&cluster.validate(&review).await);
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let ask = async |question: &str| {
        let url = format!("http://{}/admission/v1/{question}?timeout=3s", cluster.registry.address());
        let begun = Instant::now();
        let answer = http.post(url).body(review.to_string()).send().await.unwrap();
        let (status, slept) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let text = answer.text().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3) && !slept, "{:?} {text}", begun.elapsed());
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    between.hangs.send(true).unwrap();
    for _ in 0..3 {
        let (status, told) = ask("validate").await;
        assert_eq!((status, &told["kind"], &told["code"]), (503, &"Status".into(), &503.into()), "{told}");
        assert!(told["message"].as_str().unwrap().contains("database does not answer"), "{told}");
        let (status, told) = ask("mutate").await;
        assert_eq!((status, &told["response"]["allowed"]), (200, &true.into()), "{told}");
        assert!(warnings(&told["response"])[0].contains("no image was pinned"), "{told}");
    }
    between.hangs.send(false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while ask("validate").await.0 != 200 {
        assert!(Instant::now() < deadline, "the database answers again");
    }
    message(&cluster.validate(&review).await);
}
