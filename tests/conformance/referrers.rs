//! What refers to a manifest: signatures, attestations, SBOMs.

use rreg_oci::{Algorithm, Digest, media_type};
use serde_json::{Value, json};

use crate::harness::http::manifest;
use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{Answer, Api, Registry};

on_each_backend!(
    nothing_refers,
    all_forms,
    filtered_by_type,
    subject_comes_later,
    deleted_referrers_leave_the_list,
    paged,
    subject_by_sha512,
    fallback_tag_is_an_ordinary_tag,
);

const OTHER: &str = "application/vnd.example.signature+json";

async fn list(api: &Api, repository: &str, subject: &Digest, query: &str) -> (Answer, Vec<Value>) {
    let answer = api.get(format!("/v2/{repository}/referrers/{subject}{query}")).expect(200).await;
    assert_eq!(answer.header("content-type"), media_type::OCI_INDEX, "{answer}");
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
    let entries = index["manifests"].as_array().unwrap_or_else(|| panic!("no list: {answer}")).clone();
    (answer, entries)
}

/// The descriptor that the list must have for `image`.
fn entry(image: &Image) -> Value {
    let (mut entry, json) = (image.root().descriptor(), image.root().json());
    let artifact_type = json.get("artifactType").or_else(|| json["config"].get("mediaType"));
    if let Some(artifact_type) = artifact_type {
        entry["artifactType"] = artifact_type.clone();
    }
    if let Some(annotations) = json.get("annotations") {
        entry["annotations"] = annotations.clone();
    }
    entry
}

fn sorted(mut entries: Vec<Value>) -> Vec<Value> {
    entries.sort_by_key(|entry| entry["digest"].as_str().map(str::to_owned));
    entries
}

/// Pushes `image` by digest and looks at `OCI-Subject`.
async fn push_about(api: &Api, repository: &str, image: &Image, subject: &Digest) {
    api.push(repository, image, None).await;
    for reference in [image.root().digest.to_string(), format!("about-{}", &image.root().digest.hex()[..8])] {
        let answer = api.push_manifest(repository, &reference, image.root()).await;
        assert_eq!(answer.header("oci-subject"), subject.to_string(), "{answer}");
    }
}

async fn nothing_refers(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    assert!(list(&api, &repository, &image.root().digest, "").await.1.is_empty());
    assert!(list(&api, &repository, &Digest::sha256(b"unknown"), "").await.1.is_empty());
    let target = format!("/v2/{repository}/referrers/sha256:bad");
    api.get(target).refused(400, "DIGEST_INVALID").await;
}

async fn all_forms(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for subject in [Image::layered(&repository, 1), Image::index(&repository)] {
        api.push(&repository, &subject, None).await;
        let (about, digest) = (subject.root().descriptor(), subject.root().digest);
        let label = |name: &str| format!("{repository}{digest}{name}");
        let annotations = json!({"org.example.a": "b", "empty": ""});
        let referrers = [
            Image::layered(&label("image"), 1).about(&about),
            Image::artifact(&label("sbom"), EXAMPLE).about(&about),
            Image::artifact(&label("signature"), OTHER).about(&about),
            Image::artifact(&label("plain"), EXAMPLE)
                .about(&about)
                .edited(|m| m.as_object_mut().unwrap().retain(|k, _| k != "annotations")),
            Image::index(&label("index")).about(&about),
            Image::index(&label("typed")).about(&about).edited(|m| {
                m["artifactType"] = json!(OTHER);
                m["annotations"] = annotations.clone();
            }),
        ];
        for referrer in &referrers {
            push_about(&api, &repository, referrer, &digest).await;
        }
        let (_, entries) = list(&api, &repository, &digest, "").await;
        let expected = referrers.iter().map(entry).collect();
        assert_eq!(sorted(entries), sorted(expected));
    }
}

