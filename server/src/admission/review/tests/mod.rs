//! Reviews of objects that an API server might send, judged without a server.

mod answers;
mod objects;
mod persons;
mod requests;

use std::collections::HashMap;
use std::sync::Mutex;

use chrono::DateTime;
use rreg_oci::{Digest, ImageReference};
use rreg_policy::{Decision, Mode, Outcome, Outturn, Point, PolicyResult, Reason};
use serde_json::{Value, json};

use super::answer::Answer;
use super::judge::{Decided, Judge, Resolved, Scope, mutate, validate};
use super::request::Request;
use crate::config::{Config, ForeignImages, Upstreams};
use crate::mirror::Mirror;

const HOST: &str = "registry.example:5000";

/// A registry in which each image has the outcome that its repository is named after.
#[derive(Default)]
struct Named {
    /// Images that were decided about.
    asked: Mutex<Vec<String>>,
    /// What is done to a decision before it is given.
    edits: HashMap<&'static str, fn(&mut Decision)>,
}

fn digest_of(image: &ImageReference) -> Digest {
    image.digest.unwrap_or_else(|| Digest::sha256(image.to_string().as_bytes()))
}

impl Judge for Named {
    type Failure = &'static str;

    async fn resolve(&self, image: &ImageReference) -> Result<Resolved, &'static str> {
        match image.repository.as_str() {
            "team/unknown" => Ok(Resolved::Unknown("it is not here".into())),
            "team/broken" => Err("the database is away"),
            "team/unanswered" => Ok(Resolved::Unanswered("its upstream hangs".into())),
            _ => Ok(Resolved::Digest(digest_of(image))),
        }
    }

    async fn decide(
        &self,
        image: &ImageReference,
        digest: &Digest,
    ) -> Result<Result<Decided, String>, &'static str> {
        self.asked.lock().unwrap().push(image.to_string());
        self.decided(image, digest)
    }

    fn decide_unanswered(&self, image: &ImageReference, _why: &str) -> Decided {
        self.decided(image, &digest_of(image)).unwrap().unwrap()
    }
}

impl Named {
    fn decided(
        &self,
        image: &ImageReference,
        digest: &Digest,
    ) -> Result<Result<Decided, String>, &'static str> {
        let name = image.repository.as_str().strip_prefix("team/").unwrap_or_default();
        let (mode, result, outcome) = match name {
            "deny" | "unanswered" => (Mode::Enforce, Outturn::Fail, Outcome::Deny),
            "warn" => (Mode::Warn, Outturn::Fail, Outcome::Warn),
            "audit" => (Mode::Audit, Outturn::Fail, Outcome::Allow),
            "undecided" => return Err("the database is away"),
            _ => (Mode::Enforce, Outturn::Pass, Outcome::Allow),
        };
        let reason = Reason {
            rule: "require[0].signature".into(),
            result,
            expected: "a signature of ci".into(),
            found: "none".into(),
            evidence: Vec::new(),
            fix: "sign it".into(),
            exempted: Vec::new(),
        };
        let policy = PolicyResult {
            policy: "prod".into(),
            revision: Digest::sha256(b"policy"),
            mode,
            result,
            outcome,
            reasons: vec![reason],
            last_good: None,
        };
        let mut decision = Decision {
            repository: image.repository.to_string(),
            digest: *digest,
            at: Point::Admit,
            outcome,
            policies: vec![policy],
            decided_at: DateTime::UNIX_EPOCH,
            holds_until: None,
        };
        if let Some(edit) = self.edits.get(name) {
            edit(&mut decision);
        }
        Ok(Ok(Decided { revision: "sha256:policies".into(), decision }))
    }
}

fn image(name: &str) -> String {
    format!("{HOST}/team/{name}:1")
}

/// A pod with these images in its containers.
fn pod(images: &[&str]) -> Value {
    let containers = images.iter().enumerate();
    let containers: Vec<Value> =
        containers.map(|(i, image)| json!({"name": format!("c{i}"), "image": image})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}})
}

/// A review of a pod.
fn review(operation: &str, object: &Value, old: &Value) -> Value {
    review_of(("", "Pod"), operation, object, old)
}

fn review_of((group, kind): (&str, &str), operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": "anything"},
            "requestKind": {"group": group, "version": "v1", "kind": kind},
            "name": "p", "namespace": "prod", "operation": operation,
            "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
            "object": object, "oldObject": old, "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

/// What the webhook answers, as its `response`.
struct Asked {
    judge: Named,
    hosts: Vec<String>,
    upstreams: Upstreams,
    foreign: ForeignImages,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            judge: Named::default(),
            hosts: vec![HOST.into()],
            upstreams: Upstreams::default(),
            foreign: ForeignImages::Deny,
        }
    }
}

impl Asked {
    fn answer(&self, review: &Value, mutates: bool) -> Result<Answer, &'static str> {
        let body = review.to_string();
        let request = Request::parse(body.as_bytes()).unwrap();
        let mirror = Mirror::new(&Config { upstreams: self.upstreams.clone(), ..Config::default() }).unwrap();
        let scope = Scope { hosts: &self.hosts, mirror: &mirror, foreign: self.foreign };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            if mutates {
                mutate(&request, scope, &self.judge).await
            } else {
                validate(&request, scope, &self.judge, true).await
            }
        })
    }

    fn validate(&self, review: &Value) -> Value {
        self.answer(review, false).unwrap().into_review("705a")["response"].clone()
    }

    fn mutate(&self, review: &Value) -> Value {
        self.answer(review, true).unwrap().into_review("705a")["response"].clone()
    }
}

fn validated(review: &Value) -> Value {
    Asked::default().validate(review)
}

fn mutated(review: &Value) -> Value {
    Asked::default().mutate(review)
}

/// The operations of an answer's patch.
fn patch(response: &Value) -> Vec<Value> {
    use base64::Engine as _;
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = response["patch"].as_str().unwrap();
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
    serde_json::from_slice(&patch).unwrap()
}

fn message(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 403);
    response["status"]["message"].as_str().unwrap()
}

fn warnings(response: &Value) -> Vec<&str> {
    let warnings = response["warnings"].as_array();
    warnings.map(|list| list.iter().map(|w| w.as_str().unwrap()).collect()).unwrap_or_default()
}
