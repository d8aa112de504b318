//! What an operator takes from `deploy/` works with this binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Backend, Registry, RunDir, tool};

fn deploy(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

#[test]
fn the_configuration_is_valid() {
    tool::run(
        Command::new(env!("CARGO_BIN_EXE_rreg"))
            .args(["config", "check", "--elsewhere", "--config"])
            .arg(deploy("rreg.toml"))
            .env_remove("RREG_TEST_REQUIRE")
            .env_remove("RREG_CONFORMANCE")
            .env_remove("RREG_KUBERNETES"),
    );
}

#[test]
fn the_example_of_an_upstream_is_valid() {
    let text = std::fs::read_to_string(deploy("rreg.toml")).unwrap();
    let begins = text.find("# [[upstreams]]").expect("an example");
    let (before, rest) = text.split_at(begins);
    let (example, after) = rest.split_once("\n\n").unwrap();
    let example: String =
        example.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let file = crate::harness::RunDir::get().subdir("deploy-");
    let path = file.path().join("rreg.toml");
    std::fs::write(&path, format!("{before}{example}\n{after}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(["config", "check", "--elsewhere", "--config"]).arg(&path);
    tool::run(
        command.env_remove("RREG_TEST_REQUIRE").env_remove("RREG_CONFORMANCE").env_remove("RREG_KUBERNETES"),
    );
}

#[test]
fn the_unit_starts_what_the_binary_understands() {
    let unit = std::fs::read_to_string(deploy("rreg.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert_eq!(start, "/usr/local/bin/rreg serve --config /etc/rreg/rreg.toml");
    assert!(unit.lines().any(|line| line == "DynamicUser=yes"), "the server needs no root");
}

/// Every document of `deploy/kubernetes`.
fn manifests() -> Vec<Value> {
    let mut all = Vec::new();
    for file in fs::read_dir(deploy("kubernetes")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            all.extend(documents);
        }
    }
    all
}

/// The one document of a kind and a name.
fn manifest<'a>(manifests: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = manifests.iter().filter(|m| m["kind"] == kind && m["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    one
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_manifests_fit_together() {
    let all = manifests();
    for one in &all {
        assert!(one["apiVersion"].is_string() && one["metadata"]["name"].is_string(), "{one}");
        let is_of_cluster = matches!(one["kind"].as_str().unwrap(), "Namespace" | "PriorityClass")
            || one["kind"].as_str().unwrap().ends_with("WebhookConfiguration");
        assert_eq!(one["metadata"]["namespace"] == "rreg", !is_of_cluster, "{one}");
    }
    let pod = &manifest(&all, "Deployment", "rreg")["spec"]["template"];
    for (place, name) in ["rreg", "rreg-admission"].iter().enumerate() {
        let service = &manifest(&all, "Service", name)["spec"];
        assert_eq!(service["selector"], pod["metadata"]["labels"]);
        assert_eq!(service["ports"][0]["targetPort"], pod["spec"]["containers"][0]["ports"][place]["name"]);
    }
    assert_eq!(
        manifest(&all, "PodDisruptionBudget", "rreg")["spec"]["selector"]["matchLabels"],
        pod["metadata"]["labels"]
    );
    assert_eq!(pod["spec"]["priorityClassName"], manifest(&all, "PriorityClass", "rreg")["metadata"]["name"]);
    // A map that cannot be read is the same for all replicas.
    let probe = &pod["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!(probe["path"], "/readyz?exclude=policies");
    let certificate = &manifest(&all, "Certificate", "rreg-tls")["spec"];
    for name in ["rreg.rreg.svc", "rreg-admission.rreg.svc"] {
        assert!(texts(&certificate["dnsNames"]).contains(&name), "what API servers call the service");
    }
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            manifest(&all, "ConfigMap", name);
        }
        if let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            manifest(&all, "PersistentVolumeClaim", name);
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            assert_eq!(certificate["secretName"], name);
        }
    }
    assert_eq!(
        texts(&pod["spec"]["containers"][0]["args"]),
        ["serve", "--config", "/etc/rreg/rreg.toml"],
        "what the volumes hold is where the program looks"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhooks_ask_about_what_the_server_knows() {
    let all = manifests();
    let data = &manifest(&all, "ConfigMap", "rreg-config")["data"];
    let home = RunDir::get().subdir("deploy-");
    let file = home.path().join("rreg.toml");
    fs::write(&file, data["rreg.toml"].as_str().unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(["config", "check", "--elsewhere", "--config"]).arg(&file);
    tool::run(
        command.env_remove("RREG_TEST_REQUIRE").env_remove("RREG_CONFORMANCE").env_remove("RREG_KUBERNETES"),
    );
    let policies = home.path().join("policies");
    fs::create_dir(&policies).unwrap();
    for (name, text) in manifest(&all, "ConfigMap", "rreg-policies")["data"].as_object().unwrap() {
        fs::write(policies.join(name), text.as_str().unwrap()).unwrap();
    }
    // It does not start with policies that are none.
    let settings = [("RREG_POLICY__DIRECTORY", policies.to_str().unwrap())];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let known: BTreeSet<String> = crate::admission::known_kinds(&registry).await.into_iter().collect();
    for (kind, path) in [
        ("MutatingWebhookConfiguration", "/admission/v1/mutate"),
        ("ValidatingWebhookConfiguration", "/admission/v1/validate/ADMISSION_PATH_SECRET"),
    ] {
        let configuration = manifest(&all, kind, "rreg");
        let [webhook] = &configuration["webhooks"].as_array().unwrap()[..] else { panic!("one webhook") };
        assert_eq!(
            configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
            "rreg/rreg-tls"
        );
        assert_eq!(texts(&webhook["admissionReviewVersions"]), ["v1"]);
        let service = &webhook["clientConfig"]["service"];
        assert_eq!((&service["namespace"], &service["name"]), (&"rreg".into(), &"rreg-admission".into()));
        let [condition] = &webhook["matchConditions"].as_array().unwrap()[..] else {
            panic!("one condition")
        };
        let asked_about = condition["expression"].as_str().unwrap();
        assert!(asked_about.starts_with("request.operation != 'UPDATE' || "), "{asked_about}");
        assert_eq!(service["path"], path);
        assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&"Fail".into(), &"None".into()));
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        // Longer than policy.timeout: onError answers first.
        assert_eq!(webhook["timeoutSeconds"], 5);
        let left_out = webhook["namespaceSelector"]["matchExpressions"].as_array().unwrap();
        let names = left_out.iter().find(|e| e["key"] == "kubernetes.io/metadata.name").unwrap();
        assert_eq!(names["operator"], "NotIn");
        assert!(
            texts(&names["values"]).contains(&"rreg"),
            "the registry must start while it does not answer"
        );
        let mut asked = BTreeSet::new();
        for rule in webhook["rules"].as_array().unwrap() {
            assert_eq!(
                (texts(&rule["apiVersions"]), texts(&rule["operations"])),
                (vec!["v1"], vec!["CREATE", "UPDATE"])
            );
            let [group] = texts(&rule["apiGroups"])[..] else { panic!("one group a rule") };
            let dot = if group.is_empty() { "" } else { "." };
            asked.extend(texts(&rule["resources"]).iter().map(|resource| format!("{resource}{dot}{group}")));
        }
        assert!(asked.remove("pods/ephemeralcontainers"), "they come by a request of their own");
        assert_eq!(asked, known);
    }
    let config: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(config["policy"]["timeout"].as_str(), Some("3s"));
    assert_eq!(config["policy"]["open_admission"].as_bool(), Some(false));
}
