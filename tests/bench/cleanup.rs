//! What must be gone when the benchmark ends, however it ends: server processes and the working directory.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// How often the working directory is removed, and the time before each.
const REMOVALS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Left {
    groups: Vec<Pid>,
    directory: Option<PathBuf>,
}

static LEFT: Mutex<Left> = Mutex::new(Left { groups: Vec::new(), directory: None });

fn left<T>(change: impl FnOnce(&mut Left) -> T) -> T {
    change(&mut LEFT.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Starts a process that leads a group, and remembers the group until [`group_ended`]. Once a signal has come,
/// nothing is started any more: this does not return.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<(Child, Pid)> {
    left(|left| {
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        left.groups.push(group);
        Ok((child, group))
    })
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
                // Under the lock to the end: the other thread must start nothing after this.
                left(|left| {
                    clean(left);
                    std::process::exit(130);
                });
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
        left(clean);
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

fn clean(left: &mut Left) {
    for group in left.groups.drain(..) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let Some(directory) = left.directory.take() else { return };
    // Killed servers and the interrupted measurement may still make a file or two.
    for _ in 0..REMOVALS {
        std::thread::sleep(PAUSE);
        let _ = std::fs::remove_dir_all(&directory);
    }
}
