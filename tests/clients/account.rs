//! `rreg login`, `logout` and `whoami`: one login for rreg, Docker and podman's tools.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{Home, login, shapes};
use crate::harness::{Backend, Registry, tool};

const RREG: &str = env!("CARGO_BIN_EXE_rreg");
const PASSWORD: &str = "correct horse battery";

async fn registry(mode: &str) -> Option<Registry> {
    let registry = Registry::start_with(Backend::SqliteDirectory, &[("RREG_AUTH__MODE", mode)]).await?;
    login::succeed(login::feed(
        &mut registry.command(&["user", "create", "alice", "--password-stdin"]),
        PASSWORD,
    ));
    tool::run(&mut registry.command(&["org", "add", "team", "alice", "writer"]));
    Some(registry)
}

/// Exit code, and everything that was said, which must not be the password.
fn said(home: &Home, args: &[&str], input: &str) -> (Option<i32>, String) {
    let (what, output) = login::feed(home.command(RREG).args(args), input);
    assert!(!what.contains(PASSWORD), "{what}");
    (output.status.code(), what)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_in_and_out() {
    let Some(registry) = registry("local").await else { return };
    let home = Home::for_programs(&[]).unwrap();
    let host = registry.address();
    let expect = |code: i32, args: &[&str], input: &str, parts: &[&str]| {
        let (found, what) = said(&home, args, input);
        assert_eq!(found, Some(code), "{what}");
        for part in parts {
            assert!(what.contains(part), "{part:?} is not in {what}");
        }
    };
    let hint = format!("rreg login {host}");
    let in_args = ["login", "--username", "alice", "--password-stdin", host];
    let file = home.path("auth.json");
    expect(77, &["ls", host], "", &[&hint, "without a login"]);
    expect(77, &["whoami", host], "", &[&hint, "nobody is logged in"]);
    expect(77, &["inspect", &format!("{host}/team/app:1")], "", &[&hint]);
    expect(77, &in_args, "wrong password", &["nothing was kept", "UNAUTHORIZED: the user name, password"]);
    let (_, what) = said(&home, &[&in_args[..], &["--output", "json"]].concat(), "wrong password");
    assert!(what.contains("\"status\":401") && !what.contains("errors"), "{what}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{}", "what is wrong is not kept");
    // Never as an argument, and never a guess where nobody can be asked.
    expect(
        64,
        &["login", "--username", "alice", "--password", PASSWORD.split(' ').next().unwrap(), host],
        "",
        &["everybody on this machine"],
    );
    expect(66, &["login", "--username", "alice", host], "", &["--password-stdin"]);
    expect(64, &["login", "--password-stdin", host], PASSWORD, &["--username"]);

    expect(0, &in_args, &format!("{PASSWORD}\n"), &["logged in"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    expect(0, &["whoami", host], "", &["alice"]);
    expect(0, &["whoami", &format!("http://{host}")], "", &["alice"]);
    let [(_, image), ..] = shapes("account");
    let layout = home.layout("image", &image).display().to_string();
    expect(0, &["push", &layout, &format!("{host}/team/app:1")], "", &[]);
    expect(0, &["ls", host], "", &["team/app"]);
    // Why is said, although the first question of a push is a HEAD, which has no answer in words.
    expect(77, &["push", &layout, &format!("{host}/other/app:1")], "", &["alice", "organisation other"]);
    if tool::find("skopeo").is_some() {
        tool::run(
            home.command("skopeo")
                .args(["inspect", "--tls-verify=false"])
                .arg(format!("docker://{host}/team/app:1")),
        );
    }

    expect(0, &["logout", host], "", &["logged out"]);
    expect(0, &["logout", host], "", &["nothing was kept"]);
    expect(77, &["whoami", host], "", &[&hint]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_checked_is_not_kept() {
    let Some(registry) = registry("open").await else { return };
    let home = Home::for_programs(&[]).unwrap();
    let (code, what) =
        said(&home, &["login", "-u", "alice", "--password-stdin", registry.address()], PASSWORD);
    assert!(code == Some(0) && what.contains("nothing was kept"), "{what}");
    assert_eq!(fs::read_to_string(home.path("auth.json")).unwrap(), "{}");
    let (code, what) = said(&home, &["login", "-u", "alice", "--password-stdin", "127.0.0.1:1"], PASSWORD);
    assert!(code == Some(2) && what.contains("tried http://127.0.0.1:1"), "{what}");
    assert_eq!(fs::read_to_string(home.path("auth.json")).unwrap(), "{}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_for_programs_have_codes() {
    let Some(registry) = registry("open").await else { return };
    let home = Home::for_programs(&[]).unwrap();
    let error = |args: &[&str]| -> serde_json::Value {
        let output = tool::output(home.command(RREG).args(args).args(["--output", "json"]));
        serde_json::from_slice(&output.stderr).unwrap()
    };
    let name = format!("{}/team/app:9.9", registry.address());
    let found = error(&["inspect", &name])["error"].clone();
    assert_eq!(
        (&found["status"], &found["code"], &found["exit"]),
        (&404.into(), &"MANIFEST_UNKNOWN".into(), &1.into()),
        "{found}"
    );
    let text = found["message"].as_str().unwrap();
    assert!(text.contains(&name) && !text.contains("manifest_get") && !text.contains('{'), "{found}");
    let found = error(&["ls", "127.0.0.1:1"])["error"].clone();
    assert_eq!(
        (&found["status"], &found["code"]),
        (&serde_json::Value::Null, &"UNREACHABLE".into()),
        "{found}"
    );
    assert_eq!(error(&["inspect"])["error"]["code"], "USAGE");
    assert_eq!(error(&["audit", "--data", "nowhere"])["error"]["code"], "CONFIG");
}
