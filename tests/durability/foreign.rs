//! Object stores that were written by others, with and without trouble between them and the registry.

use std::io::Write as _;
use std::time::Duration;

use reqwest::Method;

use super::trouble::{SIZES, blob, lost_answers, path, pull};
use crate::harness::proxy::{Harm, Rule};
use crate::harness::stores::{Maker, Store};
use crate::harness::{Backend, Registry};

macro_rules! on_each_store {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn versitygw() {
                super::with(Maker::Versity, super::$name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn moto() {
                super::with(Maker::Moto, super::$name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn minio() {
                super::with(Maker::Minio, super::$name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn azurite() {
                super::with(Maker::Azurite, super::$name).await;
            }
        }
    )*};
}

on_each_store!(
    everyday,
    answers_are_lost,
    uploads_that_were_never_ended_are_found,
    uploads_that_were_never_ended_are_aborted
);

async fn with(maker: Maker, test: impl AsyncFnOnce(Registry, &Store)) {
    let Some(store) = Store::start(maker).await else { return };
    let settings = store.settings();
    let mut all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.push(("RREG_STORAGE__PART_SIZE", "5MiB"));
    all.push(("RREG_STORAGE__REDIRECT", "true"));
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &all).await else { return };
    test(registry, &store).await;
}

/// Pushes, pulls by the store's own addresses, parts of every kind, and what the operator's commands say.
async fn everyday(registry: Registry, _: &Store) {
    let (api, repository) = (registry.api(), registry.repository());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    for (seed, size) in (1..).zip(SIZES) {
        let blob = blob(size, seed);
        api.push_blob(&repository, &blob).await;
        let address = format!("http://{}{}", registry.address(), path(&repository, &blob));
        let parts = [
            ("", 0..size),
            ("bytes=10-99", 10..100),
            ("bytes=900-", 900..size),
            ("bytes=-100", size - 100..size),
        ];
        for (range, expected) in parts {
            let mut request = client.get(&address);
            if !range.is_empty() {
                request = request.header("range", range);
            }
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{size} {range}: {answer:?}");
            assert!(answer.bytes().await.unwrap() == blob.bytes[expected], "{size} {range}");
        }
    }
    assert_eq!(super::store::status(&registry, "/readyz").await.0, 200);
    let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
}

async fn answers_are_lost(mut registry: Registry, store: &Store) {
    registry.stop();
    registry.set("RREG_STORAGE__REDIRECT", "false");
    registry.resume();
    let blocks = [(Method::PUT, "/blobs/"), (Method::PUT, "comp=block"), (Method::PUT, "comp=blocklist")];
    let parts = [
        (Method::PUT, "/blobs/"),
        (Method::PUT, "partNumber"),
        (Method::POST, "uploads"),
        (Method::POST, "uploadId"),
    ];
    let requests = if store.is_s3() { &parts[..] } else { &blocks[..] };
    lost_answers(&registry, &store.proxy, requests).await;
    // And a broken answer is read on.
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[0], 1);
    api.push_blob(&repository, &blob).await;
    for harm in [Harm::Truncate(70_000), Harm::CutAfter, Harm::Status(404), Harm::Status(503)] {
        store.proxy.harm(Rule::new(Method::GET, "/blobs/", 1, harm));
        pull(&api, &repository, &blob).await;
        store.proxy.mend();
    }
}

/// `kill -9` in the middle of an upload.
async fn die_while_uploading(registry: &mut Registry, store: &Store) {
    let repository = registry.repository();
    let location = registry.api().open_upload(&repository).await;
    let location = location.split_once("/v2/").map(|(_, rest)| format!("/v2/{rest}")).unwrap();
    let mut half = registry.api().connect();
    write!(half, "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n").unwrap();
    half.write_all(&vec![7; 12 << 20]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let part = if store.is_s3() { "partNumber" } else { "comp=block" };
    while store.proxy.count(&Method::PUT, part) < 2 {
        assert!(std::time::Instant::now() < deadline, "no part was written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    registry.kill();
}

/// A server aborts them when it starts and every hour, once they are so old that nobody can be at work on them.
async fn uploads_that_were_never_ended_are_aborted(mut registry: Registry, store: &Store) {
    if !store.lists_unfinished() {
        return;
    }
    die_while_uploading(&mut registry, store).await;
    let (lists, aborts) =
        (store.proxy.count(&Method::GET, "uploads"), store.proxy.count(&Method::DELETE, "uploadId"));
    registry.resume();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while store.proxy.count(&Method::GET, "uploads") == lists {
        assert!(std::time::Instant::now() < deadline, "nobody looked for them");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if store.is_long_ago() {
        while store.proxy.count(&Method::DELETE, "uploadId") == aborts {
            assert!(std::time::Instant::now() < deadline, "nobody aborted it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    registry.stop();
    let (found, _) = registry.rreg_json(&["fsck", "--extra-after", "0s"]);
    let findings = found["findings"].as_array().unwrap();
    let left = findings.iter().filter(|finding| finding["damage"] == "unfinished").count();
    assert_eq!(left, usize::from(!store.is_long_ago()), "{found}");
}

async fn uploads_that_were_never_ended_are_found(mut registry: Registry, store: &Store) {
    die_while_uploading(&mut registry, store).await;
    let look = |more: &[&str]| {
        let arguments = [&["fsck", "--extra-after", "0s"], more].concat();
        let (found, _) = registry.rreg_json(&arguments);
        assert!(found["unlisted"].is_null(), "{found}");
        let findings = found["findings"].as_array().unwrap();
        findings.iter().filter(|finding| finding["damage"] == "unfinished").count()
    };
    let expected = usize::from(store.lists_unfinished());
    assert_eq!(look(&[]), expected);
    assert_eq!(look(&["--reclaim-extra"]), expected);
    assert_eq!(look(&[]), 0);
}

/// A store with a certificate of a private authority, which has to be named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_is_named() {
    let Some(store) = Store::start_with_tls().await else { return };
    let settings = store.settings();
    let mut all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend([("RREG_STORAGE__RETRY_FOR", "1s"), ("RREG_STORAGE__PART_SIZE", "5MiB")]);
    let data = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
    let output = command.env_clear().envs(all.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("certificate"), "{text}");
    let authority = store.authority().unwrap().display().to_string();
    all.push(("RREG_STORAGE__CA_FILE", &authority));
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &all).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    for (seed, size) in (1..).zip(SIZES) {
        let blob = blob(size, seed);
        api.push_blob(&repository, &blob).await;
        pull(&api, &repository, &blob).await;
    }
    // Also by the client that looks for unfinished uploads.
    let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
    assert!(found["unlisted"].is_null(), "{found}");
}
