//! What must be gone when the benchmark ends, however it ends: server processes and the working directory.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

#[derive(Default)]
struct Left {
    groups: Vec<Pid>,
    directory: Option<PathBuf>,
}

static LEFT: Mutex<Left> = Mutex::new(Left { groups: Vec::new(), directory: None });

fn left<T>(change: impl FnOnce(&mut Left) -> T) -> T {
    change(&mut LEFT.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Remembers a process group until [`group_ended`].
pub(crate) fn group_started(group: Pid) {
    left(|left| left.groups.push(group));
}

pub(crate) fn group_ended(group: Pid) {
    left(|left| left.groups.retain(|known| *known != group));
}

/// The working directory. Dropping this removes it and ends every server that still runs.
pub(crate) struct WorkingDirectory(PathBuf);

impl WorkingDirectory {
    /// Makes a directory below `parent`, and has it removed also when a signal ends the benchmark.
    pub(crate) fn create(parent: &Path) -> Result<Self, Failure> {
        let path = parent.join(format!("rreg-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        left(|left| left.directory = Some(path.clone()));
        std::thread::spawn(|| {
            if wait_for_signal().is_ok() {
                clean();
                std::process::exit(130);
            }
        });
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        clean();
    }
}

fn wait_for_signal() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok(())
    })
}

fn clean() {
    let (groups, directory) = left(|left| (std::mem::take(&mut left.groups), left.directory.take()));
    for group in groups {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if let Some(directory) = directory {
        // A server that was killed just now may still have a file open: that does not hinder removal.
        let _ = std::fs::remove_dir_all(directory);
    }
}
