//! Who signed what: signing, attesting, verifying and drawing images with `rreg`, against a running registry, and
//! together with the tools that others sign with.

mod copies;
pub(crate) mod cosign;
mod keys;
mod notation;
mod revocation;
mod round_trip;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::clients::Home;
use crate::harness::tool;

/// Of every key made here.
const PASSWORD: &str = "correct horse";

/// A person with a home directory and no other program.
pub(crate) fn person() -> Home {
    Home::for_programs(&[]).expect("needs no other program")
}

/// `rreg` as this person runs it.
fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(env!("CARGO_BIN_EXE_rreg"));
    command.args(args).env("RREG_KEY_PASSWORD", PASSWORD);
    command
}

pub(crate) fn rreg(home: &Home, args: &[&str]) -> String {
    tool::run(&mut command(home, args))
}

/// A document that `rreg` prints, and its exit code.
pub(crate) fn json(home: &Home, args: &[&str]) -> (Value, i32) {
    let output = output(home, &[args, &["--output", "json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap())
}

fn output(home: &Home, args: &[&str]) -> Output {
    tool::output(&mut command(home, args))
}

/// A key pair; the paths of its halves.
pub(crate) fn key_pair(home: &Home, name: &str) -> (String, String) {
    rreg(home, &["key", "generate", name]);
    let path = |ending: &str| home.path(&format!("{name}.{ending}")).display().to_string();
    (path("key"), path("pub"))
}

/// A file of this person.
fn file(home: &Home, name: &str, content: &str) -> PathBuf {
    let path = home.path(name);
    fs::write(&path, content).unwrap();
    path
}

/// The pieces of evidence that `rreg verify` lists.
fn evidence(verified: &Value) -> &Vec<Value> {
    verified["evidence"].as_array().unwrap()
}
