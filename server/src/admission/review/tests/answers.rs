//! What is answered: refusals, warnings, patches, and their bounds.

use serde_json::{Value, json};

use super::super::answer::clip;
use super::*;

fn created(images: &[&str]) -> Value {
    review("CREATE", &pod(images), &Value::Null)
}

#[test]
fn the_review_has_the_form_of_its_version() {
    let answer = Asked::default().answer(&created(&[&image("good")]), false).unwrap();
    let review = answer.into_review("705a");
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(
        review["response"],
        json!({"uid": "705a", "allowed": true, "auditAnnotations": {"policies": "sha256:policies"}})
    );
}

#[test]
fn a_refusal_says_which_image_and_why() {
    let deny = image("deny");
    let response = validated(&created(&[&image("good"), &deny]));
    let message = message(&response);
    let digest = Digest::sha256(deny.as_bytes()).to_string();
    for part in
        [deny.as_str(), &digest, "policy \"prod\"", "expected a signature of ci", "found none", "sign it"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("/good"));
    assert_eq!(response["status"]["reason"], "Forbidden");
    assert!(response.get("patch").is_none());
}

#[test]
fn modes_that_do_not_refuse_warn() {
    let response = validated(&created(&[&image("warn"), &image("audit"), &image("good")]));
    assert_eq!(response["allowed"], true);
    let warnings = warnings(&response);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("team/warn:1 would be refused: policy \"prod\""), "{warnings:?}");
    assert!(warnings[1].contains("team/audit:1 is allowed though: policy \"prod\""), "{warnings:?}");
    // Beside a refusal too.
    let response = validated(&created(&[&image("warn"), &image("deny")]));
    assert!(message(&response).contains("team/deny:1"));
    assert_eq!(super::warnings(&response).len(), 1);
}

#[test]
fn the_last_good_decision_is_told() {
    let mut asked = Asked::default();
    asked.judge.edits.insert("good", |decision| {
        decision.policies[0].last_good = DateTime::from_timestamp(1_700_000_000, 0);
    });
    let response = asked.validate(&created(&[&image("good")]));
    assert_eq!(response["allowed"], true);
    assert!(warnings(&response)[0].contains("2023-11-14T22:13:20Z"), "{response}");
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let response = validated(&created(&[&image("unknown")]));
    assert!(message(&response).contains("team/unknown:1 cannot be judged: it is not here"));
    for bad in ["UPPER/x:1", "registry.example:5000/team/x@sha256:0", " "] {
        assert!(message(&validated(&created(&[bad]))).contains("cannot be asked for"), "{bad}");
    }
}

/// Nodes have images of this registry, too, that are refused by now.
#[test]
fn an_id_is_no_name() {
    let id = Digest::sha256(b"an image on a node").to_string();
    for foreign in [ForeignImages::Deny, ForeignImages::Warn, ForeignImages::Allow] {
        let asked = Asked { foreign, ..Asked::default() };
        assert!(message(&asked.validate(&created(&[&id]))).contains("the id of an image on a node"));
    }
}

#[test]
fn a_failure_is_no_answer() {
    let asked = Asked::default();
    let fails = |name, mutates| asked.answer(&created(&[&image("good"), &image(name)]), mutates).is_err();
    assert!(fails("broken", false) && fails("broken", true) && fails("undecided", false));
    assert!(!fails("undecided", true), "pinning asks no policy");
}

