//! Where images are, in every kind, and which of them a request brings.

use serde_json::{Value, json};

use super::super::images::{Images, Place, reference};
use super::*;

/// A pod's `spec` with an image in every place, and the places below it.
fn everywhere() -> (Value, Vec<(&'static str, &'static str)>) {
    let spec = json!({
        "initContainers": [{"name": "i", "image": "init"}],
        "containers": [{"name": "a", "image": "main"}, {"name": "b", "image": "side", "env": [{"name": "image"}]}],
        "ephemeralContainers": [{"name": "e", "image": "debug", "targetContainerName": "a"}],
        "volumes": [
            {"name": "v", "emptyDir": {}},
            {"name": "w", "image": {"reference": "data", "pullPolicy": "Always"}},
        ],
        "a/b~c": {"image": "not one"},
        "nodeSelector": {"image": "not one"},
    });
    let places = vec![
        ("/containers/0/image", "main"),
        ("/containers/1/image", "side"),
        ("/initContainers/0/image", "init"),
        ("/ephemeralContainers/0/image", "debug"),
        ("/volumes/1/image/reference", "data"),
    ];
    (spec, places)
}

fn images_of(review: &Value) -> Result<Vec<Place>, String> {
    let body = review.to_string();
    let request = Request::parse(body.as_bytes()).unwrap();
    Images::of(&request).map(|images| images.new).map_err(|error| error.to_string())
}

/// Wraps `inner` in objects named by the parts of `path`.
fn wrapped(path: &str, inner: Value) -> Value {
    path.rsplit('/').filter(|part| !part.is_empty()).fold(inner, |inner, part| json!({part: inner}))
}

