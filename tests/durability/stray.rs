//! One wrong answer of a store is never believed: not about an upload's bytes, not about whose store it is, not about
//! what was deleted, not about what was written.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Method;
use rreg_oci::{Algorithm, Digest};

use super::store::status;
use super::trouble::{SIZES, blob, path, pull};
use crate::harness::image::{Blob, Image};
use crate::harness::proxy::{Harm, Proxy, Rule};
use crate::harness::{Backend, Registry, http, s3};

const MARKER: &str = "rreg-installation";

type Settings = Vec<(&'static str, String)>;

fn bucket() -> (Settings, Proxy) {
    let (mut settings, proxy) = s3::bucket_behind_proxy();
    settings.push(("RREG_STORAGE__PART_SIZE", "5MiB".to_owned()));
    settings.push(("RREG_STORAGE__RETRY_FOR", "0s".to_owned()));
    (settings, proxy)
}

async fn start(settings: &Settings) -> Option<Registry> {
    let all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Registry::start_with(Backend::SqliteDirectory, &all).await
}

/// Why a server with these settings over this directory does not start; `None`: it does.
fn refusal(settings: &Settings, data: &Path) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).env_clear();
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _ = child.kill();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    line.is_empty().then_some(text)
}

/// An upload that is hashed again from its beginning, because it ends under another algorithm than it began with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on() {
    let (settings, proxy) = bucket();
    let Some(registry) = start(&settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    for (seed, harm) in (1..).zip([Harm::Status(404), Harm::Truncate(300_000), Harm::Flip]) {
        let blob = blob(SIZES[1], seed);
        let digest = Digest::of(Algorithm::Sha512, &blob.bytes);
        let location = api.open_upload(&repository).await;
        let half = blob.bytes.len() / 2;
        let answer = api.patch(location, blob.bytes.slice(..half)).chunk_at(0, half).expect(202).await;
        proxy.harm(Rule::new(Method::GET, "/blobs/", 1, harm));
        let commit = http::commit(&answer.location(), &digest);
        api.put(commit, blob.bytes.slice(half..)).octets().expect(201).await;
        assert_eq!(proxy.harmed(), u64::from(seed), "{harm:?}");
        proxy.mend();
        let answer = api.get(http::blob(&repository, &digest)).expect(200).await;
        assert!(answer.body == blob.bytes);
    }
}

/// A database that knows of no store, before a store that says once or twice that nobody has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_is_not_named_anew() {
    let (settings, proxy) = bucket();
    let Some(mut registry) = start(&settings).await else { return };
    registry.stop();
    for times in [1, 2] {
        let other = tempfile::tempdir().unwrap();
        proxy.harm(Rule::new(Method::GET, MARKER, times, Harm::Status(404)));
        let said = refusal(&settings, other.path()).expect("it is another registry's store");
        assert!(times > 1 || said.contains("fsck --rebuild"), "{said}");
        proxy.mend();
        let said = refusal(&settings, other.path()).expect("it is another registry's store");
        assert!(said.contains("fsck --rebuild"), "{said}");
    }
    // Read wrongly once, by one that may take the store's name.
    let other = tempfile::tempdir().unwrap();
    proxy.harm(Rule::new(Method::GET, MARKER, 1, Harm::Flip));
    let over = |data: &Path, claim| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
        command.args(["fsck", claim, "--data"]).arg(data).env_clear();
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.output().unwrap()
    };
    assert!(!over(other.path(), "--adopt").status.success());
    proxy.mend();
    let output = over(other.path(), "--adopt");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(refusal(&settings, other.path()), None);
    // Or by one that is to be restored from it.
    let other = tempfile::tempdir().unwrap();
    proxy.harm(Rule::new(Method::GET, MARKER, 1, Harm::Flip));
    assert!(!over(other.path(), "--rebuild").status.success());
    proxy.mend();
    let output = over(other.path(), "--rebuild");
    assert!(output.status.success(), "{output:?}");
    // And the registry itself is not kept from starting.
    for harm in [Harm::Status(404), Harm::Flip] {
        proxy.harm(Rule::new(Method::GET, MARKER, 1, harm));
        registry.resume();
        registry.stop();
        proxy.mend();
    }
}

