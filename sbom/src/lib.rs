//! What is inside an image, and what is known of it.
//!
//! Package lists, SBOM documents and advisories belong here. None of it exists yet.
