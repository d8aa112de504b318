//! Reusable read buffers: a download of any length touches the same few pages, which stay in the CPU's cache.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::piece::PIECE;

/// Buffers kept for reuse; more exist only while more are in use.
const KEPT: usize = 32;

/// A pool of buffers of [`PIECE`] bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Buffers {
    /// A buffer with arbitrary content, of [`PIECE`] bytes or of `most`; only the former are kept for reuse.
    pub(super) fn take(&self, most: Option<usize>) -> Box<[u8]> {
        let new = |size: usize| vec![0; size].into_boxed_slice();
        match most {
            Some(most) => new(most),
            None => {
                let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
                kept.unwrap_or_else(|| new(PIECE))
            }
        }
    }

    /// The first `len` bytes as shared bytes; the buffer comes back when the last user lets go.
    pub(super) fn share(&self, buffer: Box<[u8]>, len: usize) -> Bytes {
        Bytes::from_owner(Shared { buffer, len, pool: self.clone() })
    }

    pub(super) fn give_back(&self, buffer: Box<[u8]>) {
        if buffer.len() != PIECE {
            return;
        }
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
