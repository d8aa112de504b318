//! Policies and trust over the API: what is taken, what is refused, and what is told.

use crate::harness::Backend;
use crate::harness::Registry;
use crate::harness::http::manifest;
use crate::harness::image::Image;

use super::{Desk, named, refusal, signed, what_if};

on_each_backend!(set_and_taken_away, what_would_change, what_would_change_in_many, decisions_are_told);

const POLICY: &str = "/v2/_rreg/policies/signed";
const TRUST: &str = "/v2/_rreg/trust/team.pub";

async fn set_and_taken_away(registry: Registry) {
    let desk = Desk::new();
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    // A policy's trust comes first.
    let text = signed("enforce", "pull");
    let refused = api.put(POLICY, text.clone()).refused(400, "UNSUPPORTED").await;
    let said = String::from_utf8_lossy(&refused.body);
    assert!(said.contains("rreg trust create HOST team.pub"), "{said}");
    let private = std::fs::read(&desk.team).unwrap();
    api.put(TRUST, private).refused(400, "UNSUPPORTED").await;
    api.put(TRUST, desk.public()).expect(201).await;
    // Holds with the answer.
    api.put(POLICY, text.clone()).expect(201).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);
    // Its trust cannot be taken from under it, and nothing takes the place of a policy that is none.
    api.delete(TRUST).refused(400, "UNSUPPORTED").await;
    api.put(POLICY, text.replace("enforce", "sometimes")).refused(400, "UNSUPPORTED").await;
    api.put(POLICY, named(&text, "another")).refused(400, "UNSUPPORTED").await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);

    let list = api.get("/v2/_rreg/policies").expect(200).await.json();
    assert_eq!(list["policies"][0]["name"], "signed", "{list}");
    assert_eq!(list["policies"][0]["source"], "database", "{list}");
    let one = api.get(POLICY).expect(200).await.json();
    assert_eq!(one["document"], text);
    assert_eq!(one["history"].as_array().unwrap().len(), 1);

    desk.sign(&registry, &repository, "v1", &desk.team);
    api.get(manifest(&repository, "v1")).expect(200).await;
    api.delete(POLICY).expect(202).await;
    api.delete(POLICY).refused(404, "NAME_UNKNOWN").await;
    api.delete(TRUST).expect(202).await;
    api.delete(TRUST).refused(404, "NAME_UNKNOWN").await;
    api.get(POLICY).refused(404, "NAME_UNKNOWN").await;
}

async fn what_would_change(registry: Registry) {
    let desk = Desk::new();
    let (api, repository) = (registry.api(), registry.repository());
    let (good, bad) = (Image::layered(&format!("{repository}/good"), 1), Image::layered(&repository, 1));
    api.push(&repository, &good, Some("good")).await;
    api.push(&repository, &bad, Some("bad")).await;
    desk.sign(&registry, &repository, "good", &desk.team);
    api.put(TRUST, desk.public()).expect(201).await;
    let text = signed("enforce", "pull");
    let ask = async |policy: &str, repositories: &[&str]| {
        api.post("/v2/_rreg/what-if").body(what_if(policy, repositories)).expect(200).await.json()
    };
    let told = ask(&text, &[&repository]).await;
    assert_eq!(told["complete"], true, "{told}");
    let changes = told["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{told}");
    assert_eq!(changes[0]["digest"], bad.root().digest.to_string());
    assert_eq!((&changes[0]["before"], &changes[0]["after"]), (&"allow".into(), &"deny".into()));
    assert!(changes[0]["reason"].as_str().unwrap().contains("not signed"), "{told}");
    assert_eq!(ask(&text, &["elsewhere/**"]).await["changes"].as_array().unwrap().len(), 0);
    // Nothing has changed by asking.
    api.get(manifest(&repository, "bad")).expect(200).await;
    api.put(POLICY, text.clone()).expect(201).await;
    assert_eq!(ask(&text, &[]).await["changes"].as_array().unwrap().len(), 0);
    let told = ask(&text.replace("enforce", "warn"), &[]).await;
    assert_eq!(told["changes"][0]["after"], "warn", "{told}");
}

