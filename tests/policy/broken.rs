//! What is stored here and cannot be read: no failure of anybody else, whose silence `onError: allow` lets pass.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Desk, soon};
use crate::harness::Backend;
use crate::harness::http::manifest;
use crate::harness::image::Image;

/// The file in which these bytes are.
fn file_of(root: &Path, bytes: &[u8]) -> Option<PathBuf> {
    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() {
            return file_of(&path, bytes);
        }
        fs::read(&path).is_ok_and(|found| found == bytes).then_some(path)
    })
}

/// The config of an image is gone, cut, changed, or no file at all: what it says is not known, and the rule fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_content_lets_nothing_through() {
    let desk = Desk::new();
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("cut", |file| fs::write(file, "{").unwrap()),
        ("changed", |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[7] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (name, harm) in harms {
        // Its config is too large for the database.
        let image = Image::layered(&format!("{repository}{name}{}", "x".repeat(40_000)), 1);
        api.push(&repository, &image, Some(name)).await;
        harm(&file_of(&registry.objects(), &image.blobs.last().unwrap().bytes).unwrap());
    }
    let whole = Image::layered(&repository, 1);
    api.push(&repository, &whole, Some("whole")).await;
    desk.set(
        "ports",
        "apiVersion: rreg/v1\nkind: Policy\nname: ports\nmatch: {repos: [\"it/**\"]}\nat: [pull]\nmode: enforce\n\
         onError: allow\nrequire:\n  - image: {denyPorts: [22]}\n  - image: {maxSizeMiB: 100}\n",
    );
    for (name, _) in harms {
        let refused = soon(&registry, &repository, name, 403).await;
        assert!(String::from_utf8_lossy(&refused.body).contains("denyPorts"), "{name}: {refused}");
    }
    api.get(manifest(&repository, "whole")).expect(200).await;
}
