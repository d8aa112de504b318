//! A bucket that loses answers, breaks connections, hangs, is away for a while, and says that what is there is not.
//!
//! Every kind of trouble befalls every kind of request, and what clients see is the same as without: a push that was
//! carried out is a push, bytes are the right ones or an error, and nothing is quarantined for a wrong answer.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::store::status;
use crate::harness::image::{Blob, Image};
use crate::harness::proxy::{Harm, Proxy, Rule};
use crate::harness::{Api, Backend, Registry, s3};

/// Several parts of 5 MiB, and one that is no object of its own.
pub(super) const SIZES: [usize; 3] = [11 << 20, 1 << 20, 1000];

pub(super) async fn registry(more: &[(&'static str, &str)]) -> Option<(Registry, Proxy)> {
    let (settings, proxy) = s3::bucket_behind_proxy();
    let mut all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.push(("RREG_STORAGE__PART_SIZE", "5MiB"));
    all.extend_from_slice(more);
    Some((Registry::start_with(Backend::SqliteDirectory, &all).await?, proxy))
}

pub(super) fn blob(size: usize, seed: u8) -> Blob {
    Blob::new((0..size).map(|i| (i % 251) as u8 ^ seed).collect::<Vec<u8>>())
}

pub(super) fn path(repository: &str, blob: &Blob) -> String {
    format!("/v2/{repository}/blobs/{}", blob.digest)
}

async fn unavailable(registry: &Registry, path: &str) {
    let (code, text) = status(registry, path).await;
    assert!(code == 503 && text.contains("UNAVAILABLE"), "{code} {text}");
}

pub(super) async fn pull(api: &Api, repository: &str, blob: &Blob) {
    let answer = api.get(path(repository, blob)).expect(200).await;
    assert!(answer.body == blob.bytes, "{} bytes of {}", answer.body.len(), blob.bytes.len());
}

/// A push that was carried out is a push, whatever became of the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_fails_no_push() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let requests = [
        (Method::PUT, "/blobs/"),
        (Method::PUT, "partNumber"),
        (Method::POST, "uploads"),
        (Method::POST, "uploadId"),
        (Method::HEAD, "/blobs/"),
    ];
    lost_answers(&registry, &proxy, &requests).await;
}

/// Pushes while each of these requests is lost, before or after it was carried out.
pub(super) async fn lost_answers(registry: &Registry, proxy: &Proxy, requests: &[(Method, &'static str)]) {
    let (api, repository) = (registry.api(), registry.repository());
    let mut seed = 0;
    for (method, target) in requests {
        for harm in [Harm::CutAfter, Harm::CutBefore, Harm::Status(500), Harm::Status(503)] {
            let before = proxy.harmed();
            for size in SIZES {
                seed += 1;
                let blob = blob(size, seed);
                proxy.harm(Rule::new(method.clone(), target, 1, harm));
                api.push_blob(&repository, &blob).await;
                pull(&api, &repository, &blob).await;
                proxy.mend();
            }
            assert!(proxy.harmed() > before, "no {method} {target} came");
        }
    }
    // An upload whose beginning was not answered is left over, and found (moto says that all of them are old).
    let (found, _) = registry.rreg_json(&["fsck", "--deep"]);
    assert!(found["findings"].as_array().unwrap().iter().all(|f| f["damage"] == "unfinished"), "{found}");
}

/// Bytes are the right ones, all of them, although the connection that brings them breaks now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_answer_is_read_on() {
    // The client of the store tries nothing again, as in a pull that takes longer than `retry_for`: what goes on is ours.
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[0], 1);
    api.push_blob(&repository, &blob).await;
    for at in [1 << 20, 4 << 20, 9 << 20] {
        proxy.harm(Rule::new(Method::GET, "/blobs/", 1, Harm::Truncate(at)));
        pull(&api, &repository, &blob).await;
        proxy.mend();
    }
    assert_eq!(proxy.harmed(), 3);
}

