//! The client side of the distribution API, image layouts on disk, and the transfer of images between them.
//!
//! - [`client`]: one registry, spoken to over HTTP; everything received is verified before it is handed on.
//! - [`image`]: OCI image layouts (directory or tar archive) and `docker save` archives.
//! - [`transfer`]: copies an image, with everything it refers to, from one place to another.
//!
//! Nothing here assumes which registry software answers.

/// One registry, spoken to over HTTP.
pub use rreg_client as client;
pub mod image;
pub mod transfer;

pub use client::{ClientError, ClientOptions, RegistryClient};
