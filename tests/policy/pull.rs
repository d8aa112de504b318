//! Pulls: refused with the reason, and let through once it is gone.

use std::fs;
use std::path::Path;

use rreg_oci::media_type;
use serde_json::json;

use crate::durability::faults::lose_objects;
use crate::durability::random::Random;
use crate::harness::http::manifest;
use crate::harness::image::{Blob, Image, Stored};
use crate::harness::{Backend, Registry};

use super::{ANYWHERE, Desk, refusal, signed, soon};

async fn each_backend(test: impl AsyncFn(Backend)) {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        test(backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_team_has_signed() {
    each_backend(async |backend| {
        let desk = Desk::new();
        desk.set("signed", &signed("enforce", "pull"));
        let Some(registry) = desk.registry(backend).await else { return };
        let (api, repository) = (registry.api(), registry.repository());
        let image = Image::layered(&repository, 2);
        let digest = image.root().digest.to_string();
        api.push(&repository, &image, Some("v1")).await;

        for reference in ["v1", &digest] {
            let answer = api.get(manifest(&repository, reference)).send().await;
            let (message, detail) = refusal(&answer);
            assert!(message.contains("not signed"), "{message}");
            assert!(message.contains("signed\"") && message.contains("team.pub"), "{message}");
            assert_eq!(detail["outcome"], "deny");
            assert_eq!(detail["digest"], digest);
            let reason = &detail["policies"][0]["reasons"][0];
            assert!(!reason["fix"].as_str().unwrap().is_empty(), "{reason}");
            // Without logins everybody may push, and asks what is there before.
            assert_eq!(api.head(manifest(&repository, reference)).send().await.status, 200);
            // Who has it already learns nothing more.
            let known =
                api.get(manifest(&repository, reference)).header("if-none-match", &format!("\"{digest}\""));
            assert_eq!(known.send().await.status, 403);
        }
        // Content that no manifest names may be read by who may read the repository: it is the manifest that is judged.
        desk.sign(&registry, &repository, "v1", &desk.other);
        let (message, _) = refusal(&api.get(manifest(&repository, "v1")).send().await);
        assert!(message.contains("names the key sha256:"), "{message}");

        let evidence = api.get(format!("/v2/{repository}/referrers/{digest}")).expect(200).await;
        let bundle = evidence.json()["manifests"][0]["digest"].as_str().unwrap().to_owned();
        // Signatures stay readable, so that clients can verify by themselves.
        api.get(manifest(&repository, &bundle)).expect(200).await;

        desk.sign(&registry, &repository, "v1", &desk.team);
        for reference in ["v1", &digest] {
            api.get(manifest(&repository, reference)).expect(200).await;
            api.head(manifest(&repository, reference)).expect(200).await;
        }
        let evidence = api.get(format!("/v2/{repository}/referrers/{digest}")).expect(200).await.json();
        for bundle in evidence["manifests"].as_array().unwrap() {
            let bundle = bundle["digest"].as_str().unwrap();
            api.delete(manifest(&repository, bundle)).expect(202).await;
        }
        refusal(&api.get(manifest(&repository, "v1")).send().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_on_an_index_covers_its_children() {
    each_backend(async |backend| {
        let desk = Desk::new();
        desk.set("signed", &signed("enforce", "pull"));
        let Some(registry) = desk.registry(backend).await else { return };
        let (api, repository) = (registry.api(), registry.repository());
        let index = Image::index(&repository);
        api.push(&repository, &index, Some("v1")).await;
        let children: Vec<String> = index.root().json()["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|child| child["digest"].as_str().unwrap().to_owned())
            .collect();
        for child in &children {
            refusal(&api.get(manifest(&repository, child)).send().await);
        }
        // One child alone: neither its index nor the other child.
        desk.sign(&registry, &repository, &children[0], &desk.team);
        api.get(manifest(&repository, &children[0])).expect(200).await;
        refusal(&api.get(manifest(&repository, &children[1])).send().await);
        refusal(&api.get(manifest(&repository, "v1")).send().await);

        desk.sign(&registry, &repository, "v1", &desk.team);
        api.get(manifest(&repository, "v1")).expect(200).await;
        for child in &children {
            api.get(manifest(&repository, child)).expect(200).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_policy_holds_within_seconds() {
    let desk = Desk::new();
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    api.get(manifest(&repository, "v1")).expect(200).await;

    desk.set("signed", &signed("enforce", "pull"));
    soon(&registry, &repository, "v1", 403).await;
    desk.set("signed", &signed("warn", "pull"));
    let answer = soon(&registry, &repository, "v1", 200).await;
    let warning = answer.find_header("warning").unwrap();
    assert!(warning.starts_with("299 - \"") && warning.contains("not signed"), "{warning}");
    desk.set("signed", &signed("enforce", "pull"));
    soon(&registry, &repository, "v1", 403).await;
    // A policy that cannot be read changes nothing.
    desk.set("signed", "apiVersion: rreg/v1\nkind: Policy\nname: signed\nmode: sometimes\n");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);
    desk.set("signed", &signed("audit", "pull"));
    let answer = soon(&registry, &repository, "v1", 200).await;
    assert_eq!(answer.find_header("warning"), None);
    fs::remove_file(desk.policies.join("signed.yaml")).unwrap();
    // Nothing to see from outside but that it goes on.
    api.get(manifest(&repository, "v1")).expect(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_is_in_the_trail() {
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "pull"));
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);
    desk.sign(&registry, &repository, "v1", &desk.team);
    api.get(manifest(&repository, "v1")).expect(200).await;
    let digest = image.root().digest.to_string();
    let evidence = api.get(format!("/v2/{repository}/referrers/{digest}")).expect(200).await.json();
    let bundle = evidence["manifests"][0]["digest"].as_str().unwrap();
    api.delete(manifest(&repository, bundle)).expect(202).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);

    let (trail, code) = registry.rreg_json(&["audit"]);
    assert_eq!(code, 0);
    let events: Vec<(String, String)> = trail
        .as_array()
        .or_else(|| trail["events"].as_array())
        .unwrap()
        .iter()
        .filter(|event| {
            event["target"] == *digest && event["event"].as_str().unwrap().starts_with("decision")
        })
        .map(|event| {
            (event["event"].as_str().unwrap().to_owned(), event["outcome"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [("decision", "denied"), ("decision", "allowed"), ("decision.withdrawn", "denied")];
    assert_eq!(events, expected.map(|(event, outcome)| (event.to_owned(), outcome.to_owned())));
    let text = trail.to_string();
    assert!(text.contains("manifest_get") && text.contains("not signed"), "{text}");
}

/// Between the push and the first look of a worker there is no row: what changes meanwhile counts all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_after_the_first_look() {
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "pull").replace("repos:", "tags: [\"prod\"], repos:"));
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(registry) = desk.registry(backend).await else { return };
        let (api, repository) = (registry.api(), registry.repository());
        for round in 0..10 {
            let image = Image::layered(&format!("{repository}/{round}"), 1);
            let digest = image.root().digest.to_string();
            api.push(&repository, &image, Some(&format!("dev-{round}"))).await;
            let (_, tagged) = tokio::join!(
                api.get(manifest(&repository, &digest)).send(),
                api.put_manifest(&repository, "prod", image.root()).send()
            );
            assert_eq!(tagged.status, 201);
            refusal(&api.get(manifest(&repository, "prod")).send().await);
            refusal(&api.get(manifest(&repository, &digest)).send().await);
        }
    }
}

/// Bytes of an object that is lost.
const LOST: usize = 100_000;

/// `onError: lastGood`: what was let through for want of a question is no good decision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_decision_is_of_the_policy_itself() {
    let desk = Desk::new();
    let text =
        ANYWHERE.replace("[pull, admit, run]", "[admit]").replace("onError: deny", "onError: lastGood(24h)");
    desk.set("anywhere", &text);
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let (bad, good) = (Image::layered(&repository, 1), Image::layered(&format!("{repository}/good"), 1));
    let admitted = async |image: &Image| {
        let digest = &image.root().digest;
        let told = api.get(format!("/v2/{repository}/_rreg/decisions/{digest}")).expect(200).await.json();
        told["decisions"]["admit"].clone()
    };
    for (image, tag) in [(&bad, "bad"), (&good, "good")] {
        api.push(&repository, image, Some(tag)).await;
    }
    desk.sign(&registry, &repository, "good", &desk.team);
    assert_eq!(admitted(&bad).await["outcome"], "deny");
    assert_eq!(admitted(&good).await["outcome"], "allow");
    // Something about each that cannot be had: its bytes are gone from the store.
    for image in [&bad, &good] {
        let blob = Blob::new(Random::new(3).bytes(LOST));
        let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
        api.push_blob(&repository, &blob).await;
        let config = Blob::new("{}");
        api.push_blob(&repository, &config).await;
        let junk = Stored::new(&json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
            "config": config.descriptor(media_type::OCI_EMPTY), "layers": [blob.descriptor(kind)],
            "subject": image.root().descriptor(),
        }));
        let data = registry.database_url();
        let data = Path::new(data.strip_prefix("sqlite://").unwrap()).parent().unwrap();
        lose_objects(data, LOST);
        api.push_manifest(&repository, &junk.digest.to_string(), &junk).await;
    }
    assert_eq!(admitted(&bad).await["outcome"], "deny", "it was never good");
    // Its own signature is there, so that it passes whatever else is.
    assert_eq!(admitted(&good).await["outcome"], "allow");
    let evidence =
        api.get(format!("/v2/{repository}/referrers/{}", good.root().digest)).expect(200).await.json();
    let bundles = evidence["manifests"].as_array().unwrap().iter();
    let signature = bundles.filter(|it| it["size"].as_u64().unwrap() > 0 && it["annotations"].is_object());
    let signature = signature.map(|it| it["digest"].as_str().unwrap().to_owned()).next().unwrap();
    api.delete(manifest(&repository, &signature)).expect(202).await;
    let decision = admitted(&good).await;
    assert_eq!(decision["outcome"], "allow", "it was good less than a day ago: {decision}");
    assert!(decision["policies"][0]["lastGood"].is_string(), "{decision}");
}

/// Without a login everybody may push, and with one only those who may are let read what they have to sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_may_be_kept_from_reading() {
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "pull"));
    let directory = desk.policies.display().to_string();
    let settings =
        [("RREG_POLICY__DIRECTORY", directory.as_str()), ("RREG_POLICY__SIGNERS_MAY_READ", "false")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    api.push(&repository, &Image::layered(&repository, 1), Some("v1")).await;
    for agent in ["cosign/v3.1.3", "notation/1.3.2", "rreg/0.1.0 (evidence)"] {
        refusal(&api.get(manifest(&repository, "v1")).header("user-agent", agent).send().await);
    }
}
