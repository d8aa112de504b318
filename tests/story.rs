//! One story, from the first login to the audit trail: a team on two replicas, and a single host on the defaults.

use std::process::Output;
use std::time::Duration;

use rreg_oci::media_type;
use serde_json::{Value, json};

use crate::auth::Team;
use crate::clients::{Home, assert_layout};
use crate::harness::http::{basic, blob};
use crate::harness::image::{Blob, Image, LAYER, Stored};
use crate::harness::{Backend, Registry, tool};
use crate::sbom::debian;

/// Long enough for a push between its first blob and its manifest, short enough to be waited for.
const RECLAIM_AFTER: &str = "10s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_host() {
    story(Backend::SqliteDirectory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_on_two_replicas() {
    story(Backend::PostgresS3).await;
}

async fn story(backend: Backend) {
    let Some(home) = Home::for_programs(&["skopeo"]) else { return };
    let Some(mut upstream) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let base = debian("base", "amd64");
    upstream.api().push("library/base", &base, Some("12")).await;
    let upstreams = format!(r#"[{{name = "hub", url = "http://{}", tag_ttl = "0s"}}]"#, upstream.address());
    let settings = [
        ("RREG_TAGS__IMMUTABLE", "[{name = 'releases', tags = ['1.*']}]"),
        ("RREG_UPSTREAMS", &upstreams),
        ("RREG_SBOM__ATTACH", "spdx"),
        ("RREG_RECLAIM__BLOBS_AFTER", RECLAIM_AFTER),
        ("RREG_RECLAIM__PERIOD", "1s"),
        ("RREG_UPLOADS__RECLAIM_GRACE", "0s"),
    ];
    let Some(team) = Team::start(backend, &settings).await else { return };
    team.rreg(&["org", "add", "hub", "reader", "reader"]);
    team.rreg(&["org", "add", "hub", "maintainer", "reader"]);
    let replica = team.0.is_shareable().then(|| team.0.replica());
    let here = &team.0;
    let there = replica.as_ref().unwrap_or(here);
    let actors = Actors { home: &home, here, there };

    actors.log_in("maintainer");
    let (image, platforms) = multi_platform();
    actors.succeed(&["push", &layout(&home, "app", &image), &actors.here("team/app:1.0")]);
    for platform in &platforms {
        actors.sbom_of(platform).await;
    }
    let other = debian("another", "amd64");
    let refused = actors.rreg(&["push", &layout(&home, "other", &other), &actors.there("team/app:1.0")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("releases") && said.contains(&image.root().digest.to_string()), "{said}");
    actors.pull_intact(&actors.there("team/app:1.0"), &image);

    actors.pull_intact(&actors.here("hub/library/base:12"), &base);
    upstream.stop();
    actors.pull_intact(&actors.there("hub/library/base:12"), &base);

    actors.bytes_go().await;
    actors.read_the_trail(&team, &image);
}

/// An image for two platforms, and those.
fn multi_platform() -> (Image, [Image; 2]) {
    let platforms = ["amd64", "arm64"].map(|platform| (debian("story", platform), platform));
    (Image::for_platforms(platforms.clone()), platforms.map(|(image, _)| image))
}

fn layout(home: &Home, name: &str, image: &Image) -> String {
    home.layout(name, image).display().to_string()
}

/// What the people of the story do, and where.
struct Actors<'a> {
    home: &'a Home,
    here: &'a Registry,
    there: &'a Registry,
}

impl Actors<'_> {
    fn here(&self, image: &str) -> String {
        format!("{}/{image}", self.here.address())
    }

    fn there(&self, image: &str) -> String {
        format!("{}/{image}", self.there.address())
    }

    /// A real client writes the credentials that `rreg` then uses.
    fn log_in(&self, name: &str) {
        for registry in [self.here, self.there] {
            let mut skopeo = self.home.command("skopeo");
            skopeo.args([
                "login",
                "--tls-verify=false",
                "--username",
                name,
                "--password",
                crate::auth::PASSWORD,
            ]);
            tool::run(skopeo.arg(registry.address()));
        }
    }

    fn rreg(&self, arguments: &[&str]) -> Output {
        tool::output(self.home.command(env!("CARGO_BIN_EXE_rreg")).args(arguments))
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        tool::run(self.home.command(env!("CARGO_BIN_EXE_rreg")).args(arguments))
    }

    fn pull_intact(&self, from: &str, image: &Image) {
        let directory = tempfile::tempdir_in(self.home.path("")).unwrap();
        let target = directory.path().join("layout");
        self.succeed(&["pull", from, &target.display().to_string()]);
        assert_layout(&target, image);
    }

    /// The list of packages comes by itself, as a referrer of each platform's image, on the other replica too.
    async fn sbom_of(&self, image: &Image) {
        let path = format!("/v2/team/app/referrers/{}", image.root().digest);
        let api = self.there.api();
        let found = wait_for("no list of packages was attached", async || {
            let call = api.get(&path).header("authorization", &basic("reader", crate::auth::PASSWORD));
            let referrers = call.expect(200).await.json()["manifests"].as_array().unwrap().clone();
            referrers.first().cloned()
        });
        assert_eq!(found.await["artifactType"], "application/spdx+json");
        let from = self.there(&format!("team/app@{}", image.root().digest));
        let listed = self.succeed(&["sbom", &from, "--attached", "only", "--format", "json"]);
        assert!(listed.contains("pkg:deb/debian/hello@2.10-3"), "{listed}");
    }

    /// What is deleted leaves the store, and what it shared with others stays.
    async fn bytes_go(&self) {
        let objects = || {
            let (found, code) = self.here.rreg_json(&["fsck", "--extra-after", "0s"]);
            assert_eq!(code, 0, "{found}");
            found["objects"].as_u64().unwrap()
        };
        let before = objects();
        let large = Blob::random("a large layer", 3 << 20);
        let image = of_one_layer(large.clone());
        let name = self.here("team/app:dev");
        self.succeed(&["push", &layout(self.home, "dev", &image), &name]);
        assert!(objects() > before);
        let by_digest = self.here(&format!("team/app@{}", image.root().digest));
        self.succeed(&["rm", &by_digest]);
        wait_for("the bytes of what was deleted stay", async || (objects() == before).then_some(())).await;
        let api = self.there.api();
        let gone = api.head(blob("team/app", &large.digest));
        gone.header("authorization", &basic("reader", crate::auth::PASSWORD)).expect(404).await;
        assert_eq!(self.here.rreg(&["gc", "why", &large.digest.to_string()]).status.code(), Some(1));
    }

    fn read_the_trail(&self, team: &Team, image: &Image) {
        let trail = team.rreg(&["audit", "-n", "1000"]);
        let events = trail["events"].as_array().unwrap();
        let has = |event: &str, outcome: &str, target: &str| {
            let same =
                |e: &Value| e["event"] == event && e["outcome"] == outcome && e["actor"] == "user:maintainer";
            events.iter().any(|e| same(e) && e["target"].as_str().unwrap_or_default().contains(target))
        };
        let digest = image.root().digest.to_string();
        assert!(has("login", "allowed", ""), "{events:#?}");
        assert!(has("manifest_put", "allowed", &digest), "{events:#?}");
        assert!(has("manifest_put", "denied", "1.0"), "{events:#?}");
        assert!(has("manifest_delete", "allowed", ""), "{events:#?}");
        let (history, _) = self.here.rreg_json(&["tag", "history", "team/app:1.0"]);
        assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
        assert_eq!((&history[0]["actor"], &history[0]["to"]), (&"user:maintainer".into(), &digest.into()));
    }
}

/// An image of one layer that is no archive: nothing looks into it but for its list of packages, which says so.
fn of_one_layer(layer: Blob) -> Image {
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = Blob::new(serde_json::to_vec(&config).unwrap());
    let manifest = Stored::new(&json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor(media_type::OCI_CONFIG), "layers": [layer.descriptor(LAYER)],
    }));
    Image { blobs: vec![layer, config], manifests: vec![manifest] }
}

/// Asks until there is an answer, for two minutes.
async fn wait_for<T>(otherwise: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{otherwise} after two minutes");
}
