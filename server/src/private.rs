//! Files that hold secrets, and content that only some may read, belong to their owner alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::config::{Config, DatabaseUrl};

/// What the group and others may do.
const OTHERS: u32 = 0o077;
/// What those may do who are neither the owner nor of the group.
const EVERYBODY: u32 = 0o007;

/// What this process makes from now on is its owner's alone, whatever the umask was.
pub(crate) fn keep_private() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Makes a directory. What root makes in somebody's directory is theirs.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(path)?;
    let above = missing.last().and_then(|path| path.parent()).filter(|path| !path.as_os_str().is_empty());
    let owner = fs::metadata(above.unwrap_or(Path::new(".")))?;
    if rustix::process::geteuid().is_root() && owner.uid() != 0 {
        for path in missing.iter().rev() {
            give(path, &owner)?;
        }
    }
    Ok(())
}

/// What a command may have made in a registry's directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The database's files.
    Rows,
    /// Objects of the store too.
    Content,
}

/// What root has made in a registry's directories becomes their owner's: a service that runs as somebody else could not
/// write it.
///
/// # Errors
/// When a file is not root's to give.
pub fn keep_owner(config: &Config, made: Made) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let data = &config.storage.data;
    let inside = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = inside(data).map(|entry| entry.path()).collect();
    if let DatabaseUrl::Sqlite(database) = config.database_url() {
        let directory = database.parent().filter(|path| !path.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let name = database.file_name().unwrap_or_default().as_encoded_bytes();
        let entries = inside(directory);
        files.extend(
            entries
                .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(name))
                .map(|entry| entry.path()),
        );
        files.extend(["rreg.lock", "reserve"].map(|name| directory.join(name)));
    }
    let objects = data.join("objects");
    for file in files.iter().filter(|file| file.exists()) {
        let owner = fs::metadata(file.parent().unwrap_or(Path::new(".")))?;
        if owner.uid() != 0 {
            give(file, &owner)?;
        }
    }
    if made == Made::Content && objects.is_dir() {
        let owner = fs::metadata(&objects)?;
        if owner.uid() != 0 {
            give_all(&objects, &owner)?;
        }
    }
    Ok(())
}

fn give_all(directory: &Path, owner: &fs::Metadata) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        give(&entry.path(), owner)?;
        if entry.file_type()?.is_dir() {
            give_all(&entry.path(), owner)?;
        }
    }
    Ok(())
}

/// Gives a file or directory of root's away. Neither links nor files with a second name: that could be one that
/// is none of ours.
fn give(path: &Path, owner: &fs::Metadata) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match fs::File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        // It may be gone by now, and a link is left as it is.
        Err(_) => return Ok(()),
    };
    let found = file.metadata()?;
    if found.uid() == 0 && (found.is_dir() || (found.is_file() && found.nlink() == 1)) {
        std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
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
        config.policy.admission_path_secret_file.clone(),
        config.policy.admission_path_secret_next_file.clone(),
    ];
    let mut paths: Vec<PathBuf> = given.into_iter().flatten().chain(upstreams).collect();
    paths.sort();
    paths.dedup();
    paths.iter().filter_map(|path| look_at(path, EVERYBODY)).collect()
}

fn look(path: &Path) -> Option<Exposed> {
    let is_for_us = fs::metadata(path).is_ok_and(|found| is_given_to_our_group(&found));
    look_at(path, if is_for_us { EVERYBODY } else { OTHERS })
}

/// Whether a directory was given to this process by its group, as a pod's `fsGroup` does at each start: whatever is made in
/// it is of that group too, and private for its own part.
fn is_given_to_our_group(found: &fs::Metadata) -> bool {
    const SET_GROUP: u32 = 0o2000;
    let is_ours = found.gid() == rustix::process::getegid().as_raw();
    found.is_dir() && is_ours && found.mode() & SET_GROUP != 0
}

fn look_at(path: &Path, unwanted: u32) -> Option<Exposed> {
    let found = fs::metadata(path).ok()?;
    let mode = found.mode() & 0o7777;
    (mode & unwanted != 0).then(|| Exposed { path: path.to_owned(), mode, wanted: mode & !unwanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_a_pod_is_private_to_its_group() {
        let home = tempfile::tempdir().unwrap();
        for (mode, wanted) in [
            (0o2770, None),
            (0o2700, None),
            (0o700, None),
            (0o2775, Some(0o2770)),
            (0o770, Some(0o700)),
            (0o755, Some(0o700)),
        ] {
            fs::set_permissions(home.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(look(home.path()).map(|it| it.wanted), wanted, "{mode:o}");
        }
        // Only what is made in it is of the group: a file is whose it is.
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o2660)).unwrap();
        assert_eq!(look(&file).map(|it| it.wanted), Some(0o2600));
    }
}
