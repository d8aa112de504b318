//! The database is lost or comes from a backup, and the store is in trouble while it is restored: what can be had again
//! is had again, and nothing of it is taken for rubbish.

use std::fs;

use reqwest::Method;

use super::lies::EMPTY;
use super::store::{registry_with_a_blob, status};
use super::trouble::{SIZES, blob, registry};
use crate::harness::image::{Blob, Image};
use crate::harness::proxy::{Harm, Rule};
use crate::harness::{Backend, Registry, http};

const RECLAIM: [&str; 4] = ["fsck", "--reclaim-extra", "--extra-after", "0s"];

/// Pushes an image whose layer has an object of its own.
async fn push_large(registry: &Registry, repository: &str) -> Image {
    let image = Image::layered(repository, 1).over_layer(blob(SIZES[1], 9));
    registry.api().push(repository, &image, Some("v1")).await;
    image
}

/// Does what is due: deletes what is to be deleted, and writes records.
fn sweep(registry: &Registry) {
    let (report, code) = registry.rreg_json(&["gc", "run"]);
    assert_eq!(code, 0, "{report}");
}

/// What the store has and the database does not comes back: one manifest, the image `v1`.
async fn assert_merged(registry: &mut Registry, repository: &str, image: &Image) {
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild", "--merge", "--deep"]);
    assert_eq!((code, &rebuilt["manifests"]), (0, &1.into()), "{rebuilt}");
    registry.resume();
    registry.api().assert_image(repository, image, Some("v1")).await;
}

/// The database comes from a backup, the store has what was pushed since: nothing of that is taken for rubbish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_database_takes_nothing_newer_away() {
    let Some((mut registry, _)) = registry_with_a_blob().await else { return };
    registry.stop();
    registry.save_database();
    registry.resume();
    let repository = registry.repository();
    let image = push_large(&registry, &repository).await;
    let orphan = Blob::new(vec![8; 1 << 20]);
    registry.api().push_blob(&repository, &orphan).await;
    registry.stop();
    registry.restore_database();
    let (found, _) = registry.rreg_json(&RECLAIM);
    assert_eq!(found["kept"], 1, "{found}");
    sweep(&registry);
    assert_merged(&mut registry, &repository, &image).await;
    assert_eq!(status(&registry, &format!("/v2/{repository}/blobs/{}", orphan.digest)).await.0, 404);
}

/// The same while the store lists no records: what they would name is not known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_not_listed_take_nothing_away() {
    let Some((mut registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    let repository = registry.repository();
    push_large(&registry, &format!("{repository}/old")).await;
    registry.stop();
    sweep(&registry);
    registry.save_database();
    registry.resume();
    let layer = blob(SIZES[1], 10);
    let image = Image::layered(&repository, 1).over_layer(layer);
    registry.api().push(&repository, &image, Some("v1")).await;
    registry.stop();
    sweep(&registry);
    registry.restore_database();
    proxy.harm(Rule::new(Method::GET, "manifests%2F", usize::MAX, Harm::Said(200, EMPTY)));
    let (found, code) = registry.rreg_json(&RECLAIM);
    let why = found["unreclaimed"].as_str().unwrap_or_default();
    assert!(code == 1 && why.contains("lists no records"), "{code} {found}");
    proxy.mend();
    sweep(&registry);
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild", "--merge"]);
    assert_eq!(code, 0, "{rebuilt}");
    registry.resume();
    registry.api().assert_image(&repository, &image, Some("v1")).await;
}

/// The database comes from a backup, and content has been healed by a push since: it is where the record says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_database_learns_where_content_is_now() {
    let Some((mut registry, _)) = registry_with_a_blob().await else { return };
    let repository = registry.repository();
    let image = push_large(&registry, &repository).await;
    let layer = image.blobs.last().unwrap();
    registry.stop();
    registry.save_database();
    registry.resume();
    let blobs = registry.objects().join("blobs");
    fs::remove_dir_all(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    let path = format!("/v2/{repository}/blobs/{}", layer.digest);
    assert_eq!(status(&registry, &path).await.0, 404);
    registry.api().push_blob(&repository, layer).await;
    assert_eq!(status(&registry, &path).await.0, 200);
    registry.stop();
    sweep(&registry);
    registry.restore_database();
    // The old row is believed, found wrong, and healed by nothing; the record stays as it is.
    registry.resume();
    assert_eq!(status(&registry, &path).await.0, 404);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    registry.stop();
    registry.rreg_json(&["fsck", "--heal"]);
    // What the record names is no rubbish, although the database knows the manifest.
    let (found, _) = registry.rreg_json(&RECLAIM);
    assert_eq!(found["kept"], 1, "{found}");
    sweep(&registry);
    let (rebuilt, _) = registry.rreg_json(&["fsck", "--rebuild", "--merge", "--deep"]);
    registry.resume();
    assert_eq!(status(&registry, &path).await.0, 200, "{rebuilt}");
}

/// Nobody knows what a record names that cannot be understood: until that is known, nothing is taken for rubbish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_keeps_what_it_may_name() {
    let Some((mut registry, _)) = registry_with_a_blob().await else { return };
    registry.stop();
    registry.save_database();
    registry.resume();
    let repository = registry.repository();
    let image = push_large(&registry, &repository).await;
    registry.stop();
    registry.restore_database();
    let record = registry.record(&repository, &image.root().digest);
    let text = fs::read_to_string(&record).unwrap();
    for damaged in [String::new(), text[..text.len() / 2].to_owned(), text.replacen("sha256", "sha257", 1)] {
        fs::write(&record, damaged).unwrap();
        for arguments in [&RECLAIM[..], &[&RECLAIM[..], &["--heal"]].concat()] {
            let (found, code) = registry.rreg_json(arguments);
            let why = found["unreclaimed"].as_str().unwrap_or_default();
            assert!(code == 1 && why.contains(&image.root().digest.hex()[..]), "{found}");
            let findings = found["findings"].as_array().unwrap();
            let named = findings.iter().filter(|finding| finding["damage"] == "unreadable").count();
            assert_eq!(named, 1, "{found}");
            sweep(&registry);
        }
    }
    fs::write(&record, text).unwrap();
    assert_merged(&mut registry, &repository, &image).await;
}

