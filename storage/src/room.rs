//! How much room a disk has.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use rustix::fs::statvfs;

/// Bytes that new content leaves free on a disk that is large enough: what has no room there is the database's
/// bookkeeping of deletions.
const FLOOR: u64 = 64 << 20;
/// On a smaller one, this part of it.
const PART: u64 = 20;

/// The disk with a directory.
#[derive(Debug)]
pub(crate) struct Volume(pub(crate) PathBuf);

/// A disk's size and what is free of it, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) size: u64,
    pub(crate) free: u64,
}

impl Room {
    /// What new content leaves free.
    pub(crate) fn floor(self) -> u64 {
        FLOOR.min(self.size / PART)
    }
}

impl Volume {
    /// What there is, if new content may take of it.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`], or the system's.
    pub(crate) fn room(&self) -> io::Result<Room> {
        let found = statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let room = Room { size: bytes(found.f_blocks), free: bytes(found.f_bavail) };
        // A file system that does not say its size says nothing about its room.
        if room.size > 0 && room.free < room.floor() {
            return Err(self.full(room.free));
        }
        Ok(room)
    }

    /// The error that says so.
    pub(crate) fn full(&self, free: u64) -> io::Error {
        let text = format!("{} MiB are left in {}", free >> 20, self.0.display());
        io::Error::new(ErrorKind::StorageFull, text)
    }
}
