//! Trust policy documents.

use serde_json::{Value, json};

use super::mint::root;
use crate::notation::{Level, NotationTrust, TrustPolicyDocument, TrustStores};

fn statement(name: &str, scopes: &[&str]) -> Value {
    json!({
        "name": name,
        "registryScopes": scopes,
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=acme"],
    })
}

fn parse(statements: &[Value]) -> Result<TrustPolicyDocument, String> {
    let document = json!({"version": "1.0", "trustPolicies": statements});
    TrustPolicyDocument::parse(&serde_json::to_vec(&document).unwrap()).map_err(|error| error.to_string())
}

fn with(field: &str, value: Value) -> Value {
    let mut one = statement("one", &["registry.acme.io/app"]);
    one[field] = value;
    one
}

#[test]
fn documents_that_are_refused_say_why() {
    let cases = [
        (vec![], "0 statements"),
        (vec![with("name", json!(""))], "no name"),
        (vec![with("signatureVerification", json!({}))], "no verification level"),
        (vec![with("signatureVerification", json!({"level": "some"}))], "not known"),
        (vec![with("signatureVerification", json!({"level": "skip"}))], "skip"),
        (
            vec![with("signatureVerification", json!({"level": "strict", "override": {"integrity": "log"}}))],
            "integrity",
        ),
        (
            vec![with("signatureVerification", json!({"level": "strict", "override": {"expiry": "skip"}}))],
            "skipped",
        ),
        (
            vec![with("signatureVerification", json!({"level": "strict", "override": {"other": "log"}}))],
            "not known",
        ),
        (
            vec![with("signatureVerification", json!({"level": "strict", "override": {"expiry": "no"}}))],
            "not enforce",
        ),
        (
            vec![with("signatureVerification", json!({"level": "skip", "override": {"expiry": "log"}}))],
            "overridden",
        ),
        (
            vec![with("signatureVerification", json!({"level": "strict", "verifyTimestamp": "never"}))],
            "verifyTimestamp",
        ),
        (vec![with("trustStores", json!([]))], "must have trustStores"),
        (vec![with("trustStores", json!(["acme"]))], "ca:acme"),
        (vec![with("trustStores", json!(["other:acme"]))], "not known"),
        (vec![with("trustStores", json!(["ca:a/b"]))], "must be of letters"),
        (vec![with("trustedIdentities", json!([]))], "must have trustStores"),
        (vec![with("trustedIdentities", json!([""]))], "empty identity"),
        (vec![with("trustedIdentities", json!(["C=US,ST=WA,O=acme"]))], "x509.subject"),
        (vec![with("trustedIdentities", json!(["x509.subject:"]))], "has no \"=\""),
        (vec![with("trustedIdentities", json!(["x509.subject:C=US,O=acme"]))], "no ST"),
        (vec![with("trustedIdentities", json!(["*", "x509.subject:C=US,ST=WA,O=acme"]))], "stand alone"),
        (
            vec![with(
                "trustedIdentities",
                json!(["x509.subject:C=US,ST=WA,O=acme,CN=x", "x509.subject:C=US,S=WA,O=acme"]),
            )],
            "overlap",
        ),
        (vec![with("registryScopes", json!([]))], "no registryScopes"),
        (vec![with("registryScopes", json!(["*", "registry.acme.io/app"]))], "stand alone"),
        (vec![statement("a", &["*"]), statement("b", &["*"])], "two statements"),
        (vec![statement("a", &["x.io/a"]), statement("b", &["x.io/a"])], "two statements"),
        (vec![statement("a", &["x.io/a"]), statement("a", &["x.io/b"])], "two statements"),
    ];
    for (statements, why) in cases {
        let error = parse(&statements).unwrap_err();
        assert!(error.contains(why), "{why:?} is not in {error}");
    }
    let skip = json!({"name": "a", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}});
    assert!(parse(&[skip]).unwrap_err().contains("not allowed for the scope"));
    assert!(TrustPolicyDocument::parse(br#"{"version":"2.0","trustPolicies":[]}"#).is_err());
    assert!(TrustPolicyDocument::parse(b"{").is_err());
}

#[test]
fn scopes_are_full_names() {
    for scope in
        ["registry.acme.io/app", "localhost:5000/team/app", "local/my-app__x", "a/b--c", "10.0.0.1/x.y"]
    {
        assert!(parse(&[statement("one", &[scope])]).is_ok(), "{scope}");
    }
    for scope in [
        "registry.acme.io",
        "registry.acme.io/",
        "/app",
        "https://registry.acme.io/app",
        "registry.acme.io/App",
        "registry.acme.io/app:v1",
        "registry.acme.io/app@sha256:1",
        "registry.acme.io/*",
        "reg-/app",
        "reg:x/app",
        "registry.acme.io/a//b",
        "registry.acme.io/a___b",
        "registry.acme.io/a..b",
        "registry.acme.io/-a",
    ] {
        assert!(parse(&[statement("one", &[scope])]).is_err(), "{scope}");
    }
}

#[test]
fn the_most_exact_statement_applies() {
    let root = root();
    let stores = TrustStores::new([("ca", "acme", "root.der", root.der.as_slice())]).unwrap();
    let document = parse(&[statement("all", &["*"]), statement("one", &["x.io/a", "x.io/b"])]).unwrap();
    let all = document.statements(&stores).unwrap();
    let applying = |name: &str| -> Vec<&str> {
        all.iter().filter(|trust| trust.applies_to(name)).map(NotationTrust::name).collect()
    };
    assert_eq!(applying("x.io/a"), ["one"]);
    assert_eq!(applying("x.io/a/c"), ["all"]);
    assert_eq!(all[0].level(), &Level::STRICT);
    assert_ne!(all[0].id(), all[1].id());
    let again = document.statements(&stores).unwrap();
    assert_eq!((all[0].id(), all[1].id()), (again[0].id(), again[1].id()));
    let error = document.statements(&TrustStores::default()).unwrap_err();
    assert!(error.to_string().contains("ca:acme"), "{error}");
    assert!(NotationTrust::strict("acme", &TrustStores::default()).is_err());
}

#[test]
fn the_id_says_all_that_matters() {
    let (one, other) = (root(), root());
    let stores = |der: &[u8]| TrustStores::new([("ca", "acme", "root.der", der)]).unwrap();
    let id = |statement: Value, der: &[u8]| {
        parse(&[statement]).unwrap().statements(&stores(der)).unwrap().remove(0).id()
    };
    let first = id(statement("one", &["x.io/a"]), &one.der);
    assert_eq!(first, id(statement("one", &["x.io/a"]), &one.der));
    let mut others = vec![id(statement("one", &["x.io/a"]), &other.der)];
    for (field, value) in [
        ("name", json!("two")),
        ("registryScopes", json!(["x.io/b"])),
        ("trustedIdentities", json!(["*"])),
        ("signatureVerification", json!({"level": "audit"})),
        ("signatureVerification", json!({"level": "strict", "verifyTimestamp": "afterCertExpiry"})),
    ] {
        let mut changed = statement("one", &["x.io/a"]);
        changed[field] = value;
        others.push(id(changed, &one.der));
    }
    assert!(!others.contains(&first), "{others:?}");
}
