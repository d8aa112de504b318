//! A store, or a gateway before it, that answers wrongly for a while: what is acknowledged is there, what is served is
//! right, and nothing is deleted for what was not listed.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::store::status;
use super::trouble::{SIZES, blob, path, pull, registry};
use crate::harness::Registry;
use crate::harness::http::{commit, manifest};
use crate::harness::image::{Blob, Image};
use crate::harness::proxy::{Harm, Rule};

const SKEW: &str = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
                    server's time is too large.</Message></Error>";
const SLOW_DOWN: &str =
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
pub(super) const EMPTY: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>false\
                     </IsTruncated></ListBucketResult>";

/// The status of a push of this blob.
async fn push(registry: &Registry, repository: &str, blob: &Blob) -> u16 {
    let at = commit(&registry.api().open_upload(repository).await, &blob.digest);
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let put = client.put(format!("http://{}{at}", registry.address())).body(blob.bytes.clone());
    put.send().await.unwrap().status().as_u16()
}

/// Status and body, which is none where it is cut.
async fn get(registry: &Registry, path: &str, range: Option<&str>) -> (u16, Option<Vec<u8>>) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut request = client.get(format!("http://{}{path}", registry.address()));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let Ok(answer) = request.send().await else { return (0, None) };
    (answer.status().as_u16(), answer.bytes().await.ok().map(|bytes| bytes.to_vec()))
}

/// A write that was answered well and not carried out, or carried out and answered badly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_there() {
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "1s")]).await else { return };
    let repository = registry.repository();
    let writes = [
        (SIZES[1], Method::PUT, "/blobs/"),
        (SIZES[0], Method::POST, "uploads"),
        (SIZES[0], Method::PUT, "partNumber=2"),
        (SIZES[0], Method::POST, "uploadId"),
    ];
    let harms = [
        Harm::Forget,
        Harm::Page,
        Harm::Retag,
        Harm::Redirect,
        Harm::Said(403, SKEW),
        Harm::Said(503, SLOW_DOWN),
        Harm::Said(200, SLOW_DOWN),
    ];
    let mut seed = 0;
    for (size, method, target) in writes {
        for harm in harms {
            for times in [1, 20] {
                seed += 1;
                let blob = blob(size, seed);
                proxy.harm(Rule::new(method.clone(), target, times, harm));
                let code = push(&registry, &repository, &blob).await;
                proxy.mend();
                let what = format!("{method} {target} {harm:?} {times} times");
                assert!(matches!(code, 201 | 503), "{code}: {what}");
                if code == 201 {
                    let (code, bytes) = get(&registry, &path(&repository, &blob), None).await;
                    assert!(code == 200 && bytes.as_deref() == Some(&blob.bytes[..]), "lost: {code} {what}");
                }
                assert_eq!(push(&registry, &repository, &blob).await, 201, "pushed again: {what}");
                pull(&registry.api(), &repository, &blob).await;
            }
        }
    }
}

/// The same for content that is there already: what takes its place is there, or it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_stays() {
    let Some((registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "1s")]).await else { return };
    let repository = registry.repository();
    for (seed, (size, method, target)) in (1..).zip([
        (SIZES[1], Method::PUT, "/blobs/"),
        (SIZES[0], Method::POST, "uploadId"),
        (SIZES[1], Method::HEAD, "/blobs/"),
    ]) {
        let blob = blob(size, seed);
        assert_eq!(push(&registry, &repository, &blob).await, 201);
        for harm in [Harm::Forget, Harm::Page, Harm::Status(404), Harm::Retag] {
            proxy.harm(Rule::new(method.clone(), target, 1, harm));
            push(&registry, &repository, &blob).await;
            proxy.mend();
            pull(&registry.api(), &repository, &blob).await;
        }
    }
}

