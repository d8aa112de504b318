//! Copies of upstreams in a review: who may have them fetched, and how long that may take.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;

/// What `up/team/` runs is signed by the team; `up/free/` runs where nothing is known.
const OF_COPIES: &str = r#"
---
apiVersion: rreg/v1
kind: Policy
name: copies
match: {repos: ["up/team/**"]}
at: [admit]
mode: enforce
onError: deny
require:
  - signature: {any: [{key: team.pub}]}
---
apiVersion: rreg/v1
kind: Policy
name: free-copies
match: {repos: ["up/free/**"]}
at: [admit]
mode: enforce
onError: allow
require:
  - signature: {any: [{key: team.pub}]}
"#;

/// An upstream that has one manifest under every name, and says nothing about anything else for ever. Ends with the
/// runtime.
pub(super) struct Upstream {
    address: String,
    asked: watch::Receiver<usize>,
    paths: Arc<Mutex<BTreeSet<String>>>,
}

impl Upstream {
    pub(super) async fn start(image: &Image, is_silent: bool) -> Self {
        Self::start_with(image, is_silent, None).await
    }

    /// With an answer to what asks neither for the manifest nor for its blobs, which are there.
    pub(super) async fn start_with(image: &Image, is_silent: bool, other: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (root, blobs) = (image.root().clone(), Arc::new(image.blobs.clone()));
        let (count, asked) = watch::channel(0);
        let paths: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let seen = paths.clone();
        let handler = move |request: Request| {
            let (root, blobs) = (root.clone(), blobs.clone());
            count.send_modify(|count| *count += 1);
            seen.lock().unwrap().insert(request.uri().path().to_owned());
            async move {
                let path = request.uri().path();
                if let (Some(_), Some(blob)) =
                    (other, blobs.iter().find(|blob| path.ends_with(&blob.digest.to_string())))
                {
                    return Response::new(Body::from(blob.bytes.clone()));
                }
                let is_other = !path.contains("/manifests/v");
                match other.filter(|_| is_other) {
                    Some(code) => return Response::builder().status(code).body(Body::empty()).unwrap(),
                    None if is_silent || !request.uri().path().contains("/manifests/") => {
                        std::future::pending::<()>().await;
                    }
                    None => {}
                }
                let answer = Response::builder().header("content-type", root.media_type.as_str());
                let answer = answer.header("docker-content-digest", root.digest.to_string());
                answer.body(Body::from(root.bytes.clone())).unwrap()
            }
        };
        let router = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, asked, paths }
    }

    /// How often it was asked for anything.
    pub(super) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Manifests by tag that it was asked for.
    pub(super) fn manifests(&self) -> BTreeSet<String> {
        let paths = self.paths.lock().unwrap();
        paths.iter().filter(|path| path.ends_with("/manifests/v1")).cloned().collect()
    }

    /// A registry that has it as `up/`, and patience with it.
    pub(super) async fn registry(&self, settings: &[(&'static str, &str)]) -> Option<(Registry, Policies)> {
        self.registry_with("60s", settings).await
    }

    /// With as much patience where something is here.
    async fn registry_with(
        &self,
        revalidate: &str,
        settings: &[(&'static str, &str)],
    ) -> Option<(Registry, Policies)> {
        let policies = Policies::new();
        fs::write(policies.home().join("policies/copies.yaml"), OF_COPIES).unwrap();
        let directory = policies.directory();
        let entry = format!(
            r#"[{{name="up", url="http://{}", ns=["upstream.example"], timeout="60s", revalidate_timeout="{revalidate}"}}]"#,
            self.address
        );
        let mut all = vec![
            ("RREG_POLICY__DIRECTORY", directory.as_str()),
            ("RREG_POLICY__REGISTRY_HOSTS", HOST),
            ("RREG_POLICY__TIMEOUT", "1s"),
            ("RREG_UPSTREAMS", &entry),
        ];
        all.extend(settings);
        Some((Registry::start_with(Backend::SqliteDirectory, &all).await?, policies))
    }
}

/// Whoever reaches an open registry would have it fetch whatever they can name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_fetched_for_anybody() {
    let image = Image::layered("anybody", 1);
    let upstream = Upstream::start(&image, false).await;
    let open = [("RREG_POLICY__OPEN_ADMISSION", "true")];
    let Some((registry, policies)) = upstream.registry(&open).await else { return };
    let cluster = Cluster { registry, policies };
    let names = [format!("{HOST}/up/team/app:v1"), format!("{HOST}/up/team/app@{}", image.root().digest)];
    for name in &names {
        let refused = cluster.validate(&pod(&[name])).await;
        assert!(message(&refused).contains("nothing is fetched for a review"), "{refused}");
        let response = cluster.ask("mutate", &pod(&[name])).await;
        assert!(response.get("patch").is_none(), "{response}");
    }
    assert_eq!(*upstream.asked.borrow(), 0);
}

/// Nodes that have `?ns=` name them as the upstream does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_is_known_under_its_own_name() {
    let upstream = Upstream::start(&Image::layered("named", 1), false).await;
    let Some((registry, policies)) = upstream.registry(&[]).await else { return };
    let cluster = Cluster { registry, policies };
    let free = cluster.validate(&pod(&["Upstream.Example/free/app:v1"])).await;
    assert_eq!(free["allowed"], true, "{free}");
    let name = "upstream.example/team/app:v1";
    let refused = cluster.validate(&pod(&[name])).await;
    assert!(message(&refused).contains(name) && message(&refused).contains("\"copies\""), "{refused}");
    let pinned = patch(&cluster.ask("mutate", &pod(&[name])).await)[0]["value"].clone();
    assert!(pinned.as_str().unwrap().starts_with(&format!("{name}@sha256:")), "{pinned}");
    // A host that nobody has configured is no address to ask, be it the upstream's own.
    let before = *upstream.asked.borrow();
    let refused = cluster.validate(&pod(&[&format!("{}/team/app:v1", upstream.address)])).await;
    assert!(message(&refused).contains("nothing is known about images of registries"), "{refused}");
    assert_eq!(*upstream.asked.borrow(), before);
}

/// Past the time for a review each policy's `onError` speaks, for each image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_is_for_all_images_together() {
    let upstream = Upstream::start(&Image::layered("together", 1), false).await;
    let Some((registry, policies)) = upstream.registry(&[]).await else { return };
    let cluster = Cluster { registry, policies };
    // More than are asked about at the same time.
    let free: Vec<String> = (0..20).map(|i| format!("{HOST}/up/free/app{i}:v1")).collect();
    let free: Vec<&str> = free.iter().map(String::as_str).collect();
    let response = cluster.validate(&pod(&free)).await;
    assert_eq!(response["allowed"], true, "{response}");
    let mut mixed = free[..10].to_vec();
    let denied: Vec<String> = (0..4).map(|i| format!("{HOST}/up/team/app{i}:v1")).collect();
    mixed.extend(denied.iter().map(String::as_str));
    let response = cluster.validate(&pod(&mixed)).await;
    let message = message(&response);
    for name in &denied {
        assert!(message.contains(name.as_str()), "{name}: {message}");
    }
    assert!(message.contains("policy.timeout") && !message.contains("up/free/"), "{message}");
}

