//! Package databases and archives that are cut, odd or in rare forms: read, or named; never passed over.

use super::build::Node::Soft;
use super::{build, kinds, purls, scan, scan_file};
use crate::FindingKind;

/// Wherever a database ends, what is lost is told.
#[test]
fn cut_databases() {
    let headers: Vec<Vec<u8>> =
        (0..4).map(|at| build::rpm_header(&format!("p{at}"), "1", 400 * at)).collect();
    for (path, whole) in [
        ("var/lib/rpm/rpmdb.sqlite", build::sqlite(&headers)),
        ("usr/lib/sysimage/rpm/Packages.db", build::ndb(&headers)),
        ("var/lib/rpm/Packages", build::bdb(&headers)),
        ("lib/apk/db/installed", b"P:p0\nV:1\n\nP:p1\nV:1\n\nP:p2\nV:1\n\nP:p3\nV:1\n\n".to_vec()),
        (
            "var/lib/dpkg/status",
            b"Package: p0\nVersion: 1\n\nPackage: p1\nVersion: 1\n\nPackage: p2\nVersion: 1\n\nPackage: p3\nVersion: 1\n\n"
                .to_vec(),
        ),
    ] {
        let with_os = |content: &[u8]| scan(&[build::tar(&[("etc/os-release", b"ID=x\n"), (path, content)])]);
        assert_eq!((with_os(&whole).packages.len(), kinds(&with_os(&whole))), (4, vec![]), "{path}");
        for end in (0..whole.len()).step_by(if whole.len() > 1000 { 37 } else { 1 }) {
            let sbom = with_os(&whole[..end]);
            let complete = sbom.packages.len() == 4;
            // Text that ends between two records cannot be told from one that has no more.
            let between = whole[..end].ends_with(b"1\n") || whole[..end].ends_with(b"\n\n");
            assert!(complete || between || !sbom.is_complete(), "{path} cut at {end}: {sbom:?}");
        }
    }
}

/// Text databases as other systems write them.
#[test]
fn odd_texts() {
    let two = ["a", "b"];
    for (path, text) in [
        ("var/lib/dpkg/status", "Package: a\r\nVersion: 1\r\n\r\nPackage: b\r\nVersion: 1\r\n\r\n"),
        ("var/lib/dpkg/status", "Package: a\nVersion: 1\n \t\nPackage: b\nVersion: 1\n"),
        ("var/lib/dpkg/status", "package: a\nVERSION: 1\n\nPACKAGE: b\nversion: 1\n"),
        ("var/lib/dpkg/status", "\u{feff}Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n"),
        ("var/lib/dpkg/status", "\n\n\nPackage: a\nVersion: 1\n\n\n\nPackage: b\nVersion: 1"),
        ("lib/apk/db/installed", "P:a\r\nV:1\r\n\r\nP:b\r\nV:1\r\n\r\n"),
        ("lib/apk/db/installed", "P:a\nV:1\n\nP:b\nV:1"),
        ("lib/apk/db/installed", "\u{feff}P:a\nV:1\n \nP:b\nV:1\n"),
    ] {
        let sbom = scan_file(path, text.as_bytes());
        let names: Vec<&str> = sbom.packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, two, "{text:?}: {sbom:?}");
        assert!(sbom.packages.iter().all(|package| package.version.as_deref() == Some("1")), "{text:?}");
    }
    for text in
        ["Metadata-Version: 2.1\r\nName: a\r\nVersion: 1\r\n\r\nName: b\r\n", "\u{feff}Name: a\nVersion: 1\n"]
    {
        assert_eq!(
            purls(&scan_file("v/a.dist-info/METADATA", text.as_bytes())),
            ["pkg:pypi/a@1"],
            "{text:?}"
        );
    }
    let json = "\u{feff}{\"name\":\"a\",\"version\":\"1\"}";
    assert_eq!(purls(&scan_file("node_modules/a/package.json", json.as_bytes())), ["pkg:npm/a@1"]);
    let os = scan_file("etc/os-release", "\u{feff}ID=x\r\nVERSION_ID=\"1\"\r\n".as_bytes()).os.unwrap();
    assert_eq!((os.id.as_str(), os.version.as_deref()), ("x", Some("1")));
}

/// Records of images without dpkg are files of any name.
#[test]
fn records_of_any_name() {
    for name in ["a", "A", "a b", "ä", "cHl0aG9uMy4xMQ==", "python3.11", "a.deb", ".a", "a.conf"] {
        let path = format!("var/lib/dpkg/status.d/{name}");
        let sbom = scan_file(&path, b"Package: a\nVersion: 1\n");
        assert_eq!(sbom.packages.len(), 1, "{name}: {sbom:?}");
    }
    let sbom = scan_file("var/lib/dpkg/status.d/empty", b"");
    assert!(sbom.packages.is_empty());
}

