//! Clients push and delete the same content in the same repositories while workers reclaim it without patience.
//!
//! A push may find that a blob it has just pushed is gone again, and is told so (`MissingReferences`); what was
//! acknowledged with a tag stays. The object store fails now and then, before or after it did what was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use rreg_gc::{Damage, Depth};
use rreg_oci::{Digest, Reference, RepositoryName};
use rreg_storage::{Storage, StorageError};

use super::store::{NOTHING_IS_YOUNG, Rows, at_once, image, open_wrapped, push, put, read};
use crate::durability::faults::{Dice, Faulty};
use crate::durability::random::{Random, rounds, seed};
use crate::harness::postgres;

const CLIENTS: usize = 6;
/// So many times the steps, at the most, for workers and faults to show up.
const PATIENCE: u64 = 100;

struct Client {
    storage: Storage,
    random: Random,
    contents: Arc<Vec<Bytes>>,
    names: Arc<Vec<RepositoryName>>,
    /// Only this client moves its tag.
    tag: String,
    /// What the tag means in each repository: the manifest and its blobs.
    acknowledged: Vec<Option<(Digest, Vec<usize>)>>,
    /// Pushes that were told to try again.
    retries: Arc<AtomicU64>,
}

impl Client {
    async fn step(&mut self) {
        let at = self.random.below(self.names.len());
        let reference = Reference::Tag(self.tag.parse().unwrap());
        if self.random.one_in(3) {
            let deleted =
                self.settled(async |s| s.metadata().delete_manifest(&self.names[at], &reference, None).await);
            let deleted = deleted.await;
            assert_eq!(deleted.is_ok(), self.acknowledged[at].is_some(), "{deleted:?}");
            self.acknowledged[at] = None;
            return;
        }
        let first = self.random.below(self.contents.len());
        let blobs = vec![first, (first + 1) % self.contents.len()];
        // Few enough that clients push the same manifests.
        let salt = self.random.below(2) as u64;
        let picked: Vec<&Bytes> = blobs.iter().map(|n| &self.contents[*n]).collect();
        let manifest = image(&picked, None, salt);
        let digest = loop {
            for n in &blobs {
                let from = &self.names[(at + 1) % self.names.len()];
                let content = &self.contents[*n];
                let mounted = self
                    .settled(async |s| {
                        s.metadata()
                            .mount(&Digest::sha256(content), Some(from), &self.names[at], |_| true, None)
                            .await
                    })
                    .await;
                if mounted.is_err() {
                    self.settled(async |s| push(s, &self.names[at], content).await).await.unwrap();
                }
            }
            let pushed =
                self.settled(async |s| put(s, &self.names[at], &manifest, Some(&self.tag)).await).await;
            match pushed {
                Ok(digest) => break digest,
                Err(StorageError::MissingReferences(_)) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.acknowledged[at] = Some((digest, blobs));
    }

    /// What can be tried again is.
    async fn settled<T>(
        &self,
        work: impl AsyncFn(&Storage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        loop {
            match work(&self.storage).await {
                // 429 and 503: again.
                Err(StorageError::Conflict | StorageError::Object(_)) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                result => return result,
            }
        }
    }

    async fn verify(&self, storage: &Storage) {
        for (name, acknowledged) in self.names.iter().zip(&self.acknowledged) {
            let Some((digest, blobs)) = acknowledged else { continue };
            let reference = Reference::Tag(self.tag.parse().unwrap());
            assert_eq!(storage.metadata().manifest(name, &reference).await.unwrap().digest, *digest);
            for n in blobs {
                let content = &self.contents[*n];
                assert_eq!(read(storage, name, &Digest::sha256(content)).await.unwrap(), *content);
            }
        }
    }
}

/// Reclaims without patience; counts how much.
async fn reclaim_until(storage: Storage, stop: Arc<AtomicBool>, reclaimed: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        match rreg_gc::sweep(&storage, &at_once(true)).await {
            Ok(report) => {
                reclaimed.fetch_add(report.blobs + report.manifests, Ordering::Relaxed);
            }
            Err(StorageError::Object(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn race(rows: Rows, replicas: usize, steps: u64) {
    let data = tempfile::tempdir().unwrap();
    let mut storages = Vec::new();
    let seed = seed(1);
    let dice = Arc::new(Dice { next: AtomicU64::new(seed << 32), ..Dice::default() });
    for _ in 0..replicas {
        let wrap = |inner| Arc::new(Faulty { inner, dice: dice.clone() }) as _;
        storages.push(open_wrapped(&rows, data.path(), wrap).await);
    }
    dice.on.store(true, Ordering::Relaxed);
    let mut random = Random::new(seed);
    let contents: Arc<Vec<Bytes>> =
        Arc::new((0..6).map(|n| random.bytes(if n % 2 == 0 { 100 } else { 2000 }).into()).collect());
    let names: Arc<Vec<_>> = Arc::new((0..2).map(|n| format!("race/r{n}").parse().unwrap()).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let reclaimed = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = storages
        .iter()
        .map(|storage| tokio::spawn(reclaim_until(storage.clone(), stop.clone(), reclaimed.clone())))
        .collect();
    let retries = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut client = Client {
                storage: storages[n % replicas].clone(),
                random: Random::new(random.next()),
                contents: contents.clone(),
                names: names.clone(),
                tag: format!("client{n}"),
                acknowledged: vec![None; names.len()],
                retries: retries.clone(),
            };
            // On a busy machine the workers may get no turn for a while.
            let raced = || reclaimed.load(Ordering::Relaxed) > 0 && dice.thrown.load(Ordering::Relaxed) > 0;
            async move {
                for step in 0..steps * PATIENCE {
                    if step >= steps && raced() {
                        break;
                    }
                    client.step().await;
                }
                client
            }
        })
        .collect();
    let done = futures_util::future::join_all(clients).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    dice.on.store(false, Ordering::Relaxed);
    let reclaimed = reclaimed.load(Ordering::Relaxed);
    let (retries, thrown) = (retries.load(Ordering::Relaxed), dice.thrown.load(Ordering::Relaxed));
    eprintln!("{rows:?}: {reclaimed} reclaimed, {retries} retries, {thrown} faults");
    assert!(reclaimed > 0 && thrown > 0, "nothing raced");
    let storage = &storages[0];
    for client in &done {
        client.verify(storage).await;
    }
    // A worker that lost too often leaves its review until its lease ends, and a write that failed after it was done
    // an object that no row knows. No row is without its bytes.
    let inspection = rreg_gc::fsck(storage, Depth::Deep, NOTHING_IS_YOUNG, 1000).await.unwrap();
    let harmless = |finding: &rreg_gc::Finding| finding.damage == Damage::Extra;
    assert!(inspection.findings.iter().all(harmless), "{inspection:?}");
    for storage in &storages {
        storage.metadata().close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_win_against_workers_sqlite() {
    race(Rows::Sqlite, 1, rounds(120)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_win_against_workers_of_two_replicas_postgres() {
    let Some(url) = postgres::database() else { return };
    race(Rows::Postgres(url), 2, rounds(120)).await;
}
