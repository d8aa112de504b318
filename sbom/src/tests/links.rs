//! Files under other names: whatever links lead to a database or a package, it is in the list.

use super::build::Node::{File, Hard, Soft};
use super::{build, kinds, purls, scan};
use crate::FindingKind;

/// A name that counts, a file that belongs there, and what it says.
fn kinds_of_file() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let headers = [build::rpm_header("bash", "5.2", 10), build::rpm_header("kernel", "6.1", 3000)];
    let pom = b"version=1\ngroupId=g\nartifactId=lib\n";
    let rpm = "pkg:rpm/bash@5.2-1.fc40?arch=x86_64";
    vec![
        ("usr/share/rpm/rpmdb.sqlite", build::sqlite(&headers), rpm),
        ("usr/lib/sysimage/rpm/Packages.db", build::ndb(&headers), rpm),
        ("var/lib/rpm/Packages", build::bdb(&headers), rpm),
        ("var/lib/dpkg/status", b"Package: a\nVersion: 1\n\n".to_vec(), "pkg:deb/a@1"),
        ("var/lib/dpkg/status.d/a", b"Package: a\nVersion: 1\n\n".to_vec(), "pkg:deb/a@1"),
        ("usr/lib/apk/db/installed", b"C:Q1x=\nP:a\nV:1\n\n".to_vec(), "pkg:apk/a@1"),
        ("lib/apk/db/installed", b"P:a\nV:1\n\n".to_vec(), "pkg:apk/a@1"),
        ("x/node_modules/a/package.json", b"{\"name\":\"a\",\"version\":\"1\"}".to_vec(), "pkg:npm/a@1"),
        ("v/a.dist-info/METADATA", b"Metadata-Version: 2.1\nName: a\nVersion: 1\n".to_vec(), "pkg:pypi/a@1"),
        ("v/a.egg-info", b"Metadata-Version: 1.0\nName: a\nVersion: 1\n".to_vec(), "pkg:pypi/a@1"),
        ("srv/lib-1.jar", build::zip(&[("META-INF/maven/g/lib/pom.properties", pom)]), "pkg:maven/g/lib@1"),
        ("srv/com.example.war", build::zip(&[("WEB-INF/lib/b-2.jar", &build::zip(&[]))]), "pkg:maven/b/b@2"),
    ]
}