/// More than a page of manifests, in repositories whose names begin alike: each once, and no others.
async fn what_would_change_in_many(registry: Registry) {
    let desk = Desk::new();
    let (api, base) = (registry.api(), registry.repository());
    api.put(TRUST, desk.public()).expect(201).await;
    let mut pushed = Vec::new();
    for (repository, count) in [("app", 120), ("app-b", 3), ("app/c", 2), ("b", 1)] {
        let repository = format!("{base}/{repository}");
        for n in 0..count {
            let image = Image::layered(&format!("{repository}/{n}"), 1);
            api.push(&repository, &image, None).await;
            pushed.push((repository.clone(), image.root().digest.to_string()));
        }
    }
    let text = signed("enforce", "pull");
    for (globs, expected) in [
        (vec![format!("{base}/app")], 120),
        (vec![format!("{base}/app/**")], 2),
        (vec![format!("{base}/app*"), format!("{base}/app")], 123),
        (vec![format!("{base}/**")], 126),
        (vec![format!("{base}/*"), "**/b".to_owned()], 124),
        (vec![format!("{base}/nothing")], 0),
    ] {
        let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
        let told = api.post("/v2/_rreg/what-if").body(what_if(&text, &globs)).expect(200).await.json();
        assert_eq!((&told["complete"], &told["looked"]), (&true.into(), &expected.into()), "{globs:?}");
        let mut found: Vec<(String, String)> = (told["changes"].as_array().unwrap().iter())
            .map(|change| {
                ["repository", "digest"].map(|name| change[name].as_str().unwrap().to_owned()).into()
            })
            .collect();
        assert_eq!(found.len(), expected, "{globs:?}");
        found.sort();
        found.dedup();
        assert_eq!(found.len(), expected, "{globs:?}: twice");
        assert!(found.iter().all(|one| pushed.contains(one)), "{globs:?}");
    }
}

async fn decisions_are_told(registry: Registry) {
    let desk = Desk::new();
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    api.put(TRUST, desk.public()).expect(201).await;
    api.put(POLICY, signed("enforce", "pull, admit, run")).expect(201).await;
    let target = format!("/v2/{repository}/_rreg/decisions/v1");
    let told = api.get(&target).expect(200).await.json();
    assert_eq!(told["digest"], image.root().digest.to_string());
    for point in ["pull", "admit", "run"] {
        assert_eq!(told["decisions"][point]["outcome"], "deny", "{told}");
    }
    assert_eq!(told["decisions"]["promote"]["outcome"], "allow", "{told}");
    desk.sign(&registry, &repository, "v1", &desk.team);
    let told = api.get(&target).expect(200).await.json();
    assert_eq!(told["decisions"]["admit"]["outcome"], "allow", "{told}");
    let revision = told["decisions"]["pull"]["policies"][0]["revision"].as_str().unwrap();
    let list = api.get("/v2/_rreg/policies").expect(200).await.json();
    assert_eq!(list["policies"][0]["revision"], revision, "a decision names the policy's revision");
    api.get(format!("/v2/{repository}/_rreg/decisions/none")).refused(404, "MANIFEST_UNKNOWN").await;
    let schema = api.get("/v2/_rreg/policy-schema").expect(200).await.json();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"), "{schema}");
}

/// A registry whose policies cannot be read does not start: nothing would be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_policies_do_not_start() {
    let desk = Desk::new();
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    drop(registry);
    desk.set("signed", &signed("enforce", "pull").replace("team.pub", "nobody.pub"));
    let directory = desk.policies.display().to_string();
    let output = crate::harness::tool::output(
        desk.home
            .command(env!("CARGO_BIN_EXE_rreg"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data", "data"])
            .env("RREG_POLICY__DIRECTORY", directory),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nobody.pub"), "{said}");
}
