//! What policies look at, out of the registry's own store. Of a copy of an upstream, what is not here is fetched like
//! for any client.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rreg_oci::{Descriptor, Digest, Reference, RepositoryName};
use rreg_policy::{Content, ManifestContent, ReadError};
use rreg_storage::{BlobContent, BlobRecord, StorageError, StoredManifest};

use super::decide::Failure;
use super::stage::Stage;
use crate::app::App;
use crate::mirror::Copy;

/// One repository of the store, and perhaps a manifest that is about to come into it.
#[derive(Clone)]
pub(super) struct Stored {
    app: Arc<App>,
    repository: RepositoryName,
    arriving: Option<ManifestContent>,
    /// Of the decision that reads.
    stage: Arc<Stage>,
}

impl Stored {
    pub(super) fn new(app: Arc<App>, repository: RepositoryName, stage: Arc<Stage>) -> Self {
        Self { app, repository, arriving: None, stage }
    }

    /// With a manifest as if it were stored.
    pub(super) fn with(
        app: Arc<App>,
        repository: RepositoryName,
        stage: Arc<Stage>,
        arriving: ManifestContent,
    ) -> Self {
        Self { app, repository, arriving: Some(arriving), stage }
    }
}

fn too_long(digest: &Digest, size: u64, limit: usize) -> ReadError {
    ReadError::too_long(digest.to_string(), format!("it has {size} bytes, more than {limit}"))
}

fn unreadable(what: impl ToString, why: impl ToString) -> ReadError {
    ReadError::new(what.to_string(), why.to_string())
}

fn content(stored: &StoredManifest) -> ManifestContent {
    ManifestContent {
        media_type: String::from_utf8_lossy(&stored.media_type).into_owned(),
        digest: stored.digest,
        body: stored.body.clone(),
    }
}

#[async_trait]
impl Content for Stored {
    async fn manifest(&self, reference: &Reference) -> Result<Option<ManifestContent>, ReadError> {
        if let (Some(arriving), Some(digest)) = (&self.arriving, reference.digest())
            && arriving.digest == *digest
        {
            return Ok(Some(arriving.clone()));
        }
        let copy = self.app.mirror.covering(&self.repository);
        // What a tag means is the upstream's word; what a digest means is not.
        if let (Some(copy), Reference::Tag(_)) = (&copy, reference) {
            return self.of_upstream(copy, reference).await;
        }
        match self.app.storage.metadata().manifest(&self.repository, reference).await {
            Ok(stored) => return Ok(Some(content(&stored))),
            Err(StorageError::UnknownManifest { .. }) => {}
            Err(error) => return Err(self.failed(reference, &error)),
        }
        match copy {
            Some(copy) => self.of_upstream(&copy, reference).await,
            None => Ok(None),
        }
    }

    async fn referrers(&self, subject: &Digest, limit: usize) -> Result<(Vec<Descriptor>, bool), ReadError> {
        let what = || format!("the referrers of {subject}");
        if let Some(copy) = self.app.mirror.covering(&self.repository) {
            let listed = self.stage.elsewhere(self.app.mirror.referrers(&self.app, &copy, subject)).await;
            let listed = listed.map_err(|error| unreadable(what(), error))?;
            let all = listed.entries;
            return Ok((all.iter().take(limit).cloned().collect(), all.len() > limit));
        }
        let metadata = self.app.storage.metadata();
        let (mut all, mut last) = (Vec::new(), None);
        loop {
            let wanted = limit.saturating_sub(all.len());
            if wanted == 0 {
                return Ok((all, last.is_some()));
            }
            let page = metadata.referrers(&self.repository, subject, None, last.as_deref(), wanted).await;
            let page = page.map_err(|error| self.failed(what(), &error))?;
            all.extend(page.referrers.into_iter().map(|referrer| referrer.descriptor));
            last = page.next;
            if last.is_none() {
                return Ok((all, false));
            }
        }
    }

    async fn blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, ReadError> {
        let metadata = self.app.storage.metadata();
        let record = match metadata.blob(&self.repository, digest).await {
            Ok(record) => record,
            Err(error @ StorageError::UnknownBlob { .. }) => {
                let copy = self.app.mirror.covering(&self.repository);
                return self.fetched(copy.ok_or_else(|| unreadable(digest, error))?, digest, limit).await;
            }
            Err(error) => return Err(self.failed(digest, &error)),
        };
        self.whole(record, digest, limit).await
    }
}

impl Stored {
    /// A blob that is here; a part of it is never given for the whole.
    async fn whole(
        &self,
        record: Arc<BlobRecord>,
        digest: &Digest,
        limit: usize,
    ) -> Result<Bytes, ReadError> {
        if record.size > limit as u64 {
            return Err(too_long(digest, record.size, limit));
        }
        if let BlobContent::Inline(bytes) = &record.content {
            return Ok(bytes.clone());
        }
        let size = record.size;
        let reader = self.app.storage.open(record, 0..size).await;
        let pieces = reader.map_err(|error| self.failed(digest, &error))?.into_stream();
        let noted = pieces.inspect_err(|error| self.note(error));
        collect(digest, noted).await
    }

    fn note(&self, error: &StorageError) {
        if error.is_of_what_is_stored() {
            self.stage.note_broken();
        }
    }

    fn failed(&self, what: impl ToString, error: &StorageError) -> ReadError {
        self.note(error);
        unreadable(what, error)
    }

    /// Why nothing could be decided: what is broken here is no failure of somebody else.
    pub(super) fn failure(&self, error: ReadError) -> Failure {
        if self.stage.is_broken() { Failure::Broken(error.to_string()) } else { error.into() }
    }

    /// Whether what is stored here could not be read as it was stored.
    pub(super) fn is_broken(&self) -> bool {
        self.stage.is_broken()
    }

    async fn of_upstream(
        &self,
        copy: &Copy,
        reference: &Reference,
    ) -> Result<Option<ManifestContent>, ReadError> {
        match self.stage.elsewhere(self.app.mirror.manifest(&self.app, copy, reference)).await {
            Ok(found) => Ok(Some(content(&found.manifest))),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(unreadable(reference, error)),
        }
    }

    /// A blob of an upstream that is not here yet.
    async fn fetched(&self, copy: Copy, digest: &Digest, limit: usize) -> Result<Bytes, ReadError> {
        let fill = self.app.mirror.fill(&self.app, copy, *digest);
        match self.stage.elsewhere(fill.begun()).await.map_err(|error| unreadable(digest, error))? {
            // Somebody else has just stored it.
            None => {
                let record = self.app.storage.metadata().blob(&self.repository, digest).await;
                self.whole(record.map_err(|error| self.failed(digest, &error))?, digest, limit).await
            }
            Some((growing, _)) if growing.size > limit as u64 => Err(too_long(digest, growing.size, limit)),
            Some((growing, fill)) => {
                let whole = 0..growing.size;
                self.stage.elsewhere(collect(digest, fill.read(growing, whole))).await
            }
        }
    }
}

async fn collect<E: ToString>(
    digest: &Digest,
    pieces: impl Stream<Item = Result<Bytes, E>>,
) -> Result<Bytes, ReadError> {
    let mut pieces = std::pin::pin!(pieces);
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| unreadable(digest, error))?);
    }
    Ok(bytes.freeze())
}
