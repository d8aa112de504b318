//! Images that want to hurt: each ends in a named finding.

use proptest::prelude::*;

use super::{build, kinds, purls, scan, scan_file, scan_within};
use crate::{FindingKind, Limits};

#[test]
fn layers() {
    let good =
        build::tar(&[("package.json", b"{\"name\":\"a\",\"version\":\"1\"}"), ("big", &[0; 5_000_000])]);
    let cut = good[..good.len() / 2].to_vec();
    let sbom = scan(&[cut]);
    assert_eq!((purls(&sbom), kinds(&sbom)), (vec!["pkg:npm/a@1"], vec![FindingKind::LayerDamaged]));
    let gzip = build::gzip(&good);
    assert_eq!(kinds(&scan(&[gzip[..gzip.len() / 2].to_vec()])), [FindingKind::LayerDamaged]);
    let zstd = build::zstd(&good);
    assert_eq!(kinds(&scan(&[zstd[..zstd.len() - 10].to_vec()])), [FindingKind::LayerDamaged]);
    let limits = Limits { total_bytes: 1 << 20, ..Limits::default() };
    assert_eq!(kinds(&scan_within(&[gzip], limits)), [FindingKind::ImageTooLarge]);
    let limits = Limits { entries: 1, ..Limits::default() };
    assert_eq!(kinds(&scan_within(&[good], limits)), [FindingKind::TooMany]);
}

#[test]
fn a_reader_that_fails_is_no_finding() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    use std::io::Read as _;
    let begin = build::gzip(&build::tar(&[("a", &[1; 9000])]));
    let layer = begin[..20].chain(Broken);
    let mut scanner = crate::Scanner::new(Limits::default());
    assert_eq!(scanner.layer(None, layer).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_extended_header_without_end() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(8 << 30);
    header.set_cksum();
    let layer = [header.as_bytes().as_slice(), &[b'a'; 100_000]].concat();
    let sbom = scan(&[layer]);
    assert_eq!(kinds(&sbom), [FindingKind::LayerDamaged]);
    assert!(sbom.findings[0].message.contains("extended tar header"));
}

#[test]
fn files_and_counts() {
    let limits = Limits { text_bytes: 100, packages_per_file: 2, ..Limits::default() };
    let long = [b"{\"name\":\"a\",\"version\":\"1\"}".as_slice(), &[b' '; 200]].concat();
    let status = b"Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 1\n".as_slice();
    let layer = build::tar(&[("package.json", &long), ("var/lib/dpkg/status", status)]);
    let sbom = scan_within(&[layer], limits);
    let expected = [FindingKind::FileTooLarge, FindingKind::TooMany, FindingKind::Unsupported];
    assert_eq!((kinds(&sbom), sbom.packages.len()), (expected.to_vec(), 2));
}

#[test]
fn archives() {
    let bomb = build::zip(&[("META-INF/MANIFEST.MF", &vec![b'a'; 8 << 20])]);
    assert_eq!(kinds(&scan_file("a.jar", &bomb)), [FindingKind::ArchiveTooLarge]);
    let mut nested = build::zip(&[("x", b"")]);
    for _ in 0..8 {
        nested = build::zip(&[("inner.jar", &nested)]);
    }
    assert_eq!(kinds(&scan_file("a.jar", &nested)), [FindingKind::TooDeep]);
    // One archive many times over: entries are counted through all levels.
    let inner = build::zip(&vec![("x.jar", build::zip(&[]).as_slice()); 50]);
    let outer = build::zip(&vec![("y.jar", inner.as_slice()); 50]);
    let limits = Limits { archive_entries: 500, ..Limits::default() };
    let sbom = scan_within(&[build::tar(&[("a.jar", &outer)])], limits);
    assert!(kinds(&sbom).contains(&FindingKind::TooMany));
    assert_eq!(kinds(&scan_file("a.jar", b"PK\x03\x04 cut off")), [FindingKind::Truncated]);
}

#[test]
fn overflow_pages_in_a_circle() {
    let mut database = build::bdb(&[build::rpm_header("a", "1", 5000)]);
    // The second overflow page goes back to the first, and the header is said to be longer than the file.
    database[512 + 508..512 + 512].copy_from_slice(&100_000_u32.to_le_bytes());
    database[512 * 3 + 16..512 * 3 + 20].copy_from_slice(&2_u32.to_le_bytes());
    assert_eq!(kinds(&scan_file("var/lib/rpm/Packages", &database))[0], FindingKind::Cycle);
}

