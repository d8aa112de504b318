//! Real clients push and pull images made on the spot; what comes back is what was pushed, digest for digest.
//!
//! Each client has a home of its own: its storage, configuration and sockets are in a fresh directory, and
//! nothing of the machine's defaults is read or changed. No container is run.

mod account;
mod again;
mod buildah;
pub(crate) mod containerd;
mod crane;
pub(crate) mod docker;
mod large_layer;
mod login;
mod named;
mod oras;
mod podman;
mod refused;
mod regctl;
mod rreg;
mod skopeo;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::image::{EXAMPLE, Image};
use crate::harness::{RunDir, tool};

/// Where one client keeps everything.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    /// A fresh one, or `None` when a program is not installed.
    pub(crate) fn for_programs(programs: &[&str]) -> Option<Self> {
        if !tool::have(programs) {
            return None;
        }
        let home = Self(RunDir::get().subdir("client-"));
        let config = home.path(".config/containers");
        fs::create_dir_all(&config).unwrap();
        // Which images may be pulled at all; machines differ in their default.
        fs::write(config.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
        fs::write(config.join("registries.conf"), "unqualified-search-registries = []\n").unwrap();
        // Setting higher limits than the machine allows makes podman and buildah fail.
        let limits = "[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(config.join("containers.conf"), limits).unwrap();
        // Some clients insist that the file they are pointed to exists.
        fs::write(home.path("auth.json"), "{}").unwrap();
        Some(home)
    }

    /// The same for daemons that only root can run.
    pub(crate) fn for_root_programs(programs: &[&str]) -> Option<Self> {
        if rustix::process::geteuid().is_root() {
            return Self::for_programs(programs);
        }
        tool::missing("root, which this client's daemon needs,");
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `program` with this home and nothing of the caller's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let home = self.0.path();
        let config = home.join(".config/containers");
        fs::create_dir_all(home.join("tmp")).unwrap();
        let mut command = Command::new(tool::find(program).expect("looked for before"));
        command.current_dir(home).env_clear().env("HOME", home).env("TMPDIR", home.join("tmp"));
        let path = env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command.env("XDG_RUNTIME_DIR", home.join("tmp")).env("XDG_CONFIG_HOME", home.join(".config"));
        command.env("DOCKER_CONFIG", home.join(".docker"));
        command.env("REGISTRY_AUTH_FILE", home.join("auth.json"));
        command.env("CONTAINERS_CONF", config.join("containers.conf"));
        command.env("CONTAINERS_REGISTRIES_CONF", config.join("registries.conf"));
        command
    }

    /// Writes `image` as an OCI layout and gives the directory.
    pub(crate) fn layout(&self, name: &str, image: &Image) -> PathBuf {
        let dir = self.path(name);
        image.write_layout(&dir, "v1");
        dir
    }
}

/// The three shapes that every client with an OCI layout on its other side takes.
fn shapes(label: &str) -> [(&'static str, Image); 3] {
    [
        ("image", Image::layered(label, 3)),
        ("index", Image::index(label)),
        ("artifact", Image::artifact(label, EXAMPLE)),
    ]
}

/// The layout in `dir` has all of `image`, byte for byte, and names its root.
pub(crate) fn assert_layout(dir: &Path, image: &Image) {
    let blobs = image.blobs.iter().map(|b| (b.digest, &b.bytes));
    for (digest, bytes) in blobs.chain(image.manifests.iter().map(|m| (m.digest, &m.bytes))) {
        let file = dir.join("blobs").join(digest.algorithm().as_str()).join(digest.hex());
        let found = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(found == bytes[..], "{digest} came back different");
    }
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    let root = image.root().digest.to_string();
    let entries = index["manifests"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["digest"] == *root), "{root} is not in {index}");
}

/// Digest of the config, which docker and podman call the image's ID.
fn config_digest(image: &Image) -> String {
    image.root().json()["config"]["digest"].as_str().unwrap().to_owned()
}
