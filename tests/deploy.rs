//! What an operator takes from `deploy/` works with this binary.

use std::path::Path;
use std::process::Command;

use crate::harness::tool;

fn deploy(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

#[test]
fn the_configuration_is_valid() {
    tool::run(
        Command::new(env!("CARGO_BIN_EXE_rreg"))
            .args(["config", "check", "--config"])
            .arg(deploy("rreg.toml"))
            .env_remove("RREG_TEST_REQUIRE")
            .env_remove("RREG_CONFORMANCE"),
    );
}

#[test]
fn the_example_of_an_upstream_is_valid() {
    let text = std::fs::read_to_string(deploy("rreg.toml")).unwrap();
    let begins = text.find("# [[upstreams]]").expect("an example");
    let (before, rest) = text.split_at(begins);
    let (example, after) = rest.split_once("\n\n").unwrap();
    let example: String =
        example.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let file = crate::harness::RunDir::get().subdir("deploy-");
    let path = file.path().join("rreg.toml");
    std::fs::write(&path, format!("{before}{example}\n{after}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(["config", "check", "--config"]).arg(&path);
    tool::run(command.env_remove("RREG_TEST_REQUIRE").env_remove("RREG_CONFORMANCE"));
}

#[test]
fn the_unit_starts_what_the_binary_understands() {
    let unit = std::fs::read_to_string(deploy("rreg.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert_eq!(start, "/usr/local/bin/rreg serve --config /etc/rreg/rreg.toml");
    assert!(unit.lines().any(|line| line == "DynamicUser=yes"), "the server needs no root");
}
