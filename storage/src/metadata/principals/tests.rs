//! Accounts, roles, keys and the trail, on SQLite.

use super::super::memberships::Membership;
use super::*;
use crate::CacheLimits;

async fn store() -> (tempfile::TempDir, MetadataStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = MetadataStore::sqlite(&dir.path().join("rreg.db"), CacheLimits::default()).await.unwrap();
    (dir, store)
}

fn secret(kind: &'static str, secret: &str, expires_at: Option<i64>) -> NewCredential {
    NewCredential { kind, secret: secret.into(), expires_at }
}

fn event() -> AuditEvent {
    AuditEvent::new("user create", "allowed", "test")
}

fn member(organisation: &str, principal: &str, role: &str) -> Membership {
    Membership { organisation: organisation.into(), principal: principal.into(), role: role.into() }
}

#[tokio::test]
async fn principals_and_their_secrets() {
    let (_dir, store) = store().await;
    assert!(
        store.create_principal("alice", "user", true, secret("password", "h1", None), event()).await.unwrap()
    );
    assert!(
        !store.create_principal("alice", "robot", false, secret("token", "h2", None), event()).await.unwrap()
    );
    assert_eq!(store.token_owner("h2").await.unwrap(), None, "nothing is left of what was refused");
    assert_eq!(store.password_hash("alice").await.unwrap().as_deref(), Some("h1"));
    assert_eq!(store.password_hash("bob").await.unwrap(), None);
    let alice = store.principal("alice").await.unwrap().unwrap();
    assert!(alice.admin && alice.kind == "user" && alice.expires_at.is_none());
    let (later, earlier) = (expiry_in(60), now_ms() - 1);
    store.create_principal("ci", "robot", false, secret("token", "t1", Some(later)), event()).await.unwrap();
    assert_eq!(store.token_owner("t1").await.unwrap(), Some(("ci".into(), Some(later))));
    assert_eq!(store.principals("robot").await.unwrap()[0].expires_at, Some(later));
    assert!(
        store
            .replace_credentials("ci", "robot", secret("token", "t2", Some(earlier)), event())
            .await
            .unwrap()
    );
    assert_eq!(store.token_owner("t1").await.unwrap(), None, "replaced");
    assert_eq!(store.token_owner("t2").await.unwrap(), None, "expired");
    assert!(!store.replace_credentials("ci", "user", secret("password", "x", None), event()).await.unwrap());
    assert_eq!(store.token_owner("h1").await.unwrap(), None, "a password's hash is no token");
}

#[tokio::test]
async fn whoever_gets_a_name_next_inherits_nothing() {
    let (_dir, store) = store().await;
    store.create_principal("bob", "user", false, secret("password", "h", None), event()).await.unwrap();
    store.set_membership(member("team", "bob", "reader"), event()).await.unwrap();
    store.set_membership(member("team", "bob", "writer"), event()).await.unwrap();
    store.set_membership(member("empty", "", ""), event()).await.unwrap();
    assert_eq!(store.memberships(Some("bob")).await.unwrap(), [member("team", "bob", "writer")]);
    let all = [member("empty", "", ""), member("team", "bob", "writer")];
    assert_eq!(store.memberships(None).await.unwrap(), all);
    assert!(store.delete_principal("bob", "user", event()).await.unwrap());
    assert!(!store.delete_principal("bob", "user", event()).await.unwrap());
    assert_eq!(store.memberships(Some("bob")).await.unwrap(), []);
    assert_eq!(store.password_hash("bob").await.unwrap(), None);
    store.set_membership(member("team", "eve", "reader"), event()).await.unwrap();
    assert!(store.end_membership("team", Some("eve"), event()).await.unwrap());
    assert!(!store.end_membership("team", Some("eve"), event()).await.unwrap());
    assert!(store.end_membership("team", None, event()).await.unwrap());
    assert_eq!(store.memberships(None).await.unwrap(), [member("empty", "", "")]);
}

#[tokio::test]
async fn keys_rotate_once() {
    let (_dir, store) = store().await;
    for key in [1, 2] {
        store.rotate_signing_key(vec![key], now_ms() - 60_000, 0).await.unwrap();
    }
    let keys = store.signing_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.private.clone()).collect::<Vec<_>>(), [vec![1]]);
    store.rotate_signing_key(vec![3], i64::MAX, 0).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap().len(), 2);
    store.rotate_signing_key(vec![4], i64::MAX, i64::MAX).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap()[0].private, [4]);
}

#[tokio::test]
async fn a_second_process_writes_beside_the_first_and_the_trail_is_read_in_order() {
    let (dir, server) = store().await;
    let path = dir.path().join("rreg.db");
    let other = MetadataStore::sqlite(&path, CacheLimits::default()).await.unwrap();
    let event = |actor: &str| AuditEvent { actor: actor.into(), ..AuditEvent::new("login", "allowed", "x") };
    server.audit(vec![event("a"), event("b")]).await.unwrap();
    other.audit(vec![event("c")]).await.unwrap();
    other.create_principal("alice", "user", false, secret("password", "h", None), event("d")).await.unwrap();
    assert!(server.principal("alice").await.unwrap().is_some());
    let actors = |events: Vec<AuditEvent>| events.into_iter().map(|e| e.actor).collect::<String>();
    let all = server.audit_events(0, None, 10).await.unwrap();
    let page = server.audit_events(0, Some(&all[1]), 10).await.unwrap();
    assert_eq!((actors(all), actors(page)), ("abcd".into(), "cd".into()));
    assert_eq!(actors(server.audit_events(i64::MAX, None, 10).await.unwrap()), "");
    assert_eq!(actors(server.last_audit_events(2).await.unwrap()), "cd");
}
