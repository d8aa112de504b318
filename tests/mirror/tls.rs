//! Upstreams whose certificate a private authority has signed, and that want to know who is asking.

use std::fs;

use super::get;
use super::origin::{ACCOUNT, Fault, Origin};
use crate::harness::http::{blob, manifest};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, RunDir};

const LOCAL: &str = "up/library/app";

async fn over_tls(origin: &Origin, more: &str) -> Option<Registry> {
    let times = "tag_ttl=\"0s\", timeout=\"2s\", revalidate_timeout=\"2s\"";
    let entry = format!(r#"[{{name="up", url="https://{}", {times}{more}}}]"#, origin.address());
    Registry::start_with(Backend::SqliteDirectory, &[("RREG_UPSTREAMS", &entry)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_has_to_be_named() {
    let image = Image::layered("tls", 1);
    let (origin, authority) = Origin::with_tls(&image, "1").await;
    let home = RunDir::get().subdir("ca-");
    let file = home.path().join("ca.pem");
    fs::write(&file, authority).unwrap();
    let Some(registry) = over_tls(&origin, "").await else { return };
    let refused = get(&registry, &manifest(LOCAL, "1")).await;
    assert_eq!(refused.status, 502);
    let body = String::from_utf8(refused.body.unwrap().to_vec()).unwrap();
    assert!(body.contains("certificate is not trusted"), "{body}");
    let trusting = format!(", ca_file={:?}", file.display().to_string());
    for more in [trusting.as_str(), ", insecure_skip_tls_verify=true"] {
        let Some(registry) = over_tls(&origin, more).await else { return };
        assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.body.unwrap(), image.root().bytes, "{more}");
        let layer = &image.blobs[0];
        assert_eq!(get(&registry, &blob(LOCAL, &layer.digest)).await.body.unwrap(), layer.bytes, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_get_a_token() {
    let image = Image::layered("token", 1);
    let (origin, authority) = Origin::with_tls(&image, "1").await;
    origin.fail(Fault::Token);
    let home = RunDir::get().subdir("ca-");
    let path = |name: &str| home.path().join(name).display().to_string();
    fs::write(path("ca.pem"), authority).unwrap();
    fs::write(path("password"), "hush\n").unwrap();
    let auths = format!(r#"{{"auths": {{"{}": {{"auth": "dXNlcjpodXNo"}}}}}}"#, origin.address());
    fs::write(path("auth.json"), auths).unwrap();
    let trusting = format!(", ca_file={:?}", path("ca.pem"));
    let account = format!("{trusting}{ACCOUNT}");
    let by_file = format!("{trusting}, username=\"user\", password_file={:?}", path("password"));
    let by_docker = format!("{trusting}, credentials_file={:?}", path("auth.json"));
    for more in [&account, &by_file, &by_docker] {
        let Some(registry) = over_tls(&origin, more).await else { return };
        let got = get(&registry, &manifest(LOCAL, "1")).await;
        assert_eq!((got.status, got.body.unwrap()), (200, image.root().bytes.clone()), "{more}");
    }
    for wrong in [trusting.clone(), format!("{trusting}, username=\"user\", password=\"guess-me-not\"")] {
        let Some(registry) = over_tls(&origin, &wrong).await else { return };
        let got = get(&registry, &manifest(LOCAL, "1")).await;
        let body = String::from_utf8(got.body.unwrap().to_vec()).unwrap();
        assert!(got.status == 403 || got.status == 502, "{}: {body}", got.status);
        assert!(!body.contains("guess-me-not") && body.contains("upstream up"), "{body}");
    }
}
