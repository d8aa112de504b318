//! Why an image could not be copied.

use rreg_oci::{Digest, ManifestError};

use crate::client::{ClientError, SourceError};
use crate::image::{ImageError, WriteError};

/// Why an image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A registry.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What is attached to the image cannot be read, by itself: the image can.
    #[error("what is attached to the image: {0}")]
    Attached(ClientError),
    /// Files.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A manifest that cannot be followed.
    #[error("manifest {digest}: {source}")]
    Manifest {
        /// Which.
        digest: Digest,
        /// Why.
        source: ManifestError,
    },
    /// No such platform.
    #[error("the image is not there for {wanted}; it is for {}", available.join(", "))]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// More than a copy takes.
    #[error("the image refers to more than {limit} manifests")]
    TooManyManifests {
        /// The limit.
        limit: usize,
    },
    /// More than is held in memory.
    #[error(
        "the manifests of the image and the lists of what refers to it have more than {limit} bytes together"
    )]
    TooMuch {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A task was broken off.
    #[error("the work was broken off: {0}")]
    Interrupted(String),
}

impl From<SourceError> for TransferError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Registry(error) => Self::Client(*error),
            SourceError::Io(error) => Self::Interrupted(error.to_string()),
        }
    }
}

impl From<WriteError> for TransferError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Image(error) => Self::Image(error),
            WriteError::Source(error) => error.into(),
        }
    }
}
