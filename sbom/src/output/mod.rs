//! SBOM documents, the same bytes for the same content: no clock, no random numbers.
//!
//! How to add a format: a file with a function from [`crate::Sbom`] to a JSON value.

mod cyclonedx;
mod serial;
mod spdx;

pub use cyclonedx::cyclonedx;
pub(crate) use cyclonedx::is_spdx;
pub use spdx::spdx;

/// Why a document could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The writer of CycloneDX refused.
    #[error("the CycloneDX document cannot be written: {0}")]
    CycloneDx(String),
    /// The writer of SPDX refused.
    #[error("the SPDX document cannot be written: {0}")]
    Spdx(String),
}
