//! Pulls: refused with the reason, and let through once it is gone.

use std::fs;

use crate::harness::Backend;
use crate::harness::http::manifest;
use crate::harness::image::Image;

use super::{Desk, refusal, signed, soon};

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
            assert_eq!(api.head(manifest(&repository, reference)).send().await.status, 403);
            // Who has it already learns nothing more.
            let known =
                api.get(manifest(&repository, reference)).header("if-none-match", &format!("\"{digest}\""));
            assert_eq!(known.send().await.status, 403);
        }
        // Content that no manifest names may be read by who may read the repository: it is the manifest that is judged.
        desk.sign(&registry, &repository, "v1", &desk.other);
        let (message, _) = refusal(&api.get(manifest(&repository, "v1")).send().await);
        assert!(message.contains("signed by the key sha256:"), "{message}");

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
    assert!(warning.starts_with("299 rreg \"") && warning.contains("not signed"), "{warning}");
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
