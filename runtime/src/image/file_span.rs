//! A stretch of a file as blob content: a whole file of a directory, or an entry of an archive.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::client::{BlobSource, ByteStream, SourceError};

/// Length of one read, in bytes.
const READ: usize = 256 << 10;

/// Bytes `offset..offset + length` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpan {
    /// The file.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl FileSpan {
    /// Everything, for content known to be small. Blocks.
    pub(crate) fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A blocking reader.
    pub(crate) fn reader(&self) -> io::Result<io::Take<std::fs::File>> {
        let mut file = std::fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.length))
    }
}

impl BlobSource for FileSpan {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
        Box::pin(async move {
            let mut file = tokio::fs::File::open(&self.path).await?;
            let from = from.min(self.length);
            file.seek(SeekFrom::Start(self.offset.saturating_add(from))).await?;
            let reader = ReaderStream::with_capacity(file.take(self.length - from), READ);
            Ok(reader.map(|chunk| chunk.map_err(SourceError::from)).boxed())
        })
    }
}

/// A blob of an image in files.
#[derive(Clone, Debug)]
pub enum LocalBlob {
    /// On disk.
    File(FileSpan),
    /// Made while reading, as the manifest of a `docker save` archive is.
    Memory(Bytes),
}

impl BlobSource for LocalBlob {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
        match self {
            Self::File(span) => span.open(from),
            Self::Memory(bytes) => bytes.open(from),
        }
    }
}
