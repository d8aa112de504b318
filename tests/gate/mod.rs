//! `rreg gate` and `rreg policy`: what policies say about images of rreg and of other registries, in every form.

mod api;
mod ci;
mod files;
mod halves;
mod images;
mod others;
mod reports;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;

use crate::harness::{RunDir, tool};

/// Policies with keys beside them, and a home that is nobody's.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(RunDir::get().subdir("gate-"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with its directories.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// `policies/prod.yaml`, which asks for a signature by `policies/keys/team.pub`.
    fn prod(&self) -> PathBuf {
        fs::create_dir_all(self.path("policies/keys")).unwrap();
        self.key("policies/keys/team");
        self.write("policies/prod.yaml", &policy("prod", "signature: {any: [{key: keys/team.pub}]}"))
    }

    /// A key pair, `NAME.key` and `NAME.pub`.
    fn key(&self, name: &str) {
        self.rreg(&["key", "generate", name]).done();
    }

    /// `rreg`, in this directory.
    fn rreg(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_rreg"));
        command.args(arguments);
        Ran::of(&mut command)
    }

    /// `rreg gate IMAGE --policy policies`, and more.
    fn gate(&self, image: &str, more: &[&str]) -> Ran {
        self.rreg(&[&["gate", image, "--policy", "policies"], more].concat())
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.0.path()).current_dir(self.0.path());
        command.env("COSIGN_PASSWORD", "a password");
        command
    }
}

/// A policy for everything at every point, with one rule as YAML writes it in one line.
fn policy(name: &str, rule: &str) -> String {
    format!("apiVersion: rreg/v1\nkind: Policy\nname: {name}\nrequire:\n  - {{{rule}}}\n")
}

/// How a program ended.
struct Ran {
    what: String,
    output: Output,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        let output = tool::output(command);
        Self { what: tool::describe(command, &output), output }
    }

    /// Its standard output, if it ended with this code.
    #[track_caller]
    fn exit(&self, code: i32) -> String {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.what);
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    #[track_caller]
    fn done(&self) -> String {
        self.exit(0)
    }

    /// Its standard output as JSON, if it ended with this code.
    #[track_caller]
    fn json(&self, code: i32) -> Value {
        serde_json::from_str(&self.exit(code)).unwrap_or_else(|e| panic!("{e}: {}", self.what))
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// Says what is missing in a text.
#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
