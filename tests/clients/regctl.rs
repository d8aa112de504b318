//! regctl, by OCI layouts on its other side, and its artifacts with subjects.

use super::{Home, assert_layout, shapes};
use crate::harness::{Registry, tool};

on_each_backend!(round_trip, artifact_about_an_image);

fn regctl(home: &Home, registry: &Registry, args: &[&str]) -> String {
    let host = format!("reg={},tls=disabled", registry.address());
    let mut command = home.command("regctl");
    tool::run(command.env("REGCTL_CONFIG", home.path("regctl.json")).args(["--host", &host]).args(args))
}

async fn round_trip(registry: Registry) {
    let Some(home) = Home::for_programs(&["regctl"]) else { return };
    let repository = registry.repository();
    for (name, image) in shapes(&repository) {
        let dir = home.layout(name, &image);
        let remote = format!("{}/{repository}:{name}", registry.address());
        regctl(&home, &registry, &["image", "copy", &format!("ocidir://{}:v1", dir.display()), &remote]);
        registry.api().assert_image(&repository, &image, Some(name)).await;
        let back = home.path(&format!("{name}-back"));
        regctl(&home, &registry, &["image", "copy", &remote, &format!("ocidir://{}:v1", back.display())]);
        assert_layout(&back, &image);
        let digest = regctl(&home, &registry, &["image", "digest", &remote]);
        assert_eq!(digest.trim(), image.root().digest.to_string());
    }
}

async fn artifact_about_an_image(registry: Registry) {
    let Some(home) = Home::for_programs(&["regctl"]) else { return };
    let repository = registry.repository();
    let [(_, image), ..] = shapes(&repository);
    registry.api().push(&repository, &image, Some("v1")).await;
    std::fs::write(home.path("sbom.json"), "{\"sbom\": true}").unwrap();
    let remote = format!("{}/{repository}:v1", registry.address());
    let kind = "application/vnd.example.sbom+json";
    let put = ["artifact", "put", "--artifact-type", kind, "--subject", &remote, "-f", "sbom.json"];
    regctl(&home, &registry, &put);
    let filter = ["artifact", "list", "--filter-artifact-type", kind, "--format", "{{json .}}", &remote];
    let list = regctl(&home, &registry, &filter);
    assert!(list.contains(kind), "{list}");
    // The referrers go along when the image is copied.
    let copied = format!("{}/{}:v1", registry.address(), registry.repository());
    regctl(&home, &registry, &["image", "copy", "--referrers", &remote, &copied]);
    let get = ["artifact", "get", "--subject", &copied, "--filter-artifact-type", kind];
    assert_eq!(regctl(&home, &registry, &get), "{\"sbom\": true}");
}
