//! The storage crate itself as a target, with clients that vanish at any point of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use rreg_oci::{Algorithm, ContentRange, Digest, Manifest, ManifestLimits, RepositoryName};
use rreg_storage::{ChunkHeaders, NewManifest, Storage, StorageError};

use super::random::Random;
use super::target::{Answer, Fail, Push, Target};

/// Storage in this process.
#[derive(Clone)]
pub(super) struct Direct {
    pub(super) storage: Storage,
    /// Seeds of vanishing clients; `None` where all stay.
    pub(super) vanish: Option<Arc<AtomicU64>>,
    /// At rest nothing may be missing. While others delete, a reader may find an object gone.
    pub(super) strict: bool,
}

impl From<StorageError> for Fail {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::UnknownRepository(_)
            | StorageError::UnknownBlob { .. }
            | StorageError::UnknownManifest { .. }
            | StorageError::UnknownUpload(_)
            | StorageError::MissingReferences(_) => Self::Refused(404),
            StorageError::InUse { .. } | StorageError::ImmutableTag { .. } => Self::Refused(409),
            StorageError::OffsetMismatch { .. } => Self::Refused(416),
            StorageError::DigestMismatch { .. }
            | StorageError::LengthMismatch { .. }
            | StorageError::TooLarge { .. }
            | StorageError::TooManyChunks { .. } => Self::Refused(400),
            // Nothing in these tests damages what is stored.
            StorageError::DamagedManifest { .. } | StorageError::Corrupt(_) | StorageError::HashState(_) => {
                panic!("{error}")
            }
            _ => Self::Lost,
        }
    }
}

fn name(repository: &str) -> RepositoryName {
    repository.parse().unwrap()
}

type Piece = Result<Bytes, &'static str>;

/// `bytes` in pieces of uneven lengths; a broken body ends in an error.
fn body(bytes: &Bytes, broken: bool) -> impl stream::Stream<Item = Piece> + Send + Unpin + use<> {
    let mut random = Random::new(bytes.len() as u64);
    let mut rest = bytes.clone();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let length = 1 + random.below(rest.len().min(300_000));
        pieces.push(Ok(rest.split_to(length)));
    }
    if broken {
        pieces.push(Err("the client left"));
    }
    stream::iter(pieces)
}

impl Direct {
    async fn read(&self, repository: &str, digest: &Digest) -> Result<Bytes, StorageError> {
        let record = self.storage.metadata().blob(&name(repository), digest).await?;
        let mut reader = self.storage.open(record.clone(), 0..record.size).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.into())
    }

    async fn run<R>(&self, work: impl Future<Output = Result<R, StorageError>>) -> Answer<R> {
        let Some(seeds) = &self.vanish else { return Ok(work.await?) };
        let mut random = Random::new(seeds.fetch_add(1, Ordering::Relaxed));
        if !random.one_in(6) {
            return Ok(work.await?);
        }
        let patience = Duration::from_micros(random.below(4000) as u64);
        tokio::time::timeout(patience, work).await.map_err(|_| Fail::Lost)?.map_err(Fail::from)
    }
}

impl Target for Direct {
    async fn begin(&self, repository: &str, sha512: bool) -> Answer<String> {
        let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let id = self.run(self.storage.metadata().begin_upload(&name(repository), algorithm)).await?;
        Ok(id.to_string())
    }

    async fn append(
        &self,
        repository: &str,
        upload: &str,
        at: u64,
        chunk: Bytes,
        cut: Option<usize>,
    ) -> Answer<u64> {
        let range = ContentRange { first: at, last: at + chunk.len() as u64 - 1 };
        let headers = ChunkHeaders { range: Some(range), length: Some(chunk.len() as u64) };
        let body = body(&chunk.slice(..cut.unwrap_or(chunk.len())), cut.is_some());
        let (repository, upload) = (name(repository), upload.parse().unwrap());
        self.run(self.storage.append(&repository, &upload, headers, body)).await
    }

    async fn commit(&self, repository: &str, upload: &str, last: Bytes, digest: &Digest) -> Answer<()> {
        let headers = ChunkHeaders { range: None, length: Some(last.len() as u64) };
        let (repository, upload) = (name(repository), upload.parse().unwrap());
        self.run(self.storage.commit(&repository, &upload, digest, headers, body(&last, false), None)).await
    }

    async fn status(&self, repository: &str, upload: &str) -> Answer<u64> {
        let (repository, upload) = (name(repository), upload.parse().unwrap());
        Ok(self.storage.metadata().upload(&repository, &upload).await?.size)
    }

    async fn cancel(&self, repository: &str, upload: &str) -> Answer<()> {
        let (repository, upload) = (name(repository), upload.parse().unwrap());
        self.run(self.storage.metadata().cancel_upload(&repository, &upload)).await
    }

    async fn post(&self, repository: &str, digest: &Digest, content: Bytes) -> Answer<()> {
        let body = body(&content, false);
        self.run(self.storage.store(&name(repository), digest, ChunkHeaders::default(), body, None)).await
    }

    async fn mount(&self, repository: &str, digest: &Digest, from: Option<&str>) -> Answer<bool> {
        let (from, to) = (from.map(name), name(repository));
        match self.run(self.storage.metadata().mount(digest, from.as_ref(), &to, |_| true, None)).await {
            Ok(()) => Ok(true),
            Err(Fail::Refused(404)) => Ok(false),
            Err(fail) => Err(fail),
        }
    }

    async fn put_manifest(&self, repository: &str, push: Push<'_>) -> Answer<()> {
        let limits = ManifestLimits::default();
        let manifest = Manifest::parse(Some(push.media_type), &push.body, &limits).unwrap();
        let new = NewManifest {
            repository: name(repository),
            digest: push.digest,
            body: push.body,
            manifest,
            tags: push.tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            allow_sparse: false,
            list_packages: false,
            audit: None,
        };
        self.run(self.storage.metadata().put_manifest(new)).await
    }

    async fn delete_manifest(&self, repository: &str, reference: &str) -> Answer<()> {
        let (repository, reference) = (name(repository), reference.parse().unwrap());
        self.run(self.storage.metadata().delete_manifest(&repository, &reference, None)).await
    }

    async fn delete_blob(&self, repository: &str, digest: &Digest) -> Answer<()> {
        self.run(self.storage.metadata().delete_blob(&name(repository), digest, 0, None)).await
    }

    async fn blob(&self, repository: &str, digest: &Digest) -> Answer<Bytes> {
        self.read(repository, digest).await.map_err(|error| {
            assert!(!self.strict || !matches!(error, StorageError::Damaged { .. }), "{error}");
            error.into()
        })
    }

    async fn manifest(&self, repository: &str, reference: &str) -> Answer<Bytes> {
        let (repository, reference) = (name(repository), reference.parse().unwrap());
        Ok(self.storage.metadata().manifest(&repository, &reference).await?.body.clone())
    }

    async fn tags(&self, repository: &str) -> Answer<Vec<String>> {
        Ok(self.storage.metadata().tags(&name(repository), "", 1000).await?.tags)
    }
}
