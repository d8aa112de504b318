//! Files that are kept until the image is read to its end, compressed: a database whose changes may come later.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    bytes: Arc<[u8]>,
    length: u64,
}

impl Packed {
    /// `None` if it cannot be kept.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).ok()?;
        let packed = encoder.finish().ok()?;
        Some(Self { bytes: packed.into(), length: bytes.len() as u64 })
    }

    /// How many bytes are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // It was made above, in memory: it cannot be damaged, and ends where it began.
        let _ = DeflateDecoder::new(&*self.bytes).take(self.length).read_to_end(&mut bytes);
        bytes
    }
}
