//! What is pushed: bytes that do not compress, and manifests.

use sha2::{Digest as _, Sha256};

/// A small fast generator (xorshift64*): the choice of tags and offsets must cost next to nothing.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        text
    })
}

/// A blob and its digest.
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

impl Blob {
    pub(crate) fn random(seed: u64, length: usize) -> Self {
        let bytes = Random::new(seed).bytes(length);
        Self { digest: digest(&bytes), bytes }
    }

    /// Makes other content of it, a number in each 4 KiB: no server can know any part of it already.
    pub(crate) fn renew(&mut self, number: u64) {
        for block in self.bytes.chunks_mut(4096) {
            let end = block.len().min(8);
            block[..end].copy_from_slice(&number.to_le_bytes()[..end]);
        }
        self.digest = digest(&self.bytes);
    }
}

/// An image manifest over blobs, its bytes made different by `mark`.
pub(crate) fn manifest(config: &Blob, layers: &[&Blob], mark: &str) -> String {
    let layer = |blob: &&Blob| {
        let (digest, size) = (&blob.digest, blob.bytes.len());
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
    };
    format!(
        concat!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"#,
            r#""layers":[{}],"annotations":{{"bench.mark":"{}"}}}}"#
        ),
        config.digest,
        config.bytes.len(),
        layers.iter().map(layer).collect::<Vec<_>>().join(","),
        mark
    )
}
