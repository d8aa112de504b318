//! The storage crate over an object store that fails, delays and stops half-way, under clients that vanish.

use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use rreg_storage::{BlobStore, CacheLimits, MetadataStore, Storage, StorageOptions};

use super::client::{Client, run_all};
use super::direct::Direct;
use super::kill::clients;
use super::random::{Random, rounds, seed};
use super::verify;

/// Takes every object of a length away behind the server's back.
pub(crate) fn lose_objects(directory: &FilePath, length: usize) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            lose_objects(&entry.path(), length);
        } else if entry.metadata().unwrap().len() == length as u64 {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// The model knows nothing of blobs that go by themselves.
const SCHEDULE: rreg_gc::Schedule = rreg_gc::Schedule {
    idle: Duration::from_secs(3600),
    blobs_after: Duration::from_secs(3600),
    untagged_after: None,
    grace: Duration::ZERO,
    period: Duration::from_secs(60),
};

/// What happens next, from a seed and a counter.
#[derive(Debug, Default)]
pub(crate) struct Dice {
    pub(crate) on: AtomicBool,
    pub(crate) next: AtomicU64,
    pub(crate) thrown: AtomicU64,
}

/// What befalls one call.
enum Fate {
    Fine,
    FailsBefore,
    /// The call was carried out and its answer lost.
    FailsAfter,
}

fn failure() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "injected".into() }
}

impl Dice {
    async fn throw(&self) -> Fate {
        if !self.on.load(Ordering::Relaxed) {
            return Fate::Fine;
        }
        let mut random = Random::new(self.next.fetch_add(1, Ordering::Relaxed));
        if random.one_in(5) {
            tokio::time::sleep(Duration::from_micros(random.below(3000) as u64)).await;
        }
        let fate = match random.below(24) {
            0 => Fate::FailsBefore,
            1 => Fate::FailsAfter,
            _ => return Fate::Fine,
        };
        self.thrown.fetch_add(1, Ordering::Relaxed);
        fate
    }

    async fn befall<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        match self.throw().await {
            Fate::Fine => work.await,
            Fate::FailsBefore => Err(failure()),
            Fate::FailsAfter => {
                work.await?;
                Err(failure())
            }
        }
    }
}

/// An object store with bad luck.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) dice: Arc<Dice>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.dice.befall(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.dice.befall(self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(FaultyUpload { inner, dice: self.dice.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let mut result = self.dice.befall(self.inner.get_opts(location, options)).await?;
        if !head && matches!(self.dice.throw().await, Fate::FailsAfter) {
            let (meta, range, attributes) =
                (result.meta.clone(), result.range.clone(), result.attributes.clone());
            let stream =
                result.into_stream().take(1).chain(futures_util::stream::iter([Err(failure())])).boxed();
            result = GetResult {
                payload: GetResultPayload::Stream(stream),
                meta,
                range,
                attributes,
                extensions: Default::default(),
            };
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.dice.befall(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let dice = self.dice.clone();
        let deleted = self.inner.delete_stream(locations);
        deleted
            .then(move |result| {
                let dice = dice.clone();
                async move { dice.befall(async { result }).await }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    dice: Arc<Dice>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    /// A part that fails has been written by half.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let whole: Bytes = data.clone().into();
        let dice = self.dice.clone();
        let mut random = Random::new(dice.next.fetch_add(1, Ordering::Relaxed));
        if dice.on.load(Ordering::Relaxed) && random.one_in(20) {
            dice.thrown.fetch_add(1, Ordering::Relaxed);
            let half = self.inner.put_part(whole.slice(..whole.len() / 2).into());
            return Box::pin(async move {
                half.await?;
                Err(failure())
            });
        }
        let part = self.inner.put_part(data);
        Box::pin(async move { dice.befall(part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.dice.befall(self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.dice.befall(self.inner.abort()).await
    }
}

/// Where the rows are.
#[derive(Clone, Debug)]
enum Rows {
    Sqlite,
    Postgres(String),
}

async fn open(rows: &Rows, data: &FilePath, dice: &Arc<Dice>) -> Storage {
    let caches = CacheLimits::default();
    let metadata = match rows {
        Rows::Sqlite => MetadataStore::sqlite(&data.join("rreg.db"), caches).await.unwrap(),
        Rows::Postgres(url) => MetadataStore::postgres(url, 8, caches).await.unwrap(),
    };
    let blobs = BlobStore::directory(data.join("objects"), Duration::from_secs(3600)).unwrap();
    let dice = dice.clone();
    let blobs = blobs.wrapped(|inner| Arc::new(Faulty { inner, dice }));
    Storage::new(blobs, metadata, StorageOptions::default())
}

/// Rounds of random clients; after each the storage is dropped as it is, opened again and compared.
async fn interleavings(rows: Rows, rounds: u64, seed: u64) {
    let data = tempfile::tempdir().unwrap();
    let dice = Arc::new(Dice { next: AtomicU64::new(seed << 32), ..Dice::default() });
    let mut random = Random::new(seed);
    let direct = |storage: Storage| Direct {
        storage,
        // A write that PostgreSQL still works on when its client has left may come after the client's next one.
        vanish: matches!(rows, Rows::Sqlite).then(|| Arc::new(AtomicU64::new(seed))),
        strict: false,
    };
    let mut all = clients(&direct(open(&rows, data.path(), &dice).await), &mut random, 8);
    for _ in 0..rounds {
        dice.on.store(true, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let sweeper = tokio::spawn(sweep_until(all[0].target.storage.clone(), stop.clone()));
        all = run_all(all, 60).await;
        stop.store(true, Ordering::Relaxed);
        sweeper.await.unwrap();
        dice.on.store(false, Ordering::Relaxed);
        barrier(&all[0]).await;
        let storage = open_again(&mut all, &rows, data.path(), &dice).await;
        verify::all(&mut all).await;
        for client in &mut all {
            client.target = direct(storage.clone());
        }
    }
    let thrown = dice.thrown.load(Ordering::Relaxed);
    eprintln!("{rows:?}: {rounds} rounds, {thrown} faults");
    assert!(rounds < 3 || thrown > 0);
    all[0].target.storage.metadata().close().await;
}

async fn sweep_until(storage: Storage, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        // Injected faults fail it now and then.
        let _ = rreg_gc::sweep(&storage, &SCHEDULE).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Writes of clients that left are queued before this one.
async fn barrier(client: &Client<Direct>) {
    client.target.storage.metadata().ping().await.unwrap();
}

/// Lets go of the storage without closing it, and opens it for strict comparison.
async fn open_again(
    clients: &mut [Client<Direct>],
    rows: &Rows,
    data: &FilePath,
    dice: &Arc<Dice>,
) -> Storage {
    let storage = open(rows, data, dice).await;
    for client in clients {
        if matches!(rows, Rows::Sqlite) {
            client.repository.forget_empty_uploads();
        }
        client.target = Direct { storage: storage.clone(), vanish: None, strict: true };
    }
    storage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_and_vanishing_clients_lose_nothing_sqlite() {
    interleavings(Rows::Sqlite, rounds(10), seed(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_nothing_postgres() {
    let Some(url) = crate::harness::postgres::database() else { return };
    interleavings(Rows::Postgres(url), rounds(10), seed(2)).await;
}
