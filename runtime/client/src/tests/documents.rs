//! Documents: bounded, and within one origin.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use reqwest::Url;

use super::harness::Server;
use crate::DocumentClient;

async fn get(of: &str, target: &str) -> Result<Bytes, String> {
    let base = Url::parse(&format!("http://{of}/")).unwrap();
    let client = DocumentClient::new(&base, None, Duration::from_secs(10)).unwrap();
    client.get(&base.join(target).unwrap(), 16).await
}

#[tokio::test]
async fn bounded_and_within_one_origin() {
    let other = Server::start(|_, _| "elsewhere".into_response()).await;
    let there = format!("http://{}/", other.host);
    let server = Server::start(move |_, asked| match asked.line.as_str() {
        "GET /good" => "document".into_response(),
        "GET /moved" => (StatusCode::FOUND, [("location", "/good")]).into_response(),
        "GET /away" => (StatusCode::FOUND, [("location", there.as_str())]).into_response(),
        "GET /round" => (StatusCode::FOUND, [("location", "/round")]).into_response(),
        "GET /long" => "x".repeat(17).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    assert_eq!(get(&server.host, "/good").await.unwrap(), "document");
    assert_eq!(get(&server.host, "/moved").await.unwrap(), "document");
    for (target, why) in [
        ("/away", "redirected to another server"),
        ("/round", "more than 3 times"),
        ("/long", "larger than 16 bytes"),
        ("/none", "404"),
        ("http://registry.example/", "not at an https address"),
        ("ftp://127.0.0.1/", "not at an https address"),
        ("http://[::1]/", "this machine or link"),
        ("http://169.254.169.254/", "this machine or link"),
    ] {
        let error = get(&server.host, target).await.unwrap_err();
        assert!(error.contains(why), "{target}: {error}");
    }
    assert!(other.asked.lock().unwrap().is_empty());
}
