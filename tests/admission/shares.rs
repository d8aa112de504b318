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
    let upstream = Upstream::start_with(&image, false, Some(400)).await;
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

/// Whoever has too much asked at once is refused: a failure would be let in where the webhook's `failurePolicy` is `Ignore`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_at_once_is_refused_and_no_failure() {
    let upstream = Upstream::start(&Image::layered("at-once", 1), true).await;
    let Some((registry, policies)) = upstream.registry(&[("RREG_POLICY__TIMEOUT", "60s")]).await else {
        return;
    };
    let url = format!("http://{}/admission/v1/validate", registry.address());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    // Each waits for an upstream that says nothing.
    for n in 0..80 {
        let review = by("mallory", pod(&[&format!("{HOST}/up/team/app{n}:v1")]), "web");
        let post = client.post(&url).body(review.to_string());
        waiting.spawn(async move {
            let answer = post.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        });
    }
    for _ in 64..80 {
        let (status, text) = waiting.join_next().await.unwrap().unwrap();
        assert!(status == 200 && text.contains("too much of what this user asks for is waiting"), "{text}");
        assert!(text.contains("\"allowed\":false"), "{text}");
    }
    // Nobody else waits behind them.
    let cluster = Cluster { registry, policies };
    message(&cluster.validate(&by("alice", pod(&["nginx:1"]), "web")).await);
    waiting.abort_all();
}

/// The same where there is no room in memory for what comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_no_room_for_is_refused_and_no_failure() {
    use std::io::Write as _;

    let settings = [("RREG_POLICY__TIMEOUT", "60s")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let head = "POST /admission/v1/validate HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n";
    let held: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(registry.address()).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&vec![b' '; 7_900_000]).unwrap();
            stream
        })
        .collect();
    let mut review = pod(&["nginx:1"]);
    review["request"]["object"]["metadata"] = json!({"annotations": {"a": "x".repeat(3_000_000)}});
    // As API servers write it.
    let text = review.to_string();
    let uid = review["request"]["uid"].as_str().unwrap();
    let text = text.replacen(&format!("\"uid\":\"{uid}\""), "\"x\":1", 1);
    let text = text.replacen("\"request\":{", &format!("\"request\":{{\"uid\":\"{uid}\","), 1);
    let api = registry.api();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = api.post("/admission/v1/validate").body(text.clone()).expect(200).await.json();
        let why = message(&response(&answer, &review)).to_owned();
        if why.contains("too much is arriving at once") {
            break;
        }
        assert!(Instant::now() < deadline, "{why}");
    }
    drop(held);
}

/// Who makes large objects, and many at once, chooses how late they arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_arrive_in_time_is_refused_and_no_failure() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let settings = [("RREG_POLICY__TIMEOUT", "500ms")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    for (question, said) in [("validate", "\"allowed\":false"), ("mutate", "no image was pinned")] {
        let mut stream = tokio::net::TcpStream::connect(registry.address()).await.unwrap();
        let begins = format!(
            "POST /admission/v1/{question} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n{}",
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"705a-b","#
        );
        stream.write_all(begins.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("705a-b"), "{answer}");
        assert!(answer.contains(said) && answer.contains("did not arrive in the time"), "{answer}");
    }
}
