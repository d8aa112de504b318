//! The two ends of a transfer, each a registry's repository or a layout.

use std::sync::Arc;

use rreg_oci::{Descriptor, Digest, Reference, RepositoryName, Tag};

use super::error::TransferError;
use super::progress::BlobOutcome;
use crate::client::{
    BlobSource, ClientError, FetchedManifest, MountHint, Pushed, RegistryClient, RemoteBlob,
};
use crate::image::{LayoutReader, LayoutWriter, LocalBlob};

/// Longest configuration read, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// Where an image comes from.
#[derive(Clone)]
pub enum Origin {
    /// A repository.
    Registry {
        /// Its registry.
        client: RegistryClient,
        /// Its name.
        repository: RepositoryName,
    },
    /// Files.
    Layout(Arc<LayoutReader>),
}

/// Where an image goes to.
#[derive(Clone)]
pub enum Target {
    /// A repository.
    Registry {
        /// Its registry.
        client: RegistryClient,
        /// Its name.
        repository: RepositoryName,
    },
    /// Files.
    Layout(Arc<LayoutWriter>),
}

impl Origin {
    /// A manifest, verified against its descriptor.
    ///
    /// # Errors
    /// [`TransferError`] when it cannot be had.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<FetchedManifest, TransferError> {
        match self {
            Self::Registry { client, repository } => {
                let reference = Reference::Digest(descriptor.digest);
                Ok(client.fetch_manifest(repository, &reference).await?)
            }
            Self::Layout(layout) => Ok(layout.manifest(descriptor).await?),
        }
    }

    /// Manifests whose subject is `subject`, as one list of a registry has them.
    ///
    /// # Errors
    /// [`TransferError`] when the registry refuses.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, TransferError> {
        match self {
            Self::Registry { client, repository } => Ok(client.referrers(repository, subject, None).await?),
            Self::Layout(layout) => Ok(layout.referrers(subject)),
        }
    }

    /// A blob, not yet opened.
    ///
    /// # Errors
    /// [`TransferError`] when a layout does not have it.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn BlobSource>, TransferError> {
        Ok(match self {
            Self::Registry { client, repository } => Box::new(RemoteBlob {
                client: client.clone(),
                repository: repository.clone(),
                descriptor: descriptor.clone(),
            }),
            Self::Layout(layout) => Box::new(layout.blob(descriptor)?),
        })
    }

    /// A configuration. From a layout it is unverified, so no decision but the choice of platform rests on it.
    ///
    /// # Errors
    /// [`TransferError`] when it cannot be had.
    pub async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, TransferError> {
        match self {
            Self::Registry { client, repository } => {
                Ok(client.fetch_blob(repository, descriptor, MAX_CONFIG).await?.to_vec())
            }
            Self::Layout(layout) => match layout.blob(descriptor)? {
                LocalBlob::Memory(bytes) => Ok(bytes.to_vec()),
                LocalBlob::File(span) if span.length > MAX_CONFIG => Ok(Vec::new()),
                LocalBlob::File(span) => {
                    span.read_all().map_err(|e| TransferError::Interrupted(e.to_string()))
                }
            },
        }
    }
}

impl Target {
    /// Whether the manifest and with it all it refers to is there. A layout cannot tell: a pull into it may
    /// have been broken off.
    pub(super) async fn has_manifest(&self, digest: &Digest) -> Result<bool, ClientError> {
        match self {
            Self::Registry { client, repository } => client.manifest_exists(repository, digest).await,
            Self::Layout(_) => Ok(false),
        }
    }

    pub(super) async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, ClientError> {
        match self {
            Self::Registry { client, repository } => client.blob_exists(repository, &descriptor.digest).await,
            Self::Layout(layout) => Ok(layout.has_blob(descriptor)),
        }
    }

    pub(super) async fn put_blob(
        &self,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        origin: &Origin,
    ) -> Result<BlobOutcome, TransferError> {
        match self {
            Self::Registry { client, repository } => {
                let mount = match origin {
                    Origin::Registry { client: other, repository: from }
                        if client.is_same_registry(other) && from != repository =>
                    {
                        Some(MountHint { from: from.clone() })
                    }
                    _ => None,
                };
                let pushed = client.push_blob(repository, descriptor, source, mount.as_ref()).await?;
                Ok(match pushed {
                    Pushed::Mounted => BlobOutcome::Mounted,
                    Pushed::Uploaded => BlobOutcome::Copied,
                })
            }
            Self::Layout(layout) => {
                layout.write_blob(descriptor, source).await?;
                Ok(BlobOutcome::Copied)
            }
        }
    }

    pub(super) async fn put_manifest(
        &self,
        manifest: &FetchedManifest,
        tags: &[Tag],
    ) -> Result<(), TransferError> {
        match self {
            Self::Registry { client, repository } => {
                Ok(client.push_manifest(repository, manifest, tags).await?)
            }
            Self::Layout(layout) => Ok(layout.write_blob(&manifest.descriptor, &manifest.bytes).await?),
        }
    }
}
