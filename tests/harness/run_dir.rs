//! The run's own directory and its reaper.
//!
//! Rust's test harness never drops statics, and a test run may be killed at any moment. So one small shell
//! waits for the end of a pipe that only this process holds open: when the process is gone, however it went,
//! the shell ends the children still named in `pids/` and removes the directory.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

/// `$1` is the directory. Each file in `pids/` is named by a process and holds the signal that it takes for a
/// wish to end.
const REAPER: &str = r#"
trap '' INT TERM HUP
read -r _
for f in "$1"/pids/*; do
    [ -e "$f" ] && kill -"$(cat "$f")" "${f##*/}" 2>/dev/null
done
for i in 1 2 3 4 5 6 7 8 9 10; do
    alive=
    for f in "$1"/pids/*; do [ -e "$f" ] && kill -0 "${f##*/}" 2>/dev/null && alive=1; done
    [ -z "$alive" ] && break
    sleep 0.3
done
for f in "$1"/pids/*; do [ -e "$f" ] && kill -9 "${f##*/}" 2>/dev/null; done
rm -rf "$1"
"#;

/// The directory of this test run; everything that tests leave on disk is below it.
pub(crate) struct RunDir {
    path: PathBuf,
    /// Never waited for, it outlives this process; the closing of its standard input is its signal.
    _reaper: std::process::Child,
}

impl RunDir {
    /// The one of this process.
    pub(crate) fn get() -> &'static Self {
        static RUN: OnceLock<RunDir> = OnceLock::new();
        RUN.get_or_init(|| {
            // Short: PostgreSQL's and dockerd's socket paths must stay under 108 bytes.
            let path = tempfile::Builder::new().prefix("rreg-it-").tempdir().unwrap().keep();
            // The PostgreSQL user must be able to pass through.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
            fs::create_dir(path.join("pids")).unwrap();
            let reaper = Command::new("sh")
                .args(["-c", REAPER, "reaper"])
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .expect("sh");
            Self { path, _reaper: reaper }
        })
    }

    /// A fresh directory for one server or client, removed when dropped.
    pub(crate) fn subdir(&self, prefix: &str) -> tempfile::TempDir {
        tempfile::Builder::new().prefix(prefix).tempdir_in(&self.path).unwrap()
    }

    /// Where the run keeps its things.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A background process that ends with its owner, and with the test run at the latest.
pub(crate) struct Child {
    child: std::process::Child,
    signal: Signal,
    pid_file: PathBuf,
}

impl Child {
    /// Starts `command`; `signal` is how to ask it to end.
    pub(crate) fn spawn(command: &mut Command, signal: Signal) -> Self {
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let pid_file = RunDir::get().path().join("pids").join(child.id().to_string());
        fs::write(&pid_file, format!("{}\n", signal.as_raw())).unwrap();
        Self { child, signal, pid_file }
    }

    /// The process's identifier.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process's output, once.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The process's input, once.
    pub(crate) fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The exit status if it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        // The process may have ended in the meantime.
        let _ = kill_process(pid, signal);
    }

    /// Asks it to end and waits; after `patience` it is killed and the answer is `None`.
    pub(crate) fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.send(self.signal);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        None
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exited().is_none() {
            self.end(Duration::from_secs(10));
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

/// Asks `ready` until it is true.
///
/// # Panics
/// When it is not within a minute.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not get ready within a minute");
        thread::sleep(Duration::from_millis(50));
    }
}
