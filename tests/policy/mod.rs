//! What a registry lets be pulled, pushed and tagged, seen by HTTP and by the clients that people use.

mod api;
mod broken;
mod clients;
mod disguise;
mod evidence;
mod keyless;
mod pull;
mod push;
mod replicas;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::Home;
use crate::harness::http::{Answer, manifest};
use crate::harness::{Backend, Registry};
use crate::trust::{key_pair, person, rreg};

/// A policy that is asked at every point of a running image.
const ANYWHERE: &str = r#"
apiVersion: rreg/v1
kind: Policy
name: anywhere
match: {repos: ["it/**"]}
at: [pull, admit, run]
mode: enforce
onError: deny
require:
  - signature: {any: [{key: team.pub}]}
"#;

/// Somebody with a team's key, another key, and a directory of policies.
struct Desk {
    home: Home,
    /// The team's private key.
    team: String,
    /// A private key that nobody trusts.
    other: String,
    policies: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let home = person();
        let ((team, public), (other, _)) = (key_pair(&home, "team"), key_pair(&home, "other"));
        let policies = home.path("policies");
        fs::create_dir(&policies).unwrap();
        fs::copy(public, policies.join("team.pub")).unwrap();
        Self { home, team, other, policies }
    }

    /// Writes a policy of the directory.
    fn set(&self, name: &str, text: &str) {
        // Moved into place: a half-written file would be a broken policy for a moment.
        let aside = self.home.path("policy.aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.policies.join(format!("{name}.yaml"))).unwrap();
    }

    fn public(&self) -> String {
        fs::read_to_string(self.policies.join("team.pub")).unwrap()
    }

    async fn registry(&self, backend: Backend) -> Option<Registry> {
        let directory = self.policies.display().to_string();
        Registry::start_with(backend, &[("RREG_POLICY__DIRECTORY", &directory)]).await
    }

    fn sign(&self, registry: &Registry, repository: &str, reference: &str, key: &str) {
        let join = if reference.contains(':') { '@' } else { ':' };
        let name = format!("{}/{repository}{join}{reference}", registry.address());
        rreg(&self.home, &["sign", &name, "--key", key]);
    }
}

/// A policy that wants the team's signature.
fn signed(mode: &str, at: &str) -> String {
    format!(
        "apiVersion: rreg/v1\nkind: Policy\nname: signed\nmatch: {{repos: [\"it/**\"]}}\nat: [{at}]\nmode: {mode}\n\
         onError: deny\nrequire:\n  - signature: {{any: [{{key: team.pub}}]}}\n"
    )
}

/// The error of a refusal: its message and its detail.
fn refusal(answer: &Answer) -> (String, Value) {
    assert_eq!(answer.status, 403, "{}", String::from_utf8_lossy(&answer.body));
    let error = answer.json()["errors"][0].clone();
    assert_eq!(error["code"], "DENIED", "{error}");
    (error["message"].as_str().unwrap().to_owned(), error["detail"].clone())
}

/// Asks until the answer is right: policies and directories are looked at every second.
async fn soon(registry: &Registry, repository: &str, reference: &str, status: u16) -> Answer {
    let began = Instant::now();
    loop {
        let answer = registry.api().get(manifest(repository, reference)).send().await;
        if answer.status == status {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{} instead of {status}", answer.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The body of a policy that is set over the API.
fn named(text: &str, name: &str) -> String {
    text.replace("name: signed", &format!("name: {name}"))
}

fn what_if(policy: &str, repositories: &[&str]) -> Vec<u8> {
    json!({"policy": policy, "repositories": repositories}).to_string().into_bytes()
}
