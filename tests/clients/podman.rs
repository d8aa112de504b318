//! podman, with its own storage under `vfs`. It compresses layers itself, so the image's ID (the config's
//! digest) and the digest that it reports are what must come back.

use std::fs;
use std::process::Command;

use super::{Home, config_digest, shapes};
use crate::harness::image::{Blob, Image};
use crate::harness::{Registry, tool};

on_each_backend!(round_trip, multi_platform, an_archive_has_the_name_of_its_image);

fn podman(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command("podman");
    command.arg("--root").arg(home.path("root")).arg("--runroot").arg(home.path("run"));
    command.arg("--tmpdir").arg(home.path("tmp"));
    command.args(["--storage-driver", "vfs"]).args(args);
    command
}

fn run(home: &Home, args: &[&str]) -> String {
    tool::run(&mut podman(home, args)).trim().to_owned()
}

async fn round_trip(registry: Registry) {
    let Some(home) = Home::for_programs(&["podman"]) else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let [(_, image), ..] = shapes(&repository);
    home.layout("image", &image);
    // Relative, because podman makes a name of the path and takes no capital letters in it.
    let id = run(&home, &["pull", "--quiet", "oci:image:v1"]);
    assert_eq!(format!("sha256:{id}"), config_digest(&image));
    let remote = format!("{}/{repository}:v1", registry.address());
    let digest_file = home.path("digest").display().to_string();
    run(
        &home,
        &["push", "--tls-verify=false", "--digestfile", &digest_file, &id, &format!("docker://{remote}")],
    );
    let digest = fs::read_to_string(home.path("digest")).unwrap();
    let pushed = api.get_manifest(&repository, "v1").expect(200).await;
    assert_eq!(Blob::new(pushed.body.clone()).digest.to_string(), digest);
    run(&home, &["rmi", "--all", "--force"]);
    let by_digest = format!("{}/{repository}@{digest}", registry.address());
    for reference in [&remote, &by_digest] {
        let pulled = run(&home, &["pull", "--quiet", "--tls-verify=false", reference]);
        assert_eq!(pulled, id);
    }
}

async fn an_archive_has_the_name_of_its_image(registry: Registry) {
    let Some(home) = Home::for_programs(&["podman"]) else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let [(_, image), ..] = shapes(&repository);
    api.push(&repository, &image, Some("v1")).await;
    let remote = format!("{}/{repository}:v1", registry.address());
    let archive = home.path("image.tar").display().to_string();
    tool::run(home.command(env!("CARGO_BIN_EXE_rreg")).args(["pull", &remote, &archive]));
    let loaded = run(&home, &["load", "--input", &archive]);
    assert!(loaded.ends_with(&format!("Loaded image: {remote}")), "{loaded}");
}

async fn multi_platform(registry: Registry) {
    let Some(home) = Home::for_programs(&["podman"]) else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let index = Image::index(&repository);
    home.layout("index", &index);
    run(&home, &["manifest", "create", "list"]);
    run(&home, &["manifest", "add", "--all", "list", "oci:index:v1"]);
    let remote = format!("{}/{repository}:v1", registry.address());
    run(&home, &["manifest", "push", "--all", "--tls-verify=false", "list", &format!("docker://{remote}")]);
    let pushed = api.get_manifest(&repository, "v1").expect(200).await.json();
    assert_eq!(pushed["manifests"].as_array().map(Vec::len), Some(2), "{pushed}");
    run(&home, &["manifest", "rm", "list"]);
    for (i, architecture) in ["amd64", "arm64"].iter().enumerate() {
        let platform = format!("linux/{architecture}");
        let pull = ["pull", "--quiet", "--tls-verify=false", "--platform", &platform, &remote];
        let id = run(&home, &pull);
        let config = index.manifests[i].json()["config"]["digest"].as_str().unwrap().to_owned();
        assert_eq!(format!("sha256:{id}"), config);
    }
}
