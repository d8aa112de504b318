//! What the server keeps is its owner's alone, and so are the keys that sign tokens.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::harness::http::basic;
use crate::harness::image::Image;
use crate::harness::{Backend, tool};

use super::{PASSWORD, Team, bearing, token};

/// Every file and directory below, with its permissions.
fn modes(dir: &Path, all: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        all.push((entry.path().display().to_string(), found.mode() & 0o7777));
        if found.is_dir() {
            modes(&entry.path(), all);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_reads_what_the_server_writes() {
    let Some(mut team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let api = team.0.api();
    let image = Image::layered("team/app", 1);
    for blob in [3 << 20, 10] {
        let blob = crate::harness::image::Blob::new(vec![7; blob]);
        let start = api.post("/v2/team/app/blobs/uploads/").header("authorization", &basic("root", PASSWORD));
        let place = start.expect(202).await.header("location").to_owned();
        let put = api.put(format!("{place}?digest={}", blob.digest), blob.bytes.clone());
        put.header("authorization", &basic("root", PASSWORD)).expect(201).await;
    }
    drop(image);
    let data = team.0.home().join("data");
    let data = if data.exists() { data } else { team.0.home().to_owned() };
    let mut all = Vec::new();
    modes(&data, &mut all);
    assert!(all.iter().any(|(path, _)| path.ends_with("rreg.db")), "{all:?}");
    let open: Vec<_> = all.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty(), "{open:?}");
    // Those of an older version are named, and mended on request.
    let database = all.iter().find(|(path, _)| path.ends_with("rreg.db")).unwrap().0.clone();
    fs::set_permissions(&database, Permissions::from_mode(0o644)).unwrap();
    let output = team.0.command(&["config", "check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("rreg.db") && said.contains("0644"), "{said}");
    tool::run(&mut team.0.command(&["config", "check", "--fix"]));
    assert_eq!(fs::metadata(&database).unwrap().mode() & 0o7777, 0o600);
    tool::run(&mut team.0.command(&["config", "check"]));
    team.0.stop();
}

/// What `serve` would refuse is named before; and so are secrets that everybody may read.
#[test]
fn files_that_are_named_are_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let check = |settings: &[(&str, &str)], more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rreg"));
        command.env_clear().arg("config").arg("check").args(more).envs(settings.iter().copied());
        command.env("RREG_STORAGE__DATA", home.path().join("data"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let path = |name: &str| home.path().join(name).display().to_string();
    let (cert, key, users, policies) = (path("cert.pem"), path("key.pem"), path("users"), path("policies"));
    let tls = [("RREG_SERVER__TLS__CERT", cert.as_str()), ("RREG_SERVER__TLS__KEY", &key)];
    let htpasswd = [("RREG_AUTH__MODE", "local"), ("RREG_AUTH__HTPASSWD", users.as_str())];
    let directory = [("RREG_POLICY__DIRECTORY", policies.as_str())];
    for (settings, missing) in [(&tls[..], "cert.pem"), (&htpasswd, "users"), (&directory, "policies")] {
        let (code, said) = check(settings, &[]);
        assert!(code == Some(78) && said.contains("would not start") && said.contains(missing), "{said}");
        // On the machine that it is for they may be there.
        assert!(said.contains("--elsewhere"), "{said}");
        assert_eq!(check(settings, &["--elsewhere"]), (Some(0), String::new()));
    }
    // Secrets are in files that are opened where they are used.
    let entry =
        format!(r#"[{{name="a", url="https://a.x", username="u", password_file={:?}}}]"#, path("password"));
    let upstream = [("RREG_UPSTREAMS", entry.as_str())];
    let url = [("RREG_DATABASE__URL_FILE", users.as_str())];
    for (settings, missing) in [(&upstream[..], "password"), (&url, "users")] {
        let (code, said) = check(settings, &[]);
        assert!(code == Some(78) && said.contains(missing), "{said}");
        assert_eq!(check(settings, &["--elsewhere"]), (Some(0), String::new()));
    }
    fs::create_dir(&policies).unwrap();
    assert_eq!(check(&directory, &[]), (Some(0), String::new()));
    fs::write(home.path().join("policies/a.yaml"), "kind: Nothing").unwrap();
    assert!(check(&directory, &[]).1.contains("a.yaml"));
    fs::write(&users, "").unwrap();
    for (mode, is_named) in [(0o644, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&users, Permissions::from_mode(mode)).unwrap();
        let (code, said) = check(&htpasswd, &[]);
        assert!(code == Some(0) && said.contains("open to others") == is_named, "{mode:o} {said}");
    }
    fs::set_permissions(&users, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check(&htpasswd, &["--fix"]).0, Some(0));
    assert_eq!(fs::metadata(&users).unwrap().mode() & 0o777, 0o640);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_keys_are_sealed_where_there_is_a_key_file() {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(mut team) = Team::start(backend, &[]).await else { return };
        let before = token(&team, "root", &["registry:catalog:*"]).await;
        let stored = async |team: &Team| -> Vec<Vec<u8>> {
            use sqlx::{Connection as _, Row as _};
            sqlx::any::install_default_drivers();
            let mut conn = sqlx::AnyConnection::connect(&team.0.database_url()).await.unwrap();
            let rows =
                sqlx::query("SELECT private_key FROM signing_keys").fetch_all(&mut conn).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        };
        let clear = stored(&team).await;
        team.0.stop();
        let file = team.0.home().join("seal");
        fs::write(&file, "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldCE=\n").unwrap();
        team.0.set("RREG_AUTH__KEY_FILE", file.to_str().unwrap());
        team.0.resume();
        // The same key, sealed: what was signed before is still good.
        bearing(team.0.api().get("/v2/_catalog"), &before).expect(200).await;
        let sealed = stored(&team).await;
        assert_eq!(sealed.len(), clear.len());
        for (clear, sealed) in clear.iter().zip(&sealed) {
            assert!(!sealed.windows(16).any(|part| clear.windows(16).any(|other| other == part)));
        }
        team.0.stop();
        // With another secret, or with none, it does not start, and says why.
        for (other, why) in [
            ("another secret of more than 32 bytes, as it should be", "another key file"),
            ("", "auth.key_file"),
        ] {
            let mut command = team.0.command(&["serve", "--listen", "127.0.0.1:0"]);
            if other.is_empty() {
                command.env_remove("RREG_AUTH__KEY_FILE");
            } else {
                fs::write(&file, other).unwrap();
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(why), "{said}");
        }
    }
}

/// What was given out before is worth nothing after a change of the password, or for another account of the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_ends_the_tokens_of_the_old_one() {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(team) = Team::start(backend, &[]).await else { return };
        let mut old = Vec::new();
        for name in ["writer", "reader", "maintainer"] {
            old.push((name, token(&team, name, &["registry:catalog:*"]).await));
        }
        let mut change = team.0.command(&["user", "passwd", "writer", "--password-stdin"]);
        super::pipe(&mut change, "another correct horse");
        team.rreg(&["user", "rm", "reader"]);
        team.user(&["reader"]);
        let api = team.0.api();
        for (name, token) in &old {
            let status = bearing(api.get("/v2/_catalog"), token).send().await.status;
            assert_eq!(status, if *name == "maintainer" { 200 } else { 401 }, "{name}");
        }
        let new = token(&team, "reader", &["registry:catalog:*"]).await;
        bearing(api.get("/v2/_catalog"), &new).expect(200).await;
    }
}
