//! Where an upstream may not send the cache, and what may not go along where it may.

use super::origin::{ACCOUNT, Fault, Origin};
use super::{caching, get};
use crate::harness::http::{blob, manifest};
use crate::harness::image::Image;

const LOCAL: &str = "up/library/app";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_do_not_lead_into_this_machine() {
    let image = Image::layered("inside", 1);
    let (origin, trap) = (Origin::with(&image, "1").await, Origin::with(&image, "1").await);
    let Some(registry) = caching(&origin, ACCOUNT).await else { return };
    let port = trap.address().rsplit_once(':').unwrap().1;
    for to in [
        format!("http://{}", trap.address()),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://2130706433:{port}"),
        "http://169.254.169.254".to_owned(),
        "http://[fe80::1]".to_owned(),
        "file://".to_owned(),
    ] {
        origin.fail(Fault::Redirect(to.clone()));
        let got = get(&registry, &manifest(LOCAL, "1")).await;
        assert_eq!(got.status, 502, "{to}: {:?}", got.body);
        let got = get(&registry, &blob(LOCAL, &image.blobs[0].digest)).await;
        assert_eq!(got.status, 502, "{to}: {:?}", got.body);
    }
    assert_eq!(trap.count(""), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_realms_do_not_lead_away() {
    let image = Image::layered("realm", 1);
    let (origin, trap) = (Origin::with(&image, "1").await, Origin::start().await);
    let Some(registry) = caching(&origin, ACCOUNT).await else { return };
    let port = trap.address().rsplit_once(':').unwrap().1;
    for realm in [
        format!("http://localhost:{port}/token"),
        "http://169.254.169.254/token".to_owned(),
        "https://169.254.169.254/token".to_owned(),
        "http://registry.example.org/token".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        origin.fail(Fault::Realm(realm.clone()));
        let got = get(&registry, &manifest(LOCAL, "1")).await;
        assert!(got.status == 404 || got.status == 502, "{realm}: {}", got.status);
        let body = String::from_utf8(got.body.unwrap().to_vec()).unwrap();
        assert!(body.contains("realm") && !body.contains("hush"), "{realm}: {body}");
    }
    assert_eq!(trap.count(""), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_stay_with_the_upstream() {
    let image = Image::layered("stay", 1);
    let (origin, store) = (Origin::with(&image, "1").await, Origin::with(&image, "1").await);
    let more = format!("{ACCOUNT}, allow_local_redirects=true");
    let Some(registry) = caching(&origin, &more).await else { return };
    origin.fail(Fault::Challenge);
    assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
    assert!(origin.headers().iter().any(|headers| headers.contains_key("authorization")));
    origin.fail(Fault::Redirect(format!("http://{}", store.address())));
    let got = get(&registry, &blob(LOCAL, &image.blobs[0].digest)).await;
    assert_eq!((got.status, got.body.unwrap()), (200, image.blobs[0].bytes.clone()));
    assert_eq!(store.count("GET"), 1);
    assert!(store.headers().iter().all(|headers| !headers.contains_key("authorization")));
}