/// A database of two pages: the schema names page 2 the root of Packages.
fn sqlite(root: &[u8]) -> Vec<u8> {
    let mut file = build::sqlite_schema();
    file.resize(1024, 0);
    file[512..512 + root.len()].copy_from_slice(root);
    file
}

#[test]
fn pages_in_a_circle() {
    // An interior page whose only child is itself.
    let database = sqlite(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(kinds(&scan_file("var/lib/rpm/rpmdb.sqlite", &database))[0], FindingKind::Cycle);
    let beyond = sqlite(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(kinds(&scan_file("var/lib/rpm/rpmdb.sqlite", &beyond))[0], FindingKind::Truncated);
    // A row of 3000 bytes whose overflow page is itself.
    let mut row = vec![13, 0, 0, 0, 1, 0, 0, 0, 0, 20];
    row.resize(20, 0);
    row.extend([0x97, 0x38, 1]);
    row.resize(400, 0);
    let mut database = sqlite(&row);
    for at in (1024 - 512 + 20..1020).step_by(4) {
        database[at + 3..at + 7].copy_from_slice(&[0, 0, 0, 2]);
    }
    let sbom = scan_file("var/lib/rpm/rpmdb.sqlite", &database);
    assert!(sbom.packages.is_empty() && !sbom.is_complete());
}

/// Files of every format, intact.
fn intact() -> Vec<(&'static str, Vec<u8>)> {
    let headers = [build::rpm_header("a", "1", 100), build::rpm_header("b", "2", 2000)];
    let pom = b"version=1\ngroupId=g\nartifactId=a\n";
    let xml =
        b"<project><version>1</version><licenses><license><name>x</name></license></licenses></project>";
    let jar = build::zip(&[("META-INF/maven/g/a/pom.properties", pom), ("b.jar", &build::zip(&[]))]);
    let audit = build::zlib(b"{\"packages\":[{\"name\":\"a\",\"version\":\"1\"}]}");
    let info = [crate::catalog::go::MAGIC, b"\x08\x02", &[0; 16], b"\x05go1.2\x20", &[b'x'; 60]].concat();
    vec![
        ("var/lib/rpm/Packages.db", build::ndb(&headers)),
        ("var/lib/rpm/Packages", build::bdb(&headers)),
        ("var/lib/rpm/rpmdb.sqlite", build::sqlite(&headers)),
        ("a.jar", jar),
        ("bin/a", build::elf(&[&audit, &info])),
        ("var/lib/dpkg/status", b"Package: a\nVersion: 1\nSource: b (2)\n\n".to_vec()),
        ("lib/apk/db/installed", b"P:a\nV:1\nF:x\nR:y\n\n".to_vec()),
        ("x.dist-info/METADATA", b"Name: a\nVersion: 1\nLicense: GPL v2+\n or MIT\n".to_vec()),
        ("var/lib/rpm/rpmdb.sqlite-wal", build::wal_of(true, &build::sqlite(&headers))),
        (
            "usr/share/doc/a/copyright",
            b"Format: x\n\nFiles: *\nLicense: GPL-2+ or Expat\n\nFiles: debian/*\n".to_vec(),
        ),
        (
            "long.jar",
            build::zip_streamed(
                &[("META-INF/maven/g/a/pom.xml", xml), ("=b.jar", &build::zip(&[]))],
                true,
                false,
            ),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Neither panics nor endless work, and the same answer twice.
    #[test]
    fn damage_anywhere(
        which in 0..11_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (path, mut bytes) = intact().swap_remove(which);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert_eq!(scan_file(path, &bytes), scan_file(path, &bytes));
        let limits = Limits { file_bytes: 64, ..Limits::default() };
        let layer = build::tar(&[(path, &bytes)]);
        prop_assert_eq!(scan_within(std::slice::from_ref(&layer), limits), scan_within(&[layer], limits));
    }

    /// Whatever a licence is called.
    #[test]
    fn licences(text in "([ -~äß\n]|GPL|AGPLv|License|version|or|and|with|/|3){0,40}") {
        let normal = crate::license::normal(&text);
        prop_assert!(normal.len() <= 20 * text.len() + 20);
        prop_assert!(crate::license::of_text(&text).len() < 50);
    }

    #[test]
    fn damaged_layers(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), form in 0..3) {
        let plain = build::tar(&[("package.json", b"{\"name\":\"a\",\"version\":\"1\"}"), ("b", &[1; 3000])]);
        let mut layer = match form { 0 => plain, 1 => build::gzip(&plain), _ => build::zstd(&plain) };
        for (at, byte) in damage {
            let at = at.index(layer.len());
            layer[at] = byte;
        }
        let sbom = scan(&[layer]);
        prop_assert!(sbom.packages.len() <= 1);
    }
}
