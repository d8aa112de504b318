//! docker with a dockerd of its own: load, push, remove, pull; and manifest lists.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Home, config_digest};
use crate::harness::image::{Image, tarball};
use crate::harness::{Child, Registry, tool, wait_until};

on_each_backend!(round_trip);

/// A dockerd without network, storage driver `vfs`: images only.
pub(crate) struct Daemon {
    pub(super) home: Home,
    _process: Child,
}

impl Daemon {
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("{}")
    }

    /// With this `daemon.json`.
    pub(crate) fn start_with(settings: &str) -> Option<Self> {
        let home = Home::for_root_programs(&["dockerd", "docker", "containerd", "unshare"])?;
        fs::write(home.path("daemon.json"), settings).unwrap();
        let log = fs::File::create(home.path("log")).unwrap();
        // In a mount namespace of its own: dockerd leaves a mount on its data root.
        let mut command = home.command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "dockerd"]);
        command.arg("--data-root").arg(home.path("data")).arg("--exec-root").arg(home.path("exec"));
        command
            .arg("-p")
            .arg(home.path("pid"))
            .arg("-H")
            .arg(format!("unix://{}", home.path("sock").display()));
        command.arg("--config-file").arg(home.path("daemon.json"));
        command.args(["--storage-driver=vfs", "--bridge=none"]);
        command.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Child::spawn(&mut command, Signal::TERM);
        let docker = home.path("sock");
        wait_until("dockerd", || {
            assert!(
                process.exited().is_none(),
                "{}",
                fs::read_to_string(home.path("log")).unwrap_or_default()
            );
            docker.exists()
                && tool::output(home.command("docker").arg("-H").arg(socket(&home)).arg("version"))
                    .status
                    .success()
        });
        Some(Self { home, _process: process })
    }

    /// `docker`, talking to this daemon.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command("docker");
        command.arg("-H").arg(socket(&self.home)).args(args);
        command
    }

    pub(crate) fn docker(&self, args: &[&str]) -> String {
        tool::run(&mut self.command(args)).trim().to_owned()
    }
}

fn socket(home: &Home) -> String {
    format!("unix://{}", home.path("sock").display())
}

/// What `docker load` reads: the layers' tars, the config, and a list that names them.
pub(super) fn archive(image: &Image, name: &str) -> Vec<u8> {
    let (config, layers) = image.blobs.split_last().unwrap();
    let config_name = format!("{}.json", config.digest.hex());
    let names: Vec<String> = layers.iter().map(|layer| format!("{}/layer.tar", layer.digest.hex())).collect();
    let list = serde_json::json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]).to_string();
    // docker takes compressed layers too.
    let mut files: Vec<(&str, &[u8])> =
        vec![(&config_name, &config.bytes), ("manifest.json", list.as_bytes())];
    files.extend(names.iter().zip(layers).map(|(name, layer)| (name.as_str(), &layer.bytes[..])));
    tarball(&files)
}

async fn round_trip(registry: Registry) {
    let Some(daemon) = Daemon::start() else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::docker(&repository, 3);
    let remote = format!("{}/{repository}:v1", registry.address());
    fs::write(daemon.home.path("image.tar"), archive(&image, &remote)).unwrap();
    daemon.docker(&["load", "--input", "image.tar"]);
    let id = daemon.docker(&["image", "inspect", "--format", "{{.Id}}", &remote]);
    assert_eq!(id, config_digest(&image));
    daemon.docker(&["push", "--quiet", &remote]);
    let pushed = api.get_manifest(&repository, "v1").expect(200).await;
    assert_eq!(pushed.json()["config"]["digest"], id, "{pushed}");
    let digest = pushed.header("docker-content-digest").to_owned();
    let by_digest = format!("{}/{repository}@{digest}", registry.address());
    daemon.docker(&["image", "rm", "--force", &id]);
    for reference in [&remote, &by_digest] {
        daemon.docker(&["pull", "--quiet", reference]);
        assert_eq!(daemon.docker(&["image", "inspect", "--format", "{{.Id}}", reference]), id);
    }
    lists(&registry, &daemon, &repository).await;
}

/// A list made by docker, and an OCI index made by others.
async fn lists(registry: &Registry, daemon: &Daemon, repository: &str) {
    let api = registry.api();
    let list = format!("{}/{repository}:list", registry.address());
    let entry = format!("{}/{repository}:v1", registry.address());
    daemon.docker(&["manifest", "create", "--insecure", &list, &entry]);
    let digest = daemon.docker(&["manifest", "push", "--insecure", &list]);
    let pushed = api.get_manifest(repository, "list").expect(200).await;
    assert_eq!(pushed.header("content-type"), rreg_oci::media_type::DOCKER_LIST);
    assert!(digest.ends_with(pushed.header("docker-content-digest")), "{digest}");
    let index = Image::index(repository);
    api.push(repository, &index, Some("index")).await;
    let remote = format!("{}/{repository}:index", registry.address());
    for (i, platform) in ["linux/amd64", "linux/arm64"].iter().enumerate() {
        daemon.docker(&["pull", "--quiet", "--platform", platform, &remote]);
        let id = daemon.docker(&["image", "inspect", "--format", "{{.Id}}", &remote]);
        assert_eq!(id, index.manifests[i].json()["config"]["digest"], "{platform}");
    }
}
