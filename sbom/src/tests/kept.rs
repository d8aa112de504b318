//! How much of an image is kept: small files that are many, and texts that are long. A list that is cut says so.

use super::build::Node::{File, Hard, Soft};
use super::{build, kinds, scan_within};
use crate::{FindingKind, Limits};

/// Many files in one layer, each with a content that may depend on its number.
fn many(count: usize, path: impl Fn(usize) -> String, content: impl Fn(usize) -> String) -> Vec<u8> {
    let files: Vec<(String, String)> = (0..count).map(|at| (path(at), content(at))).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    build::tar(&files)
}

fn metadata(at: usize) -> String {
    format!("v/p{at}.dist-info/METADATA")
}

/// Whatever small files say, each takes room, and there is an end to it.
#[test]
fn small_files_are_counted() {
    let limits = Limits { packages: 10, ..Limits::default() };
    let package = |at| format!("Name: p{at}\nVersion: 1\n");
    let os = |at| format!("ID=os{at}\n");
    for (layer, packages) in [
        (many(30, metadata, package), 10),
        (many(30, |at| format!("var/lib/dpkg/info/p{at}.list"), |at| format!("/f{at}\n")), 0),
        (
            many(30, |at| format!("usr/share/doc/p{at}/copyright"), |_| "Apache License, Version 2.0".into()),
            0,
        ),
        (many(30, metadata, |_| "no metadata".into()), 0),
    ] {
        let sbom = scan_within(&[layer], limits);
        let cut = kinds(&sbom).iter().filter(|kind| **kind == FindingKind::TooMany).count();
        assert_eq!((sbom.packages.len(), cut), (packages, 20), "{:?}", sbom.findings.first());
    }
    // What only a link would make a database or a package is no part of the list, until one does.
    for content in [os, package] {
        let content = |at| {
            format!(
                "{}{}",
                if content(0).starts_with("ID") { "" } else { "Metadata-Version: 2.1\n" },
                content(at)
            )
        };
        let layer = many(30, |at| format!("store/{at}"), content);
        assert_eq!(kinds(&scan_within(std::slice::from_ref(&layer), limits)), []);
        let linked = build::tar_of(&[
            ("etc/os-release", Soft("/store/7")),
            ("etc/late", Soft("/store/29")),
            ("v/p29.dist-info/METADATA", Hard("store/29")),
        ]);
        let sbom = scan_within(&[layer, linked], limits);
        assert!(kinds(&sbom).contains(&FindingKind::LinkBroken), "{sbom:?}");
    }
}

/// Room that is given back is room.
#[test]
fn what_is_replaced_takes_no_room() {
    let limits = Limits { packages: 10, kept_bytes: 1000, owned: 20, ..Limits::default() };
    let layer = || {
        let mut files = vec![("var/lib/dpkg/info/a.list", File(b"/a\n/b\n".as_slice()))];
        let names: Vec<String> = (0..9).map(metadata).collect();
        files.extend(
            names
                .iter()
                .map(|name| (name.as_str(), File(b"Name: a\nVersion: 1\nLicense: GPLv3+\n".as_slice()))),
        );
        build::tar_of(&files)
    };
    let sbom = scan_within(&[layer(), layer(), layer(), layer()], limits);
    assert_eq!((sbom.packages.len(), sbom.packages[0].locations.len()), (1, 9));
    assert!(sbom.findings.is_empty(), "{:?}", sbom.findings);
}

/// A package may call itself anything of any length; all of them together may not.
#[test]
fn texts_are_counted() {
    let limits = Limits { kept_bytes: 50_000, ..Limits::default() };
    let long = "x".repeat(10_000);
    let license = |at| format!("Name: p{at}\nVersion: 1\nLicense-Expression: {long}\n");
    let author = |at| format!("Name: p{at}\nVersion: 1\nAuthor: {long}\n");
    let version = |at| format!("Name: p{at}\nVersion: 1{long}\n");
    let contents: [&dyn Fn(usize) -> String; 3] = [&license, &author, &version];
    for content in contents {
        let sbom = scan_within(&[many(20, metadata, content)], limits);
        let cut = kinds(&sbom).iter().filter(|kind| **kind == FindingKind::TooMany).count();
        assert_eq!((sbom.packages.len(), cut), (4, 16));
    }
    let path = |at| format!("v/{}/p{at}.dist-info/METADATA", "d".repeat(3000));
    let sbom = scan_within(&[many(40, path, |at| format!("Name: p{at}\nVersion: 1\n"))], limits);
    assert_eq!(sbom.packages.len(), 16);
    // The text of a known licence is no longer than its name.
    let known = |at| {
        let text = "word ".repeat(1500);
        format!(
            "Name: p{at}\nVersion: 1\nLicense-Expression: {text}\n GNU Affero General Public License, version 3\n"
        )
    };
    let sbom = scan_within(&[many(20, metadata, known)], limits);
    assert_eq!((sbom.packages.len(), kinds(&sbom)), (20, vec![]));
    assert!(sbom.packages.iter().all(|package| package.licenses == ["AGPL-3.0-only"]));
}

/// One file with more packages than are read of one is cut, not left out.
#[test]
fn a_long_database_is_cut() {
    let limits = Limits::default();
    assert!(limits.packages_per_file < limits.packages);
    let status: String = (0..30).map(|at| format!("Package: p{at}\nVersion: 1\n\n")).collect();
    let limits = Limits { packages_per_file: 10, packages: 20, ..limits };
    let sbom = scan_within(&[build::tar(&[("var/lib/dpkg/status", status.as_bytes())])], limits);
    assert_eq!(sbom.packages.len(), 10);
    assert!(kinds(&sbom).contains(&FindingKind::TooMany));
}