#[test]
fn images_of_other_registries_are_as_configured() {
    let foreign = ["nginx:1", "registry.example/team/good:1", "ghcr.io/a/b:1"];
    let mut asked = Asked::default();
    for image in foreign {
        let response = asked.validate(&created(&[image]));
        assert!(message(&response).contains(HOST), "{response}");
    }
    asked.foreign = ForeignImages::Warn;
    let response = asked.validate(&created(&foreign));
    assert_eq!((response["allowed"].clone(), warnings(&response).len()), (json!(true), 3));
    // Ours are judged all the same.
    message(&asked.validate(&created(&["nginx:1", &image("deny")])));
    asked.foreign = ForeignImages::Allow;
    assert_eq!(asked.validate(&created(&foreign)), json!({"uid": "705a", "allowed": true}));
    assert!(asked.mutate(&created(&foreign)).get("patch").is_none());
    // A host is a name of the DNS: capitals say nothing.
    asked.foreign = ForeignImages::Deny;
    message(&asked.validate(&created(&["Registry.Example:5000/team/deny:1"])));
    assert_eq!(asked.validate(&created(&["Registry.Example:5000/team/good:1"]))["allowed"], true);
    // A trailing dot says nothing either, and neither does the port of https; another port is another registry.
    asked.hosts = vec!["registry.example".into(), "Other.Example:443".into(), "[2001:db8::1]:443".into()];
    let ours = ["registry.example", "registry.example:443", "registry.example.", "registry.example.:443"];
    for host in
        ours.into_iter().chain(["other.example", "OTHER.example.", "[2001:DB8::1]", "[2001:db8::1]:443"])
    {
        message(&asked.validate(&created(&[&format!("{host}/team/deny:1")])));
        let good = asked.validate(&created(&[&format!("{host}/team/good:1")]));
        assert_eq!(good["allowed"], true, "{host}: {good}");
    }
    for host in ["registry.example:5000", "registry.example..", "registry.example:4430", "[2001:db8::443]"] {
        assert!(
            message(&asked.validate(&created(&[&format!("{host}/team/good:1")]))).contains("copy it"),
            "{host}"
        );
    }
    asked.hosts.clear();
    let response = asked.validate(&created(&[&image("good")]));
    assert!(message(&response).contains("policy.registry_hosts"));
}

/// Nodes pull them from here, so they are judged as what they are here. The names are those of the copies.
#[test]
fn images_of_upstreams_are_judged_as_their_copies() {
    use crate::config::Upstream;
    let entry = |name: &str, path: Option<&str>, ns: &str| Upstream {
        name: Some(name.into()),
        url: Some("https://elsewhere.example".into()),
        path: path.map(str::to_owned),
        ns: vec![ns.to_owned()],
        ..Upstream::default()
    };
    // `team/` is what the judge knows outcomes of.
    let upstreams = Upstreams(vec![
        entry("team", Some("library"), "docker.io"),
        entry("quay", None, "quay.io"),
        entry("quay/team", None, "quay.example"),
    ]);
    let mut asked = Asked { upstreams, ..Asked::default() };
    for good in
        ["good", "good:1", "docker.io/good:1", "index.docker.io/library/good:1", "Docker.IO/library/good"]
    {
        assert_eq!(asked.validate(&created(&[good]))["allowed"], true, "{good}");
    }
    let response = asked.validate(&created(&["deny:1"]));
    assert!(message(&response).starts_with("image deny:1 (sha256:"), "{response}");
    assert_eq!(warnings(&asked.validate(&created(&["docker.io/library/warn:1"]))).len(), 1);
    let patch = patch(&asked.mutate(&created(&["good:1"])));
    let pinned = patch[0]["value"].as_str().unwrap();
    assert!(
        pinned.starts_with("good:1@sha256:"),
        "nodes go on to ask by the name that was written: {pinned}"
    );
    let found = asked.judge.asked.lock().unwrap().clone();
    assert!(found.iter().all(|image| image.contains("/team/")), "{found:?}");
    // Outside the upstream's path, of another upstream's prefix, or of a host that is only an address: foreign.
    for foreign in ["docker.io/other/good:1", "quay.io/team/good:1", "elsewhere.example/library/good:1"] {
        let response = asked.validate(&created(&[foreign]));
        assert!(message(&response).contains("upstreams.ns"), "{response}");
        assert!(asked.mutate(&created(&[foreign])).get("patch").is_none());
    }
    // A host of the registry's own stays its own.
    asked.hosts.push("docker.io".into());
    assert!(message(&asked.validate(&created(&["docker.io/team/unknown:1"]))).contains("it is not here"));
}

#[test]
fn each_image_is_asked_about_once() {
    let asked = Asked::default();
    let (a, b) = (image("good"), image("other"));
    asked.validate(&created(&[&a, &b, &a, &a]));
    let mut found = asked.judge.asked.lock().unwrap().clone();
    found.sort();
    assert_eq!(found, [a, b]);
}

