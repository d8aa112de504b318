//! Real clients pull through the cache, and again with the upstream switched off.

use std::fs;

use super::caching;
use super::origin::Origin;
use crate::clients::{Home, assert_layout, containerd, docker};
use crate::harness::image::Image;
use crate::harness::tool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo() {
    let Some(home) = Home::for_programs(&["skopeo"]) else { return };
    let image = Image::index("skopeo");
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let remote = format!("docker://{}/up/library/app:1", registry.address());
    for name in ["cold", "warm"] {
        let dir = home.path(name);
        let mut command = home.command("skopeo");
        command.args(["copy", "--all", "--preserve-digests", "--src-tls-verify=false", &remote]);
        tool::run(command.arg(format!("oci:{}:1", dir.display())));
        assert_layout(&dir, &image);
        origin.switch_off();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman() {
    let Some(home) = Home::for_programs(&["podman"]) else { return };
    let image = Image::layered("podman", 3);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    // As an operator sets it up: the upstream's name stays in the commands, the cache is its mirror.
    let mirror = format!(
        "unqualified-search-registries = []\n[[registry]]\nprefix = \"origin.example\"\n\
         location = \"origin.example\"\n[[registry.mirror]]\nlocation = \"{}/up\"\ninsecure = true\n",
        registry.address()
    );
    fs::write(home.path(".config/containers/registries.conf"), mirror).unwrap();
    let run = |args: &[&str]| {
        let mut command = home.command("podman");
        command.arg("--root").arg(home.path("root")).arg("--runroot").arg(home.path("run"));
        command.arg("--tmpdir").arg(home.path("tmp")).args(["--storage-driver", "vfs"]).args(args);
        tool::run(&mut command).trim().to_owned()
    };
    let config = image.root().json()["config"]["digest"].as_str().unwrap().to_owned();
    for _ in ["cold", "warm"] {
        let id = run(&["pull", "--quiet", "origin.example/library/app:1"]);
        assert_eq!(format!("sha256:{id}"), config);
        run(&["rmi", "--all", "--force"]);
        origin.switch_off();
    }
}

/// containerd asks its mirror with `?ns=`, as `hosts.toml` makes it do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_by_hosts_toml() {
    let Some(daemon) = containerd::Daemon::start() else { return };
    let image = Image::index("containerd");
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", ns=[\"origin.example\"]").await else { return };
    let hosts = daemon.home.path("hosts");
    fs::create_dir_all(hosts.join("origin.example")).unwrap();
    let toml = format!(
        "server = \"http://origin.example\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        registry.address()
    );
    fs::write(hosts.join("origin.example/hosts.toml"), toml).unwrap();
    let hosts = hosts.display().to_string();
    let name = "origin.example/library/app:1";
    for _ in ["cold", "warm"] {
        daemon.ctr(&["content", "fetch", "--hosts-dir", &hosts, "--all-platforms", name]);
        let listed = daemon.ctr(&["images", "ls"]);
        let digest = image.root().digest.to_string();
        assert!(listed.lines().any(|l| l.starts_with(name) && l.contains(&digest)), "{listed}");
        daemon.ctr(&["images", "rm", "--sync", name]);
        origin.switch_off();
    }
}

/// The registry stands in for docker.io, as an operator sets it up in `daemon.json`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_by_registry_mirrors() {
    let image = Image::docker("docker-mirror", 2);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, ", prefix=\"\", ns=[\"docker.io\"]").await else { return };
    let mirrors = format!(r#"{{"registry-mirrors": ["http://{}"]}}"#, registry.address());
    let Some(daemon) = docker::Daemon::start_with(&mirrors) else { return };
    for _ in ["cold", "warm"] {
        daemon.docker(&["pull", "--quiet", "app:1"]);
        let id = daemon.docker(&["image", "inspect", "--format", "{{.Id}}", "app:1"]);
        assert_eq!(id, image.root().json()["config"]["digest"]);
        daemon.docker(&["image", "rm", "--force", "app:1"]);
        origin.switch_off();
    }
    assert!(origin.count("GET /v2/library/app/blobs/") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_pulls() {
    let Some(daemon) = docker::Daemon::start() else { return };
    let image = Image::docker("docker", 2);
    let origin = Origin::with(&image, "1").await;
    let Some(registry) = caching(&origin, "").await else { return };
    let remote = format!("{}/up/library/app:1", registry.address());
    for _ in ["cold", "warm"] {
        daemon.docker(&["pull", "--quiet", &remote]);
        let id = daemon.docker(&["image", "inspect", "--format", "{{.Id}}", &remote]);
        assert_eq!(id, image.root().json()["config"]["digest"]);
        daemon.docker(&["image", "rm", "--force", &remote]);
        origin.switch_off();
    }
}
