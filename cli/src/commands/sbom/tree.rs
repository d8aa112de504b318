//! The root directory of a file system: regular files, and where symbolic links say they lead; none is followed here.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rreg_sbom::{Limits, Sbom, Scanner, Subject};

use crate::exit::{Exit, Failure};

/// Deepest directories walked into.
const MAX_DEPTH: usize = 256;
/// What the kernel shows as files, and never end: only at the top.
const KERNEL: [&str; 3] = ["proc", "sys", "dev"];

pub(super) async fn scan(root: PathBuf, timeout: u64) -> Result<Sbom, Failure> {
    let work = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(timeout);
        let mut scanner = Scanner::new(Limits::default());
        scanner.tree();
        walk(&mut scanner, &root, deadline)
            .map_err(|e| Failure::new(Exit::Input, format!("{}: {e}", root.display())))?;
        let name = root.display().to_string();
        Ok(scanner.finish(Subject { name, ..Subject::default() }))
    });
    work.await.map_err(|e| Failure::new(Exit::Internal, format!("the scan broke off: {e}")))?
}

fn walk(scanner: &mut Scanner, root: &Path, deadline: Instant) -> io::Result<()> {
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "not read in time (--timeout)"));
        }
        let mut entries = match std::fs::read_dir(root.join(&directory)) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(e) if depth > 0 && e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", directory.display()))),
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = directory.join(entry.file_name());
            let kind = entry.file_type()?;
            let special = depth == 0 && KERNEL.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && !special && depth < MAX_DEPTH {
                waiting.push((path, depth + 1));
            } else if kind.is_file() {
                file(scanner, root, &path)?;
            } else if kind.is_symlink()
                && let Ok(target) = std::fs::read_link(root.join(&path))
            {
                scanner.link(&path.to_string_lossy(), &target.to_string_lossy());
            }
        }
    }
    Ok(())
}

fn file(scanner: &mut Scanner, root: &Path, path: &Path) -> io::Result<()> {
    // Neither a link nor a pipe that took the file's place meanwhile.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let opened: File = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(root.join(path))
    {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(named(e)),
    };
    let meta = opened.metadata().map_err(named)?;
    if !meta.is_file() {
        return Ok(());
    }
    scanner.file(&path.to_string_lossy(), meta.len(), opened).map_err(named)
}
