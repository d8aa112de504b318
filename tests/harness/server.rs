//! A registry under test: `rreg serve` in a directory of its own, or one that is already running.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rreg_oci::Digest;
use rustix::process::Signal;

use super::http::Api;
use super::run_dir::{Child, RunDir};
use super::{postgres, s3, tool};

/// The files of an embedded database.
const DATABASE: [&str; 3] = ["rreg.db", "rreg.db-wal", "rreg.db-shm"];

/// Where a registry keeps its metadata and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The embedded default.
    SqliteDirectory,
    /// What replicas share.
    PostgresS3,
}

/// A running registry. Dropping it ends it and removes what it kept.
pub(crate) struct Registry {
    process: Option<Child>,
    address: String,
    settings: Vec<(&'static str, String)>,
    /// `None` for a registry that somebody else started.
    home: Option<tempfile::TempDir>,
}

impl Registry {
    /// Starts one with the defaults, or `None` when the backend's programs are not installed.
    pub(crate) async fn start(backend: Backend) -> Option<Self> {
        if let Ok(address) = env::var("RREG_TEST_REGISTRY") {
            if backend == Backend::PostgresS3 {
                tool::skip("the registry was given by RREG_TEST_REGISTRY and is tested once");
                return None;
            }
            return Some(Self { process: None, address, settings: Vec::new(), home: None });
        }
        Self::start_with(backend, &[]).await
    }