/// What a store says that hangs: an end, with a reason, and the next one is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_holds_nothing_for_ever() {
    let settings = [("RREG_STORAGE__ANSWER_TIMEOUT", "1s"), ("RREG_STORAGE__RETRY_FOR", "2s")];
    let Some((registry, proxy)) = registry(&settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[0], 1);
    api.push_blob(&repository, &blob).await;
    // Once: it is asked again, and whoever pulls sees nothing of it.
    for harm in [Harm::Hang, Harm::Stall(0), Harm::Stall(100_000)] {
        proxy.harm(Rule::new(Method::GET, "/blobs/", 1, harm));
        pull(&api, &repository, &blob).await;
        proxy.mend();
    }
    // The same for what is written: few bytes, which are on their way before anybody takes them, and many.
    for (seed, (size, target)) in (2..).zip([(SIZES[1], "/blobs/"), (SIZES[0], "partNumber")]) {
        proxy.harm(Rule::new(Method::PUT, target, 1, Harm::Hang));
        let blob = self::blob(size, seed);
        api.push_blob(&repository, &blob).await;
        proxy.mend();
        pull(&api, &repository, &blob).await;
    }
    assert_eq!(proxy.harmed(), 5);
    // For ever: an error that says so.
    proxy.harm(Rule::new(Method::GET, "/blobs/", usize::MAX, Harm::Hang));
    unavailable(&registry, &path(&repository, &blob)).await;
    proxy.mend();
    pull(&api, &repository, &blob).await;
}

/// A store that takes what is sent slowly is not one that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_is_waited_for() {
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__ANSWER_TIMEOUT", "2s")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[0], 1);
    proxy.harm(Rule::new(Method::PUT, "partNumber=1", 1, Harm::Sip));
    let began = Instant::now();
    api.push_blob(&repository, &blob).await;
    assert_eq!(proxy.harmed(), 1);
    assert!(began.elapsed() > Duration::from_secs(4), "it was not slow");
    assert_eq!(proxy.count(&Method::PUT, "partNumber=1"), 1, "it was sent again");
    pull(&api, &repository, &blob).await;
}

/// Of all uploads together only so many bytes are on their way to a store that takes its time: 64 MiB, in parts of 5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_uploads_share_the_memory() {
    const PLACES: usize = 64 / 5;
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let repository = registry.repository();
    let parts = || proxy.count(&Method::PUT, "partNumber");
    proxy.harm(Rule::new(Method::PUT, "partNumber", usize::MAX, Harm::Hold));
    // Three parts of each could be on their way.
    let pushes: Vec<_> = (1..=8)
        .map(|seed| {
            let (api, repository) = (registry.api(), repository.clone());
            tokio::spawn(async move {
                let blob = blob(20 << 20, seed);
                api.push_blob(&repository, &blob).await;
                blob
            })
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while parts() < PLACES {
        assert!(Instant::now() < deadline, "{} parts of {PLACES} are on their way", parts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(parts(), PLACES);
    proxy.mend();
    for push in pushes {
        pull(&registry.api(), &repository, &push.await.unwrap()).await;
    }
}

/// An outage that is shorter than `storage.retry_for` is seen by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_ridden_out() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let (old, new) = (blob(SIZES[1], 1), blob(SIZES[0], 2));
    api.push_blob(&repository, &old).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST] {
        proxy.harm(Rule::new(method, "", usize::MAX, Harm::Status(503)));
    }
    let (mended, began) = (proxy.clone(), Instant::now());
    let end = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(6)).await;
        mended.mend();
    });
    tokio::join!(pull(&api, &repository, &old), api.push_blob(&repository, &new));
    assert!(proxy.harmed() >= 2 && began.elapsed() >= Duration::from_secs(5), "there was no outage");
    end.await.unwrap();
    pull(&api, &repository, &new).await;
}

