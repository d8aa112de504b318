//! Immutable tags and the history of tags, on one server and on two replicas that race.

use std::time::Duration;

use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{Answer, Api, Registry};

/// `v…` never moves, but for release candidates.
const RULE: &[(&str, &str)] = &[(
    "RREG_TAGS__IMMUTABLE",
    "[{name = 'releases', repositories = ['it/**'], tags = ['v*'], except = ['*-rc*']}]",
)];

on_each_backend!(RULE => refused_with_the_rule_named, history_has_every_change, one_of_two_wins, no_delete_slips_by,
    rules_over_the_api, a_rule_holds_from_its_answer_on);

/// `n` artifacts, pushed by digest.
async fn artifacts(api: &Api, repository: &str, n: usize) -> Vec<Image> {
    let mut images = Vec::new();
    for i in 0..n {
        let image = Image::artifact(&format!("{repository}-{i}"), EXAMPLE);
        api.push(repository, &image, None).await;
        images.push(image);
    }
    images
}

async fn refused_with_the_rule_named(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let images = artifacts(&api, &repository, 2).await;
    let (one, two) = (images[0].root(), images[1].root());
    api.push_manifest(&repository, "v1", one).await;
    api.push_manifest(&repository, "v1", one).await;
    let by_two_tags = format!("{}?tag=latest&tag=v1", two.digest);
    let path = |reference: &str| format!("/v2/{repository}/manifests/{reference}");
    for refused in [
        api.put_manifest(&repository, "v1", two).refused(409, "DENIED").await,
        api.put_manifest(&repository, &by_two_tags, two).refused(409, "DENIED").await,
        api.delete(path("v1")).refused(409, "DENIED").await,
        api.delete(path(&one.digest.to_string())).refused(409, "DENIED").await,
    ] {
        let error = &refused.json()["errors"][0];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("\"releases\"") && message.contains(&one.digest.to_string()), "{message}");
        assert_eq!(error["detail"]["rule"], "releases");
        assert_eq!(error["detail"]["digest"], one.digest.to_string());
    }
    // All or nothing: the other tag of the refused push is not there.
    api.get(path("latest")).expect(404).await;
    api.get_manifest(&repository, "v1").expect(200).await.assert_digest(&one.digest, true);
    // What the rule leaves out moves and goes.
    for manifest in [one, two] {
        api.push_manifest(&repository, "v1-rc1", manifest).await;
        api.push_manifest(&repository, "latest", manifest).await;
    }
    api.delete(path("v1-rc1")).expect(202).await;
    api.delete(path(&two.digest.to_string())).expect(202).await;
}

