//! `deploy/kubernetes` as it is: what the cluster and the registry need starts while the registry does not answer.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_start_before_the_registry_answers() {
    let Some(cluster) = Kubernetes::start() else { return };
    let apply = |name: &str| cluster.must(&["apply", "-f", &deploy(name).display().to_string()], "");
    // At the worst time: the cluster comes up again with webhooks of which nobody is there.
    let text = fs::read_to_string(deploy("webhooks.yaml")).unwrap();
    cluster.must(&["apply", "-f", "-"], &text.replace("ADMISSION_PATH_SECRET", SECRET));
    let pod = pod_of("first", &named("free/app"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.kubectl(&["apply", "--dry-run=server", "-f", "-"], &pod).0 {
        assert!(Instant::now() < deadline, "the webhooks are not asked");
        std::thread::sleep(Duration::from_millis(300));
    }
    apply("namespace.yaml");
    apply("config.yaml");
    let authority = RunDir::get().subdir("kubernetes-ca-");
    super::super::listener::authority(authority.path());
    let (cert, key) = (authority.path().join("server.pem"), authority.path().join("server.key"));
    let (cert, key) = (format!("--cert={}", cert.display()), format!("--key={}", key.display()));
    cluster.must(&["-n", "rreg", "create", "secret", "tls", "rreg-tls", &cert, &key], "");
    let secret = format!("--from-literal=RREG_POLICY__ADMISSION_PATH_SECRET={SECRET}");
    cluster.must(&["-n", "rreg", "create", "secret", "generic", "rreg-secrets", &secret], "");
    let said = apply("rreg.yaml");
    assert!(!said.contains("Warning"), "{said}");
    let phases = ["-n", "rreg", "get", "pods", "-o", "jsonpath={.items[*].status.phase}"];
    cluster.until(&phases, "Pending");
    // What the registry and its certificate need, and what is taken out by its label.
    let namespaces = ["cert-manager", "ingress-nginx", "database"];
    for name in namespaces {
        cluster.must(&["create", "namespace", name], "");
    }
    let create = |namespace: &str| cluster.kubectl(&["-n", namespace, "create", "-f", "-"], &pod);
    assert!(!create("database").0, "failurePolicy is Fail");
    cluster.must(&["label", "namespace", "database", "rreg.dev/admission=disabled"], "");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create("database").0 {
        assert!(Instant::now() < deadline, "a label takes a namespace out");
        std::thread::sleep(Duration::from_millis(300));
    }
    for name in ["kube-system", "cert-manager", "ingress-nginx", "rreg"] {
        let (done, said) = create(name);
        assert!(done, "{name}: {said}");
    }
    let (done, said) = create("default");
    assert!(!done && said.contains("rreg-admission.rreg.svc"), "{said}");

    // The registry answers: everybody's pods start.
    let path_secret = [("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET)];
    let Some(judge) = Judge::start(Backend::SqliteDirectory, &path_secret).await else { return };
    cluster.ask(&webhooks(&judge.address, Some(SECRET), judge.policies.home()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create("default").0 {
        assert!(Instant::now() < deadline, "{}", create("default").1);
        std::thread::sleep(Duration::from_millis(300));
    }
}
