//! The random clients over a bucket to which the way is bad: any answer may be wrong, lost, cut, changed or late.
//!
//! While it is so nobody has to get what is there, but nothing wrong; afterwards everything that was acknowledged is
//! there, and nothing is quarantined.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rreg_oci::{Algorithm, Digest};

use super::client::{Client, run_all};
use super::kill::clients;
use super::model::Content;
use super::random::{Random, rounds, seed};
use super::target::{Answer, Fail, Http, Push, Target};
use super::verify;
use crate::harness::{Backend, Registry, s3};

const CLIENTS: usize = 6;
const STEPS: usize = 50;
/// Goes in several parts of 5 MiB.
const LARGE: usize = (11 << 20) + 5;

/// A server whose store may say what is not so.
#[derive(Clone)]
struct Doubtful {
    server: Http,
    storm: Arc<AtomicBool>,
}

impl Doubtful {
    /// Content that seems to be gone is quarantined and refused; it is back when it can be read.
    fn unless_refused<T>(&self, answer: Answer<T>) -> Answer<T> {
        match answer {
            Err(Fail::Refused(404)) if self.storm.load(Ordering::SeqCst) => Err(Fail::Lost),
            answer => answer,
        }
    }
}

impl Target for Doubtful {
    async fn begin(&self, repository: &str, sha512: bool) -> Answer<String> {
        self.server.begin(repository, sha512).await
    }

    async fn append(
        &self,
        repository: &str,
        upload: &str,
        at: u64,
        chunk: Bytes,
        cut: Option<usize>,
    ) -> Answer<u64> {
        self.server.append(repository, upload, at, chunk, cut).await
    }

    async fn commit(&self, repository: &str, upload: &str, last: Bytes, digest: &Digest) -> Answer<()> {
        self.server.commit(repository, upload, last, digest).await
    }

    async fn status(&self, repository: &str, upload: &str) -> Answer<u64> {
        self.server.status(repository, upload).await
    }

    async fn cancel(&self, repository: &str, upload: &str) -> Answer<()> {
        self.server.cancel(repository, upload).await
    }

    async fn post(&self, repository: &str, digest: &Digest, body: Bytes) -> Answer<()> {
        self.server.post(repository, digest, body).await
    }

    async fn mount(&self, repository: &str, digest: &Digest, from: Option<&str>) -> Answer<bool> {
        self.server.mount(repository, digest, from).await
    }

    async fn put_manifest(&self, repository: &str, push: Push<'_>) -> Answer<()> {
        self.unless_refused(self.server.put_manifest(repository, push).await)
    }

    async fn delete_manifest(&self, repository: &str, reference: &str) -> Answer<()> {
        self.server.delete_manifest(repository, reference).await
    }

    async fn delete_blob(&self, repository: &str, digest: &Digest) -> Answer<()> {
        self.server.delete_blob(repository, digest).await
    }

    async fn blob(&self, repository: &str, digest: &Digest) -> Answer<Bytes> {
        self.unless_refused(self.server.blob(repository, digest).await)
    }

    async fn manifest(&self, repository: &str, reference: &str) -> Answer<Bytes> {
        self.server.manifest(repository, reference).await
    }

    async fn tags(&self, repository: &str) -> Answer<Vec<String>> {
        self.server.tags(repository).await
    }
}

fn some(target: &Doubtful, random: &mut Random) -> Vec<Client<Doubtful>> {
    let mut clients = clients(target, random, CLIENTS);
    let mut contents = clients[0].contents.to_vec();
    contents.push(Content::new(random.bytes(LARGE), Algorithm::Sha256));
    contents.push(Content::new(random.bytes(LARGE), Algorithm::Sha512));
    let contents = Arc::new(contents);
    clients.iter_mut().for_each(|client| client.contents = contents.clone());
    clients
}

/// Pulls what is there, again and again. Whatever comes whole is right.
async fn pull(target: Doubtful, names: Arc<Vec<String>>, contents: Arc<Vec<Content>>, mut random: Random) {
    while target.storm.load(Ordering::SeqCst) {
        let (Some(name), Some(content)) = (random.pick(&names), random.pick(&contents)) else { return };
        if let Ok(bytes) = target.blob(name, &content.digest).await {
            assert!(bytes == content.bytes, "{} has other bytes", content.digest);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_way_to_the_bucket_loses_nothing() {
    let (settings, proxy) = s3::bucket_behind_proxy();
    let mut all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend([
        ("RREG_STORAGE__PART_SIZE", "5MiB"),
        ("RREG_STORAGE__ANSWER_TIMEOUT", "1s"),
        ("RREG_STORAGE__RETRY_FOR", "1s"),
        // The more is in the bucket the more can befall it, and bytes may change at any time.
        ("RREG_STORAGE__INLINE_MAX", "0B"),
        ("RREG_STORAGE__VERIFY_INTERVAL", "0s"),
    ]);
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &all).await else { return };
    let seed = seed(1);
    let (mut random, storm) = (Random::new(seed), Arc::new(AtomicBool::new(false)));
    let target = |registry: &Registry| Doubtful {
        server: Http::new(registry.address().parse().unwrap()),
        storm: storm.clone(),
    };
    let mut clients = some(&target(&registry), &mut random);
    for round in 0..rounds(3) {
        storm.store(true, Ordering::SeqCst);
        proxy.storm((seed << 32) + round);
        let (names, contents) = (clients[0].names.clone(), clients[0].contents.clone());
        let puller = tokio::spawn(pull(target(&registry), names, contents, Random::new(random.next())));
        clients = run_all(clients, STEPS).await;
        proxy.mend();
        storm.store(false, Ordering::SeqCst);
        puller.await.unwrap();
        // What is quarantined is read again when the server starts, and when it is asked for.
        registry.stop();
        registry.resume();
        for client in &mut clients {
            client.repository.forget_empty_uploads();
            client.target = target(&registry);
        }
        verify::all(&mut clients).await;
    }
    eprintln!("{} requests harmed", proxy.harmed());
    registry.stop();
    let (found, code) = registry.rreg_json(&["fsck", "--heal", "--deep"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
}
