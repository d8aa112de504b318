//! The one-time link that makes the first administrator.

use std::fs;

use crate::harness::{Backend, Registry, tool};

use super::{PASSWORD, basic, pipe};

/// The links that the server has printed so far: path and query.
fn links(registry: &Registry) -> Vec<String> {
    let log = fs::read_to_string(registry.home().join("log")).unwrap();
    let after = log.split("/bootstrap?secret=").skip(1);
    after.map(|rest| format!("/bootstrap?secret={}", rest.split('"').next().unwrap())).collect()
}

fn form(name: &str, password: &str) -> String {
    format!("name={name}&password={}", password.replace(' ', "+"))
}

async fn local(backend: Backend) -> Option<Registry> {
    Registry::start_with(backend, &[("RREG_AUTH__MODE", "local")]).await
}

async fn the_first_administrator_is_made_once(backend: Backend) {
    let Some(mut registry) = local(backend).await else { return };
    let [link] = &links(&registry)[..] else { panic!("one link") };
    let api = registry.api();
    let page = api.get(link).expect(200).await;
    assert!(String::from_utf8_lossy(&page.body).contains("<form method=\"post\">"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), ("no-store", "no-referrer"));
    let (last, rest) = (link.chars().last().unwrap(), &link[..link.len() - 1]);
    let mistyped = format!("{rest}{}", if last == '0' { '1' } else { '0' });
    let guessed = format!("/bootstrap?secret=rreg_{}", "0".repeat(72));
    for wrong in ["/bootstrap", "/bootstrap?secret=", &mistyped, &guessed] {
        api.get(wrong).refused(403, "DENIED").await;
        api.post(wrong).body(form("mallory", PASSWORD)).refused(403, "DENIED").await;
    }
    // What is wrong with the form leaves the link as it was.
    for (name, password) in [("Root", PASSWORD), ("", PASSWORD), ("root", "short"), ("anonymous", PASSWORD)] {
        api.post(link).body(form(name, password)).refused(400, "UNSUPPORTED").await;
    }
    assert_eq!(api.put(link, "").send().await.status, 405);
    api.post(link).body(form("root", PASSWORD)).expect(201).await;
    api.post(link).body(form("mallory", PASSWORD)).refused(403, "DENIED").await;
    api.get(link).refused(403, "DENIED").await;
    api.get("/v2/_catalog").header("authorization", &basic("root", PASSWORD)).expect(200).await;
    let can = tool::output(&mut registry.command(&["can", "root", "delete", "any/thing"]));
    assert!(can.status.success());
    registry.stop();
    registry.resume();
    assert_eq!(links(&registry).len(), 1, "no other link once there is a user");
    registry.stop();
    let trail = tool::run(&mut registry.command(&["audit", "--export", "jsonl"]));
    let made: Vec<&str> = trail.lines().filter(|line| line.contains("user create")).collect();
    assert_eq!(made.len(), 1, "{trail}");
    assert!(made[0].contains("\"bootstrap link\"") && made[0].contains("\"root\""), "{trail}");
    assert!(trail.contains("wrong, used or expired bootstrap link"));
    let secret = link.split('=').nth(1).unwrap();
    assert!(!trail.contains(secret) && !trail.contains(PASSWORD));
    // Only the hash is stored.
    for file in ["data/rreg.db", "data/rreg.db-wal"] {
        let bytes = fs::read(registry.home().join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{file}");
    }
}

async fn of_many_at_once_one_becomes_administrator(backend: Backend) {
    let Some(registry) = local(backend).await else { return };
    // A replica that starts without users prints a link of its own; of both together one counts.
    let replica = registry.is_shareable().then(|| registry.replica());
    let all: Vec<&Registry> = [&registry].into_iter().chain(&replica).collect();
    let offers: Vec<(&Registry, String)> =
        all.iter().flat_map(|one| links(one).into_iter().map(move |link| (*one, link))).collect();
    assert_eq!(offers.len(), all.len());
    let takes = (0..8).map(|number| {
        let (at, link) = &offers[number % offers.len()];
        async move { at.api().post(link).body(form(&format!("root{number}"), PASSWORD)).send().await.status }
    });
    let statuses = futures_util::future::join_all(takes).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 403)), "{statuses:?}");
    let users = tool::run(registry.command(&["user", "ls"]).args(["--output", "json"]));
    assert_eq!(users.matches("root").count(), 1, "{users}");
}

async fn a_user_made_by_command_voids_the_link(backend: Backend) {
    let Some(registry) = local(backend).await else { return };
    let link = links(&registry).remove(0);
    pipe(&mut registry.command(&["user", "create", "root", "--admin", "--password-stdin"]), PASSWORD);
    registry.api().get(&link).refused(403, "DENIED").await;
    registry.api().post(&link).body(form("mallory", PASSWORD)).refused(403, "DENIED").await;
    let settings = [("RREG_AUTH__MODE", "local"), ("RREG_AUTH__BOOTSTRAP_LINK", "false")];
    let Some(silent) = Registry::start_with(backend, &settings).await else { return };
    assert!(links(&silent).is_empty());
    let Some(open) = Registry::start_with(backend, &[]).await else { return };
    assert!(links(&open).is_empty());
    open.api().get("/bootstrap").refused(403, "DENIED").await;
}

super::on_both!(
    the_first_administrator_is_made_once,
    of_many_at_once_one_becomes_administrator,
    a_user_made_by_command_voids_the_link,
);
