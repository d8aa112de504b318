//! oras: layouts, files as artifacts, a helm-style chart, and attachments.

use std::fs;

use super::{Home, assert_layout, shapes};
use crate::harness::image::Image;
use crate::harness::{Registry, tool};

on_each_backend!(round_trip, helm_style_chart, attached_artifact);

fn oras(home: &Home, args: &[&str]) -> String {
    tool::run(home.command("oras").args(args))
}

async fn round_trip(registry: Registry) {
    let Some(home) = Home::for_programs(&["oras"]) else { return };
    let repository = registry.repository();
    for (name, image) in shapes(&repository) {
        let dir = home.layout(name, &image);
        let remote = format!("{}/{repository}:{name}", registry.address());
        let local = format!("{}:v1", dir.display());
        oras(&home, &["cp", "--from-oci-layout", "--to-plain-http", &local, &remote]);
        registry.api().assert_image(&repository, &image, Some(name)).await;
        let back = home.path(&format!("{name}-back"));
        let local = format!("{}:v1", back.display());
        oras(&home, &["cp", "--from-plain-http", "--to-oci-layout", &remote, &local]);
        assert_layout(&back, &image);
    }
}

async fn helm_style_chart(registry: Registry) {
    let Some(home) = Home::for_programs(&["oras"]) else { return };
    let repository = registry.repository();
    let chart = Image::chart("demo");
    let files = ["config.json", "demo-0.1.0.tgz"];
    for (file, content) in files.iter().zip(&chart.blobs) {
        fs::write(home.path(file), &content.bytes).unwrap();
    }
    let remote = format!("{}/{repository}/demo:0.1.0", registry.address());
    let config = format!("{}:application/vnd.cncf.helm.config.v1+json", files[0]);
    let layer = format!("{}:application/vnd.cncf.helm.chart.content.v1.tar+gzip", files[1]);
    oras(&home, &["push", "--plain-http", "--config", &config, &remote, &layer]);
    let manifest: serde_json::Value =
        serde_json::from_str(&oras(&home, &["manifest", "fetch", "--plain-http", &remote])).unwrap();
    let expected = chart.root().json();
    for field in ["mediaType", "digest", "size"] {
        assert_eq!(manifest["config"][field], expected["config"][field], "{manifest}");
        assert_eq!(manifest["layers"][0][field], expected["layers"][0][field], "{manifest}");
    }
    oras(&home, &["pull", "--plain-http", "--output", "back", &remote]);
    assert_eq!(fs::read(home.path("back").join(files[1])).unwrap(), chart.blobs[1].bytes);
}

async fn attached_artifact(registry: Registry) {
    let Some(home) = Home::for_programs(&["oras"]) else { return };
    let repository = registry.repository();
    let [(_, image), ..] = shapes(&repository);
    registry.api().push(&repository, &image, Some("v1")).await;
    fs::write(home.path("report.txt"), "all is well").unwrap();
    let remote = format!("{}/{repository}:v1", registry.address());
    let kind = "application/vnd.example.report";
    oras(&home, &["attach", "--plain-http", "--artifact-type", kind, &remote, "report.txt:text/plain"]);
    let found =
        oras(&home, &["discover", "--plain-http", "--artifact-type", kind, &remote, "--format", "json"]);
    assert!(found.contains(kind), "{found}");
    let copied = format!("{}/{}:v1", registry.address(), registry.repository());
    let plain = ["--from-plain-http", "--to-plain-http"];
    oras(&home, &["cp", "--recursive", plain[0], plain[1], &remote, &copied]);
    let found =
        oras(&home, &["discover", "--plain-http", "--artifact-type", kind, &copied, "--format", "json"]);
    assert!(found.contains(kind), "{found}");
}
