//! What scanners have been reported to leave out, or to get wrong: the kinds of images that did it.

use super::build::Node::{File, Soft};
use super::{build, kinds, purls, scan, scan_file};
use crate::FindingKind;

fn licenses(path: &str, content: &str) -> Vec<String> {
    let mut sbom = scan_file(path, content.as_bytes());
    assert_eq!(sbom.packages.len(), 1, "{content}: {sbom:?}");
    sbom.packages.remove(0).licenses
}

/// A licence in a form that one reader did not expect made it drop the file.
#[test]
fn licences_of_npm_in_every_form() {
    for (fields, expected) in [
        (r#""license": ["MIT", "Apache2"]"#, &["MIT", "Apache-2.0"][..]),
        (r#""license": {"type": "MIT", "url": "x"}"#, &["MIT"]),
        (r#""license": [{"type": "MIT"}, "ISC"]"#, &["MIT", "ISC"]),
        (r#""licenses": [{"type": "MIT", "url": "x"}]"#, &["MIT"]),
        (r#""licenses": "MIT""#, &["MIT"]),
        (r#""license": "", "licenses": [{"type": "AGPLv3"}]"#, &["AGPL-3.0-only"]),
        (r#""license": null, "licenses": ["AGPLv3"]"#, &["AGPL-3.0-only"]),
        (r#""license": "MIT", "licenses": ["AGPLv3"]"#, &["MIT", "AGPL-3.0-only"]),
        (r#""license": {"name": "AGPLv3"}"#, &["AGPL-3.0-only"]),
        (r#""license": {"type": ["AGPLv3", "MIT"]}"#, &["AGPL-3.0-only", "MIT"]),
        (r#""license": {"url": "https://www.gnu.org/licenses/agpl-3.0.html"}"#, &["AGPL-3.0-only"]),
        (r#""license": true"#, &[]),
    ] {
        let json = format!(r#"{{"name": "a", "version": "1", {fields}}}"#);
        assert_eq!(licenses("node_modules/a/package.json", &json), expected, "{fields}");
    }
}

/// A name with a comma in it is one name.
#[test]
fn licences_of_python_with_commas() {
    for (fields, expected) in [
        ("License: BSD 3-Clause License or Apache License, Version 2.0", &["BSD-3-Clause OR Apache-2.0"][..]),
        ("License: Apache License, Version 2.0", &["Apache-2.0"]),
        ("License: GNU General Public License, version 2 or later", &["GPL-2.0-or-later"]),
        ("License: MIT, GNU Affero General Public License, Version 3", &["MIT AND AGPL-3.0-only"]),
        ("License: MIT, BSD", &["MIT AND BSD"]),
    ] {
        let text = format!("Metadata-Version: 2.1\nName: a\nVersion: 1\n{fields}\n");
        assert_eq!(licenses("v/a-1.dist-info/METADATA", &text), expected, "{fields}");
    }
}

/// Eggs have their metadata in a directory with another name.
#[test]
fn eggs() {
    let info = b"Metadata-Version: 1.2\nName: setuptools\nVersion: 40.8.0\nLicense: MIT\n".as_slice();
    for path in [
        "usr/lib/python3/site-packages/setuptools-40.8.0-py3.7.egg/EGG-INFO/PKG-INFO",
        "usr/lib/python3/site-packages/setuptools.egg-info/PKG-INFO",
        "usr/lib/python3/site-packages/setuptools-40.8.0-py3.7.egg-info",
    ] {
        assert_eq!(purls(&scan_file(path, info)), ["pkg:pypi/setuptools@40.8.0"], "{path}");
    }
    let egg = build::zip(&[("EGG-INFO/PKG-INFO", info), ("setuptools/__init__.py", b"")]);
    let sbom = scan_file("usr/lib/python3/site-packages/setuptools-40.8.0-py3.7.egg", &egg);
    assert_eq!(purls(&sbom), ["pkg:pypi/setuptools@40.8.0"]);
    assert_eq!(sbom.packages[0].licenses, ["MIT"]);
    let broken = scan_file("a.egg", &egg[..egg.len() / 2]);
    assert_eq!(kinds(&broken), [FindingKind::Truncated]);
}

/// What a distribution installed is told by its lists, whatever sums are in them.
#[test]
fn lists_with_other_sums() {
    let owned = b"Name: a\nVersion: 1\n".as_slice();
    for digits in [32, 40, 64, 128] {
        let sums =
            format!("{}  usr/lib/python3/dist-packages/a.dist-info/METADATA\n", "0a".repeat(digits / 2));
        let layer = build::tar(&[
            ("var/lib/dpkg/status.d/a", b"Package: python3-a\nVersion: 1\n"),
            ("var/lib/dpkg/status.d/a.md5sums", sums.as_bytes()),
            ("usr/lib/python3/dist-packages/a.dist-info/METADATA", owned),
        ]);
        let sbom = scan(&[layer]);
        assert_eq!((sbom.packages.len(), sbom.owned_by_distro), (1, 1), "{digits}: {sbom:?}");
    }
}

/// Archives whose manifest and Maven files say nothing are still what their files' names say.
#[test]
fn archives_that_say_nothing() {
    let manifest = b"Manifest-Version: 1.0\nCreated-By: x\n".as_slice();
    for (name, expected) in [
        ("graal-sdk-22.3.0.jar", "graal-sdk@22.3.0"),
        ("js-scriptengine-22.3.0.jar", "js-scriptengine@22.3.0"),
        ("javax.inject-1.jar", "javax.inject@1"),
        ("java-driver-core-shaded-4.17.0.jar", "java-driver-core-shaded@4.17.0"),
        ("datafaker-1.9.0.jar", "datafaker@1.9.0"),
    ] {
        let jar = build::zip(&[("META-INF/MANIFEST.MF", manifest), ("module-info.class", b"x")]);
        let app = build::zip(&[(&format!("BOOT-INF/lib/{name}"), jar.as_slice())]);
        for (path, content) in [(format!("opt/{name}"), &jar), ("app.jar".to_owned(), &app)] {
            let sbom = scan_file(&path, content);
            assert!(purls(&sbom).iter().any(|purl| purl.ends_with(expected)), "{path}: {:?}", purls(&sbom));
        }
    }
}

/// An opaque directory takes what layers below have in it, not what a link of theirs leads to; and only a marker is one.
#[test]
fn markers_and_links() {
    let package = |name: &str| format!("{{\"name\":\"{name}\",\"version\":\"1\"}}").into_bytes();
    let (kept, new) = (package("kept"), package("new"));
    let bottom = build::tar_of(&[("target/package.json", File(&kept)), ("link", Soft("/target"))]);
    let opaque = build::tar(&[("link/", b""), ("link/.wh..wh..opq", b""), ("link/package.json", &new)]);
    assert_eq!(purls(&scan(&[bottom.clone(), opaque])), ["pkg:npm/kept@1", "pkg:npm/new@1"]);
    let removed = build::tar(&[(".wh.link", b"")]);
    assert_eq!(purls(&scan(&[bottom.clone(), removed])), ["pkg:npm/kept@1"]);
    for marker in [
        "target/.wh.",
        ".wh.",
        "target/.wh..wh..opqX",
        "target/.wh..wh.plnk",
        "target/.wh..",
        "target/.wh...",
    ] {
        let layer = build::tar(&[(marker, b"")]);
        assert_eq!(purls(&scan(&[bottom.clone(), layer])), ["pkg:npm/kept@1"], "{marker}");
    }
    let through = build::tar(&[("link/.wh.package.json", b"")]);
    assert_eq!(purls(&scan(&[bottom, through])), [""; 0]);
}

/// apk's database has moved, with a link where it was.
#[test]
fn a_database_that_has_moved() {
    let database = b"P:musl\nV:1.2-r0\nL:MIT\n\n".as_slice();
    for link in ["../usr/lib/apk", "/usr/lib/apk", "../usr/./lib//apk"] {
        let layer = build::tar_of(&[
            ("usr/lib/os-release", File(b"ID=wolfi\n")),
            ("usr/lib/apk/db/installed", File(database)),
            ("lib/apk", Soft(link)),
        ]);
        assert_eq!(purls(&scan(&[layer])), ["pkg:apk/wolfi/musl@1.2-r0?distro=wolfi"], "{link}");
    }
}

/// However many licences a package names, none is passed over without a word.
#[test]
fn packages_with_many_licences() {
    let of = |count: usize| {
        let mut names: Vec<String> = (0..count).map(|at| format!("x{at}")).collect();
        names.push("AGPLv3".into());
        serde_json::json!({"name": "a", "version": "1", "licenses": names}).to_string()
    };
    let agpl = "AGPL-3.0-only".to_owned();
    assert!(licenses("package.json", &of(500)).contains(&agpl));
    assert_eq!(kinds(&scan_file("package.json", of(150_000).as_bytes())), [FindingKind::TooMany]);
    let classifiers = "Classifier: License :: OSI Approved :: MIT License\n".repeat(40);
    let metadata = format!("Name: a\nVersion: 1\n{classifiers}Classifier: License :: AGPLv3\n");
    assert!(licenses("a.dist-info/METADATA", &metadata).contains(&agpl));
    let copyright = |count: usize| {
        let files = (0..count).map(|at| format!("Files: {at}\nLicense: w{at}\n\n")).collect::<String>();
        let text = format!("Format: x\n\n{files}Files: *\nLicense: zAGPL\n");
        let status = b"Package: a\nVersion: 1\n".as_slice();
        scan(&[build::tar(&[
            ("var/lib/dpkg/status", status),
            ("usr/share/doc/a/copyright", text.as_bytes()),
        ])])
    };
    assert!(copyright(200).packages[0].licenses.contains(&"zAGPL".to_owned()));
    assert!(kinds(&copyright(1200)).contains(&FindingKind::TooMany));
}

/// A list of crates that is longer than what is read of one file says so.
#[test]
fn a_long_list_of_crates() {
    let list = |count: usize| {
        let crates: Vec<serde_json::Value> =
            (0..count).map(|at| serde_json::json!({"name": format!("c{at}"), "version": "1"})).collect();
        build::zlib(serde_json::json!({"packages": crates}).to_string().as_bytes())
    };
    let limits = crate::Limits { packages_per_file: 5, ..crate::Limits::default() };
    for (count, cut) in [(5, false), (6, true)] {
        let layer = build::tar(&[("bin/a", &build::elf(&[&list(count)]))]);
        let sbom = super::scan_within(&[layer], limits);
        assert_eq!((sbom.packages.len(), kinds(&sbom).contains(&FindingKind::TooMany)), (5, cut), "{sbom:?}");
    }
}
