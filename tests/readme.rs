//! Every command of the README and of the manuals is run here as it stands there: pasted line by line into a shell, on a
//! machine that has `rreg`, one client (`crane`), and `sqlite3` for backups.
//!
//! A block's kind is its fence's information string. `sh` is run, `sh server` in a terminal of its own; `sh REASON` is not,
//! for one of [`REASONS`]; `text` behind a block of commands is what the last of them prints, but for digests and times;
//! `toml` is a configuration that is valid. A command whose comment begins with "refused" has to fail.

mod blocks;
mod shell;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{RunDir, tool};
use blocks::{Block, blocks, commands};
use shell::{Shell, plain};

/// Why a block of commands is not run, and how many such blocks there are in all documents. One more has to be counted here,
/// with its reason.
const REASONS: [(&str, &str, usize); 5] = [
    ("source", "builds or tests from the sources", 1),
    ("host", "installs on a machine with systemd", 1),
    ("stores", "wants PostgreSQL and a bucket", 2),
    ("ci", "runs in a job of a CI system", 1),
    ("cluster", "wants Kubernetes", 7),
];

/// What is no command: shown, or checked by another test.
const SHOWN: [&str; 5] = ["text", "yaml", "nginx", "dockerfile", "ini"];

/// The documents, each read from its beginning by somebody with an empty directory.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "policy/README.md",
    "deploy/README.md",
    "deploy/upkeep.md",
    "deploy/kubernetes/README.md",
    "tests/README.md",
];

/// What the machine has beside `rreg` and `crane`.
const PROGRAMS: [&str; 18] = [
    "bash", "cat", "chmod", "cp", "cut", "env", "grep", "gzip", "head", "ls", "mkdir", "mv", "rm", "sleep",
    "sqlite3", "tail", "tar", "tr",
];

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// A directory with the programs of the machine.
fn machine(home: &Path) -> PathBuf {
    let bin = home.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in PROGRAMS.into_iter().chain(["crane"]) {
        let program = tool::find(name).unwrap_or_else(|| panic!("{name}"));
        std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rreg"), bin.join("rreg")).unwrap();
    bin
}

#[test]
fn every_block_of_commands_runs() {
    if !tool::have(&["crane", "sqlite3"]) {
        return;
    }
    for name in DOCUMENTS {
        let home = RunDir::get().subdir("readme-");
        let bin = machine(home.path());
        let mut shell = Shell::start(home.path(), &bin);
        let mut said = String::new();
        for block in blocks(&document(name)) {
            match block.kind.as_str() {
                "sh" => {
                    for command in commands(&block) {
                        said = shell.run(&command, &format!("{name}:{}", command.line));
                    }
                }
                "sh server" => commands(&block).iter().for_each(|command| shell.serve(command)),
                "text" if block.follows_commands => {
                    let (shown, printed) = (plain(&block.text), plain(&said));
                    assert_eq!(shown, printed, "{name}:{}: another text is printed", block.line);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_block_has_a_kind() {
    let mut passed_over = REASONS.map(|(reason, _, _)| (reason, 0));
    for name in DOCUMENTS {
        for Block { kind, line, .. } in blocks(&document(name)) {
            if let Some(reason) = kind.strip_prefix("sh ").filter(|kind| *kind != "server") {
                let known = passed_over.iter_mut().find(|(known, _)| *known == reason);
                known.unwrap_or_else(|| panic!("{name}:{line}: {reason:?} is no reason")).1 += 1;
                continue;
            }
            let known =
                ["sh", "sh server", "toml"].contains(&kind.as_str()) || SHOWN.contains(&kind.as_str());
            assert!(known, "{name}:{line}: blocks of kind {kind:?} are not known here");
        }
    }
    let expected = REASONS.map(|(reason, _, count)| (reason, count));
    assert_eq!(passed_over, expected, "blocks that are not run, by reason");
}

#[test]
fn every_configuration_is_valid() {
    let home = RunDir::get().subdir("readme-");
    for (secret, text) in
        [("s3", "hush"), ("hub", "hush"), ("postgres-url", "postgres://rreg@localhost/rreg")]
    {
        fs::write(home.path().join(secret), text).unwrap();
    }
    for name in DOCUMENTS {
        for block in blocks(&document(name)).into_iter().filter(|block| block.kind == "toml") {
            let file = home.path().join("rreg.toml");
            let text = block.text.replace("/run/secrets", &home.path().display().to_string());
            fs::write(&file, text).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
            command.args(["config", "check", "--elsewhere", "--config"]).arg(&file).env_clear();
            let output = tool::output(&mut command);
            let what = tool::describe(&command, &output);
            assert!(output.status.success(), "{name}:{}: {what}", block.line);
        }
    }
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for name in DOCUMENTS {
        let text = document(name);
        let links = text.split("](").skip(1).filter_map(|after| after.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = Path::new(name).parent().unwrap().join(path);
            let path = if link.starts_with('#') { Path::new(name).to_owned() } else { path };
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&path);
            assert!(file.exists(), "{name}: {link}");
            let has =
                |text: String| text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(heading.is_empty() || has(fs::read_to_string(&file).unwrap()), "{name}: {link}");
        }
    }
}
