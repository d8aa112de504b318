//! Who is calling: challenges, tokens, and where credentials must not go.

use std::path::Path;

use rreg_oci::Descriptor;

use super::harness::{Server, answer};
use crate::{ErrorClass, ErrorKind, Keychain};

fn keychain(dir: &Path, host: &str, entry: &str) -> Keychain {
    let path = dir.join("config.json");
    std::fs::write(&path, format!(r#"{{"auths":{{"{host}":{entry}}}}}"#)).unwrap();
    Keychain::from_files(vec![path])
}

/// A registry with its own token endpoint, whose tokens live `lifetime` seconds.
async fn with_tokens(lifetime: u64) -> Server {
    Server::start(move |n, asked| {
        let host = asked.header("host").unwrap();
        if asked.line.contains("/token") {
            return answer(200, &[], format!(r#"{{"token":"t{n}","expires_in":{lifetime}}}"#));
        }
        match asked.header("authorization") {
            Some(value) if value.starts_with("Bearer t") => {
                answer(200, &[], r#"{"name":"a/b","tags":["x"]}"#)
            }
            _ => {
                let realm = format!(
                    r#"Bearer realm="http://{host}/token",service="reg",scope="repository:a/b:pull""#
                );
                answer(401, &[("www-authenticate", &realm)], "{}")
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_asked_for_once_a_scope() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_tokens(300).await;
    let client = server.client_with(keychain(dir.path(), &server.host, r#"{"auth":"dTpw"}"#));
    let repository = "a/b".parse().unwrap();
    for _ in 0..3 {
        assert_eq!(client.tags(&repository).await.unwrap(), ["x"]);
    }
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("/token")).count(), 1, "{lines:?}");
    let asked = server.asked.lock().unwrap()[1].clone();
    assert_eq!(asked.line, "GET /token?service=reg&scope=repository%3Aa%2Fb%3Apull&account=u");
    assert_eq!(asked.header("authorization"), Some("Basic dTpw"));
    assert_eq!(lines.len(), 1 + 1 + 3, "one challenge, one token, three lists: {lines:?}");
}

#[tokio::test]
async fn an_old_token_is_not_used() {
    let server = with_tokens(1).await;
    let client = server.client();
    let repository = "a/b".parse().unwrap();
    for _ in 0..2 {
        client.tags(&repository).await.unwrap();
    }
    assert_eq!(server.lines().iter().filter(|line| line.contains("/token")).count(), 2);
}

#[tokio::test]
async fn identity_tokens_are_refresh_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_tokens(300).await;
    let client = server.client_with(keychain(dir.path(), &server.host, r#"{"identitytoken":"r&1"}"#));
    client.tags(&"a/b".parse().unwrap()).await.unwrap();
    let asked = server.asked.lock().unwrap()[1].clone();
    assert_eq!(asked.line, "POST /token");
    let body = String::from_utf8(asked.body.to_vec()).unwrap();
    assert!(body.contains("grant_type=refresh_token") && body.contains("refresh_token=r%261"), "{body}");
    assert_eq!(asked.header("authorization"), None);
}

#[tokio::test]
async fn basic_and_its_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, asked| match asked.header("authorization") {
        Some("Basic dTpw") => answer(200, &[], "{}"),
        _ => answer(401, &[("www-authenticate", "Basic realm=x")], r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#),
    })
    .await;
    let good = server.client_with(keychain(dir.path(), &server.host, r#"{"auth":"dTpw"}"#));
    good.ping().await.unwrap();
    for client in
        [server.client(), server.client_with(keychain(dir.path(), &server.host, r#"{"auth":"dTpx"}"#))]
    {
        let error = client.ping().await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied);
        assert!(
            error.to_string().contains("UNAUTHORIZED") && error.hint().unwrap().contains("log in"),
            "{error}"
        );
    }
    assert_eq!(server.lines().len(), 2 + 1 + 2, "a refused password is not tried twice");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Server::start(|_, _| answer(200, &[], "content")).await;
    let elsewhere = format!("http://{}/signed?x=1", storage.host);
    let registry = Server::start(move |_, asked| match asked.header("authorization") {
        Some("Basic dTpw") => answer(307, &[("location", &elsewhere)], ""),
        _ => answer(401, &[("www-authenticate", "Basic realm=x")], ""),
    })
    .await;
    let client = registry.client_with(keychain(dir.path(), &registry.host, r#"{"auth":"dTpw"}"#));
    let blob = Descriptor::new("x", rreg_oci::Digest::sha256(b"content"), 7);
    let bytes = client.fetch_blob(&"a".parse().unwrap(), &blob, 100).await.unwrap();
    assert_eq!(&bytes[..], b"content");
    assert_eq!(storage.asked.lock().unwrap()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_realm_on_another_machine_in_the_clear_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for realm in ["http://auth.example.org/token", "ftp://127.0.0.1/", "file:///etc/passwd"] {
        let header = format!("Bearer realm=\"{realm}\"");
        let server = Server::start(move |_, _| answer(401, &[("www-authenticate", &header)], "")).await;
        let client = server.client_with(keychain(dir.path(), &server.host, r#"{"auth":"dTpw"}"#));
        let error = client.ping().await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Auth(_)), "{error}");
        assert_eq!(error.class(), ErrorClass::Denied);
    }
}

#[tokio::test]
async fn a_token_answer_is_bounded_and_never_quoted() {
    for body in ["x".repeat(2 << 20), r#"{"token":"hunter2"#.to_owned(), r#"{"token":""}"#.to_owned()] {
        let server = Server::start(move |_, asked| {
            let host = asked.header("host").unwrap();
            let realm = format!("Bearer realm=\"http://{host}/token\"");
            if asked.line.contains("/token") {
                answer(200, &[], body.clone())
            } else {
                answer(401, &[("www-authenticate", &realm)], "")
            }
        })
        .await;
        let error = server.client().ping().await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Auth(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