const KINDS: [(&str, &str, &str); 9] = [
    ("", "Pod", "/spec"),
    ("", "ReplicationController", "/spec/template/spec"),
    ("", "PodTemplate", "/template/spec"),
    ("apps", "ReplicaSet", "/spec/template/spec"),
    ("apps", "Deployment", "/spec/template/spec"),
    ("apps", "StatefulSet", "/spec/template/spec"),
    ("apps", "DaemonSet", "/spec/template/spec"),
    ("batch", "Job", "/spec/template/spec"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template/spec"),
];

#[test]
fn every_place_of_every_kind_is_found() {
    for (group, kind, path) in KINDS {
        let (spec, places) = everywhere();
        let object = wrapped(path, spec);
        let found = images_of(&review_of((group, kind), "CREATE", &object, &Value::Null)).unwrap();
        let expected: Vec<Place> = places
            .iter()
            .map(|(below, image)| Place { pointer: format!("{path}{below}"), image: (*image).to_owned() })
            .collect();
        assert_eq!(found, expected, "{kind}");
        for place in found {
            // The pointer is one of RFC 6901 that leads to what was read.
            assert_eq!(object.pointer(&place.pointer).unwrap(), &json!(place.image), "{kind}");
        }
    }
}

#[test]
fn other_kinds_are_refused_and_the_known_are_told() {
    for (group, kind) in
        [("", "Binding"), ("autoscaling", "Scale"), ("apps", "Pod"), ("", "Deployment"), ("x.io", "Pod")]
    {
        let response = validated(&review_of((group, kind), "CREATE", &pod(&["a"]), &Value::Null));
        let message = message(&response);
        assert!(
            message.contains(kind) && message.contains("known are pods, replicationcontrollers, "),
            "{message}"
        );
        assert!(message.contains("deployments.apps") && message.contains("cronjobs.batch"), "{message}");
    }
    let mut old = review("CREATE", &pod(&["a"]), &Value::Null);
    old["request"]["kind"]["version"] = "v1beta1".into();
    assert!(message(&validated(&old)).contains("Pod of core/v1beta1"));
}

#[test]
fn what_does_not_run_is_not_asked_about() {
    let bad = pod(&[&image("deny")]);
    for operation in ["DELETE", "CONNECT"] {
        assert_eq!(validated(&review(operation, &Value::Null, &bad))["allowed"], true);
        // Of whatever kind: a node's proxy, a pod's exec.
        assert_eq!(
            validated(&review_of(("", "PodExecOptions"), operation, &json!({}), &bad))["allowed"],
            true
        );
    }
    assert!(message(&validated(&review("PATCH", &bad, &Value::Null))).contains("\"PATCH\" is no operation"));
    assert!(message(&validated(&review("CREATE", &Value::Null, &Value::Null))).contains("no object"));
}

#[test]
fn an_object_without_images_is_let_in() {
    for object in [
        json!({}),
        json!({"spec": {}}),
        json!({"spec": {"containers": null, "volumes": null}}),
        json!({"spec": {"containers": [{"name": "later"}, {"name": "empty", "image": ""}]}}),
    ] {
        assert_eq!(validated(&review("CREATE", &object, &Value::Null))["allowed"], true, "{object}");
    }
}

#[test]
fn an_object_of_another_form_is_refused() {
    for object in [
        json!({"spec": {"containers": {"name": "c", "image": "x"}}}),
        json!({"spec": {"containers": [{"name": "c", "image": 7}]}}),
        json!({"spec": {"containers": ["x"]}}),
        json!({"spec": "x"}),
        json!("pod"),
        json!({"spec": {"containers": vec![json!({"name": "c"}); 1001]}}),
    ] {
        let response = validated(&review("CREATE", &object, &Value::Null));
        assert!(message(&response).contains("the Pod cannot be read"), "{response}");
    }
    // Two of one field: a reader that takes the first and one that takes the last would see two pods.
    let twice = review("CREATE", &json!({"spec": "HERE"}), &Value::Null).to_string();
    let twice = twice.replace("\"HERE\"", r#"{"containers":[],"containers":[{"name":"c","image":"x"}]}"#);
    let request = Request::parse(twice.as_bytes()).unwrap();
    assert!(Images::of(&request).unwrap_err().to_string().contains("duplicate field"));
}

#[test]
fn many_images_are_refused() {
    let many: Vec<String> = (0..101).map(|i| image(&format!("a{i}"))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let asked = Asked::default();
    let response = asked.validate(&review("CREATE", &pod(&many), &Value::Null));
    assert!(message(&response).contains("101 different images"));
    assert!(asked.judge.asked.lock().unwrap().is_empty());
    assert_eq!(validated(&review("CREATE", &pod(&many[1..]), &Value::Null))["allowed"], true);
}

#[test]
fn an_update_is_asked_for_what_it_brings() {
    let (old, good) = (image("deny"), image("good"));
    let before = pod(&[&old, &good]);
    // Labels, finalizers, status, replicas.
    let mut labelled = before.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(validated(&review("UPDATE", &labelled, &before))["allowed"], true);
    // Containers in another order.
    let mut turned = before.clone();
    turned["spec"]["containers"].as_array_mut().unwrap().reverse();
    assert_eq!(validated(&review("UPDATE", &turned, &before))["allowed"], true);
    // The refused image is taken out.
    assert_eq!(validated(&review("UPDATE", &pod(&[&good, &good]), &before))["allowed"], true);
    // Another image; the old one in another container; in a new container; by a request that is no update.
    let changed = pod(&[&old, &old]);
    message(&validated(&review("UPDATE", &changed, &before)));
    let mut debugged = before.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "c0", "image": old}]);
    message(&validated(&review("UPDATE", &debugged, &before)));
    message(&validated(&review("UPDATE", &pod(&[&old, &good, &old]), &before)));
    message(&validated(&review("CREATE", &before, &before)));
    // Without the old object everything is new.
    message(&validated(&review("UPDATE", &before, &Value::Null)));
}

