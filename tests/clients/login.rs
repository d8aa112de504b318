//! Real clients log in, push and pull with what they were given, and are refused what they may not do.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::docker::{Daemon, archive};
use super::{Home, shapes};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, tool};

const PASSWORD: &str = "correct horse battery";

/// A registry with `alice`, who writes to the organisation `team`, and an image to push, as a layout in `home`.
async fn scene(programs: &[&str]) -> Option<(Registry, Home, Image)> {
    let home = Home::for_programs(programs)?;
    let registry = Registry::start_with(Backend::SqliteDirectory, &[("RREG_AUTH__MODE", "local")]).await?;
    succeed(feed(&mut registry.command(&["user", "create", "alice", "--password-stdin"]), PASSWORD));
    tool::run(&mut registry.command(&["org", "add", "team", "alice", "writer"]));
    let [(_, image), ..] = shapes("login");
    home.layout("image", &image);
    Some((registry, home, image))
}

/// Runs a program with `input` on its standard input.
pub(super) fn feed(command: &mut Command, input: &str) -> (String, Output) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (tool::describe(command, &output), output)
}

pub(super) fn succeed((what, output): (String, Output)) {
    assert!(output.status.success(), "{what}");
}

/// A program fails, and says that it is about permission.
fn refused(command: &mut Command) {
    let output = tool::output(command);
    let what = tool::describe(command, &output);
    assert!(!output.status.success(), "{what}");
    let words = ["unauthorized", "denied", "401", "403", "authentication required"];
    assert!(words.iter().any(|word| what.to_lowercase().contains(word)), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo() {
    let Some((registry, home, image)) = scene(&["skopeo"]).await else { return };
    let address = registry.address();
    let login = |password: &str| {
        let args = ["login", "--tls-verify=false", "--username", "alice", "--password-stdin", address];
        feed(home.command("skopeo").args(args), password)
    };
    let copy = |from: &str, to: &str| {
        let mut command = home.command("skopeo");
        let verify = ["--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"];
        command.arg("copy").args(verify).args([from, to]);
        command
    };
    let remote = |name: &str| format!("docker://{address}/{name}:v1");
    refused(&mut copy("oci:image:v1", &remote("team/app")));
    assert!(!login("wrong password").1.status.success());
    succeed(login(PASSWORD));
    tool::run(&mut copy("oci:image:v1", &remote("team/app")));
    // Layers are mounted from one repository to the other: two scopes.
    tool::run(&mut copy(&remote("team/app"), &remote("team/copy")));
    refused(&mut copy("oci:image:v1", &remote("other/app")));
    tool::run(&mut copy(&remote("team/copy"), "oci:back:v1"));
    super::assert_layout(&home.path("back"), &image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman() {
    let Some((registry, home, _)) = scene(&["podman"]).await else { return };
    let address = registry.address();
    let login = |password: &str| {
        let args = ["login", "--tls-verify=false", "--username", "alice", "--password-stdin", address];
        feed(home.command("podman").args(args), password)
    };
    assert!(!login("wrong password").1.status.success());
    succeed(login(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buildah() {
    let Some((registry, home, _)) = scene(&["buildah"]).await else { return };
    let address = registry.address();
    let buildah = |args: &[&str]| {
        let mut command = home.command("buildah");
        command.arg("--root").arg(home.path("root")).arg("--runroot").arg(home.path("run"));
        command.args(["--storage-driver", "vfs"]).env("BUILDAH_ISOLATION", "chroot").args(args);
        command
    };
    let container = tool::run(&mut buildah(&["from", "scratch"])).trim().to_owned();
    let image = tool::run(&mut buildah(&["commit", "--quiet", "--rm", &container])).trim().to_owned();
    let push = |to: &str| {
        buildah(&["push", "--quiet", "--tls-verify=false", &image, &format!("docker://{address}/{to}:v1")])
    };
    refused(&mut push("team/app"));
    let login = ["login", "--tls-verify=false", "--username", "alice", "--password-stdin", address];
    assert!(!feed(&mut buildah(&login), "wrong password").1.status.success());
    succeed(feed(&mut buildah(&login), PASSWORD));
    tool::run(&mut push("team/app"));
    refused(&mut push("other/app"));
    tool::run(&mut buildah(&["rmi", "--all", "--force"]));
    let remote = format!("{address}/team/app:v1");
    let pulled = tool::run(&mut buildah(&["pull", "--quiet", "--tls-verify=false", &remote]));
    assert_eq!(pulled.trim(), image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker() {
    let Some((registry, ..)) = scene(&["docker"]).await else { return };
    let Some(daemon) = Daemon::start() else { return };
    let address = registry.address();
    let image = Image::docker("login", 2);
    for name in ["team/app", "other/app"] {
        let remote = format!("{address}/{name}:v1");
        std::fs::write(daemon.home.path("image.tar"), archive(&image, &remote)).unwrap();
        daemon.docker(&["load", "--input", "image.tar"]);
    }
    let push = |name: &str| daemon.command(&["push", "--quiet", &format!("{address}/{name}:v1")]);
    refused(&mut push("team/app"));
    let login = ["login", "--username", "alice", "--password-stdin", address];
    assert!(!feed(&mut daemon.command(&login), "wrong password").1.status.success());
    succeed(feed(&mut daemon.command(&login), PASSWORD));
    tool::run(&mut push("team/app"));
    refused(&mut push("other/app"));
    let remote = format!("{address}/team/app:v1");
    let id = daemon.docker(&["image", "inspect", "--format", "{{.Id}}", &remote]);
    daemon.docker(&["image", "rm", "--force", &id]);
    daemon.docker(&["pull", "--quiet", &remote]);
    assert_eq!(daemon.docker(&["image", "inspect", "--format", "{{.Id}}", &remote]), id);
    daemon.docker(&["logout", address]);
    refused(&mut daemon.command(&["pull", "--quiet", &remote]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crane() {
    let Some((registry, home, image)) = scene(&["crane"]).await else { return };
    let address = registry.address();
    let crane = |args: &[&str]| {
        let mut command = home.command("crane");
        command.arg("--insecure").args(args);
        command
    };
    let remote = format!("{address}/team/app:v1");
    let dir = home.path("image").display().to_string();
    refused(&mut crane(&["push", &dir, &remote]));
    let login = ["auth", "login", address, "--username", "alice", "--password-stdin"];
    succeed(feed(&mut crane(&login), PASSWORD));
    tool::run(&mut crane(&["push", &dir, &remote]));
    tool::run(&mut crane(&["copy", &remote, &format!("{address}/team/copy:v1")]));
    assert_eq!(tool::run(&mut crane(&["digest", &remote])).trim(), image.root().digest.to_string());
    refused(&mut crane(&["push", &dir, &format!("{address}/other/app:v1")]));
    refused(&mut crane(&["delete", &format!("{address}/team/app@{}", image.root().digest)]));
    let names = tool::run(&mut crane(&["catalog", address]));
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ["team/app", "team/copy"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regctl() {
    let Some((registry, home, image)) = scene(&["regctl"]).await else { return };
    let address = registry.address();
    let regctl = |args: &[&str]| {
        let mut command = home.command("regctl");
        command.env("REGCTL_CONFIG", home.path("regctl.json")).args(args);
        command
    };
    tool::run(&mut regctl(&["registry", "set", "--tls", "disabled", "--skip-check", address]));
    let remote = format!("{address}/team/app:v1");
    refused(&mut regctl(&["image", "copy", "ocidir://image:v1", &remote]));
    succeed(feed(&mut regctl(&["registry", "login", address, "--user", "alice", "--pass-stdin"]), PASSWORD));
    tool::run(&mut regctl(&["image", "copy", "ocidir://image:v1", &remote]));
    assert_eq!(tool::run(&mut regctl(&["image", "digest", &remote])).trim(), image.root().digest.to_string());
    refused(&mut regctl(&["image", "copy", "ocidir://image:v1", &format!("{address}/other/app:v1")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oras() {
    let Some((registry, home, image)) = scene(&["oras"]).await else { return };
    let address = registry.address();
    let oras = |args: &[&str]| {
        let mut command = home.command("oras");
        command.args(args);
        command
    };
    let copy = ["cp", "--from-oci-layout", "--to-plain-http", "image:v1"];
    let push = |to: &str| oras(&[&copy[..], &[to]].concat());
    refused(&mut push(&format!("{address}/team/app:v1")));
    let login = ["login", "--plain-http", "--username", "alice", "--password-stdin", address];
    assert!(!feed(&mut oras(&login), "wrong password").1.status.success());
    succeed(feed(&mut oras(&login), PASSWORD));
    tool::run(&mut push(&format!("{address}/team/app:v1")));
    let resolve = ["resolve", "--plain-http", &format!("{address}/team/app:v1")];
    assert_eq!(tool::run(&mut oras(&resolve)).trim(), image.root().digest.to_string());
    refused(&mut push(&format!("{address}/other/app:v1")));
}
