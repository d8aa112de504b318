//! Content that can be opened again at an offset: what an upload needs to resume.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use rreg_oci::{Descriptor, RepositoryName};

use super::{ClientError, RegistryClient};

/// Why content could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// From a file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// From a registry.
    #[error(transparent)]
    Registry(Box<ClientError>),
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// A stream of content.
pub type ByteStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// The bytes of one blob, wherever they are.
pub trait BlobSource: Send + Sync {
    /// The content from byte `from` on. Only a stream from 0 can be checked against the digest by itself; who
    /// joins parts has to check the whole.
    fn open(&self, from: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>>;
}

impl BlobSource for Bytes {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
        let from = usize::try_from(from).map_or(self.len(), |from| from.min(self.len()));
        let rest = self.slice(from..);
        Box::pin(async move { Ok(stream::iter((!rest.is_empty()).then_some(Ok(rest))).boxed()) })
    }
}

/// A blob of a registry as the source of a transfer.
#[derive(Clone)]
pub struct RemoteBlob {
    /// Where it is.
    pub client: RegistryClient,
    /// In which repository.
    pub repository: RepositoryName,
    /// Which.
    pub descriptor: Descriptor,
}

impl BlobSource for RemoteBlob {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
        Box::pin(async move {
            let reader = self.client.read_blob_from(&self.repository, &self.descriptor, from).await?;
            Ok(reader.into_stream())
        })
    }
}
