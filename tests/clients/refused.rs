//! A policy at `pull` refuses pulls and breaks no push: with logins, by the programs that people push with.

use std::fs;
use std::process::Command;

use super::containerd::Daemon;
use super::{Home, login, shapes};
use crate::harness::http::{base64, basic, manifest};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, tool};

const PASSWORD: &str = "correct horse battery";
const RREG: &str = env!("CARGO_BIN_EXE_rreg");

/// Nobody has signed what is here.
const SIGNED: &str = "apiVersion: rreg/v1\nkind: Policy\nname: signed\nat: [pull]\nrequire:\n  \
    - signature: {any: [{key: team.pub}]}\n";

/// A registry with that policy, `alice` who writes to `team`, and `bob` who reads there.
struct Scene {
    registry: Registry,
    alice: Home,
    bob: Home,
}

impl Scene {
    async fn new(programs: &[&str], settings: &[(&'static str, &str)]) -> Option<Self> {
        let (alice, bob) = (Home::for_programs(programs)?, Home::for_programs(programs)?);
        let policies = alice.path("policies");
        fs::create_dir(&policies).unwrap();
        tool::run(alice.command(RREG).args(["key", "generate", "team"]).env("RREG_KEY_PASSWORD", PASSWORD));
        fs::copy(alice.path("team.pub"), policies.join("team.pub")).unwrap();
        fs::write(policies.join("signed.yaml"), SIGNED).unwrap();
        let directory = policies.display().to_string();
        let mut all = vec![("RREG_AUTH__MODE", "local"), ("RREG_POLICY__DIRECTORY", directory.as_str())];
        all.extend(settings);
        let registry = Registry::start_with(Backend::SqliteDirectory, &all).await?;
        for (home, name, role) in [(&alice, "alice", "writer"), (&bob, "bob", "reader")] {
            let mut create = registry.command(&["user", "create", name, "--password-stdin"]);
            login::succeed(login::feed(&mut create, PASSWORD));
            tool::run(&mut registry.command(&["org", "add", "team", name, role]));
            let both = base64(format!("{name}:{PASSWORD}").as_bytes());
            let text = format!("{{\"auths\": {{{:?}: {{\"auth\": {both:?}}}}}}}", registry.address());
            fs::create_dir_all(home.path(".docker")).unwrap();
            fs::write(home.path(".docker/config.json"), &text).unwrap();
            fs::write(home.path("auth.json"), &text).unwrap();
        }
        Some(Self { registry, alice, bob })
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.address())
    }

    /// Alice pushes an image as a layout.
    fn push(&self, layout: &str, image: &Image, to: &str) {
        let dir = self.alice.layout(layout, image).display().to_string();
        tool::run(self.alice.command(RREG).args(["push", &dir, &self.name(to)]));
    }

    /// What the trail says that alice read although it may not be pulled.
    fn reads(&self, rule: &str) -> usize {
        let (trail, code) = self.registry.rreg_json(&["audit"]);
        assert_eq!(code, 0);
        let events = trail.as_array().or_else(|| trail["events"].as_array()).unwrap();
        let hers = events.iter().filter(|event| event["actor"].to_string().contains("alice"));
        hers.filter(|event| event["rule"] == rule && event["outcome"] == "allowed").count()
    }
}

fn refused(command: &mut Command) {
    let output = tool::output(command);
    let what = tool::describe(command, &output);
    assert!(!output.status.success(), "{what}");
    let words = ["not signed", "denied", "403 forbidden"];
    assert!(words.iter().any(|word| what.to_lowercase().contains(word)), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_pulled_may_be_pushed() {
    let Some(scene) = Scene::new(&["crane", "oras", "regctl", "skopeo"], &[]).await else { return };
    let (alice, bob) = (&scene.alice, &scene.bob);
    let name = scene.name("team/app:v1");
    let [(_, image), (_, index), ..] = shapes("refused");
    scene.push("image", &image, "team/app:v1");
    // To push what is there already, and another index with the same children.
    scene.push("image", &image, "team/app:v1");
    scene.push("index", &index, "team/app:multi");
    let other = index.edited(|index| index["annotations"] = serde_json::json!({"another": "index"}));
    scene.push("other", &other, "team/app:other");
    for (program, args) in [
        ("crane", vec!["push", "--insecure", "image", &scene.name("team/app:crane")]),
        ("crane", vec!["push", "--insecure", "image", &scene.name("team/app:crane")]),
        (
            "oras",
            vec!["cp", "--from-oci-layout", "--to-plain-http", "image:v1", &scene.name("team/app:oras")],
        ),
        (
            "oras",
            vec!["cp", "--from-oci-layout", "--to-plain-http", "other:v1", &scene.name("team/app:oras")],
        ),
        (
            "oras",
            vec![
                "attach",
                "--plain-http",
                "--artifact-type",
                "application/vnd.a",
                &name,
                "auth.json:text/plain",
            ],
        ),
        (
            "skopeo",
            vec![
                "copy",
                "--all",
                "--dest-tls-verify=false",
                "oci:other:v1",
                &format!("docker://{}", scene.name("team/app:skopeo")),
            ],
        ),
    ] {
        tool::run(alice.command(program).args(args.iter().map(|arg| arg as &str)));
    }
    let host = format!("reg={},tls=disabled", scene.registry.address());
    let to = scene.name("team/app:regctl");
    tool::run(alice.command("regctl").args(["--host", &host, "image", "copy", "ocidir://other:v1", &to]));

    // Who may push may look at it as well: to list its packages, to sign it, to judge it.
    for args in [vec!["inspect", &name], vec!["sbom", &name]] {
        tool::run(alice.command(RREG).args(&args));
        refused(bob.command(RREG).args(&args));
    }
    assert!(scene.reads("policy.signers_may_read") > 0, "what she read is not in the trail");
    // A plain pull stays refused, to both.
    for home in [alice, bob] {
        let out = home.path("pulled").display().to_string();
        refused(home.command(RREG).args(["pull", &name, &out]));
        refused(home.command("crane").args(["manifest", "--insecure", &name]));
        refused(home.command("oras").args(["manifest", "fetch", "--plain-http", &name]));
    }
}

/// Who may push reads with a token that is for pushing; and whatever a program calls itself, who may not push reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_pulled_is_read_in_order_to_push() {
    let Some(scene) = Scene::new(&[], &[]).await else { return };
    let [(_, image), ..] = shapes("refused");
    scene.push("image", &image, "team/app:v1");
    let api = scene.registry.api();
    // Whatever a program calls itself, who may not push reads nothing by it.
    for agent in ["cosign/v3.1.3", "notation/1.3.2", "rreg/0.1.0 (evidence)"] {
        for login in [Some(basic("bob", PASSWORD)), None] {
            let mut call = api.get(manifest("team/app", "v1")).header("user-agent", agent);
            if let Some(login) = login {
                call = call.header("authorization", &login);
            }
            let answer = call.send().await;
            assert!(matches!(answer.status, 401 | 403), "{agent}: {}", answer.status);
        }
    }
    // With a token that is for pushing any program reads, and it is in the trail.
    let token = async |person: &str, actions: &str| {
        let asked = format!("/v2/token?service=rreg&scope=repository:team/app:{actions}");
        let answer =
            api.get(asked).header("authorization", &basic(person, PASSWORD)).expect(200).await.json();
        format!("Bearer {}", answer["token"].as_str().unwrap())
    };
    for (person, actions, status) in
        [("alice", "pull,push", 200), ("alice", "pull", 403), ("bob", "pull,push", 403), ("bob", "pull", 403)]
    {
        let login = token(person, actions).await;
        let call = api.get(manifest("team/app", "v1")).header("authorization", &login);
        assert_eq!(call.send().await.status, status, "{person} {actions}");
        let call = api.head(manifest("team/app", "v1")).header("authorization", &login);
        assert_eq!(call.send().await.status, if person == "alice" { 200 } else { 403 }, "{person} {actions}");
    }
    assert_eq!(scene.reads("read in order to push"), 1);
}

/// containerd asks by HEAD what is there before it pushes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd() {
    let Some(daemon) = Daemon::start() else { return };
    let Some(scene) = Scene::new(&[], &[]).await else { return };
    let [(_, image), (_, index), ..] = shapes("containerd");
    let login = format!("alice:{PASSWORD}");
    for (name, image) in [("image", &image), ("index", &index)] {
        let dir = daemon.home.layout(name, image);
        let tar = daemon.home.path(&format!("{name}.tar")).display().to_string();
        tool::run(daemon.home.command("tar").arg("-cf").arg(&tar).arg("-C").arg(&dir).arg("."));
        let base = scene.name(&format!("team/{name}"));
        daemon.ctr(&["images", "import", "--all-platforms", "--no-unpack", "--base-name", &base, &tar]);
        // The second time everything is there.
        for _ in 0..2 {
            daemon.ctr(&["images", "push", "--plain-http", "--user", &login, &format!("{base}:v1")]);
        }
        let bob = format!("bob:{PASSWORD}");
        let fetch =
            ["content", "fetch", "--plain-http", "--user", &bob, "--all-platforms", &format!("{base}:v1")];
        refused(super::containerd::ctr(&daemon.home).args(fetch));
    }
}

/// cosign asks for a token for pulling alone, whoever runs it: it could not sign what nobody has signed yet. Where its
/// name is not believed, it cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cosign_signs_what_is_not_signed() {
    for (may_read, signs) in [("true", true), ("false", false)] {
        let settings = [("RREG_POLICY__SIGNERS_MAY_READ", may_read)];
        let Some(scene) = Scene::new(&["cosign"], &settings).await else { return };
        let [(_, image), ..] = shapes("cosign");
        scene.push("image", &image, "team/app:v1");
        tool::run(scene.alice.command("cosign").arg("generate-key-pair").env("COSIGN_PASSWORD", PASSWORD));
        let name = scene.name(&format!("team/app@{}", image.root().digest));
        for home in [&scene.alice, &scene.bob] {
            let key = scene.alice.path("cosign.key").display().to_string();
            let mut sign = home.command("cosign");
            sign.env("COSIGN_PASSWORD", PASSWORD).args(["sign", "--yes", "--key", &key]);
            fs::write(home.path("services.json"), crate::trust::cosign::NO_SERVICES).unwrap();
            sign.args(["--signing-config", "services.json", "--allow-http-registry"]);
            let ran = tool::output(sign.arg(&name));
            let expected = signs && std::ptr::eq(home, &scene.alice);
            assert_eq!(
                ran.status.success(),
                expected,
                "{may_read}: {}",
                String::from_utf8_lossy(&ran.stderr)
            );
        }
    }
}
