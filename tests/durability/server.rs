//! A real `rreg serve` on a directory, to be killed, stopped and started again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts it on `data` and waits until it listens. `env` are settings as `RREG_…` variables.
    pub(crate) fn start(data: &Path, env: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        let log = data.join("log");
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
        // The tests' own variables are no settings of the server.
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RREG_")).for_each(
            |(name, _)| {
                command.env_remove(name);
            },
        );
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(["--log-level", "warn"])
            // The test run's own RREG_ variables are no settings of the server, which refuses unknown ones.
            .env_clear()
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("://").map(|(_, address)| address.parse().unwrap());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the server did not start: {}", std::fs::read_to_string(&log).unwrap());
        };
        Self { child, address, log }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.check_log();
    }

    /// SIGTERM, without waiting for the end.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end of a server that was asked to stop.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.check_log();
        status
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Nothing may panic, whatever clients do.
    pub(crate) fn check_log(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
