//! What is in the trail: writes, logins, denials, and what administrators did. And what is not: secrets.

use serde_json::Value;

use crate::harness::http::{manifest, uploads};
use crate::harness::image::Image;
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
    // Rows are written behind the answers; all of them are there once the server has stopped.
    team.0.stop();
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

super::on_both!(trail);
