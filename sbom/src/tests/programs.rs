//! Programs and archives of programs.

use super::{build, kinds, purls, scan_file};
use crate::FindingKind;

fn build_info(version: &str, modules: &str) -> Vec<u8> {
    let string = |text: &[u8]| {
        let mut bytes = vec![(text.len() & 0x7f) as u8 | 0x80, (text.len() >> 7) as u8];
        bytes.extend(text);
        bytes
    };
    let marked = ["0123456789abcdef", modules, "0123456789abcdef"].concat();
    let head = [b"\xff Go buildinf:", &[8, 2][..], &[0; 16]].concat();
    [head, string(version.as_bytes()), string(marked.as_bytes())].concat()
}

const MODULES: &str = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\n\
    dep\tgithub.com/Foo/bar\tv1.2.3\th1:x=\ndep\tgolang.org/x/old\tv0.1.0\n=>\tgolang.org/x/new\tv0.2.0\th1:y=\n";

#[test]
fn go() {
    // Far from the beginning, so that it crosses the pieces in which files are read.
    let filler = vec![0x78; (256 << 10) - 100];
    let program = build::elf(&[&filler, &build_info("go1.24.1 X:foo", MODULES), &[1; 2000]]);
    let expected = [
        "pkg:golang/example.com/app",
        "pkg:golang/github.com/foo/bar@v1.2.3",
        "pkg:golang/golang.org/x/new@v0.2.0",
        "pkg:golang/stdlib@1.24.1",
    ];
    let sbom = scan_file("usr/bin/app", &program);
    assert_eq!(purls(&sbom), expected);
    // The magic alone, in the data of a program that looks for it, is no build information.
    let decoy = build::elf(&[&[crate::catalog::go::MAGIC, b"\x08\x02", &[0; 90]].concat()]);
    let sbom = scan_file("usr/bin/app", &decoy);
    assert!(sbom.packages.is_empty() && sbom.is_complete());
    let old = build::elf(&[&[crate::catalog::go::MAGIC, b"\x08\x00", &[0; 90]].concat()]);
    assert_eq!(kinds(&scan_file("usr/bin/app", &old)), [FindingKind::Unsupported]);
}

#[test]
fn go_modules_that_were_replaced() {
    let cases = [
        ("=>\t./local\t(devel)\t", "pkg:golang/example.com/old@v1.0.0"),
        ("=>\t../fork\t\t", "pkg:golang/example.com/old@v1.0.0"),
        ("=>\t/src/fork\t(devel)\t", "pkg:golang/example.com/old@v1.0.0"),
        ("=>\tC:\\src\\fork\t(devel)\t", "pkg:golang/example.com/old@v1.0.0"),
        ("=>\t./local", "pkg:golang/example.com/old@v1.0.0"),
        ("=>\texample.com/new\tv2.0.0\th1:x=", "pkg:golang/example.com/new@v2.0.0"),
    ];
    for (line, expected) in cases {
        let modules =
            format!("path\tx\ndep\texample.com/old\tv1.0.0\n{line}\ndep\texample.com/z\tv3.0.0\th1:y=\n");
        let sbom = scan_file("usr/bin/app", &build::elf(&[&build_info("go1.24.1", &modules)]));
        assert_eq!(
            purls(&sbom),
            [expected, "pkg:golang/example.com/z@v3.0.0", "pkg:golang/stdlib@1.24.1"],
            "{line}"
        );
    }
}

#[test]
fn cargo_auditable() {
    let json = br#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io","root":true},
        {"name":"cc","version":"1.1.0","source":"crates.io","kind":"build"}]}"#;
    let section = build::zlib(json);
    let sbom = scan_file("usr/bin/tool", &build::elf(&[&[0x78; 70_000], &section, &[3; 5000]]));
    assert_eq!(purls(&sbom), ["pkg:cargo/a@1.0.0"]);
    // Not at the beginning of a section: data of a program that carries another.
    let inside = [b"before ", section.as_slice()].concat();
    assert!(scan_file("usr/bin/tool", &build::elf(&[&inside])).packages.is_empty());
}

#[test]
fn a_list_of_crates_that_is_a_bomb() {
    let mut json = b"{\"packages\":[".to_vec();
    json.resize(64 << 20, b' ');
    let sbom = scan_file("usr/bin/tool", &build::elf(&[&build::zlib(&json)]));
    assert_eq!(kinds(&sbom), [FindingKind::ArchiveTooLarge]);
}

#[test]
fn java() {
    let pom = b"#made\nversion=3.12.0\ngroupId=org.apache.commons\nartifactId=commons-lang3\n";
    let library = build::zip(&[("META-INF/maven/org.apache.commons/commons-lang3/pom.properties", pom)]);
    let manifest = b"Manifest-Version: 1.0\r\nImplementation-Vendor-Id: com.exam\r\n ple\r\n\r\nName: x\r\n";
    let plain = build::zip(&[("META-INF/MANIFEST.MF", manifest)]);
    let war = build::zip(&[
        ("WEB-INF/lib/commons-lang3-3.12.0.jar", &library),
        ("WEB-INF/lib/thing-2.1-RELEASE.jar", &plain),
    ]);
    let sbom = scan_file("srv/site.war", &[b"#!/bin/sh\nexit\n", war.as_slice()].concat());
    let expected =
        ["pkg:maven/com.example/thing@2.1-RELEASE", "pkg:maven/org.apache.commons/commons-lang3@3.12.0"];
    assert_eq!(purls(&sbom), expected);
    assert_eq!(sbom.packages[1].locations[0].path, "srv/site.war!/WEB-INF/lib/commons-lang3-3.12.0.jar");
}
