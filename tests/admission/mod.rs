//! Kubernetes asking what may run: reviews as an API server sends them, against a running registry with policies in
//! files.

mod cluster;
mod hangs;
mod images;
pub(crate) mod listener;
mod login;
mod operation;
mod shares;
mod upstreams;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::http::Call;
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, RunDir, tool};

/// The host by which the cluster names images of the registry under test, wherever that listens.
const HOST: &str = "registry.example:5000";

/// What `it/` runs is signed by the team; of `warned/` and `audited/` it is only said.
const POLICIES: &str = r#"
apiVersion: rreg/v1
kind: Policy
name: signed-by-team
match: {repos: ["it/**"]}
at: [admit]
mode: enforce
onError: deny
require:
  - signature: {any: [{key: team.pub}]}
---
apiVersion: rreg/v1
kind: Policy
name: soon
match: {repos: ["warned/**"]}
at: [admit]
mode: warn
onError: deny
require:
  - signature: {any: [{key: team.pub}]}
---
apiVersion: rreg/v1
kind: Policy
name: watched
match: {repos: ["audited/**"]}
at: [admit]
mode: audit
onError: deny
require:
  - signature: {any: [{key: team.pub}]}
"#;

/// Policies and the team's key in a directory that outlives the registry's reading of it.
struct Policies(tempfile::TempDir);

impl Policies {
    fn new() -> Self {
        let home = RunDir::get().subdir("admission-");
        fs::create_dir(home.path().join("policies")).unwrap();
        let mut generate = Command::new(env!("CARGO_BIN_EXE_rreg"));
        generate.args(["key", "generate", "--no-password"]).arg(home.path().join("team"));
        tool::run(generate.env_clear().env("HOME", home.path()));
        fs::copy(home.path().join("team.pub"), home.path().join("policies/team.pub")).unwrap();
        fs::write(home.path().join("policies/all.yaml"), POLICIES).unwrap();
        Self(home)
    }

    fn home(&self) -> &Path {
        self.0.path()
    }

    fn directory(&self) -> String {
        self.home().join("policies").display().to_string()
    }
}

/// A registry that nobody logs in to, and a cluster's questions.
struct Cluster {
    registry: Registry,
    policies: Policies,
}

/// Runs a test on both backends.
async fn on_each(settings: &[(&'static str, &str)], test: impl AsyncFn(&Cluster)) {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let policies = Policies::new();
        let directory = policies.directory();
        let mut all =
            vec![("RREG_POLICY__DIRECTORY", directory.as_str()), ("RREG_POLICY__REGISTRY_HOSTS", HOST)];
        all.extend(settings);
        if let Some(registry) = Registry::start_with(backend, &all).await {
            test(&Cluster { registry, policies }).await;
        }
    }
}

impl Cluster {
    /// Pushes an image as `REPOSITORY:v1` and gives its name in the cluster.
    async fn push(&self, repository: &str) -> (String, Image) {
        let image = Image::layered(repository, 1);
        self.registry.api().push(repository, &image, Some("v1")).await;
        (format!("{HOST}/{repository}:v1"), image)
    }

    /// Pushes another image as `REPOSITORY:v1`.
    async fn push_other(&self, repository: &str) {
        let image = Image::layered(&format!("{repository}-other"), 1);
        self.registry.api().push(repository, &image, Some("v1")).await;
    }

    /// Signs an image as the team.
    fn sign(&self, repository: &str, image: &Image) {
        let target = format!("{}/{repository}@{}", self.registry.address(), image.root().digest);
        let mut sign = Command::new(env!("CARGO_BIN_EXE_rreg"));
        sign.args(["sign", &target, "--no-password", "--key"]).arg(self.policies.home().join("team.key"));
        tool::run(sign.env_clear().env("HOME", self.policies.home()));
    }

    async fn validate(&self, review: &Value) -> Value {
        self.ask("validate", review).await
    }

    async fn ask(&self, question: &str, review: &Value) -> Value {
        let api = self.registry.api();
        let answer = asking(api.post(format!("/admission/v1/{question}")), review).expect(200).await;
        assert_eq!(answer.header("content-type"), "application/json");
        response(&answer.json(), review)
    }

    /// Asks until it is allowed: decisions follow new evidence within seconds.
    async fn becomes_allowed(&self, review: &Value) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let response = self.validate(review).await;
            if response["allowed"] == true {
                return;
            }
            assert!(Instant::now() < deadline, "still refused: {response}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn asking<'a>(call: Call<'a>, review: &Value) -> Call<'a> {
    call.header("content-type", "application/json").body(review.to_string())
}

/// The `response` of an answer to `review`.
fn response(answer: &Value, review: &Value) -> Value {
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].clone()
}

/// A review of a new pod.
fn pod(images: &[&str]) -> Value {
    let containers = images.iter().enumerate();
    let containers: Vec<Value> =
        containers.map(|(i, image)| json!({"name": format!("c{i}"), "image": image})).collect();
    let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}});
    created(("", "Pod", "pods"), &object)
}

fn created((group, kind, resource): (&str, &str, &str), object: &Value) -> Value {
    let kind = json!({"group": group, "version": "v1", "kind": kind});
    let resource = json!({"group": group, "version": "v1", "resource": resource});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "namespace": "prod", "operation": "CREATE", "dryRun": false,
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": object, "oldObject": null,
        },
    })
}

fn message(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 403, "{response}");
    response["status"]["message"].as_str().unwrap()
}

fn warnings(response: &Value) -> Vec<&str> {
    let warnings = response["warnings"].as_array();
    warnings.map(|list| list.iter().map(|w| w.as_str().unwrap()).collect()).unwrap_or_default()
}

/// The operations of an answer's patch.
fn patch(response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch", "{response}");
    let text = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The kinds that the server knows, as `deployments.apps`, out of what it says about one that it does not.
pub(crate) async fn known_kinds(registry: &Registry) -> Vec<String> {
    let review = created(("example.com", "Widget", "widgets"), &json!({}));
    let answer = asking(registry.api().post("/admission/v1/validate"), &review).expect(200).await.json();
    let text = message(&response(&answer, &review)).to_owned();
    let (_, rest) = text.split_once("known are ").unwrap_or_else(|| panic!("{text}"));
    let (kinds, _) = rest.split_once(". ").unwrap_or_else(|| panic!("{text}"));
    kinds.split(", ").map(str::to_owned).collect()
}
