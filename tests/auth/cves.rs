//! What other registries got wrong, tried on this one.

use crate::harness::Backend;
use crate::harness::http::{blob, commit, manifest, uploads};
use crate::harness::image::{Blob, Image};

use super::{PASSWORD, Team, base64, basic, bearing, by, token};

async fn push(team: &Team, repository: &str, name: &str, image: &Image, tag: &str) {
    let api = team.0.api();
    for stored in &image.blobs {
        let target = format!("{}?digest={}", uploads(repository), stored.digest);
        by(api.post(target).body(stored.bytes.clone()).octets(), name).expect(201).await;
    }
    by(api.put_manifest(repository, tag, image.root()), name).expect(201).await;
}

/// distribution CVE-2025-24976: a token signed by a key that came in its own header was believed.
async fn cve_2025_24976_keys_in_a_tokens_header(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let good = token(&team, "reader", &["repository:team/app:pull"]).await;
    let mut parts = good.split('.');
    let (_, claims, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let url_safe =
        |text: &str| base64(text.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_");
    let key = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    for header in [
        format!(r#"{{"alg":"ES256","typ":"JWT","jwk":{key}}}"#),
        r#"{"alg":"ES256","kid":"x","jku":"http://127.0.0.1:1/keys"}"#.to_owned(),
        r#"{"alg":"none"}"#.to_owned(),
        r#"{"alg":"HS256","kid":"x"}"#.to_owned(),
    ] {
        let forged = format!("{}.{claims}.{signature}", url_safe(&header));
        bearing(api.get("/v2/"), &forged).refused(401, "UNAUTHORIZED").await;
        let unsigned = format!("{}.{claims}.", url_safe(&header));
        bearing(api.get("/v2/"), &unsigned).refused(401, "UNAUTHORIZED").await;
    }
    bearing(api.get("/v2/"), &good).expect(200).await;
}

/// zot CVE-2024-39897: a blob could be read through a repository that did not hold it, by those who may not read the one
/// that did.
async fn cve_2024_39897_blobs_of_other_repositories(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let image = Image::layered("secret", 1);
    push(&team, "team/app", "writer", &image, "v1").await;
    let layer = &image.blobs[0].digest;
    by(api.get(blob("team/app", layer)), "reader").expect(200).await;
    by(api.get(blob("other/app", layer)), "stranger").refused(404, "BLOB_UNKNOWN").await;
    for from in ["&from=team/app", ""] {
        let mount = format!("{}?mount={layer}{from}", uploads("other/app"));
        // An upload begins instead, and the blob is still not theirs.
        by(api.post(mount), "stranger").expect(202).await;
        by(api.head(blob("other/app", layer)), "stranger").expect(404).await;
    }
}

/// distribution CVE-2026-35172: a blob that was deleted from a repository could be read there as long as another had it,
/// out of a cache.
async fn cve_2026_35172_deleted_blobs(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let spare = Blob::random("spare", 2000);
    for (repository, name) in [("team/app", "writer"), ("other/app", "stranger")] {
        let target = format!("{}?digest={}", uploads(repository), spare.digest);
        by(api.post(target).body(spare.bytes.clone()).octets(), name).expect(201).await;
    }
    for _ in 0..3 {
        by(api.get(blob("team/app", &spare.digest)), "reader").expect(200).await;
    }
    by(api.delete(blob("team/app", &spare.digest)), "maintainer").expect(202).await;
    by(api.get(blob("other/app", &spare.digest)), "stranger").expect(200).await;
    for _ in 0..3 {
        by(api.get(blob("team/app", &spare.digest)), "reader").refused(404, "BLOB_UNKNOWN").await;
        by(api.head(blob("team/app", &spare.digest)), "reader").expect(404).await;
    }
}

/// distribution CVE-2026-41888: a tag could be deleted where deleting manifests by digest was refused.
async fn cve_2026_41888_tags_are_content_too(backend: Backend) {
    let Some(mut team) = Team::start(backend, &[]).await else { return };
    push(&team, "team/app", "writer", &Image::layered("tags", 1), "v1").await;
    for name in ["reader", "writer", "stranger"] {
        by(team.0.api().delete(manifest("team/app", "v1")), name).refused(403, "DENIED").await;
    }
    team.0.stop();
    team.0.set("RREG_SERVER__READ_ONLY", "true");
    team.0.resume();
    for name in ["writer", "maintainer", "root"] {
        by(team.0.api().delete(manifest("team/app", "v1")), name).refused(403, "DENIED").await;
    }
    by(team.0.api().get_manifest("team/app", "v1"), "reader").expect(200).await;
}

/// zot CVE-2026-31801: `latest` could be overwritten by those who could overwrite nothing else.
async fn cve_2026_31801_latest_is_a_tag_like_any_other(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let (old, new) = (Image::layered("old", 1), Image::layered("new", 1));
    for tag in ["latest", "1.0"] {
        push(&team, "team/app", "writer", &old, tag).await;
        for name in ["reader", "stranger"] {
            let api = team.0.api();
            by(api.put_manifest("team/app", tag, new.root()), name).refused(403, "DENIED").await;
        }
        let kept = by(team.0.api().get_manifest("team/app", tag), "reader").expect(200).await;
        kept.assert_digest(&old.root().digest, true);
    }
}

/// zot CVE-2026-61833: a bearer token that was asked for pushing deleted, too.
async fn cve_2026_61833_a_token_for_pushing_does_not_delete(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let image = Image::layered("delete", 1);
    push(&team, "team/app", "writer", &image, "v1").await;
    let spare = Blob::random("spare", 500);
    let target = format!("{}?digest={}", uploads("team/app"), spare.digest);
    by(api.post(target).body(spare.bytes.clone()).octets(), "writer").expect(201).await;
    let targets = [
        manifest("team/app", "v1"),
        manifest("team/app", image.root().digest),
        blob("team/app", &spare.digest),
    ];
    // Of those who may delete, and of those who may not and ask for it.
    for (name, asked) in [
        ("root", "repository:team/app:pull,push"),
        ("maintainer", "repository:team/app:pull,push"),
        ("maintainer", "repository:team/other:pull,push,delete"),
        ("writer", "repository:team/app:pull,push,delete"),
    ] {
        let bearer = token(&team, name, &[asked]).await;
        for target in &targets {
            let status = bearing(api.delete(target), &bearer).send().await.status;
            assert!(matches!(status, 401 | 403), "{name} {asked} {target}: {status}");
        }
    }
    let bearer = token(&team, "maintainer", &["repository:team/app:pull,delete"]).await;
    for target in &targets {
        bearing(api.delete(target), &bearer).expect(202).await;
    }
}

/// Quay CVE-2026-32589: whoever could push anywhere could read, fill and cancel the uploads of others.
async fn cve_2026_32589_uploads_of_other_repositories(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let blob = Blob::random("upload", 5000);
    let location = by(api.post(uploads("team/app")), "writer").expect(202).await.location();
    let moved = location.replace("/v2/team/app/", "/v2/other/app/");
    by(api.get(&location), "stranger").refused(403, "DENIED").await;
    by(api.patch(&location, blob.bytes.clone()).octets(), "stranger").refused(403, "DENIED").await;
    by(api.get(&moved), "stranger").refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    by(api.patch(&moved, blob.bytes.clone()).octets(), "stranger").refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    let end = commit(&moved, &blob.digest);
    by(api.put(end, blob.bytes.clone()).octets(), "stranger").refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    by(api.delete(&moved), "stranger").refused(404, "BLOB_UPLOAD_UNKNOWN").await;
    by(api.patch(&location, blob.bytes.clone()).octets(), "writer").expect(202).await;
    by(api.put(commit(&location, &blob.digest), "").octets(), "writer").expect(201).await;
}

/// An unknown name, a wrong password and a mistyped token get the same answer, word for word.
async fn user_enumeration_by_message(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let mut answers = Vec::new();
    for (name, secret) in [
        ("root", "wrong password"),
        ("nobody", "wrong password"),
        ("NO NAME", "wrong password"),
        ("", ""),
        ("root", ""),
        ("root", "rreg_0000"),
        ("nobody", PASSWORD),
    ] {
        for target in ["/v2/", "/v2/token", "/v2/team/app/manifests/v1", "/v2/team/none/manifests/v1"] {
            let call = api.get(target).header("authorization", &basic(name, secret));
            let answer = call.refused(401, "UNAUTHORIZED").await;
            answers.push((answer.body.clone(), answer.header("www-authenticate").to_owned()));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // What is not there and what may not be seen look the same.
    push(&team, "team/app", "writer", &Image::layered("there", 1), "v1").await;
    let hidden = by(api.get_manifest("team/app", "v1"), "stranger").refused(403, "DENIED").await;
    let missing = by(api.get_manifest("team/none", "v1"), "stranger").refused(403, "DENIED").await;
    assert_eq!(hidden.body, missing.body);
}

/// Neither does the work done tell who has an account: counted, not timed.
async fn user_enumeration_by_work(backend: Backend) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("carol:$2y$04${}\n", "a".repeat(53))).unwrap();
    let path = file.path().display().to_string();
    let Some(team) = Team::start(backend, &[("RREG_AUTH__HTPASSWD", &path)]).await else { return };
    let api = team.0.api();
    team.rreg(&["robot", "create", "ci", "--expires", "1h"]);
    let checks = async || {
        let text = api.get("/metrics").expect(200).await;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("rreg_password_checks_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    for name in ["root", "reader", "carol", "ci", "nobody", "NO NAME", "", "anonymous", &"x".repeat(500)] {
        for target in ["/v2/", "/v2/token"] {
            let before = checks().await;
            let call = api.get(target).header("authorization", &basic(name, "wrong password"));
            call.refused(401, "UNAUTHORIZED").await;
            assert_eq!(checks().await, before + 1, "{name:?} {target}");
        }
    }
}

super::on_both!(
    cve_2025_24976_keys_in_a_tokens_header,
    cve_2024_39897_blobs_of_other_repositories,
    cve_2026_35172_deleted_blobs,
    cve_2026_41888_tags_are_content_too,
    cve_2026_31801_latest_is_a_tag_like_any_other,
    cve_2026_61833_a_token_for_pushing_does_not_delete,
    cve_2026_32589_uploads_of_other_repositories,
    user_enumeration_by_message,
    user_enumeration_by_work,
);
