//! A file that holds room on the database's disk. Where the disk is full without it, it is deleted, so that what is there
//! can still be deleted too, and new content is refused until there is room for it again.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

use crate::error::StorageError;
use crate::room::Volume;

/// Its name, beside the database.
const NAME: &str = "reserve";
/// Its length in bytes, on a disk that is large enough: some thousand deletions.
const LENGTH: u64 = 16 << 20;
/// It takes no more than this part of the disk.
const PART: u64 = 32;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Reserve {
    file: PathBuf,
    volume: Volume,
    /// Whether it is there, or is not wanted.
    kept: AtomicBool,
}

impl Reserve {
    /// Makes it beside `database`, or finds it there.
    pub(super) fn keep(database: &Path) -> Self {
        let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        let file = directory.join(NAME);
        let kept = AtomicBool::new(file.exists());
        let reserve = Self { file, volume: Volume(directory), kept };
        if let Err(error) = reserve.room() {
            tracing::warn!(%error, "nothing new is taken");
        }
        reserve
    }

    /// Deletes it. `false`: there was none.
    pub(super) fn release(&self) -> bool {
        self.kept.store(false, Ordering::Relaxed);
        let released = std::fs::remove_file(&self.file).is_ok();
        if released {
            tracing::error!(
                directory = %self.volume.0.display(),
                "the database's disk is full; nothing new is taken until there is room again"
            );
        }
        released
    }

    /// Whether there is room for new content. Makes the reserve again where there is.
    ///
    /// # Errors
    /// [`StorageError::Full`].
    pub(super) fn room(&self) -> Result<(), StorageError> {
        let full = |error: io::Error| StorageError::Full(format!("database: {error}"));
        let space = self.volume.room().map_err(full)?;
        if self.kept.load(Ordering::Relaxed) {
            return Ok(());
        }
        let length = LENGTH.min(space.size / PART);
        if space.free < space.floor() + length {
            return Err(full(self.volume.full(space.free)));
        }
        match self.fill(length) {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                let _ = std::fs::remove_file(&self.file);
                return Err(full(error));
            }
            // It does without: what cannot be made here cannot be made later.
            Err(error) => tracing::warn!(%error, "no room is held on the database's disk"),
            Ok(()) => {}
        }
        self.kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn fill(&self, length: u64) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.file)?;
        match fallocate(&file, FallocateFlags::empty(), 0, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => {
                io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
                file.flush()
            }
            result => Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_let_go_once_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::keep(&dir.path().join("rreg.db"));
        let file = dir.path().join(NAME);
        assert!(file.metadata().unwrap().len() > 0);
        assert!(reserve.release());
        assert!(!file.exists());
        assert!(!reserve.release());
        reserve.room().unwrap();
        assert!(file.exists());
    }
}
