//! What comes in is verified, resumed and bounded.

use rreg_oci::{Descriptor, Digest, Reference, media_type};

use super::harness::{Server, answer, broken};
use crate::{ErrorKind, FetchedManifest};

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::sha256(bytes), bytes.len() as u64)
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    for honours_ranges in [true, false] {
        let served = content.clone();
        let server = Server::start(move |n, asked| match (n, asked.header("range")) {
            (0, None) => broken(&served, 150_000),
            (_, Some(range)) if honours_ranges => {
                let from: usize =
                    range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')).unwrap().parse().unwrap();
                let place = format!("bytes {from}-{}/{}", served.len() - 1, served.len());
                answer(206, &[("content-range", &place)], served[from..].to_vec())
            }
            _ => answer(200, &[], served.clone()),
        })
        .await;
        let bytes =
            server.client().fetch_blob(&"a".parse().unwrap(), &blob(&content), 1 << 20).await.unwrap();
        assert_eq!(bytes, content);
        assert_eq!(server.lines().len(), 2);
    }
}

#[tokio::test]
async fn wrong_content_is_an_error() {
    let expected = blob(b"good content");
    let repository = "a".parse().unwrap();
    let wrong = Server::start(|_, _| answer(200, &[], "evil content")).await;
    let error = wrong.client().fetch_blob(&repository, &expected, 100).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Digest { .. }), "{error}");
    let short = Server::start(|_, _| answer(200, &[], "good")).await;
    let error = short.client().fetch_blob(&repository, &expected, 100).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Length { .. }), "{error}");
    let dead = Server::start(|_, _| broken(b"good content", 4)).await;
    let error = dead.client().fetch_blob(&repository, &expected, 100).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Transport(_) | ErrorKind::Protocol(_)), "{error}");
    let error = dead.client().fetch_blob(&repository, &expected, 3).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn manifests_are_verified_and_bounded() {
    let body = format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
    let digest = Digest::sha256(body.as_bytes());
    let text = body.clone();
    let server = Server::start(move |_, asked| {
        let stated = if asked.line.ends_with("lies") { Digest::sha256(b"lie") } else { digest };
        let headers = [("docker-content-digest", &*stated.to_string()), ("content-type", "application/json")];
        if asked.line.ends_with("huge") {
            answer(200, &headers, vec![b' '; 5 << 20])
        } else {
            answer(200, &headers, text.clone())
        }
    })
    .await;
    let (client, repository) = (server.client(), "a".parse().unwrap());
    let by = |text: &str| text.parse::<Reference>().unwrap();
    let fetched = client.fetch_manifest(&repository, &by("good")).await.unwrap();
    assert_eq!((fetched.descriptor.digest, &*fetched.descriptor.media_type), (digest, media_type::OCI_INDEX));
    let error = client.fetch_manifest(&repository, &by("lies")).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Digest { .. }), "{error}");
    let other = Reference::Digest(Digest::sha256(b"other"));
    let error = client.fetch_manifest(&repository, &other).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Digest { .. }), "{error}");
    let error = client.fetch_manifest(&repository, &by("huge")).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn busy_registries_are_asked_again_and_errors_are_told() {
    let server = Server::start(|n, _| match n {
        0 => answer(503, &[("retry-after", "0")], ""),
        1 => answer(429, &[], ""),
        2 => answer(200, &[], r#"{"repositories":["a"]}"#),
        _ => answer(
            404,
            &[],
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no\u001b[31m","detail":{"n":1}}]}"#,
        ),
    })
    .await;
    let client = server.client();
    assert_eq!(client.catalog().await.unwrap(), ["a"]);
    let error = client.tags(&"x/y".parse().unwrap()).await.unwrap_err();
    assert!(error.is_not_found());
    let text = error.to_string();
    assert!(text.starts_with(&format!("listing the tags of {}/x/y: 404", server.host)), "{text}");
    assert!(text.contains("NAME_UNKNOWN: no [31m (n 1)") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn lists_follow_links_on_the_same_host_only() {
    let server = Server::start(|_, asked| match asked.line.as_str() {
        "GET /v2/a/tags/list?n=1000" => {
            answer(200, &[("link", r#"</v2/a/tags/list?token=2>; rel="next""#)], r#"{"tags":["1"]}"#)
        }
        "GET /v2/a/tags/list?token=2" => answer(200, &[], r#"{"tags":["2"]}"#),
        "GET /v2/b/tags/list?n=1000" => {
            answer(200, &[("link", r#"<http://example.org/>; rel="next""#)], r#"{"tags":null}"#)
        }
        _ => answer(200, &[("link", r#"<?n=1000>; rel="next""#)], r#"{"tags":["x"]}"#),
    })
    .await;
    let client = server.client();
    assert_eq!(client.tags(&"a".parse().unwrap()).await.unwrap(), ["1", "2"]);
    for bad in ["b", "c"] {
        let error = client.tags(&bad.parse().unwrap()).await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Protocol(_)), "{error}");
    }
}

/// Tags of a registry that has a few more than fit in a page, and says where the next page is by `link`, in which `LAST`
/// stands for the last tag of a page.
async fn listing(link: &'static str, honours_last: bool) -> Result<usize, crate::ClientError> {
    let all: Vec<String> = (0..2_300).map(|n| format!("v{n:05}")).collect();
    let server = Server::start(move |_, asked| {
        if !asked.line.starts_with("GET /v2/team/a/tags/list?") {
            return answer(404, &[], "no such page");
        }
        let last =
            asked.line.split(['?', '&']).find_map(|pair| pair.strip_prefix("last=")).unwrap_or_default();
        let last = if honours_last { last } else { "" };
        let page: Vec<&String> = all.iter().filter(|tag| tag.as_str() > last).take(1000).collect();
        let body = serde_json::json!({"tags": page}).to_string();
        match page.last().filter(|last| **last != "v02299" && !link.is_empty()) {
            Some(last) => answer(200, &[("link", &link.replace("LAST", last))], body),
            None => answer(200, &[], body),
        }
    })
    .await;
    server.client().tags(&"team/a".parse().unwrap()).await.map(|tags| tags.len())
}

#[tokio::test]
async fn a_list_is_whole_though_its_links_are_wrong() {
    for link in [
        r#"</v2/team/a/tags/list?n=1000&last=LAST>; rel="next""#,
        // Nexus behind a connector, Artifactory without its prefix, a cursor that is none.
        r#"<http://127.0.0.1:1/repository/hub/v2/team/a/tags/list?n=1000&last=LAST>; rel="next""#,
        r#"</v2/a/tags/list?last=LAST&n=1000>; rel="next""#,
        r#"</v2/team/a/tags/list?n=1000>; rel="next""#,
        "",
    ] {
        assert_eq!(listing(link, true).await.unwrap(), 2_300, "{link}");
    }
    // One that gives the same page for ever has no end; one that says so ends.
    assert!(listing(r#"</v2/team/a/tags/list?n=1000>; rel="next""#, false).await.is_err());
    assert_eq!(listing("", false).await.unwrap(), 1000);
}

/// A page of names that no page before had, `count` of them and `length` bytes long.
fn page_of(page: usize, count: usize, length: usize) -> String {
    let name = |n: usize| format!("{:0length$}", page * count + n);
    serde_json::json!({"tags": (0..count).map(name).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn a_list_without_end_is_an_error_and_not_its_beginning() {
    // Many pages of long names; a page of short ones; names that are no names.
    type Page = fn(usize) -> String;
    let cases: [(&str, Page); 3] = [
        ("larger than", |n| page_of(n, 40_000, 128)),
        ("more than 1000000 entries", |n| page_of(n, 400_000, 7)),
        ("more than 1000000 entries", |_| format!("{{\"tags\":[{}\"\"]}}", "\"\",".repeat(1_500_000))),
    ];
    for (told, body) in cases {
        let server = Server::start(move |n, _| {
            let link = format!("</v2/a/tags/list?n=1000&last={n}>; rel=\"next\"");
            answer(200, &[("link", &link)], body(n))
        })
        .await;
        let error = server.client().tags(&"a".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert!(server.asked.lock().unwrap().len() <= 14, "{told}: the rest is not asked for");
    }
}

#[tokio::test]
async fn referrers_without_end_are_an_error_and_not_the_first_of_them() {
    let entry = |note: &str| {
        format!(
            r#"{{"mediaType":"m","digest":"{}","size":1,"annotations":{{"n":"{note}"}}}}"#,
            Digest::sha256(b"x")
        )
    };
    for (told, count, note) in
        [("larger than", 1_000, "n".repeat(4_000)), ("50000 entries", 30_000, String::new())]
    {
        let body = format!(r#"{{"manifests":[{}]}}"#, vec![entry(&note); count].join(","));
        let server = Server::start(move |n, _| {
            let link = format!("<?page={n}>; rel=\"next\"");
            answer(200, &[("content-type", media_type::OCI_INDEX), ("link", &link)], body.clone())
        })
        .await;
        let found = server.client().referrers(&"a".parse().unwrap(), &Digest::sha256(b"s"), None).await;
        let error = found.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert!(server.asked.lock().unwrap().len() <= 6, "{told}: the rest is not asked for");
    }
}

#[tokio::test]
async fn what_is_no_list_is_not_taken_for_an_empty_one() {
    for body in ["{}", r#"{"errors":[{"code":"DENIED"}]}"#, "<html></html>", "[]", ""] {
        let server = Server::start(move |_, _| answer(200, &[], body)).await;
        let error = server.client().tags(&"a".parse().unwrap()).await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Protocol(_)), "{body}: {error}");
    }
    let server = Server::start(|_, _| answer(200, &[], r#"{"name":"a","tags":null}"#)).await;
    assert!(server.client().tags(&"a".parse().unwrap()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_length_of_a_blob_is_what_any_answer_says() {
    let blob = Digest::sha256(b"content");
    let cases = [(200, true, true), (200, false, true), (405, false, true), (403, false, false)];
    for (status, has_length, honours_range) in cases {
        let server = Server::start(move |_, asked| match (asked.line.split(' ').next(), honours_range) {
            (Some("HEAD"), _) if has_length => answer(status, &[("content-length", "7")], ""),
            (Some("HEAD"), _) => answer(status, &[("transfer-encoding", "chunked")], ""),
            (_, true) => answer(206, &[("content-range", "bytes 0-0/7")], "c"),
            (_, false) => answer(200, &[], "content"),
        })
        .await;
        let size = server.client().blob_size(&"a".parse().unwrap(), &blob).await;
        assert_eq!(size.unwrap(), 7, "{status}");
    }
    let server = Server::start(|_, _| answer(404, &[], "")).await;
    assert!(server.client().blob_size(&"a".parse().unwrap(), &blob).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn referrers_are_filtered_here_when_the_registry_did_not() {
    let entry = |kind: &str| {
        format!(
            r#"{{"mediaType":"m","digest":"{}","size":1,"artifactType":"{kind}"}}"#,
            Digest::sha256(kind.as_bytes())
        )
    };
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, entry("a/x"), entry("b/y"));
    let server =
        Server::start(move |_, _| answer(200, &[("content-type", media_type::OCI_INDEX)], index.clone()))
            .await;
    let found =
        server.client().referrers(&"a".parse().unwrap(), &Digest::sha256(b"s"), Some("b/y")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].artifact_type.as_deref(), Some("b/y"));
}

#[tokio::test]
async fn without_the_api_the_referrers_tag_is_kept() {
    let subject = Digest::sha256(b"subject");
    let stored = std::sync::Mutex::new(None::<axum::body::Bytes>);
    let tag = subject.referrers_tag();
    let server = Server::start(move |_, asked| {
        let mut stored = stored.lock().unwrap();
        match asked.line.split_once(' ').unwrap() {
            ("PUT", path) => {
                if path.ends_with(&tag) {
                    *stored = Some(asked.body.clone());
                }
                answer(201, &[], "")
            }
            (_, path) if path.ends_with(&tag) && stored.is_some() => {
                answer(200, &[("content-type", media_type::OCI_INDEX)], stored.clone().unwrap())
            }
            _ => answer(404, &[], "{}"),
        }
    })
    .await;
    let (client, repository) = (server.client(), "a".parse().unwrap());
    let descriptor =
        |d: Digest| format!(r#"{{"mediaType":"{}","digest":"{d}","size":2}}"#, media_type::OCI_EMPTY);
    let manifest = |note: &str| {
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"a/x","config":{},"layers":[],"subject":{},"annotations":{{"n":"{note}"}}}}"#,
            media_type::OCI_MANIFEST,
            descriptor(Digest::sha256(b"{}")),
            descriptor(subject)
        );
        FetchedManifest::new(media_type::OCI_MANIFEST, body.into())
    };
    for note in ["1", "2", "1"] {
        client.push_manifest(&repository, &manifest(note), &[]).await.unwrap();
    }
    let found = client.referrers(&repository, &subject, Some("a/x")).await.unwrap();
    assert_eq!(found.len(), 2, "each once");
    assert_eq!(found[0].annotations.as_ref().unwrap()["n"], "1");
    client.withdraw_referrer(&repository, &subject, &found[0].digest).await.unwrap();
    assert_eq!(client.referrers(&repository, &subject, None).await.unwrap().len(), 1);
}
