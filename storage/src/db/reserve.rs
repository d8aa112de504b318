//! A file that holds room on the database's disk. Where the disk is full without it, it is deleted, so that what is there
//! can still be deleted too, and new content is refused until there is room for it again. A database whose file was moved or
//! deleted while it is open takes nothing more: what it took would be lost at the stop.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
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
    database: PathBuf,
    /// Device and inode of the database's file, once it is open.
    opened: OnceLock<(u64, u64)>,
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
        let (database, volume) = (database.to_owned(), Volume(directory));
        let reserve = Self { file, volume, database, opened: OnceLock::new(), kept };
        if let Err(error) = reserve.room() {
            tracing::warn!(%error, "nothing new is taken");
        }
        reserve
    }

    /// The database's file is open from now on.
    pub(super) fn opened(&self) {
        if let Ok(found) = std::fs::metadata(&self.database) {
            let _ = self.opened.set((found.dev(), found.ino()));
        }
    }

    /// Whether the file that is open is still the one in its place.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(super) fn in_place(&self) -> Result<(), StorageError> {
        let Some(opened) = self.opened.get() else { return Ok(()) };
        let moved = |source| {
            let what =
                format!("the database {} was moved or deleted while it is open", self.database.display());
            StorageError::io(what)(source)
        };
        let found = std::fs::metadata(&self.database).map_err(moved)?;
        if *opened == (found.dev(), found.ino()) {
            return Ok(());
        }
        Err(moved(io::Error::other("another file is in its place")))
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
    /// [`StorageError::Full`]; that the database is not in its place any more.
    pub(super) fn room(&self) -> Result<(), StorageError> {
        self.in_place()?;
        let full = |error: io::Error| match error.kind() {
            ErrorKind::StorageFull => StorageError::Full(format!("database: {error}")),
            _ => StorageError::io(format!("looking for room in {}", self.volume.0.display()))(error),
        };
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

    #[test]
    fn a_database_that_is_not_in_its_place_is_not_full() {
        let dir = tempfile::tempdir().unwrap();
        let (database, aside) = (dir.path().join("rreg.db"), dir.path().join("aside"));
        std::fs::write(&database, "one").unwrap();
        let reserve = Reserve::keep(&database);
        reserve.opened();
        reserve.room().unwrap();
        std::fs::rename(&database, &aside).unwrap();
        let gone = reserve.room().unwrap_err();
        assert!(!gone.is_full() && gone.to_string().contains("moved or deleted"), "{gone}");
        std::fs::write(&database, "another").unwrap();
        assert!(reserve.room().is_err());
        std::fs::rename(&aside, &database).unwrap();
        reserve.room().unwrap();
        // A whole directory that is away is no full disk either.
        let (moved, other) = (dir.path().join("moved"), tempfile::tempdir().unwrap());
        drop(Reserve::keep(&other.path().join("rreg.db")));
        let reserve = Reserve::keep(&other.path().join("rreg.db"));
        std::fs::rename(other.path(), &moved).unwrap();
        let away = reserve.room().unwrap_err();
        assert!(!away.is_full(), "{away}");
    }
}
