//! Who may do what, over HTTP, by `rreg can`, and that both agree.

use crate::harness::http::{Call, blob, manifest, uploads};
use crate::harness::image::{Blob, Image};
use crate::harness::{Backend, tool};

use super::{PASSWORD, Team, basic, bearing, by, token};

/// Name, and whether they pull, push and delete in `team/app`.
const POWERS: [(&str, [bool; 3]); 6] = [
    ("anonymous", [false; 3]),
    ("stranger", [false; 3]),
    ("reader", [true, false, false]),
    ("writer", [true, true, false]),
    ("maintainer", [true; 3]),
    ("root", [true; 3]),
];

async fn status(call: Call<'_>) -> u16 {
    call.send().await.status
}

async fn roles(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let image = Image::layered("roles", 1);
    for (name, powers) in POWERS {
        let refusal = if name == "anonymous" { 401 } else { 403 };
        for (word, allowed) in ["pull", "push", "delete"].into_iter().zip(powers) {
            let output = tool::output(&mut team.0.command(&["can", name, word, "team/app"]));
            assert_eq!(output.status.code(), Some(if allowed { 0 } else { 77 }), "{name} {word}");
        }
        // Nothing is there yet: who may pull learns that, others learn nothing.
        let missing = status(by(api.get_manifest("team/app", "none"), name)).await;
        assert_eq!(missing, if powers[0] { 404 } else { refusal }, "{name} pulls");
        let begun = status(by(api.post(uploads("team/app")), name)).await;
        assert_eq!(begun, if powers[1] { 202 } else { refusal }, "{name} pushes");
        for target in [manifest("team/app", "none"), manifest("team/app", image.root().digest)] {
            let deleted = status(by(api.delete(&target), name)).await;
            assert_eq!(deleted, if powers[2] { 404 } else { refusal }, "{name} deletes {target}");
        }
        let digest = &image.blobs[0].digest;
        let deleted = status(by(api.delete(blob("team/app", digest)), name)).await;
        assert_eq!(deleted, if powers[2] { 404 } else { refusal }, "{name} deletes a blob");
    }
    by(api.get("/v2/"), "stranger").expect(200).await;
    let challenge = api.get("/v2/").refused(401, "UNAUTHORIZED").await;
    let expected = format!("Bearer realm=\"http://{}/v2/token\",service=\"rreg\"", team.0.address());
    assert_eq!(challenge.header("www-authenticate"), expected);
}

async fn lists(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    for repository in ["other/a", "public/b", "team/c", "team/d", "zoo/e"] {
        let blob = Blob::random(repository, 100);
        let target = format!("{}?digest={}", uploads(repository), blob.digest);
        by(api.post(target).body(blob.bytes.clone()).octets(), "root").expect(201).await;
    }
    let all = ["other/a", "public/b", "team/c", "team/d", "zoo/e"];
    for (name, seen) in [
        ("root", &all[..]),
        ("reader", &["public/b", "team/c", "team/d"][..]),
        ("stranger", &["other/a", "public/b"][..]),
    ] {
        let answer = by(api.get("/v2/_catalog"), name).expect(200).await;
        assert_eq!(answer.texts("repositories"), seen, "{name}");
        let bearer = token(&team, name, &["registry:catalog:*"]).await;
        assert_eq!(bearing(api.get("/v2/_catalog"), &bearer).expect(200).await.texts("repositories"), seen);
    }
    // Pages tell no name that may not be seen.
    let (mut target, mut seen) = ("/v2/_catalog?n=1".to_owned(), Vec::new());
    loop {
        let page = by(api.get(&target), "reader").expect(200).await;
        seen.extend(page.texts("repositories"));
        let Some(next) = page.next() else { break };
        assert!(!next.contains("other") && !next.contains("zoo"), "{next}");
        target = next;
    }
    assert_eq!(seen, ["public/b", "team/c", "team/d"]);
    api.get("/v2/_catalog").refused(401, "UNAUTHORIZED").await;
    let narrow = token(&team, "root", &["repository:team/c:pull"]).await;
    bearing(api.get("/v2/_catalog"), &narrow).refused(401, "UNAUTHORIZED").await;
}