async fn filtered_by_type(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let subject = Image::layered(&repository, 1);
    api.push(&repository, &subject, None).await;
    let digest = subject.root().digest;
    let label = |i: usize| format!("{repository}-{i}");
    let types = [EXAMPLE, OTHER, EXAMPLE, OTHER, OTHER];
    for (i, artifact_type) in types.iter().enumerate() {
        let referrer = Image::artifact(&label(i), artifact_type).about(&subject.root().descriptor());
        push_about(&api, &repository, &referrer, &digest).await;
    }
    for (query, wanted, count) in [
        (EXAMPLE.to_owned(), EXAMPLE, 2),
        (OTHER.to_owned(), OTHER, 3),
        (OTHER.replace('+', "%2B").replace('/', "%2F"), OTHER, 3),
        ("application/vnd.example.absent".to_owned(), "", 0),
    ] {
        if !api.is_strict() && query.contains('+') {
            // Many servers read a bare plus as a space.
            continue;
        }
        let (answer, entries) = list(&api, &repository, &digest, &format!("?artifactType={query}")).await;
        assert_eq!(entries.len(), count, "{query}: {answer}");
        assert!(entries.iter().all(|entry| entry["artifactType"] == wanted), "{answer}");
        assert_eq!(answer.header("oci-filters-applied"), "artifactType", "{answer}");
    }
    let (answer, entries) = list(&api, &repository, &digest, "").await;
    assert_eq!((entries.len(), answer.find_header("oci-filters-applied")), (5, None), "{answer}");
}

async fn subject_comes_later(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let subject = Image::layered(&repository, 1);
    let digest = subject.root().digest;
    let referrer = Image::artifact(&repository, EXAMPLE).about(&subject.root().descriptor());
    push_about(&api, &repository, &referrer, &digest).await;
    assert_eq!(list(&api, &repository, &digest, "").await.1, [entry(&referrer)]);
    api.get_manifest(&repository, &digest.to_string()).expect(404).await;
    api.push(&repository, &subject, Some("v1")).await;
    assert_eq!(list(&api, &repository, &digest, "").await.1, [entry(&referrer)]);
    // Of another repository it is no referrer, though that has the same subject.
    let other = registry.repository();
    api.push(&other, &subject, Some("v1")).await;
    assert!(list(&api, &other, &digest, "").await.1.is_empty());
}

async fn deleted_referrers_leave_the_list(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let subject = Image::layered(&repository, 1);
    api.push(&repository, &subject, Some("v1")).await;
    let digest = subject.root().digest;
    let [gone, stays] = ["gone", "stays"].map(|name| {
        Image::artifact(&format!("{repository}{name}"), EXAMPLE).about(&subject.root().descriptor())
    });
    for referrer in [&gone, &stays] {
        push_about(&api, &repository, referrer, &digest).await;
    }
    api.delete(manifest(&repository, gone.root().digest)).expect(202).await;
    assert_eq!(list(&api, &repository, &digest, "").await.1, [entry(&stays)]);
    // Deleting the subject leaves what was said about it.
    api.delete(manifest(&repository, digest)).expect(202).await;
    assert_eq!(list(&api, &repository, &digest, "").await.1, [entry(&stays)]);
}

async fn paged(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let subject = Image::layered(&repository, 1);
    let digest = subject.root().digest;
    let mut expected = Vec::new();
    for i in 0..7 {
        let label = format!("{repository}{i}");
        let referrer = Image::artifact(&label, EXAMPLE).about(&subject.root().descriptor());
        api.push(&repository, &referrer, None).await;
        expected.push(entry(&referrer));
    }
    let (mut seen, mut target) = (Vec::new(), Some(format!("/v2/{repository}/referrers/{digest}?n=3")));
    while let Some(page) = target {
        let answer = api.get(page).expect(200).await;
        let entries = answer.json()["manifests"].as_array().unwrap().clone();
        assert!((1..=3).contains(&entries.len()), "{answer}");
        seen.extend(entries);
        target = answer.next();
    }
    assert_eq!(sorted(seen), sorted(expected));
}

async fn subject_by_sha512(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let subject = Image::layered_with(Algorithm::Sha512, &repository, 1);
    api.push(&repository, &subject, None).await;
    let referrer = Image::artifact(&repository, EXAMPLE).about(&subject.root().descriptor());
    push_about(&api, &repository, &referrer, &subject.root().digest).await;
    assert_eq!(list(&api, &repository, &subject.root().digest, "").await.1, [entry(&referrer)]);
}

/// Clients of registries without this endpoint keep an index under a tag made of the subject's digest.
async fn fallback_tag_is_an_ordinary_tag(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let subject = Image::layered(&repository, 1);
    api.push(&repository, &subject, None).await;
    let referrer = Image::artifact(&repository, EXAMPLE);
    api.push(&repository, &referrer, None).await;
    let index = Image::index_of([referrer]);
    let tag = subject.root().digest.referrers_tag();
    api.push(&repository, &index, Some(&tag)).await;
    api.assert_image(&repository, &index, Some(&tag)).await;
}
