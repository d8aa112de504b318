//! Images that are let in, refused, pinned and warned about.

use serde_json::{Value, json};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_runs() {
    on_each(&[], async |cluster| {
        let repository = cluster.registry.repository();
        let (name, image) = cluster.push(&repository).await;
        let digest = image.root().digest;
        let refused = cluster.validate(&pod(&[&name])).await;
        let message = message(&refused);
        for part in [name.as_str(), &digest.to_string(), "\"signed-by-team\"", "signature"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let revision = refused["auditAnnotations"]["policies"].as_str().unwrap();
        assert!(revision.starts_with("sha256:"), "{revision}");
        let metrics = cluster.registry.api().get("/metrics").expect(200).await;
        assert!(String::from_utf8_lossy(&metrics.body).contains("rreg_policy_denied_total 1\n"));
        let pinned = format!("{name}@{digest}");
        super::message(&cluster.validate(&pod(&[&pinned])).await);
        cluster.sign(&repository, &image);
        cluster.becomes_allowed(&pod(&[&name])).await;
        cluster.becomes_allowed(&pod(&[&pinned])).await;
        // The same image and one that is not signed.
        let (other, _) = cluster.push(&format!("{repository}-other")).await;
        let refused = cluster.validate(&pod(&[&name, &other])).await;
        assert!(super::message(&refused).contains(&other), "{refused}");
        assert!(!super::message(&refused).contains(&format!("{name} ")), "{refused}");
        let (trail, _) = cluster.registry.rreg_json(&["audit"]);
        let events = trail.as_array().or_else(|| trail["events"].as_array()).unwrap();
        assert!(events.iter().any(|it| it["event"] == "admission" && it["outcome"] == "denied"), "{trail}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_pinned() {
    on_each(&[], async |cluster| {
        let repository = cluster.registry.repository();
        let (name, image) = cluster.push(&repository).await;
        let pinned = format!("{name}@{}", image.root().digest);
        let spec = json!({"containers": [{"name": "c", "image": name}], "initContainers": [{"name": "i", "image": name}]});
        let object = json!({"spec": {"template": {"spec": spec}}});
        let review = created(("apps", "Deployment", "deployments"), &object);
        // Refused by `validate`, and pinned all the same: `mutate` comes first and decides nothing.
        super::message(&cluster.validate(&review).await);
        let response = cluster.ask("mutate", &review).await;
        assert_eq!(response["allowed"], true);
        let replace = |list: &str| {
            json!({"op": "replace", "path": format!("/spec/template/spec/{list}/0/image"), "value": pinned})
        };
        assert_eq!(patch(&response), json!([replace("containers"), replace("initContainers")]));
        // The next push moves the tag, and what is pinned from then on.
        let moved = Image::layered(&format!("{repository}-2"), 1);
        cluster.registry.api().push(&repository, &moved, Some("v1")).await;
        let response = cluster.ask("mutate", &pod(&[&name])).await;
        assert_eq!(patch(&response)[0]["value"], format!("{name}@{}", moved.root().digest));
        assert!(cluster.ask("mutate", &pod(&[&pinned])).await.get("patch").is_none());
        let unknown = format!("{HOST}/{repository}:never-pushed");
        let response = cluster.ask("mutate", &pod(&[&unknown])).await;
        assert_eq!((response["allowed"].clone(), response.get("patch")), (json!(true), None));
        assert!(warnings(&response)[0].contains("was not pinned"), "{response}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_modes_warn() {
    on_each(&[], async |cluster| {
        for (folder, policy) in [("warned", "soon"), ("audited", "watched")] {
            let (name, _) = cluster.push(&format!("{folder}/{}", cluster.registry.repository())).await;
            let response = cluster.validate(&pod(&[&name])).await;
            assert_eq!(response["allowed"], true, "{response}");
            let [warning] = warnings(&response)[..] else { panic!("{response}") };
            assert!(warning.contains(&format!("{policy:?}")) && warning.len() <= 256, "{warning}");
        }
        // Nobody asks about this one.
        let (name, _) = cluster.push(&format!("free/{}", cluster.registry.repository())).await;
        let response = cluster.validate(&pod(&[&name])).await;
        assert_eq!((response["allowed"].clone(), warnings(&response).len()), (json!(true), 0), "{response}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_here_is_refused() {
    on_each(&[], async |cluster| {
        let unknown = format!("{HOST}/it/nothing:1");
        for image in [unknown.as_str(), "nginx:1", "registry.example/it/a:1", "ghcr.io/a/b:1", "UPPER:1"] {
            let response = cluster.validate(&pod(&[image])).await;
            assert!(message(&response).contains(image.trim_end_matches(":1")), "{response}");
        }
        let digest = rreg_oci::Digest::sha256(b"nothing");
        let (name, _) = cluster.push(&format!("free/{}", cluster.registry.repository())).await;
        let absent = format!("{name}@{digest}");
        assert!(message(&cluster.validate(&pod(&[&absent])).await).contains("cannot be judged"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_hosts_are_as_configured() {
    for (setting, allowed, told) in [("warn", true, 1), ("allow", true, 0)] {
        on_each(&[("RREG_POLICY__FOREIGN_IMAGES", setting)], async |cluster| {
            let response = cluster.validate(&pod(&["nginx:1"])).await;
            assert_eq!(
                (response["allowed"] == allowed, warnings(&response).len()),
                (true, told),
                "{response}"
            );
            let (name, _) = cluster.push(&cluster.registry.repository()).await;
            message(&cluster.validate(&pod(&["nginx:1", &name])).await);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_asked_for_what_it_brings() {
    on_each(&[], async |cluster| {
        let (name, _) = cluster.push(&cluster.registry.repository()).await;
        let mut review = pod(&[&name]);
        review["request"]["operation"] = "UPDATE".into();
        review["request"]["oldObject"] = review["request"]["object"].clone();
        assert_eq!(cluster.validate(&review).await["allowed"], true);
        review["request"]["object"]["spec"]["ephemeralContainers"] =
            json!([{"name": "debug", "image": name}]);
        review["request"]["subResource"] = "ephemeralcontainers".into();
        message(&cluster.validate(&review).await);
        review["request"]["operation"] = "DELETE".into();
        review["request"]["object"] = Value::Null;
        assert_eq!(cluster.validate(&review).await["allowed"], true);
    })
    .await;
}
