//! What is in the trail: writes, logins, denials, and what administrators did. And what is not: secrets.

use serde_json::Value;

use crate::harness::http::{manifest, uploads};
use crate::harness::image::{Blob, Image};
use crate::harness::{Backend, tool};

use super::{PASSWORD, Team, basic, by};

async fn trail(backend: Backend) {
    let Some(mut team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let image = Image::layered("trail", 1);
    for stored in &image.blobs {
        let target = format!("{}?digest={}", uploads("team/app"), stored.digest);
        by(api.post(target).body(stored.bytes.clone()).octets(), "writer").expect(201).await;
    }
    let put = by(api.put_manifest("team/app", "v1", image.root()), "writer").expect(201).await;
    let request = put.header("x-request-id").to_owned();
    by(api.get_manifest("team/app", "v1"), "reader").expect(200).await;
    by(api.delete(manifest("team/app", "v1")), "reader").expect(403).await;
    by(api.delete(manifest("team/app", "v1")), "maintainer").expect(202).await;
    api.get("/v2/").header("authorization", &basic("mallory\u{1b}", "guess guess")).expect(401).await;
    // The row of what was answered is there, whatever becomes of the server.
    team.0.kill();
    let events = team.rreg(&["audit", "-n", "1000"]);
    let events = events["events"].as_array().unwrap();
    let find = |actor: &str, event: &str, outcome: &str| -> Vec<&Value> {
        let same = |e: &&Value| e["actor"] == actor && e["event"] == event && e["outcome"] == outcome;
        events.iter().filter(same).collect()
    };
    let pushed = find("user:writer", "manifest_put", "allowed");
    let digest = image.root().digest;
    assert_eq!(pushed.len(), 1, "{events:#?}");
    assert_eq!(pushed[0]["target"], format!("v1@{digest}"));
    assert_eq!(pushed[0]["repository"], "team/app");
    assert_eq!(pushed[0]["rule"], "member (writer)");
    assert_eq!(pushed[0]["requestId"], request);
    assert_eq!(pushed[0]["address"], "127.0.0.1");
    assert_eq!(find("user:writer", "upload_start", "allowed").len(), image.blobs.len());
    let denied = find("user:reader", "manifest_delete", "denied");
    assert_eq!((denied.len(), &denied[0]["rule"]), (1, &Value::from("role needed")));
    assert_eq!(find("user:maintainer", "manifest_delete", "allowed").len(), 1);
    for name in ["user:writer", "user:reader", "user:maintainer"] {
        assert!(!find(name, "login", "allowed").is_empty(), "{name}");
    }
    assert_eq!(find("anonymous", "login", "failed")[0]["target"], "mallory\u{fffd}");
    let admin = |event: &str| events.iter().filter(|e| e["event"] == event).count();
    assert_eq!((admin("user create"), admin("org add")), (5, 4));
    assert!(find("user:reader", "manifest_get", "allowed").is_empty(), "reading is not in the trail");
    let text = tool::run(&mut team.0.command(&["audit", "--export", "jsonl"]));
    assert_eq!(text.lines().count(), events.len());
    for secret in [PASSWORD, "guess guess", "argon2"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let log = std::fs::read_to_string(team.0.home().join("log")).unwrap();
    assert!(!log.contains(PASSWORD) && !log.contains("guess guess"));
}

/// A change that is refused by a rule, not for want of a role, is a denial too; and one that fails leaves no row.
async fn what_is_refused_and_what_fails(backend: Backend) {
    let rules = "[{name = 'releases', repositories = ['team/**'], tags = ['v*']}]";
    let Some(mut team) = Team::start(backend, &[("RREG_TAGS__IMMUTABLE", rules)]).await else { return };
    let api = team.0.api();
    let (old, new) = (Image::layered("old", 1), Image::layered("new", 1));
    for stored in old.blobs.iter().chain(&new.blobs) {
        let target = format!("{}?digest={}", uploads("team/app"), stored.digest);
        by(api.post(target).body(stored.bytes.clone()).octets(), "writer").expect(201).await;
    }
    by(api.put_manifest("team/app", "v1", old.root()), "writer").expect(201).await;
    by(api.put_manifest("team/app", "v1", new.root()), "writer").refused(409, "DENIED").await;
    by(api.delete(manifest("team/app", "none")), "maintainer").refused(404, "MANIFEST_UNKNOWN").await;
    let wrong = format!("{}?digest={}", uploads("team/app"), new.root().digest);
    by(api.post(wrong).body("other bytes").octets(), "writer").refused(400, "DIGEST_INVALID").await;
    team.0.kill();
    let events = team.rreg(&["audit", "-n", "1000"]);
    let events = events["events"].as_array().unwrap();
    let of = |event: &str| events.iter().filter(|e| e["event"] == event).collect::<Vec<_>>();
    let puts = of("manifest_put");
    assert_eq!(puts.iter().map(|e| &e["outcome"]).collect::<Vec<_>>(), ["allowed", "denied"], "{puts:#?}");
    assert!(puts[1]["rule"].as_str().unwrap().contains("releases"), "{puts:#?}");
    assert!(of("manifest_delete").is_empty());
    assert_eq!(of("upload_start").len(), old.blobs.len() + new.blobs.len());
}

super::on_both!(trail, what_is_refused_and_what_fails);

/// No change without its row; a login whose row is lost is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_trail_cannot_be_written() {
    let Some(team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let api = team.0.api();
    by(api.post(uploads("team/app")), "writer").expect(202).await;
    let database = format!("sqlite://{}", team.0.home().join("data/rreg.db").display());
    sqlx::any::install_default_drivers();
    let mut conn = <sqlx::AnyConnection as sqlx::Connection>::connect(&database).await.unwrap();
    sqlx::query("ALTER TABLE audit_events RENAME TO lost").execute(&mut conn).await.unwrap();
    let blob = Blob::random("unseen", 300);
    let request = format!(
        "POST {}?digest={} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: 300\r\nconnection: close\r\n\r\n",
        uploads("team/app"),
        blob.digest,
        basic("writer", PASSWORD)
    );
    let answer = api.raw(&[request.as_bytes(), &blob.bytes].concat());
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    by(api.get("/v2/"), "reader").expect(200).await;
    let metrics = api.get("/metrics").expect(200).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("rreg_audit_failures_total 1\n"), "{text}");
    sqlx::query("ALTER TABLE lost RENAME TO audit_events").execute(&mut conn).await.unwrap();
    by(api.head(crate::harness::http::blob("team/app", &blob.digest)), "reader").expect(404).await;
    let log = std::fs::read_to_string(team.0.home().join("log")).unwrap();
    assert!(log.contains("an audit event cannot be stored") && log.contains("user:reader"));
}
