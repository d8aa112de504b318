//! The registry is away.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_stops_what_brings_images_and_nothing_else() {
    let Some(cluster) = Kubernetes::start() else { return };
    let secret = [("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET)];
    let Some(mut judge) = Judge::start(Backend::SqliteDirectory, &secret).await else { return };
    let free_image = named("free/app");
    cluster.ask(&webhooks(&judge.address, Some(SECRET), judge.policies.home()));
    // A refusal is told with its reason, and nothing is slept out.
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &pod_of("none", &format!("{HOST}/it/none:v1")));
    assert!(!done && said.contains("push it first") && !said.contains("deadline exceeded"), "{said}");
    cluster.must(&["apply", "-f", "-"], &pod_of("good", &free_image));
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": free_image}]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    let mut spec = template["spec"].clone();
    spec["restartPolicy"] = "Never".into();
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": {"spec": spec}},
    });
    cluster.must(&["apply", "-f", "-"], &deployment.to_string());
    cluster.must(&["apply", "-f", "-"], &job.to_string());
    let phases = |of: &'static str| ["get", "pods", "-l", of, "-o", "jsonpath={.items[*].status.phase}"];
    cluster.until(&phases("app=web"), "Pending Pending");
    cluster.until(&phases("job-name=job"), "Pending");

    // An outage: what leaves the pods as they are goes on; what brings an image does not.
    judge.registry.stop();
    cluster.must(&["label", "pod", "good", "a=b"], "");
    cluster.must(&["scale", "deployment/web", "--replicas=0"], "");
    cluster.until(&phases("app=web"), "");
    let done = json!({"status": {"phase": "Succeeded", "containerStatuses": [{
        "name": "c", "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0}},
    }]}});
    let name = cluster.must(&["get", "pods", "-l", "job-name=job", "-o", "name"], "");
    cluster
        .must(&["patch", name.trim(), "--subresource=status", "--type=merge", "-p", &done.to_string()], "");
    cluster.until(&["get", "job", "job", "-o", "jsonpath={.status.succeeded}"], "1");
    cluster.must(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=30s"], "");
    let (done, _) = cluster.kubectl(&["apply", "-f", "-"], &pod_of("late", &free_image));
    assert!(!done, "failurePolicy is Fail");
    let (done, _) = cluster.kubectl(&["set", "image", "pod/good", "c=elsewhere.example/x:1"], "");
    assert!(!done, "another image is asked about");
}

/// Whoever makes a pod reads why it does not start, and not that a deadline was exceeded.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_hangs_is_told_to_the_person() {
    let Some(cluster) = Kubernetes::start() else { return };
    let Some(between) = super::super::hangs::Between::start() else { return };
    let settings =
        [("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET), ("RREG_DATABASE__URL", between.url.as_str())];
    let Some(judge) = Judge::start(Backend::PostgresS3, &settings).await else { return };
    cluster.ask(&webhooks(&judge.address, Some(SECRET), judge.policies.home()));
    between.hangs.send(true).unwrap();
    let pod = pod_of("good", &named("free/app"));
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &pod);
    assert!(!done && said.contains("its database does not answer"), "{said}");
    assert!(!said.contains("deadline") && !said.contains(SECRET), "{said}");
    between.hangs.send(false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !cluster.kubectl(&["apply", "-f", "-"], &pod).0 {
        assert!(Instant::now() < deadline, "the database answers again");
    }
}