#[test]
fn any_link_to_any_kind_of_file() {
    const STORE: &str = "sysroot/ostree/objects/ab/cdef.file";
    for (name, content, expected) in kinds_of_file() {
        let (directory, file) = name.rsplit_once('/').unwrap();
        let up = "../".repeat(name.matches('/').count());
        let (relative, absolute) = (format!("{up}{STORE}"), format!("/{STORE}"));
        let moved = format!("data/moved/{file}");
        let one = |nodes: &[(&str, build::Node<'_>)]| vec![build::tar_of(nodes)];
        let forms = [
            ("hard", one(&[(STORE, File(&content)), (name, Hard(STORE))])),
            (
                "hard, dotted",
                one(&[(&format!("./{STORE}"), File(&content)), (name, Hard(&format!("./{STORE}")))]),
            ),
            ("hard, twice", one(&[(STORE, File(&content)), ("b/c", Hard(STORE)), (name, Hard("b/c"))])),
            (
                "hard, lower layer",
                vec![build::tar_of(&[(STORE, File(&content))]), build::tar_of(&[(name, Hard(STORE))])],
            ),
            ("hard to soft", one(&[(STORE, File(&content)), ("s", Soft(&absolute)), (name, Hard("s"))])),
            ("soft", one(&[(name, Soft(&relative)), (STORE, File(&content))])),
            ("soft, absolute", one(&[(name, Soft(&absolute)), (STORE, File(&content))])),
            ("soft to soft", one(&[(name, Soft("/q")), ("q", Soft(STORE)), (STORE, File(&content))])),
            ("directory", one(&[(directory, Soft("/data/moved")), (&moved, File(&content))])),
            (
                "directory, hard inside",
                one(&[(directory, Soft("/data/moved")), (STORE, File(&content)), (&moved, Hard(STORE))]),
            ),
            (
                "through a directory",
                one(&[("here", Soft(directory)), (&format!("here/{file}"), File(&content))]),
            ),
        ];
        for (form, layers) in forms {
            let sbom = scan(&layers);
            assert!(
                purls(&sbom).contains(&expected),
                "{name}, {form}: {:?} {:?}",
                purls(&sbom),
                sbom.findings
            );
        }
    }
}

#[test]
fn what_no_link_names_is_no_package() {
    for (name, content, _) in kinds_of_file() {
        let removed = [
            build::tar_of(&[("store/x", File(&content)), (name, Soft("/store/x"))]),
            build::tar_of(&[("store/.wh.x", File(b""))]),
        ];
        for layers in [&[build::tar_of(&[("store/x", File(&content))])][..], &removed] {
            let sbom = scan(layers);
            assert_eq!(purls(&sbom), [""; 0], "{name}");
        }
    }
}

#[test]
fn links_that_lead_to_no_database() {
    let status = "var/lib/dpkg/status";
    let cases: [(&str, Vec<u8>); 5] = [
        ("hard, to nothing", build::tar_of(&[(status, Hard("gone"))])),
        ("hard, to something else", build::tar_of(&[("x", File(b"text")), (status, Hard("x"))])),
        ("soft, to nothing", build::tar_of(&[(status, Soft("/gone"))])),
        ("in a circle", build::tar_of(&[(status, Soft("/a")), ("a", Soft("b")), ("b", Soft("a"))])),
        ("out of the image", build::tar_of(&[(status, Soft("../../../../../../etc/passwd"))])),
    ];
    for (case, layer) in cases {
        assert_eq!(kinds(&scan(&[layer])), [FindingKind::LinkBroken], "{case}");
    }
    // What is wrong with a file is told once it counts, and once.
    let broken = build::tar_of(&[("s/x", File(b"{\"name\":")), ("a/package.json", Hard("s/x"))]);
    assert_eq!(kinds(&scan(&[broken])), [FindingKind::Malformed]);
    let unnamed = build::tar_of(&[("s/x", File(b"{\"name\":")), ("s/y", Hard("s/x"))]);
    assert_eq!(kinds(&scan(&[unnamed])), [FindingKind::TooMany; 0]);
}

#[test]
fn a_distribution_without_packages_is_told() {
    let os: &[u8] = b"ID=fedora\nVERSION_ID=40\n";
    let headers = [build::rpm_header("bash", "5.2", 10)];
    let database = build::ndb(&headers);
    let none: &[FindingKind] = &[];
    let told: &[FindingKind] = &[FindingKind::NoPackages];
    let cases: [(&str, Vec<u8>, &[FindingKind]); 5] = [
        ("nothing else", build::tar(&[("etc/os-release", os)]), told),
        ("by a link", build::tar_of(&[("etc/os-release", Soft("/s/o")), ("s/o", File(os))]), told),
        (
            "npm only",
            build::tar(&[
                ("usr/lib/os-release", os),
                ("package.json", b"{\"name\":\"a\",\"version\":\"1\"}"),
            ]),
            told,
        ),
        (
            "with packages",
            build::tar(&[("etc/os-release", os), ("var/lib/rpm/Packages.db", &database)]),
            none,
        ),
        ("no distribution", build::tar(&[("package.json", b"{\"name\":\"a\",\"version\":\"1\"}")]), none),
    ];
    for (case, layer, expected) in cases {
        let sbom = scan(&[layer]);
        assert_eq!(kinds(&sbom), expected, "{case}");
        assert_eq!(sbom.os.is_some(), case != "no distribution", "{case}");
    }
}