/// Wrong headers, pages and ranges: right bytes or an error, and nothing is given up for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_is_right() {
    let Some((mut registry, proxy)) = registry(&[("RREG_STORAGE__RETRY_FOR", "1s")]).await else { return };
    let repository = registry.repository();
    let harms = [
        Harm::Retag,
        Harm::Page,
        Harm::Beside,
        Harm::BesideUnsaid,
        Harm::Redirect,
        Harm::Said(403, SKEW),
        Harm::Said(503, SLOW_DOWN),
        Harm::Said(206, SLOW_DOWN),
        Harm::Shorter(100),
        Harm::Status(304),
        Harm::Status(416),
    ];
    let mut seed = 0;
    for was_read in [false, true] {
        for (method, harm) in harms.iter().flat_map(|harm| [(Method::GET, *harm), (Method::HEAD, *harm)]) {
            // The body of one that was read well is taken from the store as it comes until it changes.
            if was_read && harm == Harm::BesideUnsaid {
                continue;
            }
            seed += 1;
            let blob = blob(SIZES[1], seed);
            assert_eq!(push(&registry, &repository, &blob).await, 201);
            let path = path(&repository, &blob);
            if was_read {
                pull(&registry.api(), &repository, &blob).await;
            }
            for (range, part) in [(Some("bytes=1000-1999"), 1000..2000), (None, 0..blob.bytes.len())] {
                proxy.harm(Rule::new(method.clone(), "/blobs/", 2, harm));
                let (code, bytes) = get(&registry, &path, range).await;
                proxy.mend();
                let wrong = matches!(code, 200 | 206) && bytes.is_some_and(|bytes| bytes != blob.bytes[part]);
                assert!(!wrong, "{code}: {method} {harm:?} {range:?} {was_read}");
            }
        }
        registry.stop();
        let (found, _) = registry.rreg_json(&["fsck", "--heal"]);
        let quarantined = found["findings"].as_array().unwrap().iter();
        assert_eq!(quarantined.filter(|f| f["damage"] == "quarantined").count(), 0, "{found}");
        registry.resume();
        for seed in 1..=seed {
            pull(&registry.api(), &repository, &blob(SIZES[1], seed)).await;
        }
    }
}

/// Lists that are old, empty, a page, or another thing: nothing is deleted that anybody needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_listed_is_not_deleted() {
    let settings = [("RREG_STORAGE__RETRY_FOR", "1s"), ("RREG_UPLOADS__RECLAIM_GRACE", "0s")];
    let Some((mut registry, proxy)) = registry(&settings).await else { return };
    let repository = registry.repository();
    let mut pushed: Vec<(Image, Blob)> = Vec::new();
    for (round, harm) in (1..).zip([
        Harm::Stale,
        Harm::Said(200, EMPTY),
        Harm::Page,
        Harm::Said(403, SKEW),
        Harm::Said(503, SLOW_DOWN),
        Harm::Status(404),
    ]) {
        let layer = blob(SIZES[1], round);
        let image = Image::layered(&format!("{repository}{round}"), 1).edited(|manifest| {
            manifest["layers"][0] = layer.descriptor("application/vnd.oci.image.layer.v1.tar");
        });
        registry.api().push_blob(&repository, &layer).await;
        registry.api().push(&repository, &image, Some(&format!("v{round}"))).await;
        pushed.push((image, layer));
        registry.stop();
        if harm == Harm::Stale {
            // What is listed first is what is listed from then on.
            proxy.harm(Rule::new(Method::GET, "list-type=2", usize::MAX, harm));
            registry.rreg(&["fsck"]);
            registry.resume();
            let (image, layer) = &pushed[0];
            registry.api().delete(manifest(&repository, image.root().digest)).expect(202).await;
            registry.api().push_blob(&repository, layer).await;
            registry.api().push(&repository, image, Some("v1")).await;
            registry.stop();
        }
        proxy.harm(Rule::new(Method::GET, "list-type=2", usize::MAX, harm));
        for command in ["--heal", "--reclaim-extra"] {
            registry.rreg(&["fsck", command, "--extra-after", "0s"]);
        }
        registry.rreg(&["gc", "run"]);
        proxy.mend();
        registry.resume();
        for (_, layer) in &pushed {
            pull(&registry.api(), &repository, layer).await;
        }
    }
    registry.stop();
    // And the records of all of them are there.
    registry.lose_database();
    let (rebuilt, code) = registry.rreg_json(&["fsck", "--rebuild"]);
    assert_eq!((code, rebuilt["manifests"].as_u64()), (0, Some(pushed.len() as u64)), "{rebuilt}");
}

/// A burst of "slow down" is waited for, and its end is the end of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_down_is_waited_for() {
    let Some((registry, proxy)) = registry(&[]).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    for (seed, method) in (1..).zip([Method::PUT, Method::GET, Method::HEAD, Method::POST]) {
        let blob = blob(SIZES[0], seed);
        proxy.harm(Rule::new(method, "/blobs/", 6, Harm::Said(503, SLOW_DOWN)));
        api.push_blob(&repository, &blob).await;
        pull(&api, &repository, &blob).await;
        proxy.mend();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(&registry, "/readyz").await.0 != 200 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
