//! Unreachable, refused and absent are three things, and none of them is that of another repository.

use serde_json::Value;

use super::origin::{Fault, Origin};
use super::{caching, get};
use crate::harness::Registry;
use crate::harness::http::{base64, blob, manifest};
use crate::harness::image::Image;

const LOCAL: &str = "up/library/app";
const SICK: &str = "up/library/other";
/// For faults that are tried again.
const PATIENT: &str = ", timeout=\"20s\", revalidate_timeout=\"20s\"";

/// Code, and what is said of the upstream's answer.
async fn told(registry: &Registry, target: &str) -> (u16, String, String, String) {
    let got = get(registry, target).await;
    let body: Value = serde_json::from_slice(&got.body.unwrap()).unwrap();
    let error = &body["errors"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (got.status, text(&error["code"]), text(&error["detail"]["answer"]), text(&error["message"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_changes_is_used_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (password, config) = (directory.path().join("password"), directory.path().join("auth.json"));
    for is_password in [true, false] {
        let (old, new) = (Image::layered("rotated-old", 1), Image::layered("rotated-new", 1));
        let origin = Origin::with(&old, "1").await;
        let write = |secret: &'static str| {
            std::fs::write(&password, format!("{secret}\n")).unwrap();
            let auth = base64(format!("AWS:{secret}").as_bytes());
            let text = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, origin.address());
            std::fs::write(&config, text).unwrap();
            origin.fail(Fault::Password(secret));
        };
        write("hunter1");
        let more = match is_password {
            true => format!(", username=\"AWS\", password_file={password:?}"),
            false => format!(", credentials_file={config:?}"),
        };
        let Some(registry) = caching(&origin, &more).await else { return };
        assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
        origin.put(&new, "1");
        write("hunter2");
        let moved = get(&registry, &manifest(LOCAL, "1")).await;
        assert_eq!((moved.warning, moved.body.unwrap()), (None, new.root().bytes.clone()));

        // Refused for good: what is known is served with a warning, and what is not known is not said to be absent.
        origin.fail(Fault::Password("hunter3"));
        let stale = get(&registry, &manifest(LOCAL, "1")).await;
        assert!(stale.status == 200 && stale.warning.is_some());
        for target in [manifest(LOCAL, "2"), manifest(SICK, "1"), blob(LOCAL, &new.blobs[0].digest)] {
            let (status, code, answer, message) = told(&registry, &target).await;
            assert_eq!((status, &*code, &*answer), (403, "DENIED", "refused"), "{target}: {message}");
            assert!(message.contains("upstream up refuses it"), "{message}");
        }
        let log = registry.log();
        let setting = if is_password { "upstreams.password_file" } else { "upstreams.credentials_file" };
        assert!(
            log.contains(setting) && log.contains("upstream=\"up\"") || log.contains("\"upstream\":\"up\""),
            "{log}"
        );
        assert!(!log.contains("hunter"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_upstream_says_is_told_apart() {
    let image = Image::layered("told-apart", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
    let cases = [
        (Fault::None, "absent", 404, "MANIFEST_UNKNOWN"),
        (Fault::Status(401), "refused", 403, "DENIED"),
        (Fault::Status(403), "refused", 403, "DENIED"),
        (Fault::Status(500), "unreachable", 502, "UNAVAILABLE"),
        (Fault::Status(418), "odd", 502, "UNAVAILABLE"),
        (Fault::WrongDigest, "odd", 502, "UNAVAILABLE"),
    ];
    for (fault, meaning, expected, word) in cases {
        let reference = if fault == Fault::WrongDigest { "1".to_owned() } else { "none".to_owned() };
        let target = if fault == Fault::WrongDigest {
            manifest(SICK, &reference)
        } else {
            manifest(LOCAL, &reference)
        };
        origin.fail(fault.clone());
        let (status, code, answer, message) = told(&registry, &target).await;
        assert_eq!((status, &*code, &*answer), (expected, word, meaning), "{fault:?}: {message}");
    }
    origin.switch_off();
    let (status, code, answer, message) = told(&registry, &manifest(LOCAL, "none")).await;
    assert_eq!((status, &*code, &*answer), (502, "UNAVAILABLE", "unreachable"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_repositorys_failures_close_no_other() {
    let image = Image::layered("one-sick", 1);
    for status in [403, 429, 500, 502, 503] {
        let origin = Origin::with(&image, "1").await;
        let Some(registry) = caching(&origin, PATIENT).await else { return };
        origin.fail(Fault::OfOther(status));
        for _ in 0..8 {
            assert!(get(&registry, &manifest(SICK, "1")).await.status >= 400);
        }
        let asked = origin.count("GET /v2/library/other/");
        assert!(get(&registry, &manifest(SICK, "1")).await.status >= 400);
        let again = origin.count("GET /v2/library/other/");
        assert_eq!(again == asked, status != 403, "{status}: what is sick is left alone");
        assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200, "{status}");
        assert_eq!(get(&registry, &blob(LOCAL, &image.blobs[0].digest)).await.status, 200, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_need_not_have_closes_nothing() {
    let image = Image::layered("optional", 1);
    for status in [403, 429, 500, 503] {
        let origin = Origin::with(&image, "1").await;
        let Some(registry) = caching(&origin, PATIENT).await else { return };
        assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
        origin.fail(Fault::Optional(status));
        for _ in 0..6 {
            assert!(get(&registry, &format!("/v2/{LOCAL}/tags/list")).await.status >= 400);
            get(&registry, &format!("/v2/{LOCAL}/referrers/{}", image.root().digest)).await;
            let confirmed = get(&registry, &manifest(LOCAL, "1")).await;
            assert_eq!((confirmed.status, confirmed.warning), (200, None), "{status}");
        }
        assert_eq!(get(&registry, &blob(LOCAL, &image.blobs[0].digest)).await.status, 200, "{status}");
    }
}
