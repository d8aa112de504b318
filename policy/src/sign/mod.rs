//! Makes signatures and attestations by a private key, byte for byte in the forms that cosign 3 writes and reads: a
//! Sigstore bundle v0.3 around a DSSE envelope around an in-toto statement, carried by a manifest whose subject is what
//! was signed.
//!
//! No transparency log and no timestamp authority is asked, so cosign reads these with `--insecure-ignore-tlog`.

mod bundle;
mod key;
#[cfg(test)]
mod tests;

pub use bundle::{BUNDLE_V03, attest_bundle, bundle_manifest, image_bundle, statement};
pub use key::{SignError, SigningKey};