/// "Not found" is believed of the right store only, and not at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_not_found_takes_nothing_away() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 2);
    let blob = blob(SIZES[1], 1);
    api.push_blob(&repository, &blob).await;
    api.push(&repository, &image, Some("v1")).await;
    for method in [Method::HEAD, Method::GET] {
        proxy.harm(Rule::new(method.clone(), "/blobs/", 1, Harm::Status(404)));
        pull(&api, &repository, &blob).await;
        proxy.mend();
        // For everything, the marker too: as in a wrong bucket.
        for all in [Method::HEAD, Method::GET] {
            proxy.harm(Rule::new(all, "", usize::MAX, Harm::Status(404)));
        }
        unavailable(&registry, &path(&repository, &blob)).await;
        proxy.mend();
        pull(&api, &repository, &blob).await;
    }
    let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
    assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
    // A look at everything while single answers are wrong finds nothing either.
    for method in [Method::HEAD, Method::GET] {
        proxy.harm(Rule::new(method, "/blobs/", 1, Harm::Status(404)));
        proxy.harm(Rule::new(Method::GET, "/manifests/", 1, Harm::Status(404)));
        let (found, code) = registry.rreg_json(&["fsck", "--deep"]);
        assert_eq!((found["count"].as_u64(), code), (Some(0), 0), "{found}");
        proxy.mend();
    }
}

/// Bytes that the network has changed are not passed on as if they were right, and are not the store's fault for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_bytes_are_never_whole() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[1], 1);
    api.push_blob(&repository, &blob).await;
    proxy.harm(Rule::new(Method::GET, "/blobs/", 1, Harm::Flip));
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let address = format!("http://{}{}", registry.address(), path(&repository, &blob));
    let read = match client.get(&address).send().await {
        Ok(answer) => answer.bytes().await,
        Err(error) => Err(error),
    };
    assert!(read.is_err(), "wrong bytes were passed on whole");
    proxy.mend();
    pull(&api, &repository, &blob).await;
}

/// Whoever is sent to the store tells nobody here that nothing is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_to_what_is_lost() {
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__REDIRECT", "true")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let layer = blob(SIZES[1], 1);
    let image = Image::layered(&repository, 1).over_layer(layer.clone());
    api.push(&repository, &image, Some("v1")).await;
    api.get(path(&repository, &layer)).expect(307).await;
    // For a second it is taken to be where it was.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    proxy.harm(Rule::new(Method::HEAD, "/blobs/", 10_000, Harm::Status(404)));
    api.get(path(&repository, &layer)).expect(404).await;
    // So that clients push it again.
    let manifest = format!("/v2/{repository}/manifests/v1");
    let deadline = Instant::now() + Duration::from_secs(30);
    while api.head(manifest.clone()).send().await.status != 404 {
        assert!(Instant::now() < deadline, "clients would not push it again");
    }
}

/// Another host is not the store that was asked, and is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_of_the_store_is_not_followed() {
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "0s")]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let blob = blob(SIZES[1], 1);
    api.push_blob(&repository, &blob).await;
    proxy.harm(Rule::new(Method::HEAD, "/blobs/", 100, Harm::Redirect));
    unavailable(&registry, &path(&repository, &blob)).await;
    let (found, code) = registry.rreg_json(&["fsck"]);
    assert_eq!((code, &found["findings"][0]["damage"]), (1, &"unreadable".into()), "{found}");
    proxy.mend();
    pull(&api, &repository, &blob).await;
}

/// One answer that says another length, or ends early and says nothing, quarantines nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_length_takes_nothing_away() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    for (seed, (method, size)) in
        (1..).zip([(Method::HEAD, SIZES[1]), (Method::GET, SIZES[1]), (Method::GET, SIZES[0])])
    {
        let blob = blob(size, seed);
        api.push_blob(&repository, &blob).await;
        let before = proxy.harmed();
        proxy.harm(Rule::new(method, "/blobs/", 1, Harm::Shorter(200_000)));
        pull(&api, &repository, &blob).await;
        assert!(proxy.harmed() > before);
        proxy.mend();
    }
    let (found, _) = registry.rreg_json(&["fsck", "--deep"]);
    assert!(found["findings"].as_array().unwrap().iter().all(|f| f["damage"] == "unfinished"), "{found}");
}
