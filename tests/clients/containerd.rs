//! containerd and `ctr`, with root, state and socket of their own. Images go through containerd's content
//! store; nothing is unpacked.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Home, shapes};
use crate::harness::{Child, Registry, tool, wait_until};

on_each_backend!(round_trip);

pub(crate) struct Daemon {
    pub(crate) home: Home,
    _process: Child,
}

impl Daemon {
    pub(crate) fn start() -> Option<Self> {
        let home = Home::for_root_programs(&["containerd", "ctr", "tar"])?;
        let at = |name: &str| home.path(name).display().to_string();
        // Plugins that need kernel features or other daemons; content, metadata and transfer remain.
        let off = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs"];
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {off:?}\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("sock")
        );
        fs::write(home.path("config.toml"), config).unwrap();
        let log = fs::File::create(home.path("log")).unwrap();
        let mut command = home.command("containerd");
        command.arg("--config").arg(home.path("config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Child::spawn(&mut command, Signal::TERM);
        wait_until("containerd", || {
            assert!(
                process.exited().is_none(),
                "{}",
                fs::read_to_string(home.path("log")).unwrap_or_default()
            );
            home.path("sock").exists() && tool::output(ctr(&home).arg("version")).status.success()
        });
        Some(Self { home, _process: process })
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> String {
        tool::run(ctr(&self.home).args(args))
    }
}

pub(super) fn ctr(home: &Home) -> Command {
    let mut command = home.command("ctr");
    command.arg("--address").arg(home.path("sock"));
    command
}

async fn round_trip(registry: Registry) {
    let Some(daemon) = Daemon::start() else { return };
    let repository = registry.repository();
    for (name, image) in shapes(&repository) {
        let dir = daemon.home.layout(name, &image);
        let tar = daemon.home.path(&format!("{name}.tar")).display().to_string();
        tool::run(daemon.home.command("tar").arg("-cf").arg(&tar).arg("-C").arg(&dir).arg("."));
        let remote = format!("{}/{repository}:v1", registry.address());
        let digest = image.root().digest.to_string();
        // The layout names its root "v1"; containerd puts the base name in front.
        let base = format!("{}/{repository}", registry.address());
        daemon.ctr(&["images", "import", "--all-platforms", "--no-unpack", "--base-name", &base, &tar]);
        let tagged = format!("{}/{repository}:{name}", registry.address());
        daemon.ctr(&["images", "tag", &remote, &tagged]);
        daemon.ctr(&["images", "push", "--plain-http", &tagged]);
        registry.api().assert_image(&repository, &image, Some(name)).await;
        daemon.ctr(&["images", "rm", "--sync", &remote, &tagged]);
        let gone = tool::output(ctr(&daemon.home).args(["content", "get", &digest]));
        assert!(!gone.status.success(), "the content is still there, so a pull would show nothing");
        daemon.ctr(&["content", "fetch", "--plain-http", "--all-platforms", &tagged]);
        let listed = daemon.ctr(&["images", "ls"]);
        assert!(listed.lines().any(|l| l.starts_with(&tagged) && l.contains(&digest)), "{listed}");
        let parts = image.blobs.iter().map(|b| (b.digest, &b.bytes));
        for (digest, bytes) in parts.chain(image.manifests.iter().map(|m| (m.digest, &m.bytes))) {
            let output = tool::output(ctr(&daemon.home).args(["content", "get", &digest.to_string()]));
            assert!(output.stdout == bytes[..], "{digest} came back different");
        }
    }
}
