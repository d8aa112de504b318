//! A file that grows while others read it. It has no name, so nothing is left of it when its last user is gone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

/// Largest piece read at once: what each waiting client costs in memory, in bytes.
const PIECE: u64 = 64 << 10;

/// The file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Spool(Arc<File>);

impl Spool {
    pub(crate) async fn create(directory: &Path) -> io::Result<Self> {
        let directory = directory.to_owned();
        let file = blocking(move || tempfile::tempfile_in(directory)).await?;
        Ok(Self(Arc::new(file)))
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) async fn write(&self, bytes: Bytes, offset: u64) -> io::Result<()> {
        let file = self.0.clone();
        blocking(move || file.write_all_at(&bytes, offset)).await
    }

    /// Some of the bytes at `offset`, at least one and at most `most`. They must have been written.
    pub(crate) async fn read(&self, offset: u64, most: u64) -> io::Result<Bytes> {
        let file = self.0.clone();
        blocking(move || {
            let mut piece = BytesMut::zeroed(usize::try_from(most.min(PIECE)).unwrap_or_default());
            file.read_exact_at(&mut piece, offset)?;
            Ok(piece.freeze())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
