//! Reading a file without stalling the runtime on a cold disk.

use std::fs::File;
use std::io::{IoSliceMut, Result as IoResult};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;

use super::buffers::Buffers;
use super::piece;
use super::reader::to_usize;

/// How far the kernel has been asked to read ahead. It is asked only once a read had to wait for the disk: content
/// in the page cache costs nothing extra.
#[derive(Default)]
pub(super) struct ReadAhead {
    /// A read had to wait.
    cold: bool,
    /// The kernel was asked for everything before this offset.
    asked: u64,
}

/// Bytes that the kernel is asked for at once, and how early it is asked for the next ones.
const AHEAD: u64 = 8 << 20;

impl ReadAhead {
    /// Asks for more when the bytes asked for before are half used up. Off the runtime: the kernel allocates pages
    /// while it is asked.
    fn ask(&mut self, file: &Arc<File>, range: &Range<u64>) {
        if !self.cold || range.start + AHEAD / 2 < self.asked {
            return;
        }
        let begin = self.asked.max(range.start);
        self.asked = (range.start + AHEAD).min(range.end).max(begin);
        if let Some(length) = NonZeroU64::new(self.asked - begin) {
            let file = file.clone();
            // An advice that is not taken only means slower reads.
            tokio::task::spawn_blocking(move || {
                let _ = rustix::fs::fadvise(&*file, begin, Some(length), Advice::WillNeed);
            });
        }
    }
}

/// Reads the next stretch of `range`: at once if the page cache has it, on a blocking thread if not, so that a cold
/// disk never stalls the runtime.
pub(super) async fn read_file(
    buffers: &Buffers,
    file: &Arc<File>,
    range: Range<u64>,
    ahead: &mut ReadAhead,
) -> IoResult<Bytes> {
    ahead.ask(file, &range);
    let mut buffer = buffers.take(piece::most());
    let length = to_usize(range.end - range.start).min(buffer.len());
    let part = &mut [IoSliceMut::new(&mut buffer[..length])];
    if let Ok(read @ 1..) = rustix::io::preadv2(&**file, part, range.start, ReadWriteFlags::NOWAIT) {
        return Ok(buffers.share(buffer, read));
    }
    ahead.cold = true;
    ahead.ask(file, &range);
    let file = file.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let read = file.read_at(&mut buffer[..length], range.start);
        (buffer, read)
    });
    match reading.await {
        Ok((buffer, Ok(read))) => Ok(buffers.share(buffer, read)),
        Ok((buffer, Err(error))) => {
            buffers.give_back(buffer);
            Err(error)
        }
        Err(error) => Err(std::io::Error::other(error)),
    }
}
