//! Files that hold secrets, and content that only some may read, belong to their owner alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::config::{Config, DatabaseUrl};

/// What the group and others may do.
const OTHERS: u32 = 0o077;

/// What this process makes from now on is its owner's alone, whatever the umask was.
pub(crate) fn keep_private() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// A file or directory that others may read or change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Which.
    pub path: PathBuf,
    /// Its permissions, as `chmod` takes them.
    pub mode: u32,
    /// Those that it should have.
    pub wanted: u32,
}

impl std::fmt::Display for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, mode, wanted } = self;
        write!(f, "{} is open to others: its mode is {mode:04o} and should be {wanted:04o}", path.display())
    }
}

impl Exposed {
    /// Takes the others' permissions away.
    ///
    /// # Errors
    /// When the file is not ours to change.
    pub fn fix(&self) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(self.wanted))
    }
}

/// What of a registry's own files is open to others: its directory, its database, and what is in them at the top. What
/// is not there is not open.
pub fn exposed(config: &Config) -> Vec<Exposed> {
    let data = &config.storage.data;
    let mut paths = vec![data.clone(), data.join("objects"), data.join("rreg.lock")];
    if let DatabaseUrl::Sqlite(database) = config.database_url() {
        let beside = |ending: &str| {
            let mut path = database.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        paths.extend([beside(""), beside("-wal"), beside("-shm")]);
        paths.extend(database.parent().map(|parent| parent.join("rreg.lock")));
    }
    paths.extend(config.auth.key_file.clone());
    paths.sort();
    paths.dedup();
    paths.iter().filter_map(|path| look(path)).collect()
}

fn look(path: &Path) -> Option<Exposed> {
    let found = fs::metadata(path).ok()?;
    let mode = found.mode() & 0o7777;
    (mode & OTHERS != 0).then(|| Exposed { path: path.to_owned(), mode, wanted: mode & !OTHERS })
}
