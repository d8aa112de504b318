//! The official conformance program, where `RREG_CONFORMANCE` names it. It is no package of any registry, so it
//! cannot be a dependency; everything that it checks has a test of our own beside this one.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;

use crate::harness::{Registry, RunDir, tool};

on_each_backend!(version_1_1, version_dev);

async fn version_1_1(registry: Registry) {
    run(&registry, "1.1");
}

async fn version_dev(registry: Registry) {
    run(&registry, "dev");
}

fn run(registry: &Registry, version: &str) {
    let Some(program) = env::var_os("RREG_CONFORMANCE") else {
        tool::skip("RREG_CONFORMANCE does not name the official conformance program");
        return;
    };
    let results = RunDir::get().subdir("conformance-");
    let mut command = Command::new(program);
    command.env_clear().env("HOME", results.path()).current_dir(results.path());
    command
        .env("OCI_REGISTRY", registry.address())
        .env("OCI_TLS", "disabled")
        .env("OCI_REPO1", registry.repository())
        .env("OCI_REPO2", registry.repository())
        .env("OCI_VERSION", version)
        .env("OCI_RESULTS_DIR", results.path());
    let output = tool::output(&mut command);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = counts(&report);
    eprintln!("conformance {version}: {counts:?}");
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert!(count("Pass") > 500, "it did not run: {}", tool::describe(&command, &output));
    if registry.is_rreg() {
        let bad = count("FAIL") + count("Error") + count("Skip");
        assert_eq!(bad, 0, "{counts:?}\n{}", failures(&report));
        assert!(output.status.success(), "{}", tool::describe(&command, &output));
        assert!(fs::metadata(results.path().join("junit.xml")).is_ok(), "no report was written");
    }
}

/// The lines `  Pass....: 12` after `OCI Conformance Result`.
fn counts(report: &str) -> BTreeMap<String, u32> {
    let summary = report.split("OCI Conformance Result").nth(1).unwrap_or_default();
    summary
        .lines()
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| {
            let (name, number) = line.split_once(':')?;
            Some((name.trim().trim_end_matches('.').to_owned(), number.trim().parse().ok()?))
        })
        .collect()
}

/// What went wrong, without the hundreds of lines that passed.
fn failures(report: &str) -> String {
    let bad = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("- ") || [": FAIL", ": Error", ": Skip"].iter().any(|end| line.ends_with(end))
    };
    report.lines().filter(bad).collect::<Vec<_>>().join("\n")
}
