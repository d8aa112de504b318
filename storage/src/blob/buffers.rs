//! Reusable read buffers: a download of any length touches the same few pages, which stay in the CPU's cache.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Size of one buffer in bytes. Measured: 64 to 256 KiB are equally fast, larger ones fall out of the cache.
pub(super) const BUFFER: usize = 128 << 10;
/// Buffers kept for reuse; more exist only while more are in use.
const KEPT: usize = 32;

/// A pool of buffers of [`BUFFER`] bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Buffers {
    /// A buffer with arbitrary content.
    pub(super) fn take(&self) -> Box<[u8]> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    /// The first `len` bytes as shared bytes; the buffer comes back when the last user lets go.
    pub(super) fn share(&self, buffer: Box<[u8]>, len: usize) -> Bytes {
        Bytes::from_owner(Shared { buffer, len, pool: self.clone() })
    }

    pub(super) fn give_back(&self, buffer: Box<[u8]>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }
}

struct Shared {
    buffer: Box<[u8]>,
    len: usize,
    pool: Buffers,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&self.buffer)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}