/// Of a database that is removed, replaced or there twice, what counts is what a file system shows.
#[test]
fn databases_that_change() {
    let status = |name: &str| format!("Package: {name}\nVersion: 1\n\n").into_bytes();
    let (a, b) = (status("a"), status("b"));
    let bottom = build::tar(&[("etc/os-release", b"ID=x\n"), ("var/lib/dpkg/status", &a)]);
    let above = |layer: Vec<u8>| scan(&[bottom.clone(), layer]);
    for (path, names) in [
        ("var/lib/dpkg/.wh.status", 0),
        ("var/lib/.wh.dpkg", 0),
        ("var/lib/dpkg/.wh..wh..opq", 0),
        ("var/.wh..wh..opq", 0),
        ("var/lib/dpkg/.wh.status-old", 1),
    ] {
        let sbom = above(build::tar(&[(path, b"")]));
        assert_eq!(sbom.packages.len(), names, "{path}");
        assert_eq!(kinds(&sbom).contains(&FindingKind::NoPackages), names == 0, "{path}");
    }
    let twice = above(build::tar(&[("var/lib/dpkg/status", &a), ("./var//lib/dpkg/status", &b)]));
    assert_eq!(purls(&twice), ["pkg:deb/x/b@1?distro=x"]);
    for target in ["status", "../dpkg/status", "/var/lib/dpkg/status", "nowhere"] {
        let sbom = above(build::tar_of(&[("var/lib/dpkg/status", Soft(target))]));
        assert!(
            sbom.packages.is_empty() && kinds(&sbom).contains(&FindingKind::LinkBroken),
            "{target}: {sbom:?}"
        );
    }
    let circle =
        above(build::tar_of(&[("var/lib/dpkg", Soft("../lib/dpkg2")), ("var/lib/dpkg2", Soft("dpkg"))]));
    assert!(circle.packages.is_empty() && !circle.is_complete(), "{circle:?}");
}

/// A header of a tar for `content`, changed by `change`.
fn entry(path: &str, content: &[u8], size: u64, change: impl Fn(&mut tar::Header)) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| length.to_string().len() + rest == *length).unwrap();
        text.push_str(&format!("{length} {key}={value}\n"));
    }
    entry("PaxHeaders/x", text.as_bytes(), text.len() as u64, |header| {
        header.set_entry_type(tar::EntryType::XHeader);
    })
}

const STATUS: &[u8] = b"Package: a\nVersion: 1\n\n";

/// Names and lengths in the forms of tar.
#[test]
fn names_in_extended_headers() {
    let length = STATUS.len() as u64;
    let path = "var/lib/dpkg/status";
    let long = |name: &str| {
        entry("././@LongLink", format!("{name}\0").as_bytes(), name.len() as u64 + 1, |header| {
            header.set_entry_type(tar::EntryType::GNULongName);
        })
    };
    let plain = |name: &str| entry(name, STATUS, length, |_| {});
    for (layer, what) in [
        ([long(path), plain("x")].concat(), "GNU long name"),
        ([pax(&[("path", path)]), plain("x")].concat(), "pax path"),
        (
            [pax(&[("path", path), ("size", &length.to_string())]), entry("x", STATUS, 0, |_| {})].concat(),
            "pax size",
        ),
        ([pax(&[("path", "y"), ("path", path)]), plain("x")].concat(), "pax path twice"),
        (
            entry(path, STATUS, length, |header| header.set_entry_type(tar::EntryType::Continuous)),
            "contiguous",
        ),
        (entry(path, STATUS, length, |header| header.as_mut_bytes()[156] = 0), "no type"),
        (
            entry(path, STATUS, 0, |header| {
                header.as_mut_bytes()[124..136].copy_from_slice(&[
                    0x80,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    length as u8,
                ]);
            }),
            "a length of base 256",
        ),
        (plain("./var//lib/./dpkg/status"), "dots"),
    ] {
        assert_eq!(purls(&scan(&[layer])), ["pkg:deb/a@1"], "{what}");
    }
}

