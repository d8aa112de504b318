//! Validated words of the OCI distribution and image specifications.
//!
//! Nothing here does I/O or is async. A value of one of these types has already been checked against the
//! grammar of the specification, so the crates above never validate a name, digest or range again.
//! Structures that need no narrowing are `oci-spec`'s own, re-exported as [`spec`].
//!
//! How to add an operation: add the variant to [`Operation`], teach [`Operation::parse`] and
//! [`Operation::render`] its URL (the round trip is a property test), name it in [`Operation::name`], and
//! the compiler points to the authorization and handler tables that have to decide about it.

mod cosign_tag;
mod digest;
mod error_code;
mod glob;
mod image_config;
mod image_reference;
mod manifest;
pub mod media_type;
mod name;
mod names;
mod operation;
mod range;
mod visible;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error_code::ErrorCode;
pub use glob::{Glob, GlobError, MAX_PATTERN, Wildcards, beginnings};
pub use image_config::names_rootfs;
pub use image_reference::{ImageReference, ImageReferenceError};
pub use manifest::{Descriptor, Manifest, ManifestError, ManifestKind, ManifestLimits};
pub use name::{NameError, Reference, RepositoryName, Tag};
pub use names::Names;
/// The image specification's own structures, for whoever writes configs, manifests and indexes.
pub use oci_spec::image as spec;
pub use operation::{Operation, OperationError, Page, UploadId, UploadStart};
pub use range::{ByteRange, ContentRange, RangeError};
pub use visible::{is_invisible, visible};
