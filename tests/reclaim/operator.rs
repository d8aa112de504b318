//! `rreg gc` and `rreg fsck` over a registry that runs, or has run.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::http::{blob, manifest};
use crate::harness::image::{Blob, EXAMPLE, Image};
use crate::harness::{Api, Backend, Registry};

/// Everything is due at once, and only the operator reclaims.
const AT_ONCE: &[(&str, &str)] = &[
    ("RREG_RECLAIM__BLOBS_AFTER", "0s"),
    ("RREG_RECLAIM__UNTAGGED_AFTER", "0s"),
    ("RREG_RECLAIM__PERIOD", "24h"),
    ("RREG_UPLOADS__RECLAIM_GRACE", "0s"),
];

on_each_backend!(AT_ONCE => a_deleted_image_goes_with_its_bytes, live_subjects_and_indexes_protect, why_is_it_kept);

/// `rreg gc run`: beside the server where there can be two, else in its stead.
fn reclaim(registry: &mut Registry) -> Value {
    if registry.is_shareable() {
        return registry.rreg_json(&["gc", "run"]).0;
    }
    let beside = registry.rreg(&["gc", "run"]);
    assert_eq!(beside.status.code(), Some(75), "the embedded database belongs to one process");
    for args in
        [&["gc", "run"][..], &["fsck", "--heal"], &["fsck", "--reclaim-extra"], &["fsck", "--rebuild"]]
    {
        let beside = registry.rreg(args);
        let said = String::from_utf8_lossy(&beside.stderr).into_owned();
        assert_eq!(beside.status.code(), Some(75), "{said}");
        assert!(said.contains("stop the server first") && !said.contains("--data"), "{args:?}: {said}");
    }
    registry.stop();
    let (report, code) = registry.rreg_json(&["gc", "run"]);
    assert_eq!(code, 0, "{report}");
    registry.resume();
    report
}

fn fsck(registry: &Registry) -> Value {
    registry.rreg_json(&["fsck", "--deep", "--extra-after", "0s"]).0
}

async fn a_deleted_image_goes_with_its_bytes(mut registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let (gone, stays) =
        (Image::layered(&format!("{repository}-1"), 3), Image::layered(&format!("{repository}-2"), 3));
    api.push(&repository, &gone, Some("1")).await;
    api.push(&repository, &stays, Some("2")).await;
    let (plan, _) = registry.rreg_json(&["gc", "plan"]);
    assert_eq!(plan["count"], 0, "{plan}");
    api.delete(manifest(&repository, gone.root().digest)).expect(202).await;
    let shared = |digest| stays.blobs.iter().any(|blob| blob.digest == digest);
    let expected = gone.blobs.iter().filter(|blob| !shared(blob.digest)).count();
    let (plan, _) = registry.rreg_json(&["gc", "plan"]);
    assert_eq!(plan["count"], expected, "{plan}");
    assert_eq!(plan["candidates"].as_array().unwrap().len(), expected);
    // With more patience the same waits, and it is told until when.
    let mut patient = registry.command(&["gc", "plan", "--output", "json"]);
    let later = crate::harness::tool::run(patient.env("RREG_RECLAIM__BLOBS_AFTER", "3d"));
    let later: serde_json::Value = serde_json::from_str(&later).unwrap();
    assert_eq!((&later["count"], &later["pending_more"]), (&0.into(), &false.into()), "{later}");
    let pending = later["pending"].as_array().unwrap();
    assert_eq!(pending.len(), expected, "{later}");
    assert!(pending.iter().all(|one| one["due_at"].as_str().is_some_and(|at| at.ends_with('Z'))), "{later}");
    let report = reclaim(&mut registry);
    assert_eq!(report["blobs"], expected, "{report}");
    let api = registry.api();
    for blob_ in gone.blobs.iter().filter(|blob| !shared(blob.digest)) {
        api.head(blob(&repository, &blob_.digest)).expect(404).await;
    }
    api.assert_image(&repository, &stays, Some("2")).await;
    let found = fsck(&registry);
    assert_eq!(found["count"], 0, "{found}");
}

