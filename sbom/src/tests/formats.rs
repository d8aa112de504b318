//! Databases and metadata in their own forms.

use std::process::Command;

use super::{build, kinds, purls, scan, scan_file};

const DEBIAN: &[u8] = b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian GNU/Linux 12'\n";

#[test]
fn compressions() {
    let plain =
        build::tar(&[("package.json", b"{\"name\":\"@s/n\",\"version\":\"1\"}"), ("z", &[7; 300_000])]);
    let (begin, end) = plain.split_at(1000);
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
    let forms = [
        plain.clone(),
        build::gzip(&plain),
        [build::gzip(begin), build::gzip(end)].concat(),
        build::zstd(&plain),
        [build::zstd(begin), skippable.clone(), build::zstd(end)].concat(),
        [skippable, build::zstd(&plain)].concat(),
    ];
    for (at, layer) in forms.into_iter().enumerate() {
        let sbom = scan(&[layer]);
        assert_eq!(purls(&sbom), ["pkg:npm/%40s/n@1"], "form {at}");
        assert!(sbom.is_complete(), "form {at}: {:?}", sbom.findings);
    }
}

#[test]
fn debian_with_owned_python_packages() {
    let status = b"Package: libc6\nStatus: install ok installed\nSource: glibc (2.36-8)\nVersion: 2.36-9+deb12u8\n\
        Architecture: amd64\nDescription: x\n Package: no\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
    let metadata = b"Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.2\nLicense: MIT\n\nName: no\n";
    let sbom = scan(&[build::tar(&[
        ("usr/lib/os-release", DEBIAN),
        ("var/lib/dpkg/status", status),
        (
            "var/lib/dpkg/info/python3-foo.list",
            b"/.\n/usr/lib/python3/dist-packages/foo.dist-info/METADATA\n",
        ),
        ("usr/lib/python3/dist-packages/foo.dist-info/METADATA", metadata),
        ("opt/venv/foo.dist-info/METADATA", metadata),
    ])]);
    let libc = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12&upstream=glibc%402.36-8";
    assert_eq!(purls(&sbom), [libc, "pkg:pypi/foo-bar@1.2"]);
    assert_eq!((sbom.owned_by_distro, sbom.packages[1].locations.len()), (1, 1));
}

