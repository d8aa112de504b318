//! Whoever administers the registry does so with rreg's own commands: by password, by the token of a robot, and by a
//! bearer token that is for it. Nobody else does.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::Backend;
use crate::harness::http::{base64, basic};

use super::{PASSWORD, Team, bearing, token};

const POLICY: &str = "
apiVersion: rreg/v1
kind: Policy
name: users
at: [run]
require: [{image: {nonRoot: true}}]
";

/// A command of rreg with the credentials of one account.
fn as_account(team: &Team, dir: &TempDir, name: &str, secret: &str, args: &[&str]) -> Command {
    let auth = base64(format!("{name}:{secret}").as_bytes());
    let file = dir.path().join(format!("{name}.json"));
    fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, team.0.address())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(args).env("REGISTRY_AUTH_FILE", file).env_remove("RREG_CONFIG");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_administrators_work_with_logins_on() {
    let Some(team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.yaml");
    fs::write(&policy, POLICY).unwrap();
    let key = dir.path().join("team");
    let (policy, key) = (policy.to_str().unwrap(), key.to_str().unwrap());
    let made = Command::new(env!("CARGO_BIN_EXE_rreg"))
        .args(["key", "generate", key, "--no-password"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let public = format!("{key}.pub");
    let robot = team.rreg(&["robot", "create", "deployer", "--admin"])["token"].as_str().unwrap().to_owned();
    let writer = team.rreg(&["robot", "create", "builder", "--org", "team", "--role", "writer"]);
    let writer = writer["token"].as_str().unwrap().to_owned();
    let address = team.0.address();
    let what_if = ["policy", "explain", "--what-if", policy, address];
    let commands: [&[&str]; 8] = [
        &["policy", "put", address, policy],
        &["policy", "list", address],
        &["policy", "get", address, "users"],
        &what_if,
        &["trust", "put", address, "team.pub", &public],
        &["trust", "list", address],
        &["trust", "delete", address, "team.pub"],
        &["policy", "delete", address, "users"],
    ];
    for (name, secret) in [("root", PASSWORD), ("deployer", &robot)] {
        for args in commands {
            let output = as_account(&team, &dir, name, secret, args).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {args:?}: {said}");
        }
    }
    for (name, secret) in [("maintainer", PASSWORD), ("builder", &writer)] {
        for args in commands {
            let output = as_account(&team, &dir, name, secret, args).output().unwrap();
            assert!(!output.status.success(), "{name}: {args:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("needs a registry administrator"), "{name}: {args:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_administers_where_its_scope_says_so() {
    let Some(team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let api = team.0.api();
    let list = || api.get("/v2/_rreg/policies");
    list().header("authorization", &basic("root", PASSWORD)).expect(200).await;
    let for_it = token(&team, "root", &["registry:admin:*"]).await;
    bearing(list(), &for_it).expect(200).await;
    let challenge = list().expect(401).await;
    let challenge = challenge.header("www-authenticate");
    assert!(challenge.contains("scope=\"registry:admin:*\""), "{challenge}");
    for (name, scope) in [
        ("root", "repository:team/app:pull,push"),
        ("root", "registry:catalog:*"),
        ("maintainer", "registry:admin:*"),
        ("anonymous", "registry:admin:*"),
    ] {
        let other = token(&team, name, &[scope]).await;
        let status = bearing(list(), &other).send().await.status;
        assert!(matches!(status, 401 | 403), "{name} {scope}: {status}");
    }
}
