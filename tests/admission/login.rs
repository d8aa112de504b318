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
            let answer = status(asking(api.post(path), &review), 401).await;
            assert!(!answer.header("www-authenticate").is_empty());
            let wrong = basic("reader", "wrong");
            status(asking(api.post(path), &review).header("authorization", &wrong), 401).await;
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
const NEXT: &str = "a-secret-of-the-cluster_99";

/// A failure as API servers show it: a `Status` of Kubernetes, without a time to wait for.
async fn status(call: Call<'_>, code: u16) -> crate::harness::Answer {
    let answer = call.send().await;
    assert_eq!(answer.status, code, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    assert_eq!((&body["kind"], &body["apiVersion"]), (&"Status".into(), &"v1".into()), "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty());
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_may_be_the_login() {
    let policies = Policies::new();
    let settings = [
        ("RREG_POLICY__DIRECTORY", policies.directory()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST.to_owned()),
        ("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET.to_owned()),
        ("RREG_POLICY__ADMISSION_PATH_SECRET_NEXT", NEXT.to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Some(team) = Team::start(Backend::SqliteDirectory, &settings).await else { return };
    let api = team.0.api();
    let review = pod(&["nginx:1"]);
    for path in PATHS {
        let right = asking(api.post(format!("{path}/{SECRET}")), &review).expect(200).await.json();
        assert_eq!(right["response"]["uid"], review["request"]["uid"]);
        // Both are good while one takes the other's place.
        asking(api.post(format!("{path}/{NEXT}")), &review).expect(200).await;
        status(asking(api.post(path), &review), 403).await;
        for wrong in ["a-secret-of-the-cluster_02", "a-secret-of-the-cluster_0", "A-SECRET-OF-THE-CLUSTER_01"]
        {
            let answer = status(asking(api.post(format!("{path}/{wrong}")), &review), 403).await;
            assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
        }
        // A login counts beside the path and without it, so that one can take the other's place.
        for target in [path.to_owned(), format!("{path}/{SECRET}")] {
            let with = |password: &str| {
                asking(api.post(&target), &review).header("authorization", &basic("writer", password))
            };
            with(PASSWORD).expect(200).await;
            status(with("wrong"), 401).await;
        }
        let wrong = format!("{path}/a-secret-of-the-cluster_02");
        let login = asking(api.post(wrong), &review).header("authorization", &basic("writer", PASSWORD));
        status(login, 403).await;
        for mistyped in [
            format!("{path}/{SECRET}/more"),
            format!("/admission/v1/{SECRET}"),
            format!("/admission/{SECRET}"),
        ] {
            let answer = status(asking(api.post(mistyped.clone()), &review), 404).await;
            assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
        }
        // Paths that lead nowhere are logged without what may be the secret.
        for mistyped in
            [format!("//admission/v1/validate/{SECRET}"), format!("/Admission/v1/validate/{SECRET}")]
        {
            asking(api.post(mistyped.clone()), &review).send().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_nothing_without_its_setting() {
    on_each(&[], async |cluster| {
        let api = cluster.registry.api();
        status(asking(api.post(format!("{}/{SECRET}", PATHS[0])), &pod(&["nginx:1"])), 403).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_review_is_refused() {
    on_each(&[], async |cluster| {
        let api = cluster.registry.api();
        for path in PATHS {
            let answer = status(api.get(path), 405).await;
            assert_eq!(answer.header("allow"), "POST");
            status(api.post(path).body("{"), 400).await;
            let mut old = pod(&["nginx"]);
            old["apiVersion"] = "admission.k8s.io/v1beta1".into();
            status(asking(api.post(path), &old), 400).await;
            status(api.post(path).body(vec![b' '; (8 << 20) + 1]), 413).await;
        }
    })
    .await;
}

/// API servers show the path to whoever makes a pod while they cannot reach the registry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_gives_verdicts_and_no_digests() {
    let policies = Policies::new();
    let settings = [
        ("RREG_POLICY__DIRECTORY", policies.directory()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST.to_owned()),
        ("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET.to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    let review = pod(&[&format!("{HOST}/{repository}:v1")]);
    for path in PATHS {
        let answer = asking(api.post(format!("{path}/{SECRET}")), &review).expect(200).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        let patch = answer.json()["response"]["patch"].clone();
        assert!(patch.is_null() && !said.contains(&image.root().digest.hex()), "{said}");
    }
    let answer = asking(api.post(format!("{}/{SECRET}", PATHS[0])), &review).expect(200).await.json();
    assert!(message(&response(&answer, &review)).contains("not signed"), "{answer}");
}

/// While nothing can be asked, `mutate` refuses nothing and `validate` says why in words that API servers show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_and_mutate_refuses_nothing() {
    let policies = Policies::new();
    let text = POLICIES.replace("it/**", "away/**");
    fs::write(Path::new(&policies.directory()).join("all.yaml"), text).unwrap();
    let settings = [
        ("RREG_POLICY__DIRECTORY", policies.directory()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST.to_owned()),
        // An upstream that nobody answers for.
        (
            "RREG_UPSTREAMS",
            r#"[{name="away", url="http://127.0.0.1:1", allow_local_redirects=true}]"#.to_owned(),
        ),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let api = registry.api();
    let review = pod(&[&format!("{HOST}/away/app:v1")]);
    // The API server sleeps out what it is asked to wait, and shows nothing of the reason.
    let answer = asking(api.post(PATHS[0]), &review).expect(200).await;
    assert!(answer.find_header("retry-after").is_none(), "{answer}");
    let answer = answer.json();
    let told = response(&answer, &review);
    assert_eq!(told["allowed"], false, "{told}");
    assert!(told["status"]["message"].as_str().unwrap().contains("away"), "{told}");
    let answer = asking(api.post(PATHS[1]), &review).expect(200).await.json();
    let answer = response(&answer, &review);
    assert_eq!(answer["allowed"], true, "{answer}");
    assert!(warnings(&answer)[0].contains("was not pinned"), "{answer}");
}

/// The tag that is written beside a digest counts, whether or not it means that digest now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_does_not_leave_the_policy_of_the_tag_beside_it() {
    on_each(&[], async |cluster| {
        let (registry, policies) = (&cluster.registry, &cluster.policies);
        let text = POLICIES.replace("repos: [\"it/**\"]", "repos: [\"it/**\"], tags: [prod]");
        fs::write(Path::new(&policies.directory()).join("all.yaml"), text).unwrap();
        let (api, repository) = (registry.api(), registry.repository());
        let image = Image::layered(&repository, 1);
        let digest = image.root().digest.to_string();
        api.push(&repository, &image, Some("dev")).await;
        let allowed = async |name: &str| {
            let review = pod(&[&format!("{HOST}/{repository}{name}")]);
            cluster.validate(&review).await["allowed"].clone()
        };
        // Until the new text of the policy is read.
        cluster.becomes_allowed(&pod(&[&format!("{HOST}/{repository}:dev")])).await;
        assert_eq!(allowed(&format!("@{digest}")).await, true);
        assert_eq!(allowed(&format!(":dev@{digest}")).await, true);
        assert_eq!(allowed(&format!(":prod@{digest}")).await, false);
    })
    .await;
}
