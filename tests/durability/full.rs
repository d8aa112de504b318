//! A disk without room: new content is refused with a clear answer, `/readyz` says so, and what is there can be pulled
//! and deleted, also where somebody else filled the disk to the last byte.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::Client;
use rreg_oci::Digest;
use tempfile::TempDir;

use super::faults::lose_objects;
use super::random::Random;
use super::server::Server;
use crate::harness::tool;

const MIB: usize = 1 << 20;

/// A disk of 32 MiB, unmounted when it is dropped.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(dir.path());
        if !mount.status().is_ok_and(|status| status.success()) {
            tool::skip("a small disk can be mounted by root only");
            return None;
        }
        Some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

struct Place {
    server: Server,
    client: Client,
}

impl Place {
    fn start(disk: &Disk) -> Self {
        let server = Server::start(disk.path(), &[]);
        Self { server, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// The status of a push of one blob and, if that went well, of an image of it.
    async fn push(&self, tag: &str, content: Vec<u8>) -> (u16, String) {
        let (digest, size) = (Digest::sha256(&content), content.len());
        let url = self.server.url(&format!("/v2/disk/full/blobs/uploads/?digest={digest}"));
        let answer = self.client.post(url).body(content).send().await.unwrap();
        let status = answer.status().as_u16();
        if status != 201 {
            return (status, answer.text().await.unwrap());
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/octet-stream", "digest": digest, "size": size}, "layers": [],
        });
        let put = self.client.put(self.manifest(tag));
        let put = put.header("content-type", "application/vnd.oci.image.manifest.v1+json");
        let answer = put.body(manifest.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn manifest(&self, tag: &str) -> String {
        self.server.url(&format!("/v2/disk/full/manifests/{tag}"))
    }

    async fn ready(&self) -> (u16, String) {
        // What was found is told for a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let answer = self.client.get(self.server.url("/readyz")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn delete(&self, tag: &str) -> u16 {
        self.client.delete(self.manifest(tag)).send().await.unwrap().status().as_u16()
    }

    async fn get(&self, tag: &str) -> u16 {
        self.client.get(self.manifest(tag)).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn what_fills_the_disk_is_refused() {
    let Some(disk) = Disk::mount() else { return };
    let place = Place::start(&disk);
    let mut random = Random::new(7);
    let mut pushed = 0;
    let refused = loop {
        match place.push(&format!("v{pushed}"), random.bytes(4 * MIB)).await {
            (201, _) => pushed += 1,
            refused => break refused,
        }
    };
    assert!(pushed > 3, "{pushed}");
    assert_eq!(refused.0, 507, "{refused:?}");
    assert!(refused.1.contains("no room"), "{refused:?}");
    for tag in 0..pushed {
        assert_eq!(place.get(&format!("v{tag}")).await, 200);
        assert_eq!(place.delete(&format!("v{tag}")).await, 202);
    }
}

#[tokio::test]
async fn a_disk_that_others_filled_takes_deletions_and_heals() {
    let Some(disk) = Disk::mount() else { return };
    let place = Place::start(&disk);
    let mut random = Random::new(8);
    let content = random.bytes(MIB);
    let kept = Digest::sha256(&content);
    for (tag, content) in [("a", random.bytes(MIB)), ("b", content), ("c", random.bytes(MIB))] {
        assert_eq!(place.push(tag, content).await.0, 201);
    }
    assert_eq!(place.ready().await.0, 200);
    let junk = disk.path().join("junk");
    // Ends with "no space left".
    fs::write(&junk, vec![1; 40 * MIB]).unwrap_err();
    let (status, body) = place.push("d", random.bytes(MIB)).await;
    assert_eq!(status, 507, "{body}");
    let (status, why) = place.ready().await;
    assert!(status == 503 && why.contains("full"), "{status} {why}");
    assert_eq!(place.delete("a").await, 202);
    assert_eq!((place.get("a").await, place.get("b").await), (404, 200));
    // That there is no room says nothing about what is missing.
    lose_objects(&disk.path().join("objects"), MIB);
    let url = place.server.url(&format!("/v2/disk/full/blobs/{kept}"));
    assert_eq!(place.client.get(url).send().await.unwrap().status(), 404);
    fs::remove_file(junk).unwrap();
    assert_eq!(place.ready().await.0, 200);
    assert_eq!(place.push("d", random.bytes(MIB)).await.0, 201);
}

/// Killed on a disk that is full to the last byte, it starts from its reserve: what is there can be pulled and deleted.
#[tokio::test]
async fn it_starts_on_a_full_disk() {
    let Some(disk) = Disk::mount() else { return };
    let place = Place::start(&disk);
    let mut random = Random::new(9);
    for tag in ["a", "b"] {
        assert_eq!(place.push(tag, random.bytes(MIB)).await.0, 201);
    }
    place.server.kill();
    // What a SQLite that was closed well leaves behind is made anew at the start, which takes room.
    fs::write(disk.path().join("junk"), vec![1; 40 * MIB]).unwrap_err();
    let place = Place::start(&disk);
    assert_eq!(place.get("a").await, 200);
    assert_eq!(place.push("c", random.bytes(MIB)).await.0, 507);
    assert_eq!(place.delete("a").await, 202);
    assert_eq!((place.get("a").await, place.get("b").await), (404, 200));
    fs::remove_file(disk.path().join("junk")).unwrap();
    assert_eq!(place.ready().await.0, 200);
    assert_eq!(place.push("c", random.bytes(MIB)).await.0, 201);
}
