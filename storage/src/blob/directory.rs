//! A local directory as an object store.
//!
//! `object_store`'s own [`LocalFileSystem`] does everything but writing new objects. Writing is ours for two
//! reasons, both measured. A large upload goes past the page cache (`O_DIRECT`): copying 1 GiB into fresh pages and
//! syncing them took four times as long as writing it directly, and most of it was CPU time. And a new object is
//! created under its final name instead of being renamed into place, which saves two journal commits for each;
//! that is safe because object keys are random and nobody knows one before its database row, which is written
//! after the sync.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
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
use rustix::fs::OFlags;

use crate::room::Volume;

/// What direct writes have to be aligned to, in memory and in the file: no disk has larger sectors.
const ALIGNMENT: usize = 4096;
/// Aligned buffers kept for reuse.
const KEPT_BUFFERS: usize = 4;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    inner: LocalFileSystem,
    volume: Arc<Volume>,
    durable: Arc<Durable>,
    buffers: Arc<AlignedBuffers>,
}

impl Directory {
    /// Uses the existing directory `root`.
    pub(crate) fn new(root: PathBuf) -> Result<Self> {
        let root = root.canonicalize().map_err(generic)?;
        let inner = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        let durable = Arc::new(Durable { root: root.clone(), known: Mutex::default() });
        let volume = Arc::new(Volume(root.clone()));
        Ok(Self { root, inner, volume, durable, buffers: Arc::default() })
    }

    /// The disk that it is on.
    pub(super) fn volume(&self) -> Arc<Volume> {
        self.volume.clone()
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
        let (path, durable, volume) = (self.path(location), self.durable.clone(), self.volume.clone());
        blocking(move || {
            volume.room()?;
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
        let (created, durable, volume) = (path.clone(), self.durable.clone(), self.volume.clone());
        let (file, direct) = blocking(move || {
            volume.room()?;
            let file = create(&durable, &created)?;
            Ok((file, open_direct(&created)))
        })
        .await?;
        let files =
            Arc::new(Files { file, direct, volume: self.volume.clone(), buffers: self.buffers.clone() });
        Ok(Box::new(Upload { path, files, offset: 0 }))
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

/// The file once more, for direct writes. Some file systems have none (tmpfs before Linux 6.6).
fn open_direct(path: &std::path::Path) -> Option<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
    OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
}

/// Memory whose usable part begins at a multiple of [`ALIGNMENT`].
struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start }
    }

    fn get(&mut self, length: usize) -> Option<&mut [u8]> {
        self.memory.get_mut(self.start..self.start + length)
    }
}

/// Buffers of finished writes, for the next ones.
#[derive(Default)]
struct AlignedBuffers(Mutex<Vec<AlignedBuffer>>);

impl AlignedBuffers {
    fn take(&self, length: usize) -> AlignedBuffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.filter(|buffer| buffer.memory.len() >= length + ALIGNMENT)
            .unwrap_or_else(|| AlignedBuffer::new(length))
    }

    fn give_back(&self, buffer: AlignedBuffer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_BUFFERS {
            kept.push(buffer);
        }
    }
}

impl fmt::Debug for AlignedBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AlignedBuffers")
    }
}

/// One file, opened twice.
#[derive(Debug)]
struct Files {
    file: File,
    direct: Option<File>,
    volume: Arc<Volume>,
    buffers: Arc<AlignedBuffers>,
}

impl Files {
    /// Writes `data` at `offset`: past the page cache as far as it is aligned.
    fn write(&self, data: &PutPayload, offset: u64) -> io::Result<()> {
        self.volume.room()?;
        let length = data.content_length();
        let aligned = length - length % ALIGNMENT;
        let direct = self.direct.as_ref().filter(|_| aligned > 0 && offset.is_multiple_of(ALIGNMENT as u64));
        let written = match direct.map(|direct| self.write_direct(direct, data, aligned, offset)) {
            Some(Ok(())) => aligned,
            // This disk wants another alignment: the page cache takes everything.
            Some(Err(error)) if error.kind() == ErrorKind::InvalidInput => 0,
            Some(Err(error)) => return Err(error),
            None => 0,
        };
        let mut skip = written;
        let mut at = offset + written as u64;
        for piece in data {
            let rest = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            self.file.write_all_at(rest, at)?;
            at += rest.len() as u64;
        }
        Ok(())
    }

    fn write_direct(&self, direct: &File, data: &PutPayload, length: usize, offset: u64) -> io::Result<()> {
        let mut buffer = self.buffers.take(length);
        let part = buffer.get(length).ok_or(ErrorKind::OutOfMemory)?;
        gather(data, part);
        direct.write_all_at(part, offset)?;
        self.buffers.give_back(buffer);
        Ok(())
    }
}

/// Copies the beginning of `data` until `into` is full.
fn gather(data: &PutPayload, mut into: &mut [u8]) {
    for piece in data {
        let length = piece.len().min(into.len());
        let (now, later) = into.split_at_mut(length);
        now.copy_from_slice(&piece[..length]);
        into = later;
    }
}

/// A new object being written.
#[derive(Debug)]
struct Upload {
    path: PathBuf,
    files: Arc<Files>,
    offset: u64,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += data.content_length() as u64;
        let files = self.files.clone();
        Box::pin(blocking(move || files.write(&data, offset)))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (files, path) = (self.files.clone(), self.path.clone());
        blocking(move || sync(&files.file, &path)).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn abort(&mut self) -> Result<()> {
        let path = self.path.clone();
        blocking(move || std::fs::remove_file(path)).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    /// Parts of every alignment come back as they were written.
    #[tokio::test]
    async fn parts_of_any_length() {
        let root = tempfile::tempdir().unwrap();
        let store = Directory::new(root.path().to_owned()).unwrap();
        let lengths = [0, 1, 4095, 4096, 4097, 8192, 12_289, 70_000];
        for first in lengths {
            for second in lengths {
                let path = Path::from(format!("a/{first}-{second}"));
                let bytes: Vec<u8> = (0..first + second).map(|i| u8::try_from(i % 251).unwrap()).collect();
                let mut upload = store.put_multipart(&path).await.unwrap();
                let (a, b) = bytes.split_at(first);
                // In several pieces, whose borders are aligned to nothing.
                let pieces =
                    |part: &[u8]| part.chunks(1000).map(Bytes::copy_from_slice).collect::<PutPayload>();
                upload.put_part(pieces(a)).await.unwrap();
                upload.put_part(pieces(b)).await.unwrap();
                upload.complete().await.unwrap();
                assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bytes);
            }
        }
    }
}
