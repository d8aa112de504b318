//! rreg's own client, with an OCI layout on its other side.

use serde_json::Value;

use super::{Home, assert_layout, shapes};
use crate::harness::image::{Blob, EXAMPLE, Image, Stored};
use crate::harness::{Registry, tool};

on_each_backend!(
    round_trip,
    copies_take_referrers_along,
    a_build_cache_is_no_list_of_images,
    lists_shows_and_removes,
    failures_have_exit_codes,
    inspect_tells_what_an_image_is,
);

fn home() -> Home {
    Home::for_programs(&[]).expect("needs no other program")
}

fn command(home: &Home, args: &[&str]) -> std::process::Command {
    let mut command = home.command(env!("CARGO_BIN_EXE_rreg"));
    command.args(args);
    command
}

fn rreg(home: &Home, args: &[&str]) -> String {
    tool::run(&mut command(home, args))
}

fn json(home: &Home, args: &[&str]) -> Value {
    let mut command = command(home, args);
    serde_json::from_str(&tool::run(command.args(["--output", "json"]))).unwrap()
}

async fn round_trip(registry: Registry) {
    let home = home();
    let repository = registry.repository();
    for (name, image) in shapes(&repository) {
        let remote = format!("{}/{repository}:{name}", registry.address());
        rreg(&home, &["push", &home.layout(name, &image).display().to_string(), &remote]);
        registry.api().assert_image(&repository, &image, Some(name)).await;
        let directory = home.path(&format!("{name}-back"));
        rreg(&home, &["pull", &remote, &directory.display().to_string()]);
        assert_layout(&directory, &image);
        // As an archive, which goes back in under another name.
        let archive = home.path(&format!("{name}.tar"));
        rreg(&home, &["pull", &remote, &archive.display().to_string()]);
        let again = format!("{}/{repository}:{name}-again", registry.address());
        rreg(&home, &["push", &archive.display().to_string(), &again]);
        registry.api().assert_image(&repository, &image, Some(&format!("{name}-again"))).await;
    }
}

async fn copies_take_referrers_along(registry: Registry) {
    let home = home();
    let (from, to) = (registry.repository(), registry.repository());
    let image = Image::index(&from);
    registry.api().push(&from, &image, Some("v1")).await;
    let signature = Image::artifact(&from, EXAMPLE).about(&image.root().descriptor());
    registry.api().push(&from, &signature, None).await;
    let source = format!("{}/{from}:v1", registry.address());
    rreg(&home, &["cp", &source, &format!("{}/{to}:v1", registry.address())]);
    registry.api().assert_image(&to, &image, Some("v1")).await;
    registry.api().assert_image(&to, &signature, None).await;
    let bare = registry.repository();
    rreg(&home, &["cp", "--no-referrers", &source, &format!("{}/{bare}:v1", registry.address())]);
    let digest = signature.root().digest.to_string();
    registry.api().get_manifest(&bare, &digest).expect(404).await;
}

/// BuildKit keeps its cache in an index whose members are layers.
async fn a_build_cache_is_no_list_of_images(registry: Registry) {
    let home = home();
    let (from, to) = (registry.repository(), registry.repository());
    let blobs = vec![Blob::random(&from, 900), Blob::new("{\"layers\":[],\"records\":[]}")];
    let types = ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.buildkit.cacheconfig.v0"];
    let members: Vec<Value> = blobs.iter().zip(types).map(|(blob, kind)| blob.descriptor(kind)).collect();
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": members,
    });
    let image = Image { blobs, manifests: vec![Stored::new(&index)] };
    registry.api().push(&from, &image, Some("cache")).await;
    let source = format!("{}/{from}:cache", registry.address());
    rreg(&home, &["cp", &source, &format!("{}/{to}:cache", registry.address())]);
    registry.api().assert_image(&to, &image, Some("cache")).await;
    let directory = home.path("cache");
    rreg(&home, &["pull", &source, &directory.display().to_string()]);
    assert_layout(&directory, &image);
    let again = format!("{}/{to}:again", registry.address());
    rreg(&home, &["push", &directory.display().to_string(), &again]);
    registry.api().assert_image(&to, &image, Some("again")).await;
    rreg(&home, &["inspect", &source]);
}

