//! Paths, queries and methods.

use super::raw::{assert_alive, get, place, send};

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn tricks() -> Vec<String> {
    let long = "a".repeat(300);
    let longer = "a/".repeat(20_000);
    [
        "/v2/../../etc/passwd".to_owned(),
        "/v2/a/../../../secret/manifests/x".into(),
        "/v2/a/%2e%2e/%2e%2e/manifests/x".into(),
        "/v2/a%2f..%2f..%2fsecret/manifests/x".into(),
        "/v2/a/blobs/..%2f..%2f..%2frreg.db".into(),
        "/v2/a/blobs/sha256:../../../rreg.db".into(),
        "/v2/a/blobs/uploads/../../../../rreg.db".into(),
        "/v2/a/blobs/uploads/..%2f..%2frreg.db".into(),
        "/v2/a%00/manifests/x".into(),
        "/v2/a/manifests/x%00".into(),
        "/v2/a/manifests/%0d%0aset-cookie:%20x".into(),
        "/v2//a/manifests/x".into(),
        "/v2/a//manifests/x".into(),
        "/v2/a/manifests//x".into(),
        "//v2/a/manifests/x".into(),
        "/v2/a\\b/manifests/x".into(),
        "/v2/a/manifests/..".into(),
        "/v2/a/manifests/.".into(),
        "/v2/a/manifests/%ff%fe".into(),
        "/v2/a/manifests/%".into(),
        "/v2/a/manifests/%zz".into(),
        "/v2/A/manifests/x".into(),
        "/v2/a/manifests/".into(),
        "/v2/_catalog/".into(),
        "/v2/a/tags/list/".into(),
        "/v2/a/tags/list?n=-1".into(),
        "/v2/a/tags/list?n=99999999999999999999".into(),
        "/v2/a/tags/list?n=1&n=2".into(),
        "/v2/a/tags/list?last=%00".into(),
        "/v2/a/tags/list?last=%ff".into(),
        "/v2/_catalog?last=%00".into(),
        format!("/v2/a/referrers/sha256:{HEX}?artifactType=%00"),
        format!("/v2/a/blobs/sha256:{}", HEX.to_uppercase()),
        format!("/v2/a/blobs/sha256:{HEX}0"),
        format!("/v2/a/blobs/sha512:{HEX}"),
        format!("/v2/a/blobs/md5:{HEX}"),
        format!("/v2/{long}/manifests/x"),
        format!("/v2/a/manifests/{long}"),
        format!("/v2/{longer}manifests/x"),
        "/".into(),
        "/v1/".into(),
        "/v2".into(),
        "/v3/".into(),
        "/metrics/..".into(),
        "/healthz/../v2/".into(),
        "*".into(),
        "http://elsewhere/v2/a/manifests/x".into(),
        "http://elsewhere/v2/../../secret".into(),
        "ftp://elsewhere/v2/".into(),
        "x".into(),
        "elsewhere:80".into(),
        "/v2/?".into(),
        "/v2/#x".into(),
        "/v2/a/manifests/x?\u{e9}".into(),
    ]
    .into()
}

#[tokio::test]
async fn path_tricks_reach_nothing() {
    let (data, mut server) = place();
    std::fs::write(data.path().join("secret"), "secret").unwrap();
    let targets = tricks();
    for target in &targets {
        for method in
            ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "FOO", "get"]
        {
            let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
            let answer = send(server.address, request.as_bytes()).await;
            let Some(answer) = answer else { continue };
            let harmless = ["/v2", "/v2/?", "/v2/#x", "ftp://elsewhere/v2/"].contains(&target.as_str());
            assert!(harmless || answer.status >= 400, "{method} {target}: {answer:?}");
        }
    }
    assert_alive(&mut server).await;
}

/// Each route with each method: what is not its own is 405 with `Allow`, in the specification's form.
#[tokio::test]
async fn wrong_methods_are_405() {
    let (_data, mut server) = place();
    let upload = "/v2/a/blobs/uploads/6e0b3a1c-0000-4000-8000-000000000000";
    let routes: [(String, &[&str]); 8] = [
        ("/v2/".into(), &["GET", "HEAD"]),
        ("/v2/_catalog".into(), &["GET", "HEAD"]),
        ("/v2/a/tags/list".into(), &["GET", "HEAD"]),
        (format!("/v2/a/referrers/sha256:{HEX}"), &["GET", "HEAD"]),
        ("/v2/a/manifests/x".into(), &["GET", "HEAD", "PUT", "DELETE"]),
        (format!("/v2/a/blobs/sha256:{HEX}"), &["GET", "HEAD", "DELETE"]),
        ("/v2/a/blobs/uploads/".into(), &["POST"]),
        (upload.into(), &["GET", "HEAD", "PUT", "PATCH", "DELETE"]),
    ];
    for (route, allowed) in &routes {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"] {
            let request = format!("{method} {route} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
            let answer = send(server.address, request.as_bytes()).await.unwrap();
            if allowed.contains(&method) {
                assert_ne!(answer.status, 405, "{method} {route}");
            } else {
                assert_eq!(answer.status, 405, "{method} {route}");
                let allow = answer.header("allow").unwrap();
                assert!(allow.split(", ").all(|method| allowed.contains(&method)), "{route}: {allow}");
                let code = (method != "HEAD").then_some("UNSUPPORTED");
                assert_eq!(answer.code().as_deref(), code);
            }
        }
    }
    assert_alive(&mut server).await;
}

#[tokio::test]
async fn raw_bytes_in_the_target() {
    let (_data, mut server) = place();
    for byte in 0..=255u8 {
        let request =
            [b"GET /v2/a", &[byte][..], b"b/manifests/x?n=", &[byte], b" HTTP/1.1\r\nhost: x\r\n\r\n"];
        let answer = send(server.address, &request.concat()).await;
        assert!(answer.is_none_or(|answer| answer.status >= 400 || byte == b'?'), "{byte}");
    }
    let _ = send(server.address, &get("/v2/")).await.unwrap();
    assert_alive(&mut server).await;
}
