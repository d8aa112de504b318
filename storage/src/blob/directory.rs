//! A local directory as an object store.
//!
//! `object_store`'s own [`LocalFileSystem`] does everything but writing new objects. Writing is ours for two
//! reasons, both measured: a large upload starts its writeback while it still streams, so that the final
//! `fdatasync` has little left to do (object_store syncs once, at the end), and a new object is created under its
//! final name instead of being renamed into place, which saves two journal commits for each. That is safe because
//! object keys are random and nobody knows one before its database row, which is written after the sync.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::task::JoinHandle;

/// Dirty bytes after which writeback is started in the background.
const SYNC_EVERY: u64 = 32 << 20;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    inner: LocalFileSystem,
    durable: Arc<Durable>,
}

impl Directory {
    /// Uses the existing directory `root`.
    pub(crate) fn new(root: PathBuf) -> Result<Self> {
        let root = root.canonicalize().map_err(generic)?;
        let inner = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        let durable = Arc::new(Durable { root: root.clone(), known: Mutex::default() });
        Ok(Self { root, inner, durable })
    }

    fn path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directory {}", self.root.display())
    }
}

fn generic(source: io::Error) -> Error {
    Error::Generic { store: "directory", source: Box::new(source) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?.map_err(generic)
}

/// Directories whose names survive a power cut: a file in a directory that does not is lost with it.
#[derive(Debug)]
struct Durable {
    root: PathBuf,
    known: Mutex<HashSet<PathBuf>>,
}

impl Durable {
    /// Makes `directory` and its name durable, once in this process. Whoever comes second waits for the first: it
    /// may find the directory there before its name is on disk.
    fn ensure(&self, directory: &std::path::Path) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(directory) {
            return Ok(());
        }
        std::fs::create_dir_all(directory)?;
        // Up to the entry of `root` itself, which may be as new.
        for parent in directory.ancestors().skip(1) {
            File::open(parent)?.sync_all()?;
            if !parent.starts_with(&self.root) {
                break;
            }
        }
        known.insert(directory.to_owned());
        Ok(())
    }

    fn forget(&self, directory: &std::path::Path) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
    }
}

/// Creates the file, and its directory the first time. A file that exists is an error: keys are never reused.
fn create(durable: &Durable, path: &std::path::Path) -> io::Result<File> {
    let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let open = || OpenOptions::new().write(true).create_new(true).open(path);
    durable.ensure(parent)?;
    match open() {
        // Somebody has removed the directory under the running server.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            durable.forget(parent);
            durable.ensure(parent)?;
            open()
        }
        result => result,
    }
}

/// Makes content and name durable.
fn sync(file: &File, path: &std::path::Path) -> io::Result<()> {
    file.sync_data()?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if opts.mode != PutMode::Create {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let (path, durable) = (self.path(location), self.durable.clone());
        blocking(move || {
            let file = create(&durable, &path)?;
            let mut offset = 0;
            for piece in &payload {
                file.write_all_at(piece, offset)?;
                offset += piece.len() as u64;
            }
            sync(&file, &path)
        })
        .await?;
        let e_tag = self.inner.head(location).await?.e_tag;
        Ok(PutResult { e_tag, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.path(location);
        let (created, durable) = (path.clone(), self.durable.clone());
        let file = Arc::new(blocking(move || create(&durable, &created)).await?);
        Ok(Box::new(Upload { path, file, offset: 0, synced: 0, syncing: None }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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

/// A new object being written.
#[derive(Debug)]
struct Upload {
    path: PathBuf,
    file: Arc<File>,
    offset: u64,
    /// Bytes whose writeback has been started,
    synced: u64,
    /// by this task.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Upload {
    /// Starts writing dirty pages back once enough have gathered and the last start has ended. Each task waits
    /// for the one before, so that an error of any of them reaches `complete`.
    fn start_writeback(&mut self) {
        let busy = self.syncing.as_ref().is_some_and(|task| !task.is_finished());
        if busy || self.offset - self.synced < SYNC_EVERY {
            return;
        }
        self.synced = self.offset;
        let (file, before) = (self.file.clone(), self.syncing.take());
        self.syncing = Some(tokio::spawn(async move {
            if let Some(before) = before {
                before.await??;
            }
            tokio::task::spawn_blocking(move || file.sync_data()).await?
        }));
    }

    async fn finish_writeback(&mut self) -> Result<()> {
        match self.syncing.take() {
            Some(task) => task.await.map_err(|source| Error::JoinError { source })?.map_err(generic),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut offset = self.offset;
        self.offset += data.content_length() as u64;
        self.start_writeback();
        let file = self.file.clone();
        Box::pin(blocking(move || {
            for piece in &data {
                file.write_all_at(piece, offset)?;
                offset += piece.len() as u64;
            }
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.finish_writeback().await?;
        let (file, path) = (self.file.clone(), self.path.clone());
        blocking(move || sync(&file, &path)).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn abort(&mut self) -> Result<()> {
        // An error of the sync no longer matters.
        let _ = self.finish_writeback().await;
        let path = self.path.clone();
        blocking(move || std::fs::remove_file(path)).await
    }
}