#[test]
fn images_without_dpkg() {
    let sbom = scan(&[build::tar(&[
        ("etc/os-release", DEBIAN),
        ("var/lib/dpkg/status.d/tzdata", b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n"),
        ("var/lib/dpkg/status.d/tzdata.md5sums", b"d41d8cd98f00b204e9800998ecf8427e  opt/a/package.json\n"),
        ("opt/a/package.json", b"{\"name\":\"a\",\"version\":\"1\"}"),
    ])]);
    assert_eq!(purls(&sbom), ["pkg:deb/debian/tzdata@2024a?arch=all&distro=debian-12"]);
    assert_eq!(sbom.owned_by_distro, 1);
}

#[test]
fn files_beside_the_records_of_images_without_dpkg() {
    let record: &[u8] = b"Package: python3.11-minimal\nVersion: 3.11.2\nArchitecture: all\n";
    let npm: &[u8] = b"{\"name\":\"a\",\"version\":\"1\"}";
    let control = [
        "preinst",
        "postinst",
        "prerm",
        "postrm",
        "config",
        "conffiles",
        "templates",
        "triggers",
        "shlibs",
        "symbols",
    ];
    let scripts: Vec<String> =
        control.iter().map(|name| format!("var/lib/dpkg/status.d/python3.11-minimal.{name}")).collect();
    let sums: [(&str, &[u8]); 5] = [
        ("status.d/python3.11-minimal.md5sums", b"d41d8cd98f00b204e9800998ecf8427e  opt/a/package.json\n"),
        ("status.d/python3.11-minimal.md5sums", b"d41d8cd98f00b204e9800998ecf8427e  ./opt/a/package.json\n"),
        ("status.d/python3.11-minimal.md5sums", b"\\d41d8cd98f00b204e9800998ecf8427e  /opt/a/package.json\n"),
        ("status.d/python3.11-minimal.list", b"/.\n/opt/a/package.json\n"),
        ("info/python3.11-minimal.md5sums", b"d41d8cd98f00b204e9800998ecf8427e  opt/a/package.json\n"),
    ];
    for (name, list) in sums {
        let name = format!("var/lib/dpkg/{name}");
        let mut files: Vec<(&str, &[u8])> = vec![
            ("etc/os-release", DEBIAN),
            ("var/lib/dpkg/status.d/python3.11-minimal", record),
            (&name, list),
            ("opt/a/package.json", npm),
        ];
        files.extend(scripts.iter().map(|name| (name.as_str(), b"#!/bin/sh\nset -e\n".as_slice())));
        let sbom = scan(&[build::tar(&files)]);
        assert_eq!(
            purls(&sbom),
            ["pkg:deb/debian/python3.11-minimal@3.11.2?arch=all&distro=debian-12"],
            "{name}"
        );
        assert_eq!((sbom.owned_by_distro, kinds(&sbom)), (1, vec![]), "{name}");
    }
}

#[test]
fn alpine() {
    let installed = b"C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nL:MIT\nF:lib\nR:ld-musl-x86_64.so.1\n\n\
        P:py3-x\nV:1-r1\nF:usr/lib/python3.12/site-packages/x.egg-info\nR:PKG-INFO\n";
    let sbom = scan(&[build::tar(&[
        ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20.1\n"),
        ("lib/apk/db/installed", installed),
        ("usr/lib/python3.12/site-packages/x.egg-info/PKG-INFO", b"Name: x\nVersion: 1\n"),
    ])]);
    let expected = [
        "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1&upstream=musl",
        "pkg:apk/alpine/py3-x@1-r1?distro=alpine-3.20.1",
    ];
    assert_eq!(purls(&sbom), expected);
    assert_eq!(sbom.owned_by_distro, 1);
}

#[test]
fn rpm_databases() {
    let headers = [build::rpm_header("bash", "5.2", 10), build::rpm_header("kernel", "6.1", 3000)];
    let forms = [
        ("Packages.db", build::ndb(&headers)),
        ("Packages", build::bdb(&headers)),
        ("rpmdb.sqlite", build::sqlite(&headers)),
    ];
    for (name, database) in forms {
        let sbom = scan(&[build::tar(&[
            ("etc/os-release", b"ID=fedora\nVERSION_ID=40\n"),
            (&format!("var/lib/rpm/{name}"), &database),
            ("usr/lib/python3/site-packages/owned.dist-info/METADATA", b"Name: owned\nVersion: 1\n"),
        ])]);
        let expected = [
            "pkg:rpm/fedora/bash@5.2-1.fc40?arch=x86_64&distro=fedora-40",
            "pkg:rpm/fedora/kernel@6.1-1.fc40?arch=x86_64&distro=fedora-40",
        ];
        assert_eq!(purls(&sbom), expected, "{name}: {:?}", sbom.findings);
        assert_eq!(sbom.owned_by_distro, 1, "{name}");
    }
}

#[test]
fn npm_lists_installed_packages_only() {
    let file = |name: &str| {
        format!("{{\"name\":\"{name}\",\"version\":\"1.0.0\",\"license\":\"MIT\"}}").into_bytes()
    };
    let (app, dep, scoped, inner) = (file("app"), file("dep"), file("@s/n"), file("fixture"));
    let sbom = scan(&[build::tar(&[
        ("app/package.json", &app),
        ("app/node_modules/dep/package.json", &dep),
        ("app/node_modules/dep/test/package.json", &inner),
        ("app/node_modules/@s/n/package.json", &scoped),
        ("app/node_modules/dep/node_modules/dep/package.json", &dep),
        ("app/nameless/package.json", b"{\"type\":\"module\"}"),
    ])]);
    assert_eq!(purls(&sbom), ["pkg:npm/%40s/n@1.0.0", "pkg:npm/app@1.0.0", "pkg:npm/dep@1.0.0"]);
    assert_eq!(sbom.packages[2].locations.len(), 2);
    assert!(sbom.is_complete());
}

#[test]
fn broken_metadata_is_named() {
    let sbom = scan_file("a/package.json", b"{\"name\":");
    assert_eq!(kinds(&sbom), [crate::FindingKind::Malformed]);
    assert_eq!(sbom.findings[0].path.as_deref(), Some("a/package.json"));
}

/// Against the package manager of the machine that the test runs on.
#[test]
#[allow(clippy::print_stderr, reason = "a test that could not run says so")]
fn this_machine_as_dpkg_sees_it() {
    let format = "${db:Status-Status} ${Package} ${Version} ${Architecture}\n";
    let Ok(output) = Command::new("dpkg-query").args(["-W", "-f", format]).output() else {
        eprintln!("not run: this machine has no dpkg-query");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut expected: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect();
    expected.sort();
    let status = std::fs::read("/var/lib/dpkg/status").unwrap();
    let sbom = scan_file("var/lib/dpkg/status", &status);
    let mut found: Vec<String> = sbom
        .packages
        .iter()
        .map(|p| {
            format!("{} {} {}", p.name, p.version.as_deref().unwrap(), p.architecture.as_deref().unwrap())
        })
        .collect();
    found.sort();
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
}
