//! The examples for CI servers: their shell steps are run as those servers run them, with this rreg on the `PATH`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Desk, Ran};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, tool};

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ci").join(name);
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A shell with a `PATH` that starts with `bin`.
fn shell(desk: &Desk, script: &str, bin: &Path) -> Command {
    let mut command = desk.command("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(["-e", "-c", script]).env("PATH", format!("{}:{path}", bin.display()));
    command
}

/// An image that is signed and one that is not, and a directory with `rreg` in it.
async fn prepared(desk: &Desk, registry: &Registry) -> [String; 2] {
    desk.prod();
    let name = |tag: &str| format!("{}/team/app:{tag}", registry.address());
    for tag in ["good", "bad"] {
        registry.api().push("team/app", &Image::layered(tag, 1), Some(tag)).await;
    }
    desk.rreg(&["sign", &name("good"), "--key", "policies/keys/team.key"]).done();
    fs::create_dir_all(desk.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rreg"), desk.path("bin/rreg")).unwrap();
    [name("good"), name("bad")]
}

/// Where the binary can be fetched from, and its checksum.
fn download() -> [(&'static str, String); 2] {
    let binary = env!("CARGO_BIN_EXE_rreg");
    let digest = rreg_oci::Digest::sha256(&fs::read(binary).unwrap());
    [("RREG_URL", format!("file://{binary}")), ("RREG_SHA256", digest.hex().to_string())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_actions() {
    let desk = Desk::new();
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let [good, bad] = prepared(&desk, &registry).await;
    let workflow = example("github-actions.yaml");
    let steps = workflow["jobs"]["gate"]["steps"].as_array().unwrap();
    let script = |named: &str| {
        let step = steps.iter().find(|step| step["name"] == named).unwrap_or_else(|| panic!("{named}"));
        assert_eq!(step["shell"], "sh", "{named}");
        let script = step["run"].as_str().unwrap();
        assert!(!script.contains("${{"), "what an input says is no script");
        script.to_owned()
    };
    let gate = script("Ask the policies");
    let run = |images: &str| {
        let mut command = shell(&desk, &gate, &desk.path("bin"));
        Ran::of(command.env("IMAGES", images))
    };
    run(&good).exit(0);
    run(&format!("{good} {bad}")).exit(1);
    let sarif: Value = serde_json::from_slice(&fs::read(desk.path("gate.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);
    run("127.0.0.1:1/a:b").exit(2);
    run("").exit(64);
    // What is uploaded is what was written, also after a denial.
    let upload = steps.last().unwrap();
    assert_eq!(upload["with"]["sarif_file"], "gate.sarif");
    assert!(upload["if"].as_str().unwrap().starts_with("always()"));

    if tool::find("curl").is_none() {
        tool::skip("curl is not installed");
        return;
    }
    let install = script("Install rreg");
    let nothing = desk.path("nothing");
    let mut command = shell(&desk, &install, &nothing);
    command.env("GITHUB_PATH", desk.path("path")).envs(download()).env("PATH", without_rreg());
    Ran::of(&mut command).exit(0);
    let added = fs::read_to_string(desk.path("path")).unwrap();
    let mut command = shell(&desk, &gate, Path::new(added.trim()));
    Ran::of(command.env("IMAGES", &good)).exit(0);
    // Another binary than the one meant is not used.
    let mut command = shell(&desk, &install, &nothing);
    command.env("GITHUB_PATH", desk.path("path2")).envs(download()).env("PATH", without_rreg());
    command.env("RREG_SHA256", "0".repeat(64));
    assert_ne!(Ran::of(&mut command).output.status.code(), Some(0));
    assert!(!desk.path("path2").exists());
}

/// The `PATH` without the directories that have an `rreg` of somebody else's.
fn without_rreg() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let without = std::env::split_paths(&path).filter(|dir| !dir.join("rreg").exists());
    std::env::join_paths(without).unwrap().into_string().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitlab() {
    let desk = Desk::new();
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let [good, bad] = prepared(&desk, &registry).await;
    let job = &example("gitlab-ci.yaml")["gate"];
    let lines = |name: &str| -> Vec<String> {
        job[name].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    // GitLab joins both and stops at the first line that fails.
    let script = [lines("before_script"), lines("script")].concat().join("\n");
    let run = |images: &str| {
        let mut command = shell(&desk, &script, &desk.path("bin"));
        command.env("IMAGES", images).env("CI_REGISTRY", registry.address());
        command.env("CI_REGISTRY_USER", "somebody").env("CI_REGISTRY_PASSWORD", "secret");
        Ran::of(&mut command)
    };
    run(&good).exit(0);
    run(&bad).exit(1);
    let report = job["artifacts"]["reports"]["junit"].as_str().unwrap();
    let text = fs::read_to_string(desk.path(report)).unwrap();
    super::has(&text, &["<testsuites", "<failure "]);
    assert_eq!(job["artifacts"]["when"], "always", "also after a denial");
    run("127.0.0.1:1/a:b").exit(2);
    assert_eq!(job["retry"]["exit_codes"], serde_json::json!([2]));
    let login: Value = serde_json::from_slice(&fs::read(desk.path(".docker/config.json")).unwrap()).unwrap();
    assert!(login["auths"][registry.address()]["auth"].is_string());
}
