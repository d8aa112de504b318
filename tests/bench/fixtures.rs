//! What a store holds before a scenario runs. Each (server, fixture) has a directory of its own, filled once
//! through the API, so that the tags of one scenario do not burden the others.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::content::{Blob, manifest};
use super::http::{self, Client};
use super::load::{self, Until};
use super::peers::{Kind, Peer};
use super::process::Server;
use super::{Bench, Failure};

pub(crate) const SMALL: &str = "bench/small";
pub(crate) const LARGE: &str = "bench/large";
pub(crate) const TAGS: &str = "bench/tags";
/// Bytes of a small blob.
const SMALL_BLOB: usize = 4096;
/// Tags that share one manifest in [`Fixture::Tags`], and most `tag` parameters in one push.
const TAGS_EACH: u64 = 100;
const CLIENTS: usize = 8;

/// The contents of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fixture {
    /// Nothing; a new directory for each run.
    Empty,
    /// One image, many blobs of 4 KiB.
    Small,
    /// One large blob.
    Large,
    /// One repository with many tags.
    Tags,
    /// Many repositories with one blob each, the same.
    Catalog,
}

/// The blob of 4 KiB with a number.
pub(crate) fn small_blob(number: u64) -> Blob {
    Blob::random(1 + number, SMALL_BLOB)
}

/// The image in [`SMALL`] under `latest`: its manifest is as long as that of a usual small image.
pub(crate) fn small_manifest() -> String {
    manifest(&small_blob(0), &[&small_blob(1)], "small")
}

/// The tag with a number; sorted as the numbers are.
pub(crate) fn tag(number: u64) -> String {
    format!("v{number:07}")
}

/// The repository with a number; sorted as the numbers are.
pub(crate) fn repository(number: u64) -> String {
    format!("many/r{number:06}")
}

/// Fills the store of a started server.
pub(crate) fn fill(
    bench: &Bench,
    fixture: Fixture,
    peer: &Peer,
    server: &Server,
    dir: &Path,
) -> Result<(), Failure> {
    if peer.kind == Kind::Nginx {
        return place_files(bench, fixture, &dir.join("data"));
    }
    if !peer.is_registry() {
        return Ok(());
    }
    let address = server.address;
    match fixture {
        Fixture::Empty => Ok(()),
        Fixture::Small => fill_small(bench, address),
        Fixture::Large => {
            let mut large = bench.large.borrow_mut();
            large.renew(0);
            Client::connect(address)?.push_blob(LARGE, &large.digest, &large.bytes)
        }
        Fixture::Tags => fill_tags(bench, peer, address),
        Fixture::Catalog => fill_catalog(bench, peer, address),
    }
}

/// The blobs as files under the paths that a registry serves them at.
fn place_files(bench: &Bench, fixture: Fixture, data: &Path) -> Result<(), Failure> {
    let place = |repository: &str, blob: &Blob| -> Result<(), Failure> {
        let folder = data.join("v2").join(repository).join("blobs");
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(&blob.digest), &blob.bytes)?)
    };
    match fixture {
        Fixture::Small => (0..bench.scale.blobs).try_for_each(|number| place(SMALL, &small_blob(number))),
        Fixture::Large => {
            let mut large = bench.large.borrow_mut();
            large.renew(0);
            place(LARGE, &large)
        }
        Fixture::Empty | Fixture::Tags | Fixture::Catalog => Ok(()),
    }
}

fn fill_small(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    parallel(bench, address, bench.scale.blobs, |client, number| {
        let blob = small_blob(number);
        client.push_blob(SMALL, &blob.digest, &blob.bytes)
    })?;
    let mut client = Client::connect(address)?;
    client.push_manifest(&format!("/v2/{SMALL}/manifests/latest"), &small_manifest())
}

fn fill_tags(bench: &Bench, peer: &Peer, address: SocketAddr) -> Result<(), Failure> {
    let (config, layer) = (small_blob(0), small_blob(1));
    let mut client = Client::connect(address)?;
    client.push_blob(TAGS, &config.digest, &config.bytes)?;
    client.push_blob(TAGS, &layer.digest, &layer.bytes)?;
    let tags = bench.scale.tags(peer.kind);
    let push = |client: &mut Client, batch: u64| -> Result<bool, Failure> {
        let text = manifest(&config, &[&layer], &batch.to_string());
        let numbers = batch * TAGS_EACH..((batch + 1) * TAGS_EACH).min(tags);
        let query: Vec<String> = numbers.map(|number| format!("tag={}", tag(number))).collect();
        let digest = super::content::digest(text.as_bytes());
        client.push_manifest(&format!("/v2/{TAGS}/manifests/{digest}?{}", query.join("&")), &text)?;
        Ok(client.header("oci-tag").is_some())
    };
    // Who does not know the parameter ignores it, and some take only a few.
    if matches!(push(&mut client, 0), Ok(true)) {
        let batches = tags.div_ceil(TAGS_EACH);
        return parallel(bench, address, batches, |client, batch| push(client, batch).map(drop));
    }
    parallel(bench, address, tags, |client, number| {
        let text = manifest(&config, &[&layer], &(number / TAGS_EACH).to_string());
        client.push_manifest(&format!("/v2/{TAGS}/manifests/{}", tag(number)), &text)
    })
}

fn fill_catalog(bench: &Bench, peer: &Peer, address: SocketAddr) -> Result<(), Failure> {
    let blob = small_blob(0);
    Client::connect(address)?.push_blob(SMALL, &blob.digest, &blob.bytes)?;
    let count = bench.scale.repositories(peer.kind);
    let mount = |number: u64, out: &mut Vec<u8>| {
        let path = format!("/v2/{}/blobs/uploads/?mount={}&from={SMALL}", repository(number), blob.digest);
        http::head(out, "POST", &path, "", Some(0));
    };
    load::run(address, 4 * CLIENTS, Until::Requests(count), &[201], mount).map(drop)
}

/// Does `work` for the numbers below `count` with a few clients; stops at the first failure.
pub(crate) fn parallel(
    bench: &Bench,
    address: SocketAddr,
    count: u64,
    work: impl Fn(&mut Client, u64) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let next = AtomicU64::new(0);
    let (started, limit) = (Instant::now(), bench.scale.fill);
    let client = || -> Result<(), Failure> {
        let mut client = Client::connect(address)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            if started.elapsed() > limit {
                next.store(count, Ordering::Relaxed);
                return Err(format!("{number} of {count} done after {} s", limit.as_secs()).into());
            }
            work(&mut client, number).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let results: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err("a client thread panicked".into())))
            .collect();
        results.into_iter().collect()
    })
}
