//! Files that hold secrets, and content that only some may read, belong to their owner alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::config::{Config, DatabaseUrl};

/// What the group and others may do.
const OTHERS: u32 = 0o077;
/// What those may do who are neither the owner nor of the group.
const EVERYBODY: u32 = 0o007;

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

/// Which of the files with secrets that a registry is given, and does not make, everybody may read or change. Whose group
/// may read them is their owner's business.
pub fn exposed_secrets(config: &Config) -> Vec<Exposed> {
    let storage = &config.storage;
    let upstreams = config.upstreams.0.iter().flat_map(|upstream| {
        [upstream.password_file.clone(), upstream.credentials_file.clone()].into_iter().flatten()
    });
    let given = [
        config.server.tls.key.clone(),
        config.auth.htpasswd.clone(),
        storage.s3.secret_access_key_file.clone(),
        storage.s3.session_token_file.clone(),
        storage.azure.access_key_file.clone(),
        config.database.url_file.clone(),
    ];
    let mut paths: Vec<PathBuf> = given.into_iter().flatten().chain(upstreams).collect();
    paths.sort();
    paths.dedup();
    paths.iter().filter_map(|path| look_at(path, EVERYBODY)).collect()
}

fn look(path: &Path) -> Option<Exposed> {
    look_at(path, OTHERS)
}

fn look_at(path: &Path, unwanted: u32) -> Option<Exposed> {
    let found = fs::metadata(path).ok()?;
    let mode = found.mode() & 0o7777;
    (mode & unwanted != 0).then(|| Exposed { path: path.to_owned(), mode, wanted: mode & !unwanted })
}