    /// Starts one with these settings (`RREG_…`). `None` too when the registry is not ours to configure.
    #[allow(clippy::unused_async, reason = "waiting for readiness may become asynchronous; callers await it")]
    pub(crate) async fn start_with(backend: Backend, settings: &[(&'static str, &str)]) -> Option<Self> {
        if env::var_os("RREG_TEST_REGISTRY").is_some() {
            tool::skip("needs a registry started with its own settings");
            return None;
        }
        let mut all = Vec::new();
        if backend == Backend::PostgresS3 {
            all.push(("RREG_DATABASE__URL", postgres::database()?));
            all.extend(s3::bucket());
        }
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let home = RunDir::get().subdir("rreg-");
        let mut registry = Self { process: None, address: String::new(), settings: all, home: Some(home) };
        registry.resume();
        Some(registry)
    }

    /// Another process over the same database and bucket (and nothing else in common).
    pub(crate) fn replica(&self) -> Self {
        let home = RunDir::get().subdir("rreg-");
        let settings = self.settings.clone();
        let mut replica = Self { process: None, address: String::new(), settings, home: Some(home) };
        replica.resume();
        replica
    }

    /// Another process over a copy of this one's files of a database, which is stopped, and over the same objects.
    pub(crate) fn copy(&self) -> Self {
        let home = RunDir::get().subdir("rreg-");
        let (from, to) = (self.home().join("data"), home.path().join("data"));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        if from.join("objects").exists() {
            std::os::unix::fs::symlink(from.join("objects"), to.join("objects")).unwrap();
        }
        let settings = self.settings.clone();
        Self { process: None, address: String::new(), settings, home: Some(home) }
    }

    /// Starts the process over whatever is in its directory.
    pub(crate) fn resume(&mut self) {
        let home = self.home();
        let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(home.join("data"));
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", home);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = Child::spawn(&mut command, Signal::TERM);
        let mut stdout = BufReader::new(child.take_stdout().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("://").map(|(_, address)| address.to_owned());
        self.process = Some(child);
        self.address = address.unwrap_or_else(|| panic!("rreg did not start: {line:?}\n{}", self.log()));
        // Whatever else it may print must find a reader.
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    }

    /// Runs `rreg ARGUMENTS` with this registry's settings: the commands of an operator.
    pub(crate) fn rreg(&self, arguments: &[&str]) -> std::process::Output {
        let home = self.home();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
        command.args(arguments).stdin(Stdio::null());
        command.env_clear().env("HOME", home).env("RREG_STORAGE__DATA", home.join("data"));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.output().unwrap()
    }

    /// The one JSON document that a command of an operator prints, and its exit code.
    pub(crate) fn rreg_json(&self, arguments: &[&str]) -> (serde_json::Value, i32) {
        let output = self.rreg(&[arguments, &["--output", "json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).unwrap_or_else(|e| {
            panic!("{arguments:?}: {e}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        (value, output.status.code().unwrap())
    }

    /// The bucket that has its bytes, if they are in one.
    pub(crate) fn bucket(&self) -> Option<&str> {
        let bucket = self.settings.iter().find(|(name, _)| *name == "RREG_STORAGE__S3__BUCKET");
        bucket.map(|(_, bucket)| bucket.as_str())
    }

    /// Where its rows are, for tests that change them behind its back.
    pub(crate) fn database_url(&self) -> String {
        let url = self.settings.iter().find(|(name, _)| *name == "RREG_DATABASE__URL");
        url.map_or_else(|| format!("sqlite://{}/data/rreg.db", self.home().display()), |(_, url)| url.clone())
    }

    /// Takes the database of a stopped registry away; the next start or command finds an empty one.
    pub(crate) fn lose_database(&mut self) {
        let url = self.settings.iter_mut().find(|(name, _)| *name == "RREG_DATABASE__URL");
        if let Some((_, url)) = url {
            *url = postgres::database().expect("there was one before");
            return;
        }
        for file in DATABASE {
            let path = self.home().join("data").join(file);
            if path.exists() {
                fs::remove_file(path).unwrap();
            }
        }
    }

    /// Keeps the embedded database of a stopped registry as it is: a backup.
    pub(crate) fn save_database(&self) {
        let saved = self.home().join("saved");
        fs::create_dir(&saved).unwrap();
        copy_database(&self.home().join("data"), &saved);
    }

    /// Puts the backup in the place of the database of a stopped registry.
    pub(crate) fn restore_database(&mut self) {
        self.lose_database();
        copy_database(&self.home().join("saved"), &self.home().join("data"));
    }

    /// Where the directory of a stopped or running registry has its objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.home().join("data/objects")
    }

    /// The file with the record of this manifest, for `fsck --rebuild`.
    pub(crate) fn record(&self, repository: &str, digest: &Digest) -> PathBuf {
        let place = format!("manifests/{repository}/_{}/{}", digest.algorithm(), digest.hex());
        self.objects().join(place)
    }

    /// A command of `rreg` that works on this registry's database beside it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
        command.args(args).arg("--data").arg(self.home().join("data"));
        command.env_clear().env("HOME", self.home());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Changes a setting for the next start.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.retain(|(set, _)| *set != name);
        self.settings.push((name, value.to_owned()));
    }

    /// SIGTERM, and the exit status.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut child = self.process.take().expect("a running registry of our own");
        child.end(Duration::from_secs(60)).unwrap_or_else(|| panic!("rreg ignored SIGTERM\n{}", self.log()))
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.process.as_ref().expect("a running registry of our own").send(Signal::HUP);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("a running registry of our own").kill();
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// An HTTP client for it. Only rreg itself is held to what the specification leaves open.
    pub(crate) fn api(&self) -> Api {
        Api::new(&self.address, self.is_rreg())
    }

    /// Whether it is rreg, and not another registry given for comparison.
    pub(crate) fn is_rreg(&self) -> bool {
        self.home.is_some()
    }

    /// Whether replicas can share its database and bytes.
    pub(crate) fn is_shareable(&self) -> bool {
        self.settings.iter().any(|(name, _)| *name == "RREG_DATABASE__URL")
    }

    /// The most memory that the process has had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// Its directory, with the data in `data`.
    pub(crate) fn home(&self) -> &Path {
        self.home.as_ref().expect("a registry of our own").path()
    }

    /// A repository name that no other test uses, also on a shared registry.
    #[allow(clippy::unused_self, reason = "names belong to a registry")]
    pub(crate) fn repository(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("it/{}/repo-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let log = self.home.as_ref().map(|home| home.path().join("log")).unwrap_or_default();
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

fn copy_database(from: &Path, to: &Path) {
    for file in DATABASE.into_iter().filter(|file| from.join(file).exists()) {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if thread::panicking() && self.is_rreg() {
            eprintln!("--- end of the registry's log\n{}", self.log());
        }
    }
}
