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

/// A server that asks for a token of its own, and gives one to whoever asks for it. Its realm may be on another host.
async fn asks_for_tokens(realm: Option<String>) -> Server {
    Server::start(move |_, asked| {
        let host = asked.header("host").unwrap();
        if asked.line.contains("/token") {
            return answer(200, &[], r#"{"token":"theirs"}"#);
        }
        match asked.header("authorization") {
            Some("Bearer theirs") => answer(200, &[], r#"{"name":"a/b","tags":["there"]}"#),
            _ => {
                let realm = realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
                let challenge = format!(r#"Bearer realm="{realm}",scope="repository:there/b:pull""#);
                answer(401, &[("www-authenticate", &challenge)], "")
            }
        }
    })
    .await
}

fn secrets(server: &Server) -> Vec<String> {
    let asked = server.asked.lock().unwrap();
    asked.iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)).collect()
}

#[tokio::test]
async fn what_a_redirect_leads_to_gets_no_credentials_and_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    // Three servers: the registry, where it sends readers, and a token service that is nobody's.
    let thief = asks_for_tokens(None).await;
    let there = asks_for_tokens(Some(format!("http://{}/token", thief.host))).await;
    let to = there.host.clone();
    let registry = Server::start(move |_, asked| match asked.header("authorization") {
        Some("Basic dTpw") if asked.line.contains("/a/b/") => {
            let location = format!("http://{to}/v2/there/b/tags/list");
            answer(307, &[("location", location.as_str())], "")
        }
        Some("Basic dTpw") => answer(200, &[], r#"{"name":"c/d","tags":["here"]}"#),
        _ => answer(401, &[("www-authenticate", "Basic realm=x")], ""),
    })
    .await;
    let client = registry.client_with(keychain(dir.path(), &registry.host, r#"{"auth":"dTpw"}"#));
    assert_eq!(client.tags(&"a/b".parse().unwrap()).await.unwrap(), ["there"], "as one without an account");
    assert_eq!(secrets(&there), ["Bearer theirs"]);
    assert!(secrets(&thief).is_empty());
    assert_eq!(thief.lines(), ["GET /token?scope=repository%3Athere%2Fb%3Apull"]);
    // The registry's own challenge still counts.
    assert_eq!(client.tags(&"c/d".parse().unwrap()).await.unwrap(), ["here"]);
    // A password that was given for the registry alone, as a cache has it, is not for others either.
    let password = crate::Credential::Password { user: "u".into(), password: "p".into() };
    let client = registry.client_with(Keychain::fixed(password));
    assert_eq!(client.tags(&"a/b".parse().unwrap()).await.unwrap(), ["there"]);
    assert!(secrets(&thief).is_empty());
}

#[tokio::test]
async fn what_a_redirect_leads_to_gets_what_is_kept_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let there = asks_for_tokens(None).await;
    let to = there.host.clone();
    let registry = Server::start(move |_, _| {
        let location = format!("http://{to}/v2/there/b/tags/list");
        answer(307, &[("location", location.as_str())], "")
    })
    .await;
    let client = registry.client_with(keychain(dir.path(), &there.host, r#"{"auth":"dTpw"}"#));
    assert_eq!(client.tags(&"a/b".parse().unwrap()).await.unwrap(), ["there"]);
    assert_eq!(secrets(&there), ["Basic dTpw", "Bearer theirs"]);
}

#[test]
fn a_realm_belongs_to_its_registry() {
    let owns = |registry: &str, realm: &str| {
        let url = |text: &str| reqwest::Url::parse(text).unwrap();
        crate::endpoint::owns_realm(&url(registry), &url(realm))
    };
    assert!(owns("https://r.example.org/", "https://r.example.org/token"));
    assert!(owns("https://r.example.org:5000/", "https://r.example.org:5001/auth"));
    assert!(owns("https://registry-1.docker.io/", "https://auth.docker.io/token"));
    for (registry, realm) in [
        ("https://r.example.org/", "https://auth.example.org/token"),
        ("https://r.example.org/", "https://r.example.org.evil.net/token"),
        ("https://r.example.org/", "https://auth.docker.io/token"),
        ("https://registry-1.docker.io/", "https://gitlab.com/jwt/auth"),
    ] {
        assert!(!owns(registry, realm), "{registry} {realm}");
    }
}

#[tokio::test]
async fn credentials_go_to_a_foreign_token_service_where_that_is_allowed_only() {
    let dir = tempfile::tempdir().unwrap();
    let registry = asks_for_tokens(Some("https://auth.invalid/token".to_owned())).await;
    let credentials = || keychain(dir.path(), &registry.host, r#"{"auth":"dTpw"}"#);
    let error = registry.client_with(credentials()).tags(&"a/b".parse().unwrap()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--token-realm auth.invalid"), "{text}");
    let options = crate::ClientOptions {
        keychain: std::sync::Arc::new(credentials()),
        token_realms: vec!["auth.invalid".to_owned()],
        ..crate::ClientOptions::default()
    };
    let client = crate::RegistryClient::new(&registry.host, &options).unwrap();
    let text = client.tags(&"a/b".parse().unwrap()).await.unwrap_err().to_string();
    assert!(!text.contains("--token-realm"), "it was tried: {text}");
    // Without credentials there is nothing to lose.
    let text = registry.client().tags(&"a/b".parse().unwrap()).await.unwrap_err().to_string();
    assert!(!text.contains("--token-realm"), "{text}");
}

#[tokio::test]
async fn a_hint_is_about_what_was_refused() {
    for (status, body, hint) in [
        (403, r#"{"errors":[{"code":"DENIED"}]}"#, Some("this account may not")),
        (403, r#"{"errors":[{"code":"UNSUPPORTED","message":"come by https"}]}"#, None),
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"there is no policy p"}]}"#, None),
        (404, "not found", Some("is 127.0.0.1")),
    ] {
        let server = Server::start(move |_, _| answer(status, &[], body)).await;
        let said = server.client().ping().await.unwrap_err().hint();
        let fits = said.as_deref().is_some_and(|said| hint.is_some_and(|hint| said.contains(hint)));
        assert!(fits || (said.is_none() && hint.is_none()), "{status} {body}: {said:?}");
    }
}

#[tokio::test]
async fn a_token_service_that_has_enough_says_for_how_long() {
    let server = Server::start(|_, asked| match asked.line.contains("/token") {
        true => answer(429, &[("retry-after", "600")], ""),
        false => answer(401, &[("www-authenticate", "Bearer realm=\"/token\"")], ""),
    })
    .await;
    let error = server.client().tags(&"a/b".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreachable);
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(600)));
}
