//! Tags and referrers of a copy are those of the upstream, while there is one.

use rreg_oci::Digest;

use super::origin::{Fault, Origin};
use super::{caching, get, metric};
use crate::harness::Registry;
use crate::harness::http::manifest;
use crate::harness::image::{EXAMPLE, Image};

const LOCAL: &str = "up/library/app";
const TAGS: [&str; 7] = ["1", "2", "3", "a", "b", "c", "d"];

async fn tagged(image: &Image) -> Origin {
    let origin = Origin::start().await;
    TAGS.iter().for_each(|tag| origin.put(image, tag));
    origin
}

async fn listed(registry: &Registry, path: &str) -> Vec<String> {
    let api = registry.api();
    let (mut next, mut tags) = (Some(format!("/v2/{LOCAL}/{path}")), Vec::new());
    while let Some(page) = next {
        let answer = api.get(page).expect(200).await;
        let entries = answer.texts("tags");
        assert!(entries.len() <= 4, "{answer}");
        tags.extend(entries);
        next = answer.next();
    }
    tags
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_the_upstreams_in_pages_of_our_own() {
    let origin = tagged(&Image::layered("tags", 1)).await;
    let Some(registry) = caching(&origin, ", tag_ttl=\"1h\"").await else { return };
    assert_eq!(listed(&registry, "tags/list?n=4").await, TAGS);
    let asked = origin.count("GET /v2/library/app/tags/list");
    assert_eq!(listed(&registry, "tags/list?n=2").await, TAGS);
    assert_eq!(
        origin.count("GET /v2/library/app/tags/list"),
        asked,
        "within its time a list is not asked for again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_outlive_the_upstream() {
    let image = Image::layered("gone", 1);
    let origin = tagged(&image).await;
    let Some(mut registry) = caching(&origin, "").await else { return };
    let list = format!("/v2/{LOCAL}/tags/list");
    assert_eq!(get(&registry, &manifest(LOCAL, "2")).await.status, 200);
    assert_eq!(registry.api().get(&*list).expect(200).await.texts("tags"), TAGS);
    for fault in [Fault::Status(500), Fault::Status(404), Fault::Silent, Fault::Endless, Fault::Truncate] {
        origin.fail(fault.clone());
        let stale = registry.api().get(&*list).expect(200).await;
        assert_eq!(stale.texts("tags"), TAGS, "{fault:?}");
        assert!(stale.header("warning").starts_with("111 "), "{fault:?}");
    }
    assert!(metric(&registry, "rreg_mirror_stale_total").await >= 5);
    // The last whole list is known after a restart too; of what was never listed nothing is, for what is cached is not all.
    for fault in [Fault::Status(503), Fault::Status(401), Fault::Status(404)] {
        registry.stop();
        registry.resume();
        origin.fail(fault.clone());
        let stale = registry.api().get(&*list).expect(200).await;
        assert_eq!(stale.texts("tags"), TAGS, "{fault:?}");
        assert!(stale.header("warning").starts_with("111 "), "{fault:?}");
    }
    origin.switch_off();
    registry.stop();
    registry.resume();
    assert_eq!(registry.api().get(&*list).expect(200).await.texts("tags"), TAGS);
    let unknown = get(&registry, "/v2/up/library/other/tags/list").await;
    assert!(unknown.status >= 500, "{}: nothing is known of it", unknown.status);
}

/// What the upstream says in its own words to be gone is not remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_a_deleted_repository_is_gone() {
    let origin = tagged(&Image::layered("deleted", 1)).await;
    let Some(mut registry) = caching(&origin, "").await else { return };
    let list = format!("/v2/{LOCAL}/tags/list");
    assert_eq!(registry.api().get(&*list).expect(200).await.texts("tags"), TAGS);
    origin.fail(Fault::Gone);
    assert_eq!(get(&registry, &list).await.status, 404);
    origin.switch_off();
    registry.stop();
    registry.resume();
    assert!(get(&registry, &list).await.status >= 500);
}

fn digests(answer: &crate::harness::Answer) -> Vec<String> {
    let json = answer.json();
    let entries = json["manifests"].as_array().unwrap();
    entries.iter().map(|it| it["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn referrers_are_the_upstreams() {
    let image = Image::layered("subject", 1);
    let origin = Origin::with(&image, "1").await;
    let subject: Digest = image.root().digest;
    let mut about: Vec<String> = Vec::new();
    for (name, kind) in [("a", EXAMPLE), ("b", EXAMPLE), ("c", "application/vnd.example.other")] {
        let artifact = Image::artifact(name, kind).about(&image.root().descriptor());
        origin.put(&artifact, &format!("tag-{name}"));
        about.push(artifact.root().digest.to_string());
    }
    about.sort();
    // An upstream that answers with errors is asked again before it has failed: nobody gives up waiting meanwhile.
    let patient = ", timeout=\"60s\", revalidate_timeout=\"60s\"";
    let Some(registry) = caching(&origin, patient).await else { return };
    let api = registry.api();
    let path = format!("/v2/{LOCAL}/referrers/{subject}");
    assert_eq!(digests(&api.get(&*path).expect(200).await), about);
    let filtered = api.get(format!("{path}?artifactType={EXAMPLE}")).expect(200).await;
    assert_eq!(digests(&filtered).len(), 2);
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let (mut paged, mut next) = (Vec::new(), Some(format!("{path}?n=1")));
    while let Some(page) = next {
        let answer = api.get(page).expect(200).await;
        paged.extend(digests(&answer));
        next = answer.next();
    }
    assert_eq!(paged, about);
    // What they name can be had, and is listed without the upstream.
    let pulled = api.get_manifest(LOCAL, &about[0]).expect(200).await;
    pulled.assert_digest(&about[0].parse().unwrap(), true);
    origin.fail(Fault::Status(503));
    let stale = api.get(&*path).expect(200).await;
    assert_eq!(digests(&stale), about);
    assert!(stale.header("warning").starts_with("111 "));
    // What was never asked for is not known, and a part of it is for those who say that they take one.
    let unknown = format!("/v2/{LOCAL}/referrers/{}", about[0]);
    assert_eq!(get(&registry, &unknown).await.status, 502);
    let part = api.get(&*unknown).header("cache-control", "no-transform, Only-If-Cached").expect(200).await;
    assert_eq!(digests(&part), [""; 0]);
    assert!(part.header("warning").starts_with("111 "));
}