async fn lists_shows_and_removes(registry: Registry) {
    let home = home();
    let repository = registry.repository();
    let image = Image::layered(&repository, 2);
    for tag in ["b", "a"] {
        registry.api().push(&repository, &image, Some(tag)).await;
    }
    let remote = format!("{}/{repository}", registry.address());
    let listed = rreg(&home, &["ls", &remote]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
    assert!(rreg(&home, &["ls", registry.address()]).lines().any(|line| line.contains(&repository)));
    let shown = json(&home, &["inspect", &format!("{remote}:a")]);
    assert!(shown.to_string().contains(&image.root().digest.to_string()), "{shown}");
    rreg(&home, &["rm", &format!("{remote}:a")]);
    registry.api().get_manifest(&repository, "a").expect(404).await;
    registry.api().get_manifest(&repository, "b").expect(200).await;
    rreg(&home, &["rm", &format!("{remote}@{}", image.root().digest)]);
    registry.api().get_manifest(&repository, "b").expect(404).await;
}

async fn failures_have_exit_codes(registry: Registry) {
    let home = home();
    let missing = format!("{}/{}:none", registry.address(), registry.repository());
    let code = |args: &[&str]| command(&home, args).output().unwrap().status.code();
    assert_eq!(code(&["inspect", &missing]), Some(1), "refused or not found");
    assert_eq!(code(&["inspect", "127.0.0.1:1/a/b:c"]), Some(2), "unreachable");
    assert_eq!(code(&["inspect"]), Some(64), "usage");
    assert_eq!(code(&["push", "nothing-here", &missing]), Some(66), "no input");
    assert_eq!(code(&["serve", "--listen", "0.0.0.0:0"]), Some(78), "open to others without TLS");
}

async fn inspect_tells_what_an_image_is(registry: Registry) {
    let home = home();
    let repository = registry.repository();
    let mut image = Image::layered(&repository, 2);
    let mut config: Value = serde_json::from_slice(&image.blobs.pop().unwrap().bytes).unwrap();
    config["config"]["Env"] = serde_json::json!(["LANG=C", "EDITOR=ed"]);
    config["config"]["Entrypoint"] = serde_json::json!(["/init", "--now"]);
    config["history"] = serde_json::json!([
        {"created": "2024-01-02T03:04:05Z", "created_by": "COPY .  /app"},
        {"created": "2024-01-02T03:04:06Z", "created_by": "ENV LANG=C", "empty_layer": true},
    ]);
    let config = Blob::new(serde_json::to_vec(&config).unwrap());
    let descriptor = config.descriptor("application/vnd.oci.image.config.v1+json");
    image.blobs.push(config);
    let image = image.edited(|manifest| manifest["config"] = descriptor);
    registry.api().push(&repository, &image, Some("one")).await;
    let name = format!("{}/{repository}", registry.address());
    let shown = rreg(&home, &["inspect", &format!("{name}:one")]);
    for part in ["/init --now", "LANG=C", "EDITOR=ed", "label=", "COPY . /app", "2024-01-02T03:04:06Z"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    // An index weighs what its images weigh, and one of them can be looked at.
    let index = Image::index(&repository);
    registry.api().push(&repository, &index, Some("all")).await;
    let all = json(&home, &["inspect", &format!("{name}:all")]);
    let bytes: usize = index.blobs.iter().map(|blob| blob.bytes.len()).sum();
    let manifests: usize = index.manifests.iter().map(|manifest| manifest.bytes.len()).sum();
    let expected = bytes + manifests - index.root().bytes.len();
    assert_eq!(all["total_size"], expected, "{all}");
    assert_eq!(all["sizes"].as_object().unwrap().len(), index.manifests.len() - 1, "{all}");
    let one = json(&home, &["inspect", &format!("{name}:all"), "--platform", "linux/arm64"]);
    assert_eq!(one["config"]["architecture"], "arm64", "{one}");
    let none =
        command(&home, &["inspect", &format!("{name}:all"), "--platform", "plan9/386"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1), "{}", String::from_utf8_lossy(&none.stderr));
}
