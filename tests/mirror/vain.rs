//! What an upstream does not have, and who may ask it for that; who is told that nothing can be pushed to a copy.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use rreg_oci::Digest;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::origin::Origin;
use super::{caching, get};
use crate::auth::{PASSWORD, Team};
use crate::harness::http::{basic, blob, manifest};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry};

const LOCAL: &str = "up/library/app";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_absent_is_asked_for_once() {
    let image = Image::layered("absent", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", tag_ttl=\"1h\", absent_ttl=\"1h\"").await else { return };
    let digest = Digest::sha256(b"in no repository");
    for _ in 0..5 {
        for target in [manifest(LOCAL, "none"), manifest(LOCAL, digest), blob(LOCAL, &digest)] {
            let absent = get(&registry, &target).await;
            let body = String::from_utf8(absent.body.unwrap().to_vec()).unwrap();
            assert!(absent.status == 404 && body.contains("\"answer\":\"absent\""), "{target} {body}");
        }
    }
    assert_eq!((origin.count("GET "), origin.count("HEAD ")), (2, 1), "manifests by GET, a blob by HEAD");
    // Of something else nothing is said.
    assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_appears_is_seen() {
    let image = Image::layered("appears", 1);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", tag_ttl=\"1h\", absent_ttl=\"2s\"").await else { return };
    assert_eq!(get(&registry, &manifest(LOCAL, "2")).await.status, 404);
    origin.put(&image, "2");
    let mut seen = false;
    for _ in 0..200 {
        seen = get(&registry, &manifest(LOCAL, "2")).await.status == 200;
        if seen {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_network_asks_for_so_many_in_vain() {
    let image = Image::layered("vain", 1);
    let origin = Origin::with(&image, "1").await;
    let entry = format!(r#"[{{name="up", url="http://{}", tag_ttl="0s"}}]"#, origin.address());
    let settings = [("RREG_UPSTREAMS", entry.as_str()), ("RREG_MIRROR__MISSES", "5")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
    let mut refused = None;
    for number in 0..20 {
        let answer = get(&registry, &manifest(LOCAL, format!("none{number}"))).await;
        if answer.status == 429 {
            refused = answer.retry_after;
        }
        assert!(matches!(answer.status, 404 | 429), "{}", answer.status);
    }
    assert!(refused.is_some_and(|wait| wait <= 60));
    let asked = origin.count("");
    let digest = Digest::sha256(b"in no repository");
    for target in [blob(LOCAL, &digest), "/v2/up/library/none/tags/list".to_owned()] {
        assert_eq!(get(&registry, &target).await.status, 429, "{target}");
    }
    assert!(asked <= 8 && origin.count("") == asked, "{asked}");
    // What is here is confirmed as ever.
    let known = get(&registry, &manifest(LOCAL, "1")).await;
    assert_eq!((known.status, known.warning), (200, None));
}

/// An upstream that answers 200 is asked in vain where nobody here has a use for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_no_use_is_asked_for_in_vain() {
    let image = Image::layered("of no use", 1);
    for kind in ["referrers", "size"] {
        let origin = Origin::with(&image, "1").await;
        origin.put(&Image::layered("elsewhere", 1), "2");
        let entry = format!(r#"[{{name="up", url="http://{}", tag_ttl="0s"}}]"#, origin.address());
        let settings = [("RREG_UPSTREAMS", entry.as_str()), ("RREG_MIRROR__MISSES", "5")];
        let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
        let about_known = format!("/v2/{LOCAL}/referrers/{}", image.root().digest);
        assert_eq!(get(&registry, &manifest(LOCAL, "1")).await.status, 200);
        for _ in 0..10 {
            assert_eq!(get(&registry, &about_known).await.status, 200);
        }
        let before = origin.count("");
        let mut statuses = Vec::new();
        for number in 0..20 {
            let api = registry.api();
            statuses.push(match kind {
                "referrers" => {
                    get(&registry, &format!("/v2/{LOCAL}/referrers/{}", digest(number))).await.status
                }
                _ => {
                    let there = Image::layered("elsewhere", 1).blobs[0].digest;
                    api.head(&*blob(LOCAL, &there)).send().await.status
                }
            });
        }
        let answered = statuses.iter().filter(|status| **status == 200).count();
        assert!((1..9).contains(&answered) && statuses.last() == Some(&429), "{kind} {statuses:?}");
        assert_eq!(origin.count(""), before + answered);
        if kind == "referrers" {
            // That it was answered once is no reason to ask again.
            assert_eq!(get(&registry, &format!("/v2/{LOCAL}/referrers/{}", digest(0))).await.status, 429);
        }
        // What is here is asked about as ever.
        assert_eq!(get(&registry, &about_known).await.status, 200);
    }
}

/// An upstream that has nothing, and takes its time to say so. Its address, and how often it was asked.
async fn slow_and_empty() -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (count, asked) = watch::channel(0);
    let handler = move || {
        count.send_modify(|count| *count += 1);
        async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            StatusCode::NOT_FOUND
        }
    };
    let router = Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, asked)
}

/// Sends `request` so often, each time with another number for `{}`, and goes away without waiting for the answer. How often
/// the upstream was asked, and the registry.
async fn asked_by_the_impatient(request: &str) -> Option<(usize, Registry, watch::Receiver<usize>)> {
    let (address, mut asked) = slow_and_empty().await;
    let entry = format!(r#"[{{name="up", url="http://{address}", tag_ttl="1h", absent_ttl="1h"}}]"#);
    let settings = [("RREG_UPSTREAMS", entry.as_str()), ("RREG_MIRROR__MISSES", "4")];
    let registry = Registry::start_with(Backend::SqliteDirectory, &settings).await?;
    for number in 0..14 {
        let line =
            request.replace("{}", &number.to_string()).replace("{digest}", &digest(number).to_string());
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut stream = TcpStream::connect(registry.address().to_string()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::select! {
            changed = asked.changed() => changed.unwrap(),
            readable = stream.readable() => readable.unwrap(),
        }
        drop(stream);
        // Until the upstream has answered.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let count = *asked.borrow();
    Some((count, registry, asked))
}

fn digest(number: usize) -> Digest {
    Digest::sha256(format!("in no repository {number}").as_bytes())
}

/// It is the asking that counts, and what it brings that is remembered, not who waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_wait_asks_in_vain_all_the_same() {
    let [tag, size, list] = [
        format!("GET {}", manifest(LOCAL, "none{}")),
        format!("HEAD /v2/{LOCAL}/blobs/{{digest}}"),
        "GET /v2/up/library/none{}/tags/list".to_owned(),
    ];
    let all = tokio::join!(
        asked_by_the_impatient(&tag),
        asked_by_the_impatient(&size),
        asked_by_the_impatient(&list)
    );
    let (Some(tags), Some(sizes), Some(lists)) = all else { return };
    for (asked, what) in [(tags.0, tag), (sizes.0, size), (lists.0, list)] {
        assert!((4..9).contains(&asked), "{what} {asked}");
    }
    for (target, (asked, registry, count)) in
        [(manifest(LOCAL, "none0"), tags), (blob(LOCAL, &digest(0)), sizes)]
    {
        assert_eq!(get(&registry, &target).await.status, 404, "{target}");
        assert_eq!(*count.borrow(), asked, "{target}");
    }
}

/// No role helps: whoever may read is told so, and nobody else hears of an upstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_told_that_it_is_a_copy() {
    let settings = [("RREG_UPSTREAMS", r#"[{name="team", url="http://127.0.0.1:9"}]"#)];
    let Some(team) = Team::start(Backend::SqliteDirectory, &settings).await else { return };
    let api = team.0.api();
    let push =
        |name: &str| api.post("/v2/team/app/blobs/uploads/").header("authorization", &basic(name, PASSWORD));
    for name in ["reader", "writer", "root"] {
        let refused = push(name).expect(405).await;
        assert!(refused.json().to_string().contains("copy of"), "{name}");
    }
    let stranger = push("stranger").expect(403).await;
    assert!(!stranger.json().to_string().contains("copy of"), "{stranger}");
    api.post("/v2/team/app/blobs/uploads/").expect(401).await;
}
