//! Credentials that change while a client runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::harness::{Server, answer};
use crate::{ErrorClass, Keychain, RegistryClient};

/// How a registry asks who is calling, and how it says no.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Basic,
    /// As ECR: a password that has expired is forbidden.
    Forbidden,
    /// A token service that refuses.
    Token,
    /// A token service that takes a wrong password for nobody, who may not read.
    Anonymous,
}

const KINDS: [Kind; 4] = [Kind::Basic, Kind::Forbidden, Kind::Token, Kind::Anonymous];

/// A registry that takes the password of `now`.
async fn registry(kind: Kind, now: Arc<Mutex<&'static str>>) -> Server {
    Server::start(move |_, asked| {
        let now = *now.lock().unwrap();
        let basic = format!("Basic {}", STANDARD.encode(format!("AWS:{now}")));
        let (shown, host) = (asked.header("authorization"), asked.header("host").unwrap());
        let realm = format!(r#"Bearer realm="http://{host}/token",service="s""#);
        let refused = |status| answer(status, &[("www-authenticate", realm.as_str())], "");
        let tags = || answer(200, &[], r#"{"tags":["x"]}"#);
        match (kind, shown) {
            (Kind::Token | Kind::Anonymous, shown) if asked.line.contains("/token") => {
                match (kind, shown == Some(&basic)) {
                    (_, true) => answer(200, &[], format!(r#"{{"token":"{now}","expires_in":3600}}"#)),
                    (Kind::Anonymous, _) => answer(200, &[], r#"{"token":"nobody","expires_in":3600}"#),
                    _ => answer(401, &[], ""),
                }
            }
            (Kind::Token | Kind::Anonymous, shown) if shown == Some(&format!("Bearer {now}")) => tags(),
            (Kind::Anonymous, Some("Bearer nobody")) => refused(403),
            (Kind::Token | Kind::Anonymous, _) => refused(401),
            (_, shown) if shown == Some(&basic) => tags(),
            (Kind::Forbidden, Some(_)) => answer(403, &[], ""),
            _ => answer(401, &[("www-authenticate", "Basic realm=x")], ""),
        }
    })
    .await
}

/// Where a credential is kept.
#[derive(Clone, Copy, Debug)]
enum Place {
    Password,
    Config,
    Helper,
}

impl Place {
    fn write(self, dir: &Path, password: &str) -> PathBuf {
        let (name, text) = match self {
            Self::Password => ("password", format!("{password}\n")),
            Self::Config => ("config.json", STANDARD.encode(format!("AWS:{password}"))),
            Self::Helper => ("secret", format!(r#"{{"Username":"AWS","Secret":"{password}"}}"#)),
        };
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn keychain(self, dir: &Path, host: &str, password: &str) -> (Keychain, PathBuf) {
        let path = self.write(dir, password);
        match self {
            Self::Password => (Keychain::password_file("AWS".into(), path.clone()), path),
            Self::Config => {
                self.fill(&path, host);
                (Keychain::from_files(vec![path.clone()]), path)
            }
            Self::Helper => {
                let script = dir.join("docker-credential-kept");
                std::fs::write(&script, format!("#!/bin/sh\ncat {}\n", path.display())).unwrap();
                std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
                let config = dir.join("helped.json");
                std::fs::write(&config, r#"{"credsStore":"kept"}"#).unwrap();
                let programs = [dir, Path::new("/usr/bin"), Path::new("/bin")];
                let programs = std::env::join_paths(programs).unwrap();
                (Keychain::from_files(vec![config]).with_helper_path(programs), path)
            }
        }
    }

    /// Puts what was written under the registry's name.
    fn fill(self, path: &Path, host: &str) {
        if let Self::Config = self {
            let auth = std::fs::read_to_string(path).unwrap();
            std::fs::write(path, format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#)).unwrap();
        }
    }
}

async fn tags(client: &RegistryClient, repository: &str) -> Result<Vec<String>, crate::ClientError> {
    client.tags(&repository.parse().unwrap()).await
}

#[tokio::test]
async fn what_is_stored_is_read_again_after_a_refusal() {
    for place in [Place::Password, Place::Config, Place::Helper] {
        for kind in KINDS {
            let dir = tempfile::tempdir().unwrap();
            let now = Arc::new(Mutex::new("one"));
            let server = registry(kind, now.clone()).await;
            let (keychain, path) = place.keychain(dir.path(), &server.host, "one");
            let client = server.client_with(keychain);
            tags(&client, "a/b").await.unwrap();
            *now.lock().unwrap() = "two";
            place.write(dir.path(), "two");
            place.fill(&path, &server.host);
            for repository in ["a/b", "c/d"] {
                let found = tags(&client, repository).await;
                assert!(found.is_ok(), "{place:?} {kind:?} {repository}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_credential_that_stays_refused_is_told_as_that() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(Mutex::new("hunter2"));
        let server = registry(kind, now.clone()).await;
        let (keychain, path) = Place::Password.keychain(dir.path(), &server.host, "hunter2");
        let client = server.client_with(keychain);
        tags(&client, "a/b").await.unwrap();
        *now.lock().unwrap() = "other";
        let refused = tags(&client, "a/b").await.unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Denied, "{kind:?}: {refused}");
        // What cannot be read says no more than what was read before.
        std::fs::remove_file(&path).unwrap();
        let before = server.lines().len();
        let refused = tags(&client, "a/b").await.unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Denied, "{kind:?}: {refused}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
        assert!(server.lines().len() - before <= 4, "{kind:?}: {:?}", server.lines());
    }
}

#[tokio::test]
async fn refusals_run_no_helper_each() {
    let dir = tempfile::tempdir().unwrap();
    let server = registry(Kind::Basic, Arc::new(Mutex::new("right"))).await;
    let (keychain, _) = Place::Helper.keychain(dir.path(), &server.host, "wrong");
    let (script, runs) = (dir.path().join("docker-credential-kept"), dir.path().join("runs"));
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, format!("{text}echo >> {}\n", runs.display())).unwrap();
    let client = server.client_with(keychain);
    let started = std::time::Instant::now();
    for number in 0..40 {
        assert!(tags(&client, &format!("a/b{number}")).await.is_err());
    }
    let runs = std::fs::read_to_string(&runs).unwrap().lines().count();
    let most = 3 + usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(runs <= most, "{runs} runs for 40 refusals, at most {most}");
}
