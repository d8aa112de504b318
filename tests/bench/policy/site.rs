//! A registry with policies beside its store, and a person who has a key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Bench, Failure};
use crate::http::Client;
use crate::peers::{self, Peer};
use crate::process::Server;

/// Longest wait for decisions.
const LIMIT: Duration = Duration::from_secs(3600);

/// A home of its own: nothing of the machine's settings is read or changed.
pub(super) struct Site {
    home: PathBuf,
    peer: Peer,
}

impl Site {
    /// With an empty store, no policies and the key pair `team`.
    pub(super) fn new(bench: &Bench, name: &str) -> Result<Self, Failure> {
        let home = bench.directory.join(name);
        fs::create_dir_all(home.join("policies"))?;
        let site = Self { home, peer: bench.rreg.clone() };
        site.rreg(&["key", "generate", "team", "--no-password"])?;
        fs::copy(site.path("team.pub"), site.path("policies/team.pub"))?;
        Ok(site)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Writes a file as editors and mounts do: it is there whole or not at all.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let (part, whole) = (self.path(&format!("{name}.part")), self.path(name));
        fs::create_dir_all(whole.parent().unwrap_or(&self.home))?;
        fs::write(&part, text)?;
        Ok(fs::rename(part, whole)?)
    }

    /// Starts the registry without any policy.
    pub(super) fn start_free(&self) -> Result<Server, Failure> {
        self.peer.start(&self.home)
    }

    /// Starts it under the policies.
    pub(super) fn start(&self) -> Result<Server, Failure> {
        let policies = self.path("policies").display().to_string();
        self.peer.start_with(&self.home, &[("RREG_POLICY__DIRECTORY", &policies)])
    }

    /// A program in this home, with nothing of the caller's environment.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", &self.home).current_dir(&self.home);
        command.env("XDG_CONFIG_HOME", self.path(".config")).env("DOCKER_CONFIG", self.path(".docker"));
        command.stdin(Stdio::null());
        command
    }

    pub(super) fn rreg(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = self.command(env!("CARGO_BIN_EXE_rreg"));
        run(command.args(arguments)).map(drop)
    }

    /// Signs an image as the team.
    pub(super) fn sign(&self, server: &Server, name: &str) -> Result<(), Failure> {
        let image = format!("{}/{name}", server.address);
        self.rreg(&["sign", &image, "--key", "team.key", "--no-password"])
    }
}

/// Where a program is, if it is here.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    peers::in_path(name).or_else(|| peers::in_go(name))
}

/// Runs a program that has to succeed.
pub(super) fn run(command: &mut Command) -> Result<Output, Failure> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}", output.status, said.trim()).into())
}

/// How far decisions are: the revision of the policies, and how many images have none under it.
pub(super) fn progress(client: &mut Client) -> Result<(String, u64), Failure> {
    client.send("GET", "/v2/_rreg/policies", "", &[], &[200])?;
    let all: Value = serde_json::from_slice(&client.body)?;
    let revision = all["revision"].as_str().ok_or("no revision in the list of policies")?;
    Ok((revision.to_owned(), all["undecided"].as_u64().ok_or("no count of undecided images")?))
}

/// Waits until everything is decided under other policies than `before`; the revision then.
pub(super) fn decided(server: &Server, before: &str, look: Duration) -> Result<String, Failure> {
    let mut client = Client::connect(server.address)?;
    let started = Instant::now();
    loop {
        let (revision, undecided) = progress(&mut client)?;
        if undecided == 0 && revision != before {
            return Ok(revision);
        }
        if started.elapsed() > LIMIT {
            return Err(format!("{undecided} images are undecided after {} s", LIMIT.as_secs()).into());
        }
        std::thread::sleep(look);
    }
}