async fn history_has_every_change(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let images = artifacts(&api, &repository, 2).await;
    let (one, two) = (images[0].root(), images[1].root());
    for manifest in [one, one, two] {
        api.push_manifest(&repository, "latest", manifest).await;
    }
    api.push_manifest(&repository, "other", two).await;
    api.delete(format!("/v2/{repository}/manifests/latest")).expect(202).await;
    api.delete(format!("/v2/{repository}/manifests/{}", two.digest)).expect(202).await;
    let changes = |target: String| {
        let (list, code) = registry.rreg_json(&["tag", "history", &target]);
        assert_eq!(code, 0, "{list}");
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let list = list.as_array().unwrap().clone();
        list.iter().map(|c| (text(&c["tag"]).unwrap(), text(&c["from"]), text(&c["to"]))).collect::<Vec<_>>()
    };
    let (a, b) = (Some(one.digest.to_string()), Some(two.digest.to_string()));
    let latest = |from: &Option<String>, to: &Option<String>| ("latest".to_owned(), from.clone(), to.clone());
    let expected = [latest(&b, &None), latest(&a, &b), latest(&None, &a)];
    assert_eq!(changes(format!("{repository}:latest")), expected);
    let all = changes(repository.clone());
    assert_eq!(all.len(), 5);
    assert_eq!(all[0], ("other".to_owned(), b.clone(), None));
    let unknown = registry.rreg(&["tag", "history", "it/nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
}

/// The same server twice, or it and a replica.
fn two(registry: &Registry) -> (Api, Api, Option<Registry>) {
    let other = registry.is_shareable().then(|| registry.replica());
    let api = other.as_ref().map_or_else(|| registry.api(), Registry::api);
    (registry.api(), api, other)
}

/// Two pushes that meet in one row may be told to try again; then they do.
async fn settled(send: impl AsyncFn() -> Answer) -> Answer {
    loop {
        let answer = send().await;
        if answer.status != 429 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one_of_two_wins(registry: Registry) {
    let (one, other, _replica) = two(&registry);
    let repository = registry.repository();
    let images = artifacts(&one, &repository, 2).await;
    for round in 0..30 {
        let tag = format!("v{round}");
        let push = async |api: &Api, image: &Image| {
            settled(async || api.put_manifest(&repository, &tag, image.root()).send().await).await.status
        };
        let (a, b) = tokio::join!(push(&one, &images[0]), push(&other, &images[1]));
        let winner = match (a, b) {
            (201, 409) => &images[0],
            (409, 201) => &images[1],
            both => panic!("{tag}: {both:?}"),
        };
        for api in [&one, &other] {
            api.get_manifest(&repository, &tag).expect(200).await.assert_digest(&winner.root().digest, true);
        }
        let (history, _) = registry.rreg_json(&["tag", "history", &format!("{repository}:{tag}")]);
        assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    }
}

/// A manifest is deleted while an immutable tag is put on it: either the tag has it, or there is neither.
async fn no_delete_slips_by(registry: Registry) {
    let (one, other, _replica) = two(&registry);
    let repository = registry.repository();
    for round in 0..20 {
        let image = Image::artifact(&format!("{repository}-{round}"), EXAMPLE);
        one.push(&repository, &image, None).await;
        let (tag, digest) = (format!("v{round}"), image.root().digest);
        let by_digest = format!("/v2/{repository}/manifests/{digest}");
        let push = settled(async || one.put_manifest(&repository, &tag, image.root()).send().await);
        let delete = settled(async || other.delete(&by_digest).send().await);
        let (pushed, deleted) = tokio::join!(push, delete);
        // Pushing brings the manifest back where the delete came first.
        assert_eq!(pushed.status, 201, "{pushed}");
        assert!(matches!(deleted.status, 202 | 409), "{deleted}");
        one.get_manifest(&repository, &tag).expect(200).await.assert_digest(&digest, true);
        other.delete(&by_digest).refused(409, "DENIED").await;
    }
}

const RULES: &str = "/v2/_rreg/tag-rules";

async fn rules_over_the_api(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let images = artifacts(&api, &repository, 2).await;
    let (one, two) = (images[0].root(), images[1].root());
    api.push_manifest(&repository, "stable-1", one).await;
    let rule = format!(r#"{{"repositories": ["{repository}"], "tags": ["stable-*"], "except": ["*-dev"]}}"#);
    api.put(format!("{RULES}/stable"), rule).expect(201).await;
    let refused = api.put_manifest(&repository, "stable-1", two).refused(409, "DENIED").await;
    let detail = &refused.json()["errors"][0]["detail"];
    assert_eq!((&detail["rule"], &detail["digest"]), (&"stable".into(), &one.digest.to_string().into()));
    api.push_manifest(&repository, "stable-dev", one).await;
    api.push_manifest(&repository, "stable-dev", two).await;
    let listed = api.get(RULES).expect(200).await.json();
    let names: Vec<_> =
        listed["rules"].as_array().unwrap().iter().map(|r| (&r["name"], &r["source"])).collect();
    assert!(names.contains(&(&"releases".into(), &"configuration".into())), "{listed}");
    assert!(names.contains(&(&"stable".into(), &"database".into())), "{listed}");
    for wrong in ["[]", "{\"tag\": []}", "{\"tags\": [\"é\"]}", "{\"tags\": 1}", ""] {
        api.put(format!("{RULES}/wrong"), wrong).refused(400, "UNSUPPORTED").await;
    }
    api.put(format!("{RULES}/-"), "{}").refused(400, "NAME_INVALID").await;
    api.post(RULES).refused(405, "UNSUPPORTED").await;
    api.delete(format!("{RULES}/releases")).refused(409, "DENIED").await;
    api.delete(format!("{RULES}/stable")).expect(202).await;
    api.delete(format!("{RULES}/stable")).refused(404, "NAME_UNKNOWN").await;
    api.push_manifest(&repository, "stable-1", two).await;
    // The operator's command, beside the server.
    let (added, code) = registry.rreg_json(&["tag", "rule", "add", "all", "--repository", &repository]);
    assert_eq!((code, &added["tags"]), (0, &serde_json::json!(["**"])), "{added}");
    api.put_manifest(&repository, "stable-1", one).refused(409, "DENIED").await;
    let (listed, _) = registry.rreg_json(&["tag", "rule", "list"]);
    assert!(listed.as_array().unwrap().iter().any(|rule| rule["name"] == "all"), "{listed}");
    assert_eq!(registry.rreg_json(&["tag", "rule", "rm", "all"]).1, 0);
    assert_eq!(registry.rreg(&["tag", "rule", "rm", "all"]).status.code(), Some(1));
    api.push_manifest(&repository, "stable-1", one).await;
}

/// While tags move on two replicas a rule is made on one: after its answer none moves on either.
async fn a_rule_holds_from_its_answer_on(registry: Registry) {
    let (one, other, _replica) = two(&registry);
    let repository = registry.repository();
    let images = artifacts(&one, &repository, 2).await;
    for round in 0..10 {
        let tag = format!("r{round}");
        one.push_manifest(&repository, &tag, images[0].root()).await;
        let push = async |api: &Api, image: &Image| {
            settled(async || api.put_manifest(&repository, &tag, image.root()).send().await).await.status
        };
        let moving = async |api: &Api| {
            for n in 0..6 {
                let status = push(api, &images[n % 2]).await;
                assert!(matches!(status, 201 | 409), "{status}");
            }
        };
        let rule = format!(r#"{{"repositories": ["{repository}"], "tags": ["{tag}"]}}"#);
        let make = async {
            settled(async || one.put(format!("{RULES}/{tag}"), rule.clone()).send().await).await.status
        };
        let (made, ..) = tokio::join!(make, moving(&one), moving(&other));
        assert_eq!(made, 201);
        let history = || registry.rreg_json(&["tag", "history", &format!("{repository}:{tag}")]).0;
        let before = history();
        let now = one.get_manifest(&repository, &tag).expect(200).await;
        let stays = images.iter().position(|image| image.root().bytes == now.body).unwrap();
        for api in [&one, &other] {
            assert_eq!(push(api, &images[1 - stays]).await, 409);
            assert_eq!(push(api, &images[stays]).await, 201);
        }
        assert_eq!(history(), before);
        one.delete(format!("{RULES}/{tag}")).expect(202).await;
    }
}
