//! Images in files: OCI image layouts (image-spec, image-layout.md) as a directory or a tar archive, and
//! `docker save` archives, read only.
//!
//! Nothing is ever unpacked: an archive is indexed once and its contents are read where they lie, so names in
//! it cannot reach the file system. How to add a format: build its [`LayoutReader`] as `docker` does.

mod docker;
mod error;
mod file_span;
mod pack;
mod reader;
mod tar_index;
#[cfg(test)]
mod tests;
mod writer;

pub use error::ImageError;
pub use file_span::{FileSpan, LocalBlob};
pub use reader::{IMAGE_NAME, LayoutReader, REF_NAME};
pub use writer::{LayoutWriter, WriteError};
