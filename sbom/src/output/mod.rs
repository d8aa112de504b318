//! SBOM documents, the same bytes for the same content: no clock, no random numbers.
//!
//! How to add a format: a file with a function from [`crate::Sbom`] to a [`stream::Document`].

mod cyclonedx;
mod serial;
mod spdx;
mod stream;

use std::io::{self, Write};

use serde_json::Value;

pub(crate) use cyclonedx::is_spdx;

use crate::sbom::Sbom;

/// The document in CycloneDX 1.6.
///
/// # Errors
/// [`OutputError::CycloneDx`] when its writer refuses.
pub fn cyclonedx(sbom: &Sbom) -> Result<Value, OutputError> {
    cyclonedx::document(sbom)?.value()
}

/// Writes what [`cyclonedx`] gives, in memory that does not grow with the list.
///
/// # Errors
/// As [`cyclonedx`], and [`OutputError::Io`] of `out`.
pub fn write_cyclonedx(sbom: &Sbom, out: &mut dyn Write) -> Result<(), OutputError> {
    cyclonedx::document(sbom)?.write(out)
}

/// The document in SPDX 2.3.
///
/// # Errors
/// [`OutputError::Spdx`] when its writer refuses.
pub fn spdx(sbom: &Sbom) -> Result<Value, OutputError> {
    spdx::document(sbom)?.value()
}

/// Writes what [`spdx`] gives, in memory that hardly grows with the list.
///
/// # Errors
/// As [`spdx`], and [`OutputError::Io`] of `out`.
pub fn write_spdx(sbom: &Sbom, out: &mut dyn Write) -> Result<(), OutputError> {
    spdx::document(sbom)?.write(out)
}

/// Why a document could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The writer of CycloneDX refused.
    #[error("the CycloneDX document cannot be written: {0}")]
    CycloneDx(String),
    /// The writer of SPDX refused.
    #[error("the SPDX document cannot be written: {0}")]
    Spdx(String),
    /// It could not be written there.
    #[error("the document cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl From<serde_json::Error> for OutputError {
    fn from(error: serde_json::Error) -> Self {
        Self::Io(error.into())
    }
}