/// An upstream that does not say what a tag is costs its image, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_upstream_is_not_waited_for() {
    let upstream = Upstream::start(&Image::layered("silent", 1), true).await;
    let Some((registry, policies)) = upstream.registry(&[]).await else { return };
    let cluster = Cluster { registry, policies };
    let names: Vec<String> = (0..20).map(|i| format!("{HOST}/up/team/app{i}:v1")).collect();
    let review = pod(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let refused = cluster.validate(&review).await;
    assert_eq!(refused["allowed"], false, "{refused}");
    assert!(message(&refused).contains("policy.timeout"), "{refused}");
    // To pin is to try: what cannot be said is told, and left to the other question.
    let tried = cluster.ask("mutate", &review).await;
    assert!(tried.get("patch").is_none() && tried.to_string().contains("policy.timeout"), "{tried}");
    assert!(*upstream.asked.borrow() > 0);
    // How long it takes is chosen by whoever names so many, and lets nothing in.
    let free = cluster.validate(&pod(&[&format!("{HOST}/up/free/app:v1")])).await;
    assert_eq!(free["allowed"], false, "{free}");
}

/// Where an upstream is known to hang or to fail, each policy's `onError` speaks for its images.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_say_what_becomes_of_images_whose_upstream_fails() {
    for code in [None, Some(500)] {
        let upstream = Upstream::start_with(&Image::layered("hangs", 1), code.is_none(), code).await;
        let settings = [("RREG_POLICY__TIMEOUT", "3s")];
        let Some((registry, policies)) = upstream.registry_with("1s", &settings).await else { return };
        let cluster = Cluster { registry, policies };
        let (team, free) = (format!("{HOST}/up/team/app:none"), format!("{HOST}/up/free/app:none"));
        let allowed = cluster.validate(&pod(&[&free])).await;
        assert_eq!(allowed["allowed"], true, "{code:?} {allowed}");
        assert!(allowed["warnings"].to_string().contains("could not be asked about"), "{allowed}");
        let refused = cluster.validate(&pod(&[&free, &team])).await;
        let message = message(&refused);
        assert!(message.contains(&team) && message.contains("\"copies\""), "{code:?} {refused}");
        assert!(!message.contains("sha256:") && !message.contains(&free), "{code:?} {refused}");
    }
}

/// People in a cluster are no clients of the registry: they are not told where its upstreams are, nor what those say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_upstream_is_stays_here() {
    for code in [404, 403, 500] {
        let upstream = Upstream::start_with(&Image::layered("where", 1), false, Some(code)).await;
        let Some((registry, _policies)) = upstream.registry(&[("RREG_POLICY__TIMEOUT", "60s")]).await else {
            return;
        };
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let url = format!("http://{}/admission/v1/validate", registry.address());
        // Once more, when it may be left alone for a while.
        for _ in 0..8 {
            let review = pod(&[&format!("{HOST}/up/team/app:none")]);
            let answer = client.post(&url).body(review.to_string()).send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            assert!(text.contains("upstream up"), "{text}");
            assert!(status == 200 && text.contains("\"allowed\":false"), "{status} {text}");
            let port = upstream.address.rsplit_once(':').unwrap().1;
            assert!(!text.contains(port) && !text.contains("127.0.0.1"), "{text}");
        }
    }
}
