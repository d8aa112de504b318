//! What people read in the clients that they use: unsigned, signed by another, signed rightly.

use std::process::Command;

use crate::clients::Home;
use crate::clients::docker::Daemon;
use crate::harness::image::Image;
use crate::harness::{Backend, tool};

use super::{Desk, signed};

/// Whether a pull went well, and everything that it said.
type Pull<'a> = &'a dyn Fn(&str) -> (bool, String);

async fn refused_until_signed(client: &str, pull: Pull<'_>) {
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "pull"));
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let repository = registry.repository();
    let image = Image::of_files(&[("hello", b"hello")], "amd64");
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{}/{repository}:v1", registry.address());

    let (good, said) = pull(&name);
    assert!(!good && said.contains("not signed"), "{client}: {said}");
    desk.sign(&registry, &repository, "v1", &desk.other);
    let (good, said) = pull(&name);
    assert!(!good && said.contains("names the key sha256:"), "{client}: {said}");
    desk.sign(&registry, &repository, "v1", &desk.team);
    let (good, said) = pull(&name);
    assert!(good, "{client}: {said}");
}

fn run(command: &mut Command) -> (bool, String) {
    let output = tool::output(command);
    (output.status.success(), tool::describe(command, &output))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo() {
    let Some(home) = Home::for_programs(&["skopeo"]) else { return };
    let pull = |name: &str| {
        let to = format!("oci:{}:v1", home.path("layout").display());
        run(home.command("skopeo").args(["copy", "--src-tls-verify=false", &format!("docker://{name}"), &to]))
    };
    refused_until_signed("skopeo", &pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman() {
    let Some(home) = Home::for_programs(&["podman"]) else { return };
    let pull = |name: &str| {
        let mut command = home.command("podman");
        command.arg("--root").arg(home.path("root")).arg("--runroot").arg(home.path("run"));
        command.arg("--tmpdir").arg(home.path("tmp")).args(["--storage-driver", "vfs"]);
        run(command.args(["pull", "--tls-verify=false", name]))
    };
    refused_until_signed("podman", &pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker() {
    let Some(daemon) = Daemon::start() else { return };
    let pull = |name: &str| run(&mut daemon.command(&["pull", name]));
    refused_until_signed("docker", &pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crane() {
    let Some(home) = Home::for_programs(&["crane"]) else { return };
    let pull = |name: &str| {
        let to = home.path("image.tar");
        run(home.command("crane").args(["pull", "--insecure", name]).arg(to))
    };
    refused_until_signed("crane", &pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rreg_says_that_it_is_what_is_attached() {
    let Some(home) = Home::for_programs(&[]) else { return };
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "pull"));
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let repository = registry.repository();
    let image = Image::of_files(&[("hello", b"hello")], "amd64");
    registry.api().push(&repository, &image, Some("v1")).await;
    desk.sign(&registry, &repository, "v1", &desk.team);
    let attached = Image::of_files(&[("notes", b"notes")], "amd64").about(&image.root().descriptor());
    registry.api().push(&repository, &attached, None).await;
    let name = format!("{}/{repository}:v1", registry.address());
    let rreg = |args: &[&str]| run(home.command(env!("CARGO_BIN_EXE_rreg")).args(args));
    let (good, said) = rreg(&["pull", &name, "all.tar"]);
    assert!(
        !good && said.contains("what is attached to the image: ") && said.contains("--no-referrers"),
        "{said}"
    );
    assert!(rreg(&["pull", "--no-referrers", &name, "image.tar"]).0);
    // A registry that says by a code what it has not is one.
    for verb in ["show", "get"] {
        let (good, said) = rreg(&["policy", verb, registry.address(), "none"]);
        assert!(!good && said.contains("no policy none") && !said.contains("a registry?"), "{said}");
    }
    for of in ["policy", "trust"] {
        assert!(rreg(&[of, "ls", registry.address()]).0 && rreg(&[of, "rm", "--help"]).0, "{of}");
    }
}