/// The same of a record that the store does not give, or says once or twice that it does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_given_keeps_what_it_may_name() {
    let Some((mut registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    registry.stop();
    registry.save_database();
    registry.resume();
    let repository = registry.repository();
    let image = push_large(&registry, &repository).await;
    registry.stop();
    registry.restore_database();
    for harm in [Harm::Status(403), Harm::Status(404)] {
        proxy.harm(Rule::new(Method::GET, "/manifests/", 100, harm));
        proxy.harm(Rule::new(Method::HEAD, "/manifests/", 100, harm));
        let (found, _) = registry.rreg_json(&RECLAIM);
        assert!(found["unreclaimed"].is_string(), "{harm:?}: {found}");
        proxy.mend();
        sweep(&registry);
    }
    let (found, _) = registry.rreg_json(&RECLAIM);
    assert_eq!((&found["kept"], &found["unreclaimed"]), (&1.into(), &serde_json::Value::Null), "{found}");
    assert_merged(&mut registry, &repository, &image).await;
}

/// Records that no manifest has are named, and deleted where it is sure that nobody wants them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_what_is_gone() {
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let repository = registry.repository();
    let images: Vec<Image> = (1..=2).map(|n| Image::layered(&format!("{repository}{n}"), 1)).collect();
    registry.stop();
    registry.save_database();
    registry.resume();
    for (image, tag) in images.iter().zip(["1", "2"]) {
        registry.api().push(&repository, image, Some(tag)).await;
    }
    registry.stop();
    let records: Vec<_> =
        images.iter().map(|image| registry.record(&repository, &image.root().digest)).collect();
    let saved: Vec<_> = records.iter().map(|record| fs::read(record).unwrap()).collect();
    registry.resume();
    // The first is deleted, and its record comes back, as if the store had not done what it was told.
    registry.api().delete(http::manifest(&repository, images[0].root().digest)).expect(202).await;
    registry.stop();
    assert!(!records[0].exists());
    fs::write(&records[0], &saved[0]).unwrap();
    // What others keep there is nobody's record.
    fs::write(registry.objects().join("manifests/notes.txt"), "not ours").unwrap();
    let extra = |registry: &Registry, arguments: &[&str]| {
        let (found, _) = registry.rreg_json(arguments);
        let findings = found["findings"].as_array().unwrap();
        assert!(findings.iter().all(|finding| finding["damage"] == "extra-record"), "{found}");
        findings.iter().map(|f| f["digest"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(extra(&registry, &["fsck"]), [images[0].root().digest.to_string()]);
    assert_eq!(extra(&registry, &["fsck", "--heal"]), [""; 0]);
    assert!(!records[0].exists() && records[1].exists());
    // A database from a backup knows nothing of a deletion: the record stays, and gives the push back.
    registry.restore_database();
    assert_eq!(extra(&registry, &["fsck", "--heal"]), [images[1].root().digest.to_string()]);
    let (rebuilt, _) = registry.rreg_json(&["fsck", "--rebuild"]);
    assert_eq!(rebuilt["manifests"], 1, "{rebuilt}");
    assert_eq!(extra(&registry, &["fsck"]), [""; 0]);
}

/// Nothing irreversible is done because the store says of an object that it is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_not_founds_delete_no_record() {
    let Some((mut registry, proxy)) = registry(&[]).await else { return };
    registry.stop();
    registry.save_database();
    registry.resume();
    let repository = registry.repository();
    push_large(&registry, &repository).await;
    registry.stop();
    registry.restore_database();
    proxy.harm(Rule::new(Method::HEAD, "/blobs/", 100, Harm::Status(404)));
    registry.rreg_json(&["fsck", "--heal"]);
    proxy.mend();
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild", "--merge"]);
    assert_eq!((code, &rebuilt["manifests"]), (0, &1.into()), "{rebuilt}");
}

/// One object that the store does not give keeps nobody from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_named_and_the_rest_is_looked_at() {
    let Some((mut registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let images = [Image::layered(&format!("{repository}1"), 1), Image::layered(&format!("{repository}2"), 1)];
    for (image, tag) in images.iter().zip(["1", "2"]) {
        api.push(&repository, image, Some(tag)).await;
    }
    let blob = blob(SIZES[1], 1);
    api.push_blob(&repository, &blob).await;
    registry.stop();
    sweep(&registry);
    proxy.harm(Rule::new(Method::HEAD, "/blobs/", 100, Harm::Status(403)));
    let (found, code) = registry.rreg_json(&["fsck"]);
    assert_eq!((code, &found["count"]), (1, &1.into()), "{found}");
    assert_eq!(found["findings"][0]["damage"], "unreadable", "{found}");
    proxy.mend();
    registry.lose_database();
    proxy.harm(Rule::new(Method::GET, "/manifests/", 1, Harm::Status(403)));
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild"]);
    assert_eq!((code, &rebuilt["manifests"], &rebuilt["count"]), (1, &1.into(), &1.into()), "{rebuilt}");
    proxy.mend();
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild"]);
    assert_eq!((code, &rebuilt["manifests"]), (0, &1.into()), "{rebuilt}");
}

/// What was begun and has not ended is not served: it would be a registry that has lost what is not restored yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_has_not_ended_is_not_served() {
    let Some((mut registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    registry.stop();
    sweep(&registry);
    registry.lose_database();
    // Something that answers everything with a web page stands before the store's listings.
    proxy.harm(Rule::new(Method::GET, "list-type", 100, Harm::Page));
    let fails = |arguments: &[&str]| {
        let output = registry.command(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = fails(&["fsck", "--rebuild"]);
    assert!(said.contains("lists nothing"), "{said}");
    proxy.mend();
    let said = fails(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("fsck --rebuild"), "{said}");
    fails(&RECLAIM);
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild"]);
    assert_eq!((code, &rebuilt["manifests"]), (0, &1.into()), "{rebuilt}");
    registry.resume();
    registry.api().assert_image(&repository, &image, Some("v1")).await;
}

/// Records that `--rebuild` needs are looked at, and written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_looked_at() {
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let images = [Image::layered(&format!("{repository}1"), 1), Image::layered(&format!("{repository}2"), 1)];
    for (image, tag) in images.iter().zip(["1", "2"]) {
        api.push(&repository, image, Some(tag)).await;
    }
    registry.stop();
    let record = |image: &Image| registry.record(&repository, &image.root().digest);
    let (gone, wrong) = (record(&images[0]), record(&images[1]));
    let fsck = |deep: bool| {
        let arguments: &[&str] = if deep { &["fsck", "--deep"] } else { &["fsck"] };
        registry.rreg_json(arguments).0["count"].as_u64().unwrap()
    };
    assert_eq!(fsck(true), 0);
    fs::remove_file(&gone).unwrap();
    let text = fs::read_to_string(&wrong).unwrap();
    fs::write(&wrong, text.replace("\"name\":\"2\"", "\"name\":\"3\"")).unwrap();
    assert_eq!((fsck(false), fsck(true)), (1, 2));
    let (found, _) = registry.rreg_json(&["fsck", "--heal", "--deep"]);
    assert_eq!(found["count"], 0, "{found}");
    assert_eq!(fs::read_to_string(&wrong).unwrap(), text);
    assert!(gone.exists());
}