#[test]
fn tags_are_pinned_in_every_place() {
    let (good, deny) = (image("good"), image("deny"));
    let untagged = format!("{HOST}/team/latest");
    let pinned = format!("{good}@{}", Digest::sha256(b"old"));
    let mut object = pod(&[&good, &pinned, &deny, "nginx:1", &untagged]);
    object["spec"]["initContainers"] = json!([{"name": "i", "image": good}]);
    object["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": good}}]);
    let response = mutated(&review("CREATE", &object, &Value::Null));
    assert_eq!(response["allowed"], true, "pinning refuses nothing");
    let of = |image: &str| format!("{image}@{}", Digest::sha256(image.as_bytes()));
    let replace = |path: &str, image: &str| json!({"op": "replace", "path": path, "value": of(image)});
    let patch = patch(&response);
    assert_eq!(
        patch,
        [
            replace("/spec/containers/0/image", &good),
            replace("/spec/initContainers/0/image", &good),
            replace("/spec/volumes/0/image/reference", &good),
            replace("/spec/containers/2/image", &deny),
            replace("/spec/containers/4/image", &untagged),
        ]
    );
    for operation in patch {
        *object.pointer_mut(operation["path"].as_str().unwrap()).unwrap() = operation["value"].clone();
    }
    // What is pinned is not pinned again (reinvocationPolicy: IfNeeded).
    assert_eq!(mutated(&review("CREATE", &object, &Value::Null)), json!({"uid": "705a", "allowed": true}));
}

#[test]
fn what_cannot_be_pinned_is_left_with_a_warning() {
    let response = mutated(&created(&[&image("unknown"), &image("good")]));
    assert_eq!(response["allowed"], true);
    assert_eq!(patch(&response).len(), 1);
    assert!(warnings(&response)[0].contains("team/unknown:1 was not pinned: it is not here"));
    let response = mutated(&review_of(("x.io", "Thing"), "CREATE", &pod(&["a"]), &Value::Null));
    assert_eq!(response["allowed"], true);
    assert!(warnings(&response)[0].starts_with("no image was pinned: Thing of x.io/v1"));
}

#[test]
fn an_update_pins_what_it_brings() {
    let (good, other) = (image("good"), image("other"));
    let response = mutated(&review("UPDATE", &pod(&[&good, &other]), &pod(&[&good, &good])));
    let patch = patch(&response);
    assert_eq!(patch.len(), 1);
    assert_eq!(patch[0]["path"], "/spec/containers/1/image");
    assert!(mutated(&review("DELETE", &Value::Null, &pod(&[&good]))).get("patch").is_none());
}

#[test]
fn what_a_controller_compares_with_its_template_is_left_alone() {
    let spec = pod(&[&image("good")])["spec"].clone();
    let owner = |controller: Value| json!([{"kind": "Deployment", "name": "d", "controller": controller}]);
    let set = |owners: Value| json!({"metadata": {"ownerReferences": owners}, "spec": {"template": {"spec": spec}}});
    let asked = |object: &Value| mutated(&review_of(("apps", "ReplicaSet"), "CREATE", object, &Value::Null));
    assert!(asked(&set(owner(json!(true)))).get("patch").is_none());
    assert!(asked(&set(owner(json!(false)))).get("patch").is_some());
    assert!(asked(&set(Value::Null)).get("patch").is_some());
    // Its pods are not compared by their images.
    let mut owned = pod(&[&image("good")]);
    owned["metadata"]["ownerReferences"] = owner(json!(true));
    assert!(mutated(&review("CREATE", &owned, &Value::Null)).get("patch").is_some());
    // Whoever owns it, it is judged.
    let spec = pod(&[&image("deny")])["spec"].clone();
    let set =
        json!({"metadata": {"ownerReferences": owner(json!(true))}, "spec": {"template": {"spec": spec}}});
    message(&validated(&review_of(("apps", "ReplicaSet"), "CREATE", &set, &Value::Null)));
}

/// Whoever sees a warning sees no more than it: what to do is in it, whatever else is too long.
#[test]
fn a_warning_for_each_rule_has_its_fix() {
    let mut asked = Asked::default();
    asked.judge.edits.insert("warn", |decision| {
        let policy = &mut decision.policies[0];
        policy.policy = "p".repeat(60);
        let of = |rule: &str, result, found: String| Reason {
            rule: rule.into(),
            result,
            found,
            fix: format!("{rule}: sign it by `cosign sign`, or ask the team for its key"),
            ..policy.reasons[0].clone()
        };
        policy.reasons = vec![
            of("require[0].signature", Outturn::Fail, "x".repeat(1000)),
            of("require[1].sbom", Outturn::Error, "\u{202e}nothing\u{200b}".into()),
            of("require[2].image", Outturn::Pass, "all".into()),
        ];
    });
    let name = format!("{HOST}/team/warn:{}-end", "t".repeat(120));
    let response = asked.validate(&created(&[&name]));
    let told = warnings(&response);
    assert_eq!(told.len(), 2, "{told:?}");
    for (warning, rule) in told.iter().zip(["require[0].signature", "require[1].sbom"]) {
        assert!(warning.len() <= 256, "{}: {warning}", warning.len());
        let fix = format!("{rule}: sign it by `cosign sign`, or ask the team for its key");
        assert!(warning.contains(&fix) && warning.contains("-end would be refused"), "{warning}");
    }
    let response = asked.validate(&created(&[&image("warn")]));
    let told = warnings(&response);
    assert!(told[1].contains("found \\u{202e}nothing\\u{200b}; require[1].sbom: sign it"), "{told:?}");
    // A fix that is itself too long begins, at least.
    asked.judge.edits.insert("warn", |decision| decision.policies[0].reasons[0].fix = "sign ".repeat(100));
    let response = asked.validate(&created(&[&name]));
    let [warning] = warnings(&response)[..] else { panic!("{response}") };
    assert!(warning.len() <= 256 && warning.contains(": sign sign sign sign"), "{warning}");
}

