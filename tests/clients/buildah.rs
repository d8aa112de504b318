//! buildah builds an image of two layers from nothing, pushes it, and pulls it back.

use std::fs;

use super::Home;
use crate::harness::image::Blob;
use crate::harness::{Registry, tool};

on_each_backend!(build_and_round_trip);

fn buildah(home: &Home, args: &[&str]) -> String {
    let mut command = home.command("buildah");
    command.arg("--root").arg(home.path("root")).arg("--runroot").arg(home.path("run"));
    command.args(["--storage-driver", "vfs"]).env("BUILDAH_ISOLATION", "chroot");
    tool::run(command.args(args)).trim().to_owned()
}

async fn build_and_round_trip(registry: Registry) {
    let Some(home) = Home::for_programs(&["buildah"]) else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let mut base = "scratch".to_owned();
    for layer in ["one", "two"] {
        fs::write(home.path(layer), format!("{repository} {layer}")).unwrap();
        let container = buildah(&home, &["from", &base]);
        let file = home.path(layer).display().to_string();
        buildah(&home, &["add", "--quiet", &container, &file, &format!("/{layer}")]);
        base = buildah(&home, &["commit", "--quiet", "--rm", &container]);
    }
    let remote = format!("{}/{repository}:v1", registry.address());
    let digest_file = home.path("digest").display().to_string();
    let destination = format!("docker://{remote}");
    buildah(
        &home,
        &["push", "--quiet", "--tls-verify=false", "--digestfile", &digest_file, &base, &destination],
    );
    let digest = fs::read_to_string(home.path("digest")).unwrap();
    let pushed = api.get_manifest(&repository, "v1").expect(200).await;
    assert_eq!(Blob::new(pushed.body.clone()).digest.to_string(), digest);
    let manifest = pushed.json();
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2), "{manifest}");
    assert_eq!(manifest["config"]["digest"], format!("sha256:{base}"));
    buildah(&home, &["rmi", "--all", "--force"]);
    let by_digest = format!("{}/{repository}@{digest}", registry.address());
    for reference in [&remote, &by_digest] {
        assert_eq!(buildah(&home, &["pull", "--quiet", "--tls-verify=false", reference]), base);
    }
}