/// Whoever applies the same file again changes nothing, though the tag has moved on.
#[test]
fn what_cannot_change_keeps_what_it_was_pinned_to() {
    let (tag, free) = (image("deny"), image("good"));
    let digest = Digest::sha256(b"as it was");
    let pinned = format!("{tag}@{digest}");
    let template = |images: &[&str]| json!({"spec": {"template": pod(images)}});
    let patched = |kind: (&str, &str), new: &Value, old: &Value| {
        let response = mutated(&review_of(kind, "UPDATE", new, old));
        response.get("patch").map(|_| patch(&response)).unwrap_or_default()
    };
    let back = |path: &str| json!({"op": "replace", "path": path, "value": pinned});
    for (kind, old, new, path) in [
        (("", "Pod"), pod(&[&pinned]), pod(&[&tag]), "/spec/containers/0/image"),
        (("batch", "Job"), template(&[&pinned]), template(&[&tag]), "/spec/template/spec/containers/0/image"),
    ] {
        assert_eq!(patched(kind, &new, &old), [back(path)]);
        assert_eq!(validated(&review_of(kind, "UPDATE", &old, &old))["allowed"], true);
        // It is the same change for `validate`, which is what decides.
        message(&validated(&review_of(kind, "UPDATE", &new, &old)));
    }
    // Beside an image that is pinned now; and not for another name, another container or a text that is no digest.
    let both = patched(("", "Pod"), &pod(&[&tag, &free]), &pod(&[&pinned]));
    assert_eq!((both.len(), &both[0]), (2, &back("/spec/containers/0/image")));
    for old in [
        pod(&[&format!("{tag}x@{digest}")]),
        pod(&[&free, &pinned]),
        pod(&[&format!("{tag}@later")]),
        pod(&[&tag.replace(":1", "")]),
    ] {
        let patch = patched(("", "Pod"), &pod(&[&tag]), &old);
        assert_ne!(patch, [back("/spec/containers/0/image")], "{old}");
    }
    // A template that can change takes what the tag means now.
    let deployed = patched(("apps", "Deployment"), &template(&[&tag]), &template(&[&pinned]));
    assert_ne!(deployed, [back("/spec/template/spec/containers/0/image")]);
    assert_eq!(deployed.len(), 1);
    // Others' images are nobody's to pin.
    let others = pod(&[&format!("nginx:1@{digest}")]);
    assert!(patched(("", "Pod"), &pod(&["nginx:1"]), &others).is_empty());
    assert!(mutated(&review("CREATE", &pod(&["nginx:1"]), &others)).get("patch").is_none());
}

/// What is decided under each tag beside a digest is decided for this object alone.
#[test]
fn one_manifest_has_few_names() {
    let digest = Digest::sha256(b"x");
    let named = |many: usize| -> Vec<String> {
        (0..many).map(|n| format!("{HOST}/team/good:made-up-{n}@{digest}")).collect()
    };
    let asked = Asked::default();
    let ask = |many: usize| {
        let names = named(many);
        asked.validate(&review(
            "CREATE",
            &pod(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            &Value::Null,
        ))
    };
    assert_eq!(ask(8)["allowed"], true);
    let before = asked.judge.asked.lock().unwrap().len();
    let refused = ask(9);
    assert!(message(&refused).contains("more than 8 different tags"), "{refused}");
    assert_eq!(asked.judge.asked.lock().unwrap().len(), before);
}

#[test]
fn names_are_read_as_runtimes_read_them() {
    let digest = Digest::sha256(b"x");
    for (image, full) in [
        ("nginx", "docker.io/library/nginx".to_owned()),
        ("nginx:1", "docker.io/library/nginx:1".to_owned()),
        ("team/app:1", "docker.io/team/app:1".to_owned()),
        ("docker.io/nginx", "docker.io/library/nginx".to_owned()),
        ("index.docker.io/team/app", "docker.io/team/app".to_owned()),
        ("localhost/app", "localhost/app".to_owned()),
        ("registry.example/app", "registry.example/app".to_owned()),
        ("registry:5000/a/b:t", "registry:5000/a/b:t".to_owned()),
    ] {
        assert_eq!(reference(image).unwrap().to_string(), full);
        let pinned = format!("{image}@{digest}");
        assert_eq!(reference(&pinned).unwrap().to_string(), format!("{full}@{digest}"));
    }
    for bad in [
        "",
        " ",
        "/",
        "UPPER/app",
        "registry.example/",
        "registry.example/UPPER",
        "a:b:c",
        "a@sha256:0",
        "a b",
    ] {
        assert!(reference(bad).is_err(), "{bad:?}");
    }
}