#[test]
fn a_long_refusal_has_the_fix_of_each_rule() {
    let mut asked = Asked::default();
    asked.judge.edits.insert("deny", |decision| {
        let reason = decision.policies[0].reasons[0].clone();
        let of = |n: usize| Reason {
            rule: format!("require[{n}].signature"),
            expected: "x".repeat(1000),
            fix: format!("fix the rule {n}"),
            ..reason.clone()
        };
        decision.policies[0].reasons = (0..5).map(of).collect();
    });
    let response = asked.validate(&created(&[&image("deny")]));
    let told = message(&response);
    assert!(told.len() <= 1024, "{}: {told}", told.len());
    for n in 0..5 {
        assert!(told.contains(&format!("require[{n}].signature: expected xxx")), "{n}: {told}");
        assert!(told.contains(&format!("fix the rule {n}")), "{n}: {told}");
    }
    asked.judge.edits.insert("deny", |decision| {
        let reason = Reason { expected: "x".repeat(1000), ..decision.policies[0].reasons[0].clone() };
        decision.policies[0].reasons = vec![reason; 100];
    });
    let response = asked.validate(&created(&[&image("deny")]));
    let told = message(&response);
    assert!(told.len() <= 1024 && told.ends_with("95 more rules"), "{told}");
}

#[test]
fn what_is_told_is_bounded() {
    let many = |name: &str, count: usize| -> Vec<String> {
        (0..count).map(|i| format!("{HOST}/team/{name}:{i}-{}", "t".repeat(100))).collect()
    };
    let all = many("warn", 40);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let response = validated(&created(&all));
    let warnings = warnings(&response);
    assert_eq!(warnings.len(), 12);
    assert!(warnings.iter().all(|warning| warning.len() <= 256));
    assert!(warnings.iter().map(|warning| warning.len()).sum::<usize>() <= 4096);
    assert!(warnings[11].starts_with("and 29 more"), "{}", warnings[11]);
    let all = many("deny", 40);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let response = validated(&created(&all));
    let message = message(&response);
    assert!(message.len() < 9 * 1024 && message.ends_with("; and 32 more"), "{message}");
}

#[test]
fn lines_are_cut_at_characters_and_have_no_controls() {
    assert_eq!(clip("short", 5), "short");
    assert_eq!(clip("longer", 5), "lo...");
    assert_eq!(clip("a\r\nb\u{7}c", 10), "a  b\u{fffd}c");
    assert_eq!(clip("a\u{202e}b\u{200b}", 20), "a\\u{202e}b\\u{200b}");
    for limit in 0..20 {
        let line = clip("äöüäöüäöü", limit);
        assert!(line.len() <= limit.max(3), "{limit}: {line}");
    }
    let hostile = format!("{HOST}/team/deny:1\nWarning: all is well");
    let response = validated(&created(&[&hostile]));
    assert!(!message(&response).contains('\n'));
}

#[test]
fn what_is_refused_stays_so_beside_what_cannot_be_asked() {
    for images in [
        [image("broken"), image("deny")],
        [image("deny"), image("broken")],
        [image("undecided"), image("deny")],
    ] {
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let response = validated(&created(&images));
        assert_eq!(response["allowed"], false, "{images:?}");
        assert!(message(&response).contains("team/deny:1"));
        assert!(warnings(&response)[0].contains("not every image"), "{response}");
    }
    assert!(Asked::default().answer(&created(&[&image("good"), &image("broken")]), false).is_err());
}