async fn live_subjects_and_indexes_protect(mut registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let index = Image::index(&repository);
    api.push(&repository, &index, Some("latest")).await;
    let child = &index.manifests[0];
    let referrer = Image::artifact(&format!("{repository}-sbom"), EXAMPLE).about(&child.descriptor());
    let stray = Image::artifact(&format!("{repository}-stray"), EXAMPLE);
    for image in [&referrer, &stray] {
        api.push(&repository, image, None).await;
    }
    let report = reclaim(&mut registry);
    assert_eq!(report["manifests"], 1, "{report}");
    let api = registry.api();
    api.assert_image(&repository, &index, Some("latest")).await;
    api.assert_image(&repository, &referrer, None).await;
    api.head(manifest(&repository, stray.root().digest)).expect(404).await;
    // Without its tag the index goes, then its children, then what refers to them, then their bytes.
    api.delete(manifest(&repository, "latest")).expect(202).await;
    reclaim(&mut registry);
    let api = registry.api();
    for stored in index.manifests.iter().chain(&referrer.manifests) {
        api.head(manifest(&repository, stored.digest)).expect(404).await;
    }
    let found = fsck(&registry);
    assert_eq!((&found["blobs"], &found["objects"], &found["count"]), (&0.into(), &0.into(), &0.into()));
}

async fn why_is_it_kept(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let index = Image::index(&repository);
    api.push(&repository, &index, Some("latest")).await;
    let why = |digest: String| registry.rreg_json(&["gc", "why", &digest]).0[0]["kept_by"].clone();
    let root = index.root().digest;
    assert_eq!(why(root.to_string()), serde_json::json!(["tag latest"]));
    let child = &index.manifests[0];
    assert_eq!(why(child.digest.to_string()), serde_json::json!([format!("index {root}")]));
    let layer = child.json()["layers"][0]["digest"].as_str().unwrap().to_owned();
    assert!(why(layer).as_array().unwrap().contains(&format!("manifest {}", child.digest).into()));
    let alone = Blob::random(&repository, 10);
    api.push_blob(&repository, &alone).await;
    assert_eq!(why(alone.digest.to_string()), serde_json::json!([]));
    let unknown = registry.rreg(&["gc", "why", &Blob::random("nobody's", 10).digest.to_string()]);
    assert_eq!(unknown.status.code(), Some(1));
}

/// The objects of a registry on a directory.
fn objects(registry: &Registry) -> Vec<PathBuf> {
    let folders = fs::read_dir(registry.home().join("data/objects/blobs")).unwrap();
    folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|f| f.unwrap().path())
        .collect()
}

async fn large_blob(api: &Api, registry: &Registry, repository: &str, n: usize) -> (Blob, PathBuf) {
    let before = objects_or_none(registry);
    let content = Blob::random(&format!("{repository}-{n}"), 100_000);
    api.push_blob(repository, &content).await;
    let new = objects(registry).into_iter().find(|path| !before.contains(path)).unwrap();
    (content, new)
}

fn objects_or_none(registry: &Registry) -> Vec<PathBuf> {
    if registry.home().join("data/objects/blobs").exists() { objects(registry) } else { Vec::new() }
}

/// Each kind of damage is found, each by the depth that can see it, while the server runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_finds_each_kind_of_damage() {
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let (missing, missing_at) = large_blob(&api, &registry, &repository, 0).await;
    let (short, short_at) = large_blob(&api, &registry, &repository, 1).await;
    let (flipped, flipped_at) = large_blob(&api, &registry, &repository, 2).await;
    large_blob(&api, &registry, &repository, 3).await;
    api.push(&repository, &Image::artifact(&repository, EXAMPLE), Some("latest")).await;
    let clean = fsck(&registry);
    assert_eq!((&clean["count"], &clean["objects"]), (&0.into(), &4.into()), "{clean}");

    fs::remove_file(missing_at).unwrap();
    fs::OpenOptions::new().write(true).open(short_at).unwrap().set_len(99_999).unwrap();
    let mut bytes = fs::read(&flipped_at).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&flipped_at, bytes).unwrap();
    let stray = registry.home().join("data/objects/blobs/00");
    fs::create_dir_all(&stray).unwrap();
    fs::write(stray.join("00000000000000000000000000000000"), b"nobody's").unwrap();

    let kinds = |found: &Value| {
        let list = found["findings"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut kinds: Vec<_> = list.iter().map(|f| (text(&f["damage"]), text(&f["digest"]))).collect();
        kinds.sort();
        kinds
    };
    let expected = |deep: bool| {
        let mut expected = vec![
            ("extra".to_owned(), String::new()),
            ("length".to_owned(), short.digest.to_string()),
            ("missing".to_owned(), missing.digest.to_string()),
        ];
        expected.extend(deep.then(|| ("digest".to_owned(), flipped.digest.to_string())));
        expected.sort();
        expected
    };
    let (quick, code) = registry.rreg_json(&["fsck", "--extra-after", "0s"]);
    assert_eq!((kinds(&quick), code), (expected(false), 1), "{quick}");
    assert_eq!(kinds(&fsck(&registry)), expected(true));
    // An object that young may be an upload's.
    let (patient, _) = registry.rreg_json(&["fsck"]);
    assert_eq!(patient["count"], 2, "{patient}");
}
