//! What operators see of the webhook: the trail, readiness; and what policies without tags are about.

use super::*;

/// Rows of the trail about what was not admitted.
fn denials(cluster: &Cluster) -> Vec<Value> {
    let (trail, _) = cluster.registry.rreg_json(&["audit"]);
    let events = trail.as_array().or_else(|| trail["events"].as_array()).unwrap();
    events.iter().filter(|it| it["event"] == "admission").cloned().collect()
}

async fn denied_total(cluster: &Cluster) -> bool {
    let metrics = cluster.registry.api().get("/metrics").expect(200).await;
    String::from_utf8_lossy(&metrics.body).contains("rreg_policy_denied_total 1\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_has_the_person_and_no_dry_runs() {
    on_each(&[], async |cluster| {
        let (name, _) = cluster.push(&cluster.registry.repository()).await;
        let mut review = pod(&[&name]);
        review["request"]["name"] = "web".into();
        review["request"]["userInfo"] = json!({"username": "jane\u{202e}@example.com", "groups": ["devs"]});
        review["request"]["dryRun"] = true.into();
        // It is answered as it would be, and is no denial.
        message(&cluster.validate(&review).await);
        message(&cluster.validate(&review).await);
        assert_eq!(denials(cluster), [] as [Value; 0]);
        review["request"]["dryRun"] = false.into();
        message(&cluster.validate(&review).await);
        let denials = denials(cluster);
        let [denial] = &denials[..] else { panic!("{denials:?}") };
        assert_eq!(denial["actor"], "cluster:jane\\u{202e}@example.com");
        assert_eq!(denial["target"], "Pod prod/web");
        assert_eq!(denial["outcome"], "denied");
        assert!(denial["rule"].as_str().unwrap().contains("signed-by-team"), "{denial}");
        assert!(denied_total(cluster).await);
    })
    .await;
}

/// A digest that no tag has any more, a digest beside any tag, an image that was never tagged: all are the repository's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_without_tags_is_about_every_digest() {
    on_each(&[], async |cluster| {
        let (api, repository) = (cluster.registry.api(), cluster.registry.repository());
        let (name, image) = cluster.push(&repository).await;
        let pinned = format!("{name}@{}", image.root().digest);
        cluster.push_other(&repository).await;
        let never = Image::layered(&format!("{repository}-never"), 1);
        api.push(&repository, &never, None).await;
        let repository = format!("{HOST}/{repository}");
        for image in [
            pinned,
            format!("{repository}@{}", image.root().digest),
            format!("{repository}:other@{}", image.root().digest),
            format!("{repository}@{}", never.root().digest),
        ] {
            let refused = cluster.validate(&pod(&[&image])).await;
            assert!(message(&refused).contains("\"signed-by-team\""), "{image}: {refused}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_cannot_be_read_are_told_and_can_be_left_out() {
    on_each(&[], async |cluster| {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let ready = async |query: &str| {
            let url = format!("http://{}/readyz{query}", cluster.registry.address());
            let answer = http.get(url).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let until = async |code: u16| {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let (status, text) = ready("").await;
                if status == code {
                    return text;
                }
                assert!(Instant::now() < deadline, "{status} {text}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        assert_eq!(ready("").await.0, 200);
        let directory = cluster.policies.directory();
        // One more, so that the others are as they were when it is taken away again.
        let broken = Path::new(&directory).join("broken.yaml");
        fs::write(&broken, "apiVersion: rreg/v1\nkind: Policy\nname: x\nrequire: nothing\n").unwrap();
        let text = until(503).await;
        assert!(text.starts_with("policies: ") && text.contains("broken.yaml"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(ready("?exclude=policies").await, (200, "ready\n".to_owned()));
        // Those that were read before hold.
        let (name, _) = cluster.push(&cluster.registry.repository()).await;
        message(&cluster.validate(&pod(&[&name])).await);
        fs::remove_file(&broken).unwrap();
        until(200).await;
        let metrics = cluster.registry.api().get("/metrics").expect(200).await;
        assert!(String::from_utf8_lossy(&metrics.body).contains("rreg_policies_broken 0\n"));
    })
    .await;
}
