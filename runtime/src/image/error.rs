//! What can be wrong with an image in files.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image file or directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is nothing at that path.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {why}", path.display())]
    Invalid {
        /// The path.
        path: PathBuf,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl ImageError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { path }
        } else {
            Self::Io { path, source }
        }
    }

    pub(crate) fn invalid(path: &Path, why: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), why: why.into() }
    }
}