async fn public_repositories_and_immediate_answers(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let image = Image::layered("public", 1);
    for repository in ["public/app", "team/app"] {
        for stored in &image.blobs {
            let target = format!("{}?digest={}", uploads(repository), stored.digest);
            by(api.post(target).body(stored.bytes.clone()).octets(), "root").expect(201).await;
        }
        by(api.put_manifest(repository, "v1", image.root()), "root").expect(201).await;
    }
    let digest = &image.blobs[0].digest;
    // More than once: the second answer comes from memory, by the same rules.
    for _ in 0..3 {
        api.get_manifest("public/app", "v1").expect(200).await;
        api.get(blob("public/app", digest)).expect(200).await;
        for name in ["anonymous", "stranger"] {
            let refusal = if name == "anonymous" { 401 } else { 403 };
            assert_eq!(status(by(api.get_manifest("team/app", "v1"), name)).await, refusal);
            assert_eq!(status(by(api.head(blob("team/app", digest)), name)).await, refusal);
        }
        let bearer = token(&team, "reader", &["repository:team/app:pull"]).await;
        bearing(api.get_manifest("team/app", "v1"), &bearer).expect(200).await;
        bearing(api.get(blob("team/app", digest)), &bearer).expect(200).await;
        let other = token(&team, "root", &["repository:public/app:pull"]).await;
        let refused = bearing(api.get_manifest("team/app", "v1"), &other).refused(401, "UNAUTHORIZED").await;
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.contains("scope=\"repository:team/app:pull\",error=\"insufficient_scope\""),
            "{challenge}"
        );
    }
    // Wrong credentials are not nobody's: they are refused where nobody may pull.
    let wrong =
        api.get_manifest("public/app", "v1").header("authorization", &basic("root", "wrong password"));
    wrong.refused(401, "UNAUTHORIZED").await;
    api.put_manifest("public/app", "v2", image.root()).refused(401, "UNAUTHORIZED").await;
}

async fn robots_and_htpasswd(backend: Backend) {
    let file = tempfile::NamedTempFile::new().unwrap();
    // The password is "secret"; cost 4.
    std::fs::write(file.path(), format!("carol:{}\n", HTPASSWD)).unwrap();
    let path = file.path().display().to_string();
    let Some(team) = Team::start(backend, &[("RREG_AUTH__HTPASSWD", &path)]).await else { return };
    let api = team.0.api();
    let made = team.rreg(&["robot", "create", "ci", "--org", "team", "--role", "writer", "--expires", "1h"]);
    let secret = made["token"].as_str().unwrap();
    assert!(secret.starts_with("rreg_"));
    let as_robot = basic("ci", secret);
    api.post(uploads("team/app")).header("authorization", &as_robot).expect(202).await;
    api.post(uploads("other/app")).header("authorization", &as_robot).refused(403, "DENIED").await;
    // A token is good with its own name only.
    api.get("/v2/").header("authorization", &basic("root", secret)).refused(401, "UNAUTHORIZED").await;
    let mistyped = format!("{}0", &secret[..secret.len() - 1]);
    if mistyped != secret {
        let answer = api.get("/v2/").header("authorization", &basic("ci", &mistyped));
        answer.refused(401, "UNAUTHORIZED").await;
    }
    assert!(!tool::run(&mut team.0.command(&["robot", "ls"])).contains("rreg_"));

    let carol = basic("carol", "secret");
    api.get("/v2/").header("authorization", &carol).expect(200).await;
    api.get_manifest("team/app", "x").header("authorization", &carol).refused(403, "DENIED").await;
    api.get("/v2/").header("authorization", &basic("carol", PASSWORD)).refused(401, "UNAUTHORIZED").await;
    // The database would win over the file, so the name cannot be taken.
    assert!(!tool::output(&mut team.0.command(&["user", "create", "carol"])).status.success());
    team.rreg(&["org", "add", "team", "carol", "reader"]);
    assert!(tool::output(&mut team.0.command(&["can", "carol", "pull", "team/app"])).status.success());
}

/// bcrypt of "secret" with a cost of 4, by another implementation (crypt(3) of glibc's libcrypt).
const HTPASSWD: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// containerd's `?ns=` makes another repository of the one in the path, and that one is judged.
async fn a_namespace_is_judged_by_what_it_means(backend: Backend) {
    let upstreams = r#"[{name="hub", url="http://127.0.0.1:1", ns=["docker.io"]}]"#;
    let Some(team) = Team::start(backend, &[("RREG_UPSTREAMS", upstreams)]).await else { return };
    let api = team.0.api();
    by(api.get_manifest("team/app", "v1"), "reader").refused(404, "MANIFEST_UNKNOWN").await;
    let target = format!("{}?ns=docker.io", manifest("team/app", "v1"));
    for name in ["reader", "writer", "maintainer", "stranger"] {
        let refused = by(api.get(&target), name).refused(403, "DENIED").await;
        assert!(String::from_utf8_lossy(&refused.body).contains("organisation hub"), "{refused}");
    }
    let challenge = api.get(&target).refused(401, "UNAUTHORIZED").await;
    let scope = "scope=\"repository:hub/team/app:pull\"";
    assert!(challenge.header("www-authenticate").contains(scope), "{challenge}");
    let bearer = token(&team, "root", &["repository:team/app:pull"]).await;
    bearing(api.get(&target), &bearer).refused(401, "UNAUTHORIZED").await;
}

async fn open_asks_nobody(backend: Backend) {
    let Some(registry) = crate::harness::Registry::start_with(backend, &[]).await else { return };
    let api = registry.api();
    api.get("/v2/").expect(200).await;
    api.get("/v2/").header("authorization", &basic("any", "body")).expect(200).await;
    assert_eq!(api.get("/v2/token").send().await.status, 404);
}

super::on_both!(
    roles,
    lists,
    public_repositories_and_immediate_answers,
    robots_and_htpasswd,
    a_namespace_is_judged_by_what_it_means,
    open_asks_nobody
);
