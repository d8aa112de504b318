//! Evidence and images as a registry has them: what [`rreg_policy`] reads through.

use async_trait::async_trait;
use bytes::Bytes;
use rreg_oci::{Descriptor, Digest, Reference, RepositoryName};
use rreg_policy::{Content, ManifestContent, ReadError};
use rreg_runtime::RegistryClient;
use rreg_runtime::client::{ClientError, FetchedManifest};

use crate::connect::Connect;
use crate::exit::Failure;
use crate::named::ImageName;

/// One repository of a registry.
pub(crate) struct RemoteContent {
    pub(crate) client: RegistryClient,
    pub(crate) repository: RepositoryName,
}

impl RemoteContent {
    /// The repository of an image, and the image in it.
    pub(crate) async fn open(
        connect: &Connect,
        image: &ImageName,
    ) -> Result<(Self, FetchedManifest), Failure> {
        let client = connect.evidence_client(&image.host)?;
        let root = client.fetch_manifest(&image.repository, &image.reference()).await?;
        Ok((Self { client, repository: image.repository.clone() }, root))
    }
}

/// A manifest in the words of [`rreg_policy`].
pub(crate) fn manifest_content(fetched: FetchedManifest) -> ManifestContent {
    let FetchedManifest { descriptor, bytes } = fetched;
    ManifestContent { media_type: descriptor.media_type, digest: descriptor.digest, body: bytes }
}

fn failed(what: String, error: &ClientError) -> ReadError {
    ReadError { what, why: error.to_string(), is_too_long: error.is_too_large() }
}

#[async_trait]
impl Content for RemoteContent {
    async fn manifest(&self, reference: &Reference) -> Result<Option<ManifestContent>, ReadError> {
        match self.client.fetch_manifest(&self.repository, reference).await {
            Ok(fetched) => Ok(Some(manifest_content(fetched))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(failed(format!("the manifest {reference}"), &error)),
        }
    }

    async fn referrers(&self, subject: &Digest, limit: usize) -> Result<(Vec<Descriptor>, bool), ReadError> {
        let listed = self.client.referrers(&self.repository, subject, None).await;
        let mut listed = listed.map_err(|error| failed(format!("the referrers of {subject}"), &error))?;
        let more = listed.len() > limit;
        listed.truncate(limit);
        Ok((listed, more))
    }

    async fn blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, ReadError> {
        let read = self.client.fetch_blob_by_digest(&self.repository, digest, limit as u64).await;
        read.map_err(|error| failed(format!("the blob {digest}"), &error))
    }
}
