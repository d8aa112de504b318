//! skopeo, by OCI layouts on its other side.

use std::process::Command;

use super::{Home, assert_layout, shapes};
use crate::harness::{Registry, tool};

on_each_backend!(round_trip, inspects_and_deletes);

fn skopeo(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command("skopeo");
    command.args(args);
    command
}

async fn round_trip(registry: Registry) {
    let Some(home) = Home::for_programs(&["skopeo"]) else { return };
    let repository = registry.repository();
    for (name, image) in shapes(&repository) {
        let dir = home.layout(name, &image);
        let remote = format!("docker://{}/{repository}:{name}", registry.address());
        let copy = ["copy", "--all", "--preserve-digests"];
        let push = ["--dest-tls-verify=false", &format!("oci:{}:v1", dir.display()), &remote];
        tool::run(skopeo(&home, &copy).args(push));
        registry.api().assert_image(&repository, &image, Some(name)).await;
        let back = home.path(&format!("{name}-back"));
        let pull = ["--src-tls-verify=false", &remote, &format!("oci:{}:v1", back.display())];
        tool::run(skopeo(&home, &copy).args(pull));
        assert_layout(&back, &image);
        // From repository to repository: layers are mounted, not sent.
        let copied = registry.repository();
        let to = format!("docker://{}/{copied}:{name}", registry.address());
        let verify = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        tool::run(skopeo(&home, &copy).args(verify).args([&remote, &to]));
        registry.api().assert_image(&copied, &image, Some(name)).await;
    }
}

async fn inspects_and_deletes(registry: Registry) {
    let Some(home) = Home::for_programs(&["skopeo"]) else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let [(_, image), ..] = shapes(&repository);
    for tag in ["a", "b"] {
        api.push(&repository, &image, Some(tag)).await;
    }
    let remote = format!("docker://{}/{repository}", registry.address());
    let tags = tool::run(skopeo(&home, &["list-tags", "--tls-verify=false", &remote]).arg("--no-creds"));
    assert!(tags.contains("\"a\"") && tags.contains("\"b\""), "{tags}");
    let inspect = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("{remote}:a")];
    assert_eq!(tool::run(&mut skopeo(&home, &inspect)).trim(), image.root().digest.to_string());
    tool::run(&mut skopeo(&home, &["delete", "--tls-verify=false", &format!("{remote}:a")]));
    // skopeo deletes the manifest that the tag names, and with it every tag.
    api.get_manifest(&repository, "a").expect(404).await;
    api.get_manifest(&repository, "b").expect(404).await;
}
