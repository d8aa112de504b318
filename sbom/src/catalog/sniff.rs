//! What a file is by its first bytes, where its name does not say: content stores keep files under their digests
//! (ostree, pnpm), and hard links give them their names.

use super::{Catalog, dpkg, rpm};

/// As what a file can be read that begins like this.
pub(crate) fn kind(head: &[u8]) -> Option<Catalog> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let begins = |begin: &[u8]| text.starts_with(begin);
    if rpm::begins(head) {
        Some(Catalog::Rpm)
    } else if rpm::begins_log(head) {
        Some(Catalog::RpmLog)
    } else if begins(b"PK\x03\x04") {
        Some(Catalog::Jar)
    } else if begins(b"Package: ") {
        Some(Catalog::DpkgStatus)
    } else if begins(b"/.\n") || dpkg::begins_with_sum(text) {
        Some(Catalog::DpkgFiles)
    } else if begins(b"C:Q1") || begins(b"P:") {
        Some(Catalog::Apk)
    } else if begins(b"Metadata-Version:") {
        Some(Catalog::Python)
    } else if text.trim_ascii_start().starts_with(b"{") {
        Some(Catalog::Npm)
    } else {
        is_os_release(text).then_some(Catalog::OsRelease)
    }
}

/// Whether a line sets one of the variables that every distribution sets (os-release(5)).
fn is_os_release(text: &[u8]) -> bool {
    let known: [&[u8]; 4] = [b"ID=", b"NAME=", b"PRETTY_NAME=", b"VERSION_ID="];
    text.split(|byte| *byte == b'\n').take(8).any(|line| known.iter().any(|name| line.starts_with(name)))
}
