//! Who may ask, and what is no question.

use super::*;
use crate::auth::{PASSWORD, Team};
use crate::harness::http::basic;

const PATHS: [&str; 2] = ["/admission/v1/validate", "/admission/v1/mutate"];

async fn team(backend: Backend, policies: &Policies, open: &str) -> Option<Team> {
    let settings = [
        ("RREG_POLICY__DIRECTORY", policies.directory()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST.to_owned()),
        ("RREG_POLICY__OPEN_ADMISSION", open.to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Team::start(backend, &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_needed() {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let policies = Policies::new();
        let Some(team) = team(backend, &policies, "false").await else { continue };
        let api = team.0.api();
        let image = Image::layered("team/app", 1);
        let writer = basic("writer", PASSWORD);
        for blob in &image.blobs {
            let start = api.post("/v2/team/app/blobs/uploads/").header("authorization", &writer);
            let location = start.expect(202).await.location();
            let target = crate::harness::http::commit(&location, &blob.digest);
            api.put(target, blob.bytes.clone()).octets().header("authorization", &writer).expect(201).await;
        }
        let put = api.put_manifest("team/app", "v1", image.root());
        put.header("authorization", &writer).expect(201).await;
        let review = pod(&[&format!("{HOST}/team/app:v1")]);
        for path in PATHS {
            let answer = asking(api.post(path), &review).refused(401, "UNAUTHORIZED").await;
            assert!(!answer.header("www-authenticate").is_empty());
            let wrong = basic("reader", "wrong");
            asking(api.post(path), &review)
                .header("authorization", &wrong)
                .refused(401, "UNAUTHORIZED")
                .await;
        }
        let ask = async |name: &str, path: &str| {
            let answer = asking(api.post(path), &review).header("authorization", &basic(name, PASSWORD));
            response(&answer.expect(200).await.json(), &review)
        };
        assert_eq!(ask("reader", PATHS[0]).await["allowed"], true);
        assert!(patch(&ask("reader", PATHS[1]).await)[0]["value"].as_str().unwrap().contains("@sha256:"));
        // Who may not read the image does not learn what its tag is.
        let refused = ask("stranger", PATHS[0]).await;
        assert!(message(&refused).contains("user:stranger may not pull here"), "{refused}");
        let response = ask("stranger", PATHS[1]).await;
        assert!(response.get("patch").is_none() && warnings(&response).len() == 1, "{response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_be_open() {
    let policies = Policies::new();
    let Some(team) = team(Backend::SqliteDirectory, &policies, "true").await else { return };
    let review = pod(&["nginx:1"]);
    let answer = asking(team.0.api().post(PATHS[0]), &review).expect(200).await.json();
    assert!(message(&response(&answer, &review)).contains("docker.io/library/nginx:1"));
}

const SECRET: &str = "a-secret-of-the-cluster_01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_may_be_the_login() {
    let policies = Policies::new();
    let settings = [
        ("RREG_POLICY__DIRECTORY", policies.directory()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST.to_owned()),
        ("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET.to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Some(team) = Team::start(Backend::SqliteDirectory, &settings).await else { return };
    let api = team.0.api();
    let review = pod(&["nginx:1"]);
    for path in PATHS {
        let right = asking(api.post(format!("{path}/{SECRET}")), &review).expect(200).await.json();
        assert_eq!(right["response"]["uid"], review["request"]["uid"]);
        asking(api.post(path), &review).refused(403, "DENIED").await;
        for wrong in ["a-secret-of-the-cluster_02", "a-secret-of-the-cluster_0", "A-SECRET-OF-THE-CLUSTER_01"]
        {
            let answer = asking(api.post(format!("{path}/{wrong}")), &review).refused(403, "DENIED").await;
            assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
        }
        // A login is none where a path is.
        let admin = asking(api.post(path), &review).header("authorization", &basic("writer", PASSWORD));
        admin.refused(403, "DENIED").await;
        assert_eq!(asking(api.post(format!("{path}/{SECRET}/more")), &review).send().await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_nothing_without_its_setting() {
    on_each(&[], async |cluster| {
        let api = cluster.registry.api();
        asking(api.post(format!("{}/{SECRET}", PATHS[0])), &pod(&["nginx:1"])).refused(403, "DENIED").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_review_is_refused() {
    on_each(&[], async |cluster| {
        let api = cluster.registry.api();
        for path in PATHS {
            let answer = api.get(path).refused(405, "UNSUPPORTED").await;
            assert_eq!(answer.header("allow"), "POST");
            api.post(path).body("{").refused(400, "UNSUPPORTED").await;
            let mut old = pod(&["nginx"]);
            old["apiVersion"] = "admission.k8s.io/v1beta1".into();
            asking(api.post(path), &old).refused(400, "UNSUPPORTED").await;
            api.post(path).body(vec![b' '; (8 << 20) + 1]).refused(413, "SIZE_INVALID").await;
        }
    })
    .await;
}
