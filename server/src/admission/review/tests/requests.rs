//! What is no review is refused before anything is judged.

use serde_json::{Value, json};

use super::super::request::{MAX_BODY, Request, ReviewError};
use super::*;

fn parse(body: &Value) -> Result<String, String> {
    let body = body.to_string();
    Request::parse(body.as_bytes()).map(|request| request.uid).map_err(|error| error.to_string())
}

#[test]
fn a_review_is_read() {
    let review = review("CREATE", &pod(&["a"]), &Value::Null);
    let body = review.to_string();
    let request = Request::parse(body.as_bytes()).unwrap();
    assert_eq!(request.uid, "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!((request.kind.kind.as_str(), request.operation.as_str()), ("Pod", "CREATE"));
    assert_eq!((request.namespace.as_str(), request.name.as_str()), ("prod", "p"));
    assert!(request.object.is_some() && request.old_object.is_none());
}

#[test]
fn the_secret_of_a_path_is_not_shown() {
    let secrets = [crate::config::Secret::new("hush-hush"), crate::config::Secret::new("next")];
    let shown = |path: &str| super::super::asker::without_secrets(path, secrets.iter());
    assert_eq!(shown("/admission/v1/validate"), "/admission/v1/validate");
    for secret in ["/admission/v1/validate/hush-hush", "/admission/v1/validate/other"] {
        assert_eq!(shown(secret), "/admission/v1/validate/********");
    }
    assert_eq!(shown("/admission/v1/mutate/hush"), "/admission/v1/mutate/********");
    // Wherever it stands, however it is written.
    for path in [
        "/hush-hush",
        "/v1/next/",
        "/v2/admission/v1/validate/hush-hush",
        "/healthz/hush-hush",
        "/%68ush-hush",
        "/admisson/v1/valdate/hush-hush",
    ] {
        assert_eq!(shown(path), "/********", "{path}");
    }
    assert_eq!(shown("/v2/team/app/tags/list"), "/v2/team/app/tags/list");
    assert_eq!(shown("/v2/\u{202e}x"), "/v2/\\u{202e}x");
}

#[test]
fn what_is_no_review_is_named() {
    let good = review("CREATE", &pod(&["a"]), &Value::Null);
    let edited = |edit: fn(&mut Value)| {
        let mut review = good.clone();
        edit(&mut review);
        parse(&review).unwrap_err()
    };
    for (error, part) in [
        (edited(|r| r["apiVersion"] = "admission.k8s.io/v1beta1".into()), "v1beta1"),
        (edited(|r| r["kind"] = "Pod".into()), "\"Pod\""),
        (edited(|r| r["request"] = Value::Null), "no request"),
        (edited(|r| *r = json!({})), "admission.k8s.io/v1"),
        (edited(|r| *r = json!("review")), "that can be read"),
        (edited(|r| r["request"]["uid"] = "".into()), "uid"),
        (edited(|r| r["request"]["uid"] = "u".repeat(129).into()), "uid"),
        (edited(|r| r["request"]["uid"] = 7.into()), "string"),
        (edited(|r| r["request"]["kind"] = Value::Null), "null"),
        (edited(|r| drop(r["request"].as_object_mut().unwrap().remove("operation"))), "operation"),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn bodies_are_bounded_and_no_bytes_are_a_panic() {
    let large = vec![b' '; MAX_BODY + 1];
    assert!(matches!(Request::parse(&large), Err(ReviewError::TooLarge)));
    for bytes in [&b""[..], b"{", b"\xff\xfe", b"null", b"\"\"", &[0; 100]] {
        assert!(Request::parse(bytes).is_err());
    }
    // As deep as a body can be: skipped without a stack frame a level.
    let depth = MAX_BODY / 4;
    let deep = format!("{{\"apiVersion\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(Request::parse(deep.as_bytes()).is_err());
    let mut deep = review("CREATE", &pod(&["a"]), &Value::Null).to_string();
    deep = deep.replace("\"dryRun\":false", &format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(Request::parse(deep.as_bytes()).is_ok());
}

#[test]
fn a_long_complaint_is_cut() {
    let mut review = review("CREATE", &pod(&["a"]), &Value::Null);
    review["kind"] = "k".repeat(10_000).into();
    assert!(parse(&review).unwrap_err().len() < 1000);
    review = json!({"apiVersion": ["v".repeat(10_000)]});
    assert!(parse(&review).unwrap_err().len() < 1000);
}
