//! What one user of a cluster may take of what all of them need.

use std::collections::BTreeSet;

use super::upstreams::Upstream;
use super::*;
use crate::auth::{PASSWORD, Team};
use crate::harness::http::basic;

fn by(user: &str, mut review: Value, name: &str) -> Value {
    review["request"]["userInfo"]["username"] = user.into();
    review["request"]["name"] = name.into();
    review
}

/// All reviews come from one API server: what is one user's is told by what it says of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_pushes_out_no_others_denials() {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let policies = Policies::new();
        let directory = policies.directory();
        let settings =
            [("RREG_POLICY__DIRECTORY", directory.as_str()), ("RREG_POLICY__REGISTRY_HOSTS", HOST)];
        let Some(team) = Team::start(backend, &settings).await else { continue };
        let api = team.0.api();
        let login = basic("reader", PASSWORD);
        let refused = pod(&["nginx:1"]);
        let deny = async |user: &str, name: &str| {
            let review = by(user, refused.clone(), name);
            let post = asking(api.post("/admission/v1/validate"), &review).header("authorization", &login);
            message(&response(&post.expect(200).await.json(), &review));
        };
        for round in 0..5 {
            for n in 0..30 {
                deny("mallory", &format!("m-{round}-{n}")).await;
            }
            deny(&format!("alice-{round}"), "web").await;
            // The same again is no row of its own.
            deny("crashing", "web").await;
        }
        let trail = team.rreg(&["audit", "-n", "1000"]);
        let rows: Vec<&Value> =
            trail["events"].as_array().unwrap().iter().filter(|it| it["event"] == "admission").collect();
        let of = |user: &str| {
            let theirs = rows.iter().filter(|it| it["actor"].as_str().unwrap().starts_with(user));
            theirs.map(|it| it["target"].as_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of("cluster:alice"), ["Pod prod/web (by user:reader)"; 5], "{rows:#?}");
        assert_eq!(of("cluster:crashing").len(), 1);
        assert!(!of("cluster:mallory").is_empty());
    }
}

const SECRET: &str = "a-secret-of-the-cluster-01";

/// Whoever knows a path would have the registry fetch whatever they can name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_asked_for_few_new_names() {
    let upstream = Upstream::start(&Image::layered("few", 1), false).await;
    let settings = [("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET), ("RREG_POLICY__ADMISSION_FETCHES", "4")];
    let Some((registry, _policies)) = upstream.registry(&settings).await else { return };
    let api = registry.api();
    let ask = async |user: &str, names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let review = by(user, pod(&names), "web");
        let post = asking(api.post(format!("/admission/v1/validate/{SECRET}")), &review);
        response(&post.expect(200).await.json(), &review)
    };
    let names = |begin: usize, many: usize| -> Vec<String> {
        (begin..begin + many).map(|n| format!("{HOST}/up/none/app{n}:v1")).collect()
    };
    let known = names(0, 1);
    assert_eq!(ask("alice", &known).await["allowed"], true);
    let refused = ask("mallory", &names(100, 90)).await;
    assert!(message(&refused).contains("policy.admission_fetches"), "{refused}");
    // What is here is judged for everybody, and others have their share.
    assert_eq!(ask("mallory", &known).await["allowed"], true);
    assert_eq!(ask("bob", &names(1, 1)).await["allowed"], true);
    for n in 0..40 {
        ask(&format!("made-up-{n}"), &names(1000 + 10 * n, 10)).await;
    }
    // Of each new name its upstream is asked for the manifest, and for little else.
    let asked: BTreeSet<String> = upstream.manifests();
    assert!((6..=20).contains(&asked.len()), "{asked:?}");
}

/// Of what nobody has pulled nothing is fetched where that is the setting; what is here is judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_may_fetch_nothing() {
    let upstream = Upstream::start(&Image::layered("nothing", 1), false).await;
    let settings = [("RREG_POLICY__ADMISSION_FETCHES", "0")];
    let Some((registry, policies)) = upstream.registry(&settings).await else { return };
    let cluster = Cluster { registry, policies };
    let review = pod(&[&format!("{HOST}/up/none/app:v1")]);
    let refused = cluster.validate(&review).await;
    assert!(message(&refused).contains("nothing is fetched for reviews"), "{refused}");
    assert!(cluster.ask("mutate", &review).await.get("patch").is_none());
    assert!(upstream.manifests().is_empty());
    cluster.registry.api().get_manifest("up/none/app", "v1").expect(200).await;
    assert_eq!(cluster.validate(&review).await["allowed"], true);
}

/// Names beside a digest cost whoever makes them up nothing, so they are few in one object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_tags_are_few() {
    on_each(&[], async |cluster| {
        let repository = cluster.registry.repository();
        let (name, image) = cluster.push(&repository).await;
        let digest = &image.root().digest;
        let named =
            |many: usize| -> Vec<String> { (0..many).map(|n| format!("{name}-{n}@{digest}")).collect() };
        let of = |names: &[String]| pod(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let refused = cluster.validate(&of(&named(100))).await;
        assert!(message(&refused).contains("more than 8 different tags"), "{refused}");
        cluster.sign(&repository, &image);
        cluster.becomes_allowed(&of(&named(8))).await;
    })
    .await;
}

/// What could not be looked at is not looked at again for each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_gathered_anew_for_a_made_up_tag() {
    let image = Image::layered("anew", 1);
    let upstream = Upstream::start_with(&image, false, Some(500)).await;
    let Some((registry, policies)) = upstream.registry(&[("RREG_POLICY__TIMEOUT", "60s")]).await else {
        return;
    };
    let cluster = Cluster { registry, policies };
    let name = format!("{HOST}/up/free/app");
    // Its signatures cannot be had, and `onError` lets it run.
    assert_eq!(cluster.validate(&pod(&[&format!("{name}:v1")])).await["allowed"], true);
    let before = upstream.asked();
    for n in 0..20 {
        let review = pod(&[&format!("{name}:t{n}@{}", image.root().digest)]);
        assert_eq!(cluster.validate(&review).await["allowed"], true);
    }
    assert_eq!(upstream.asked(), before);
}