/// A store that has no writes which only create.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_is_never_written_over() {
    let (settings, proxy) = bucket();
    proxy.harm(Rule::new(Method::PUT, MARKER, 1, Harm::Status(501)));
    let Some(mut registry) = start(&settings).await else { return };
    registry.stop();
    assert_eq!(proxy.harmed(), 1);
    let other = tempfile::tempdir().unwrap();
    proxy.harm(Rule::new(Method::GET, MARKER, 2, Harm::Status(404)));
    proxy.harm(Rule::new(Method::PUT, MARKER, 1, Harm::Status(501)));
    assert!(refusal(&settings, other.path()).is_some());
    assert_eq!(proxy.harmed(), 4);
    proxy.mend();
    registry.resume();
    assert_eq!(status(&registry, "/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_stays_ours() {
    let (settings, proxy) = bucket();
    let Some(registry) = start(&settings).await else { return };
    for harm in [Harm::Status(404), Harm::Flip] {
        let before = proxy.harmed();
        proxy.harm(Rule::new(Method::GET, MARKER, 1, harm));
        // An answer of readiness is good for a second.
        while proxy.harmed() == before {
            let (code, text) = status(&registry, "/readyz").await;
            assert_eq!(code, 200, "{harm:?}: {text}");
        }
        proxy.mend();
    }
}

/// The record of a manifest that was deleted: where it stayed, a rebuilt database would have the manifest again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_gone() {
    let (settings, proxy) = bucket();
    let Some(mut registry) = start(&settings).await else { return };
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    // Records are written when it stops.
    registry.stop();
    registry.resume();
    proxy.harm(Rule::new(Method::POST, "delete", 2, Harm::Status(404)));
    registry.api().delete(http::manifest(&repository, image.root().digest)).expect(202).await;
    registry.stop();
    assert_eq!(proxy.harmed(), 2);
    proxy.mend();
    registry.lose_database();
    let (rebuilt, _) = registry.rreg_json(&["fsck", "--rebuild"]);
    assert_eq!(rebuilt["records"], 0, "{rebuilt}");
}

/// The answer to a write was lost, and the store says once that what was written is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_there() {
    let (settings, proxy) = bucket();
    let Some(registry) = start(&settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let writes = [(SIZES[1], Method::PUT, "/blobs/"), (SIZES[0], Method::POST, "uploadId")];
    for (seed, (size, method, target)) in (1..).zip(writes) {
        let blob = blob(size, seed);
        let before = proxy.harmed();
        proxy.harm(Rule::new(method, target, 1, Harm::CutAfter));
        proxy.harm(Rule::new(Method::HEAD, "/blobs/", 1, Harm::Status(404)));
        api.push_blob(&repository, &blob).await;
        assert_eq!(proxy.harmed(), before + 2, "{target}");
        proxy.mend();
        pull(&api, &repository, &blob).await;
    }
}

/// "Not found" is no answer to a write either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_sent_again() {
    let (settings, proxy) = bucket();
    let Some(registry) = start(&settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let writes = [
        (SIZES[1], Method::PUT, "/blobs/"),
        (SIZES[0], Method::POST, "uploads"),
        (SIZES[0], Method::PUT, "partNumber"),
        (SIZES[0], Method::POST, "uploadId"),
    ];
    for (seed, (size, method, target)) in (1..).zip(writes) {
        let blob = blob(size, seed);
        let before = proxy.harmed();
        proxy.harm(Rule::new(method, target, 1, Harm::Status(404)));
        api.push_blob(&repository, &blob).await;
        assert_eq!(proxy.harmed(), before + 1, "{target}");
        proxy.mend();
        pull(&api, &repository, &blob).await;
    }
}

/// One blob that cannot be read keeps no other in quarantine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_quarantine_does_not_keep_another() {
    let (settings, proxy) = bucket();
    let Some(mut registry) = start(&settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blobs: Vec<Blob> = (1..=2).map(|seed| blob(SIZES[1], seed)).collect();
    for blob in &blobs {
        api.push_blob(&repository, blob).await;
    }
    // Gone, as far as can be known.
    proxy.harm(Rule::new(Method::HEAD, "/blobs/", usize::MAX, Harm::Status(404)));
    for blob in &blobs {
        api.get(path(&repository, blob)).expect(404).await;
    }
    registry.stop();
    proxy.mend();
    let quarantined = |arguments: &[&str]| {
        let (found, _) = registry.rreg_json(arguments);
        let findings = found["findings"].as_array().unwrap();
        findings.iter().filter(|finding| finding["damage"] == "quarantined").count()
    };
    assert_eq!(quarantined(&["fsck"]), 2);
    // The first to be read cannot be.
    proxy.harm(Rule::new(Method::GET, "/blobs/", 1, Harm::Status(403)));
    registry.rreg(&["fsck", "--heal"]);
    proxy.mend();
    assert_eq!(quarantined(&["fsck"]), 1);
}

/// Who only looks does not take another bucket's emptiness for damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_bucket_is_not_a_damaged_one() {
    let (settings, _) = bucket();
    let Some(mut registry) = start(&settings).await else { return };
    let repository = registry.repository();
    registry.api().push_blob(&repository, &blob(SIZES[1], 1)).await;
    registry.stop();
    let (others, _) = bucket();
    let other = others.iter().find(|(name, _)| *name == "RREG_STORAGE__S3__BUCKET").unwrap();
    registry.set(other.0, &other.1);
    let output = registry.rreg(&["fsck"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("marker"), "{output:?}");
}
