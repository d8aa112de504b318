//! crane, by OCI layouts on its other side.

use super::{Home, assert_layout, shapes};
use crate::harness::{Registry, tool};

on_each_backend!(round_trip, lists_and_tags);

fn crane(home: &Home, args: &[&str]) -> String {
    tool::run(home.command("crane").arg("--insecure").args(args))
}

async fn round_trip(registry: Registry) {
    let Some(home) = Home::for_programs(&["crane"]) else { return };
    let repository = registry.repository();
    for (name, image) in shapes(&repository) {
        let dir = home.layout(name, &image);
        let remote = format!("{}/{repository}:{name}", registry.address());
        crane(&home, &["push", &dir.display().to_string(), &remote]);
        registry.api().assert_image(&repository, &image, Some(name)).await;
        assert_eq!(crane(&home, &["digest", &remote]).trim(), image.root().digest.to_string());
        if name != "artifact" {
            crane(&home, &["validate", "--remote", &remote]);
        }
        let back = home.path(&format!("{name}-back"));
        crane(&home, &["pull", "--format", "oci", &remote, &back.display().to_string()]);
        assert_layout(&back, &image);
        let copied = format!("{}/{}:{name}", registry.address(), registry.repository());
        crane(&home, &["copy", &remote, &copied]);
        assert_eq!(crane(&home, &["digest", &copied]).trim(), image.root().digest.to_string());
    }
}

async fn lists_and_tags(registry: Registry) {
    let Some(home) = Home::for_programs(&["crane"]) else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let [(_, image), ..] = shapes(&repository);
    api.push(&repository, &image, Some("a")).await;
    let remote = format!("{}/{repository}", registry.address());
    crane(&home, &["tag", &format!("{remote}:a"), "b"]);
    assert_eq!(crane(&home, &["ls", &remote]).split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
    assert!(crane(&home, &["catalog", registry.address()]).lines().any(|line| line == repository));
    crane(&home, &["delete", &format!("{remote}@{}", image.root().digest)]);
    api.get_manifest(&repository, "b").expect(404).await;
}
