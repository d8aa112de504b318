//! rreg's own client, with an OCI layout on its other side.

use serde_json::Value;

use super::{Home, assert_layout, shapes};
use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{Registry, tool};

on_each_backend!(round_trip, copies_take_referrers_along, lists_shows_and_removes, failures_have_exit_codes);

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
