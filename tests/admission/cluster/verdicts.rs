//! What an API server makes of the verdicts: wherever an image is written, it is asked about.

use super::*;

const POD: &str = "Pod";

/// An object of each kind that has a pod in it, with this pod.
fn carriers(name: &str, spec: &Value) -> Vec<Value> {
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let of = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let selected = json!({"selector": {"matchLabels": labels}, "template": template});
    let mut set = selected.clone();
    set["serviceName"] = "s".into();
    vec![
        of("v1", POD, spec.clone()),
        of("v1", "ReplicationController", json!({"selector": labels, "template": template})),
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": template}),
        of("apps/v1", "ReplicaSet", selected.clone()),
        of("apps/v1", "Deployment", selected.clone()),
        of("apps/v1", "StatefulSet", set),
        of("apps/v1", "DaemonSet", selected),
        of("batch/v1", "Job", json!({"template": once})),
        of(
            "batch/v1",
            "CronJob",
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}}),
        ),
    ]
}

fn spec(image: &str) -> Value {
    json!({"automountServiceAccountToken": false, "containers": [{"name": "c", "image": image}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_image_is_asked_about() {
    let Some(cluster) = Kubernetes::start() else { return };
    let secret = [("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET)];
    let Some(judge) = Judge::start(Backend::SqliteDirectory, &secret).await else { return };
    cluster.ask(&webhooks(&judge.address, Some(SECRET), judge.policies.home()));
    let (free, refused, warned) = (named("free/app"), named("it/app"), named("warned/app"));
    let is_refused = |args: &[&str], input: &str| {
        let (done, said) = cluster.kubectl(args, input);
        assert!(!done, "{args:?} {input}: {said}");
        for part in [refused.as_str(), "signed-by-team", "not signed"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    for object in carriers("bad", &spec(&refused)) {
        is_refused(&["apply", "-f", "-"], &object.to_string());
    }
    for object in carriers("good", &spec(&free)) {
        cluster.must(&["apply", "-f", "-"], &object.to_string());
    }
    // Every place in a pod, beside an image that is good.
    let places: [fn(&mut Value, &str); 3] = [
        |spec, image| spec["initContainers"] = json!([{"name": "i", "image": image}]),
        |spec, image| spec["volumes"] = json!([{"name": "v", "image": {"reference": image}}]),
        |spec, image| {
            let containers = spec["containers"].as_array_mut().unwrap();
            containers.push(json!({"name": "second", "image": image}));
        },
    ];
    for (index, place) in places.iter().enumerate() {
        let with = |image: &str, name: String| {
            let mut spec = spec(&free);
            place(&mut spec, image);
            carriers(&name, &spec)[0].to_string()
        };
        is_refused(&["apply", "-f", "-"], &with(&refused, format!("bad-place-{index}")));
        cluster.must(&["apply", "-f", "-"], &with(&free, format!("good-place-{index}")));
    }
    // Containers that are added, and images that are changed.
    let debug = |image: &str| {
        json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": image, "targetContainerName": "c"}]}}).to_string()
    };
    let patch = ["patch", "pod", "good", "--subresource=ephemeralcontainers", "-p"];
    is_refused(&[&patch[..], &[&debug(&refused)]].concat(), "");
    cluster.must(&[&patch[..], &[&debug(&free)]].concat(), "");
    is_refused(&["set", "image", "deployment/good", &format!("c={refused}")], "");
    // What a policy only says reaches the person, with what to do.
    let said = cluster.must(&["apply", "-f", "-"], &pod_of("warned", &warned));
    let warning = said.lines().find(|line| line.starts_with("Warning: ") && line.contains("warned/app"));
    assert!(warning.is_some_and(|warning| warning.contains("sign the digest")), "{said}");
    // Nobody gets around it by trying, and what is tried is no denial.
    is_refused(&["apply", "--dry-run=server", "-f", "-"], &pod_of("tried", &refused));
    let (trail, _) = judge.registry.rreg_json(&["audit"]);
    let events = trail.as_array().or_else(|| trail["events"].as_array()).unwrap();
    let of = |what: &str| {
        events.iter().filter(|it| it["target"].as_str().is_some_and(|t| t.contains(what))).count()
    };
    assert_eq!((of("Pod default/bad-place-0"), of("default/tried")), (1, 0), "{trail}");
    let denial = events
        .iter()
        .find(|it| it["target"] == "Pod default/bad-place-0 (by whoever knows the path)")
        .unwrap();
    assert_eq!(denial["actor"], "cluster:admin", "{denial}");
}

/// A certificate that API servers show is a login: then tags become digests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_pins() {
    let ca = RunDir::get().subdir("kubernetes-ca-");
    super::super::listener::authority(ca.path());
    let file = |name: &str| ca.path().join(name).display().to_string();
    let address = format!("localhost:{}", free());
    // As the operator's manual has it.
    let configure = |home: &Path| {
        let users = json!({
            "apiVersion": "v1", "kind": "Config",
            "users": [{"name": address, "user": {"client-certificate": file("client.pem"), "client-key": file("client.key")}}],
        });
        let (login, admission) = (home.join("webhooks.json"), home.join("admission.json"));
        fs::write(&login, users.to_string()).unwrap();
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": login,
        });
        let plugin = |name: &str| json!({"name": name, "configuration": configuration});
        let all = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": [plugin("ValidatingAdmissionWebhook"), plugin("MutatingAdmissionWebhook")],
        });
        fs::write(&admission, all.to_string()).unwrap();
        vec![format!("--admission-control-config-file={}", admission.display())]
    };
    let Some(cluster) = Kubernetes::start_with(configure) else { return };
    let listen = listening(&address);
    let settings = [("RREG_POLICY__ADMISSION_LISTEN", listen.as_str())];
    let Some(mut judge) = Judge::start(Backend::SqliteDirectory, &settings).await else { return };
    let ca = file("ca.pem");
    let asks_for_one = [("RREG_POLICY__ADMISSION_CLIENT_CA", ca.as_str())];
    judge.registry.stop();
    judge.encrypt(&asks_for_one);
    judge.registry.resume();
    cluster.ask(&webhooks(&address, None, judge.policies.home()));
    let image = named("free/app");
    let pinned = format!("{image}@{}", Image::layered("free/app", 1).root().digest);
    for object in carriers("good", &spec(&image)) {
        cluster.must(&["apply", "-f", "-"], &object.to_string());
    }
    let image_of =
        |what: &str, path: &str| cluster.must(&["get", what, "-o", &format!("jsonpath={{{path}}}")], "");
    assert_eq!(image_of("pod/good", ".spec.containers[0].image"), pinned);
    assert_eq!(image_of("deployment/good", ".spec.template.spec.containers[0].image"), pinned);
    let in_cron_job = ".spec.jobTemplate.spec.template.spec.containers[0].image";
    assert_eq!(image_of("cronjob/good", in_cron_job), pinned);
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &pod_of("bad", &named("it/app")));
    assert!(!done && said.contains("signed-by-team"), "{said}");
    // A deployment finds its set again, and makes no other.
    let owned = carriers("web", &spec(&image)).swap_remove(4);
    cluster.must(&["apply", "-f", "-"], &owned.to_string());
    let sets = ["get", "replicasets", "-l", "app=web", "-o", "jsonpath={.items[*].spec.replicas}"];
    cluster.until(&sets, "1");
    let pods = ["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.containers[*].image}"];
    cluster.until(&pods, &pinned);
    assert_eq!(cluster.must(&sets, ""), "1");
    applied_again(&cluster, &mut judge, &asks_for_one).await;
}

/// The tag moves on. Who applies the same files again changes nothing that cannot change, and no pod that runs.
async fn applied_again(cluster: &Kubernetes, judge: &mut Judge, settings: &[(&'static str, &str)]) {
    let image = named("free/app");
    let pinned = format!("{image}@{}", Image::layered("free/app", 1).root().digest);
    let get =
        |what: &str, path: &str| cluster.must(&["get", what, "-o", &format!("jsonpath={{{path}}}")], "");
    let in_template = ".spec.template.spec.containers[0].image";
    let other = judge.moves_on("free/app", "another", settings).await;
    let objects = carriers("good", &spec(&image));
    for object in [&objects[0], &objects[7]] {
        cluster.must(&["apply", "-f", "-"], &object.to_string());
        cluster.must(&["apply", "-f", "-"], &object.to_string());
    }
    assert_eq!(get("pod/good", ".spec.containers[0].image"), pinned);
    assert_eq!(get("job/good", in_template), pinned);
    assert_eq!(get("job/good", ".metadata.generation"), "1");
    // Beside a change that may be made.
    let mut suspended = objects[7].clone();
    suspended["spec"]["suspend"] = true.into();
    cluster.must(&["apply", "-f", "-"], &suspended.to_string());
    assert_eq!(get("job/good", in_template), pinned);
    // Another image is another job, as without the webhook; a template that can change takes what the tag means now.
    let (done, said) = cluster.kubectl(&["set", "image", "job/good", &format!("c={image}@{other}")], "");
    assert!(!done && said.contains("immutable"), "{said}");
    cluster.must(&["apply", "-f", "-"], &objects[4].to_string());
    let now = get("deployment/good", in_template);
    assert_eq!(now, format!("{image}@{other}"));
    // By server-side apply as well, which fails where the values of two managers differ.
    let mut fresh = carriers("fresh", &spec(&image)).swap_remove(7);
    let apply = ["apply", "--server-side", "-f", "-"];
    cluster.must(&apply, &fresh.to_string());
    judge.moves_on("free/app", "a third", settings).await;
    cluster.must(&apply, &fresh.to_string());
    fresh["metadata"]["labels"] = json!({"a": "b"});
    cluster.must(&apply, &fresh.to_string());
}
