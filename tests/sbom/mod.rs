//! Lists of packages: by `rreg sbom` from wherever an image is, attached on push, and read back from where others
//! attach theirs.

mod attached;
mod managers;
mod on_push;
mod scan;
mod schemas;
mod syft;

use std::process::Command;

use serde_json::Value;

use crate::harness::image::Image;
use crate::harness::tool;

/// The package that every image here has.
const PURL: &str = "pkg:deb/debian/hello@2.10-3?arch=amd64&distro=debian-12";

/// A Debian image with one package, and a file that makes its digest its own.
pub(crate) fn debian(label: &str, architecture: &str) -> Image {
    let status = format!(
        "Package: hello\nStatus: install ok installed\nVersion: 2.10-3\nArchitecture: {architecture}\n\n"
    );
    let files: [(&str, &[u8]); 3] = [
        ("etc/os-release", b"ID=debian\nVERSION_ID=12\n"),
        ("var/lib/dpkg/status", status.as_bytes()),
        ("label", label.as_bytes()),
    ];
    Image::of_files(&files, architecture)
}

/// `rreg sbom`, run in an empty environment.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.env_clear().env("HOME", "/nonexistent").arg("sbom").args(args);
    command
}

/// Its standard output.
fn sbom(args: &[&str]) -> String {
    tool::run(&mut command(args))
}

/// Its standard output, which is JSON.
fn json(args: &[&str]) -> Value {
    serde_json::from_str(&sbom(args)).unwrap()
}