/// A sparse file is what it is when it is unpacked.
#[test]
fn sparse_files() {
    // Five hundred bytes of a hole, then the record: as text with a hole it would be nothing, so the database is one of
    // blocks that may have holes.
    let database = build::sqlite(&[build::rpm_header("a", "1", 0), build::rpm_header("b", "1", 0)]);
    let mut content = database.clone();
    content.resize(content.len() + 4096, 0);
    let (stored, size) = (database.len(), content.len());
    let path = "var/lib/rpm/rpmdb.sqlite";
    let octal = |value: usize| format!("{value:011o}\0").into_bytes();
    let old = entry(path, &database, stored as u64, |header| {
        header.set_entry_type(tar::EntryType::GNUSparse);
        let bytes = header.as_mut_bytes();
        bytes[386..398].copy_from_slice(&octal(0));
        bytes[398..410].copy_from_slice(&octal(stored));
        bytes[410..422].copy_from_slice(&octal(size));
        bytes[422..434].copy_from_slice(&octal(0));
        bytes[483..495].copy_from_slice(&octal(size));
    });
    let map = format!("2\n0\n{stored}\n{size}\n0\n");
    let mut packed = map.clone().into_bytes();
    packed.resize(512, 0);
    packed.extend(&database);
    let size_text = size.to_string();
    let one = |name: &str| {
        let records = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", name),
            ("GNU.sparse.realsize", size_text.as_str()),
        ];
        [pax(&records), entry("GNUSparseFile.0/x", &packed, packed.len() as u64, |_| {})].concat()
    };
    let blocks = format!("0,{stored},{size},0");
    let old_pax = [
        pax(&[
            ("GNU.sparse.size", size_text.as_str()),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.name", path),
            ("GNU.sparse.map", &blocks),
        ]),
        entry("GNUSparseFile.0/x", &database, stored as u64, |_| {}),
    ]
    .concat();
    for (layer, what) in [(old, "GNU"), (one(path), "pax 1.0"), (old_pax, "pax 0.1")] {
        let sbom = scan(&[layer]);
        assert_eq!(sbom.packages.len(), 2, "{what}: {sbom:?}");
    }
    // Without GNU's header there is no map.
    let mut other =
        entry(path, &database, stored as u64, |header| header.set_entry_type(tar::EntryType::GNUSparse));
    other[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = other[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    other[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(kinds(&scan(&[other])), [FindingKind::LayerDamaged]);
    // A map that lies is told of.
    let bad = [
        pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", path),
            ("GNU.sparse.realsize", "9"),
        ]),
        entry("GNUSparseFile.0/x", b"99999999\n0\n1\n", 13, |_| {}),
    ]
    .concat();
    let sbom = scan(&[bad]);
    assert!(sbom.packages.is_empty() && !sbom.is_complete(), "{sbom:?}");
}

/// A layer that does not end where its first empty block is.
#[test]
fn after_an_empty_block() {
    let file = entry("var/lib/dpkg/status", STATUS, STATUS.len() as u64, |_| {});
    let other = entry("x", b"", 0, |_| {});
    let layer = [&other[..], &[0; 512], &file].concat();
    let sbom = scan(&[layer]);
    assert!(!sbom.is_complete() || sbom.packages.len() == 1, "{sbom:?}");
    let sbom = scan(&[[&file[..], &[0; 512]].concat()]);
    assert_eq!((sbom.packages.len(), kinds(&sbom)), (1, vec![FindingKind::Unsupported]));
    let sbom = scan(&[[&file[..], &[0; 1024], b"rest of a block".as_slice()].concat()]);
    assert_eq!((sbom.packages.len(), kinds(&sbom)), (1, vec![FindingKind::Unsupported]));
}

/// Archives of 64 bits, and those that are locked.
#[test]
fn archives_in_rare_forms() {
    let pom = b"version=1\ngroupId=g\nartifactId=a\n".as_slice();
    let entries = [("META-INF/maven/g/a/pom.properties", pom)];
    let plain = build::zip(&entries);
    let sbom = scan_file("a.jar", &build::zip64(&entries));
    assert_eq!((purls(&sbom), kinds(&sbom)), (vec!["pkg:maven/g/a@1"], vec![]));
    let outer = build::zip(&[("BOOT-INF/lib/a.jar", &build::zip64(&entries))]);
    assert!(purls(&scan_file("b.jar", &outer)).contains(&"pkg:maven/g/a@1"));
    let mut locked = plain.clone();
    for mark in [b"PK\x03\x04", b"PK\x01\x02"] {
        let at = memchr::memmem::find(&locked, mark).unwrap();
        locked[at + if mark[2] == 3 { 6 } else { 8 }] |= 1;
    }
    let sbom = scan_file("a-1.jar", &locked);
    assert_eq!(kinds(&sbom), [FindingKind::Unsupported]);
    let mut lying = build::zip64(&entries);
    let at = memchr::memmem::rfind(&lying, b"PK\x06\x06").unwrap();
    lying[at..at + 4].fill(0);
    let sbom = scan_file("a-1.jar", &lying);
    assert_eq!((sbom.packages.len(), kinds(&sbom)), (0, vec![FindingKind::Malformed]));
}
