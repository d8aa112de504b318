//! Whatever the upstream does: a tag that was pulled once is served, a wrong blob never is, and when the upstream
//! recovers so does the cache.

use futures_util::future::join_all;

use super::origin::{Fault, Origin};
use super::{caching, get, metric};
use crate::harness::http::{blob, manifest};
use crate::harness::image::Image;
use crate::trust::{json, person};

const LOCAL: &str = "up/library/app";

/// One good pull, then `fault`, then recovery.
async fn survives(fault: Fault) {
    let image = Image::layered("hostile", 2);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let tag = manifest(LOCAL, "1");
    let [pulled, other, ..] = &image.blobs[..] else { panic!("an image has blobs") };
    assert_eq!(get(&registry, &tag).await.status, 200, "{fault:?}");
    assert_eq!(get(&registry, &blob(LOCAL, &pulled.digest)).await.status, 200, "{fault:?}");

    origin.fail(fault.clone());
    let again = get(&registry, &tag).await;
    assert_eq!(again.status, 200, "{fault:?}: {:?}", again.body);
    assert_eq!(again.body.unwrap(), image.root().bytes, "{fault:?}");
    assert_eq!(again.warning.is_some(), fault != Fault::Slow, "{fault:?}");
    let known = get(&registry, &blob(LOCAL, &pulled.digest)).await;
    assert_eq!(known.body.unwrap(), pulled.bytes, "{fault:?}");
    let clients = join_all((0..3).map(|_| async { get(&registry, &blob(LOCAL, &other.digest)).await }));
    for got in clients.await {
        match (fault == Fault::Slow, got.status, got.body) {
            (true, 200, Ok(body)) => assert_eq!(body, other.bytes),
            (false, 0 | 200, Err(_)) => {}
            (false, status, _) if status >= 400 => {}
            (_, status, body) => panic!("{fault:?}: {status} with {:?}", body.map(|b| b.len())),
        }
    }

    origin.fail(Fault::None);
    let healed = get(&registry, &blob(LOCAL, &other.digest)).await;
    assert_eq!(healed.status, 200, "{fault:?}: {:?}", healed.body);
    assert_eq!(healed.body.unwrap(), other.bytes, "{fault:?}");
    let confirmed = get(&registry, &tag).await;
    assert_eq!((confirmed.status, confirmed.warning), (200, None), "{fault:?}");
}

macro_rules! faults {
    ($($name:ident: $fault:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            survives($fault).await;
        }
    )*};
}

faults! {
    slow: Fault::Slow;
    silent: Fault::Silent;
    stalling: Fault::Stall;
    trickling: Fault::Trickle;
    resetting: Fault::Reset;
    truncating: Fault::Truncate;
    wrong_digest: Fault::WrongDigest;
    wrong_length: Fault::WrongLength;
    short_length: Fault::Short;
    endless: Fault::Endless;
    unauthorized: Fault::Status(401);
    forbidden: Fault::Status(403);
    unknown: Fault::Status(404);
    busy: Fault::Status(429);
    broken: Fault::Status(500);
    bad_gateway: Fault::Status(502);
    unavailable: Fault::Status(503);
    timing_out: Fault::Status(504);
    redirecting_for_ever: Fault::Redirect(String::new());
    redirecting_to_loopback: Fault::Redirect("http://localhost:1".into());
    redirecting_to_the_link: Fault::Redirect("http://169.254.169.254".into());
    redirecting_to_a_file: Fault::Redirect("file://".into());
    redirecting_to_nobody: Fault::Redirect("http://192.0.2.1:1".into());
    asking_for_a_token_elsewhere: Fault::Realm("http://169.254.169.254/token".into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_honoured_and_passed_on() {
    let image = Image::layered("busy", 2);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let tag = manifest(LOCAL, "1");
    assert_eq!(get(&registry, &tag).await.status, 200);
    origin.fail(Fault::Busy(429));
    assert!(get(&registry, &tag).await.warning.is_some());
    let asked = origin.count("");
    // For the minute that it asked for, the upstream hears nothing.
    assert!(get(&registry, &tag).await.warning.is_some());
    let refused = get(&registry, &blob(LOCAL, &image.blobs[0].digest)).await;
    assert_eq!(refused.status, 503);
    assert!((1..=60).contains(&refused.retry_after.unwrap()));
    // It counts what an account does, in whatever repository.
    assert_eq!(get(&registry, &manifest("up/library/other", "1")).await.status, 503);
    assert_eq!(origin.count(""), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_trickles_is_named_and_left_alone() {
    let image = Image::layered("trickle", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
    origin.fail(Fault::Trickle);
    let target = blob(LOCAL, &image.blobs[0].digest);
    let mut refused = None;
    for _ in 0..8 {
        let got = get(&registry, &target).await;
        if got.status == 503 {
            refused = Some(got);
            break;
        }
        assert!(got.body.is_err(), "a part is not taken for the whole");
    }
    let refused = refused.expect("it is left alone after some failures");
    let why = String::from_utf8(refused.body.unwrap().to_vec()).unwrap();
    assert!(why.contains("fewer than 8192 a second") && why.contains("upstream up"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_gone_is_not_asked_by_everybody() {
    let image = Image::layered("gone", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let tag = manifest(LOCAL, "1");
    assert_eq!(get(&registry, &tag).await.status, 200);
    origin.fail(Fault::Status(500));
    for _ in 0..20 {
        assert_eq!(get(&registry, &tag).await.status, 200);
    }
    assert!(origin.count("HEAD") <= 6, "{} requests", origin.count("HEAD"));
    assert_eq!(metric(&registry, "rreg_mirror_stale_total").await, 20);
}

/// What is here does not wait for an upstream that is known to hang, and one question to it is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_hangs_is_waited_for_once() {
    let image = Image::layered("hangs", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", timeout=\"60s\", revalidate_timeout=\"1s\"").await else {
        return;
    };
    let tag = manifest(LOCAL, "1");
    assert_eq!(get(&registry, &tag).await.status, 200);
    for held in &image.blobs {
        assert_eq!(get(&registry, &blob(LOCAL, &held.digest)).await.status, 200);
    }
    origin.fail(Fault::Silent);
    for _ in 0..20 {
        let stale = get(&registry, &tag).await;
        assert!(stale.status == 200 && stale.warning.is_some(), "{}", stale.status);
    }
    assert_eq!(origin.count("HEAD "), 1, "whoever comes meanwhile asks no more");
    for other in ["sha256-0.sig", "sha256-0.att", "sha256-0.sbom"] {
        let unknown = get(&registry, &manifest(LOCAL, other)).await;
        assert_eq!(unknown.status, 504, "{other} is not known to be absent");
        assert!(unknown.warning.is_some_and(|it| it.starts_with("112 ")));
    }
    let listed = get(&registry, &format!("/v2/{LOCAL}/referrers/{}", image.root().digest)).await;
    assert!(
        listed.status == 504 && listed.warning.is_some_and(|it| it.starts_with("112 ")),
        "{}",
        listed.status
    );
    let home = person();
    let to = home.path("image.tar").display().to_string();
    let (pulled, code) = json(&home, &["pull", &format!("{}/{LOCAL}:1", registry.address()), &to]);
    assert_eq!(code, 0, "{pulled}");
    assert!(pulled["evidence_unknown"].as_u64() >= Some(3), "its tags and its list are not known: {pulled}");
}
