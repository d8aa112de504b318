//! Licences that packages do not name themselves: in files beside them, and in texts.

use super::build::Node::{File, Soft};
use super::{build, scan, scan_file};
use crate::Sbom;

const STATUS: &[u8] = b"Package: bash\nStatus: install ok installed\nVersion: 5\n\n";

/// Each licence of the only package.
pub(super) fn licenses(sbom: &Sbom) -> Vec<String> {
    assert_eq!(sbom.packages.len(), 1, "{sbom:?}");
    sbom.packages[0].licenses.clone()
}

const MIT: &str = "Permission is hereby granted, free of charge, to any person obtaining a copy";
pub(super) const AGPL: &str = "GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19 November 2007\n TERMS AND CONDITIONS\n GNU General Public License";

#[test]
fn licences_in_files_alone() {
    let agpl = AGPL.as_bytes();
    let metadata = |more: &str| format!("Metadata-Version: 2.4\nName: a\nVersion: 1\n{more}\n");
    let npm = |license: &str| format!("{{\"name\":\"a\",\"version\":\"1\"{license}}}");
    let cases: [(&str, String, &str, &[&str]); 13] = [
        ("v/a.dist-info/METADATA", metadata(""), "v/a.dist-info/LICENSE", &["AGPL-3.0-only"]),
        (
            "v/a.dist-info/METADATA",
            metadata("License-File: x"),
            "v/a.dist-info/licenses/x",
            &["AGPL-3.0-only"],
        ),
        (
            "v/a.dist-info/METADATA",
            metadata(""),
            "v/a.dist-info/licenses/sub/COPYING.txt",
            &["AGPL-3.0-only"],
        ),
        ("v/a.egg-info/PKG-INFO", metadata(""), "v/a.egg-info/licence.md", &["AGPL-3.0-only"]),
        ("v/a.egg/EGG-INFO/PKG-INFO", metadata(""), "v/a.egg/EGG-INFO/LICENSE", &["AGPL-3.0-only"]),
        ("v/a.dist-info/METADATA", metadata("License: MIT"), "v/a.dist-info/LICENSE", &["MIT"]),
        (
            "v/a.dist-info/METADATA",
            metadata("License: Ours"),
            "v/a.dist-info/LICENSE",
            &["Ours", "AGPL-3.0-only"],
        ),
        ("v/a.dist-info/METADATA", metadata(""), "v/b.dist-info/LICENSE", &[]),
        ("o/node_modules/a/package.json", npm(""), "o/node_modules/a/LICENSE", &["AGPL-3.0-only"]),
        ("o/node_modules/@s/a/package.json", npm(""), "o/node_modules/@s/a/License.txt", &["AGPL-3.0-only"]),
        (
            "o/node_modules/a/package.json",
            npm(",\"license\":\"SEE LICENSE IN LICENSE.md\""),
            "o/node_modules/a/LICENSE.md",
            &["SEE LICENSE IN LICENSE.md", "AGPL-3.0-only"],
        ),
        ("o/node_modules/a/package.json", npm(",\"license\":\"MIT\""), "o/node_modules/a/LICENSE", &["MIT"]),
        ("o/node_modules/a/package.json", npm(""), "o/node_modules/a/license.js", &[]),
    ];
    for (path, said, file, expected) in cases {
        let same = build::tar(&[(path, said.as_bytes()), (file, agpl)]);
        let above = [build::tar(&[(path, said.as_bytes())]), build::tar(&[(file, agpl)])];
        assert_eq!(licenses(&scan(&[same])), expected, "{path} {said} {file}");
        assert_eq!(licenses(&scan(&above)), expected, "{path} {said} {file}");
    }
    let pnpm = build::tar_of(&[
        ("o/node_modules/a", Soft(".pnpm/a@1/node_modules/a")),
        ("o/node_modules/.pnpm/a@1/node_modules/a/package.json", File(npm("").as_bytes())),
        ("o/node_modules/.pnpm/a@1/node_modules/a/LICENSE", File(agpl)),
    ]);
    assert_eq!(licenses(&scan(&[pnpm])), ["AGPL-3.0-only"]);
    let removed = [
        build::tar(&[
            ("o/node_modules/a/package.json", npm("").as_bytes()),
            ("o/node_modules/a/LICENSE", agpl),
        ]),
        build::tar(&[("o/node_modules/a/.wh.LICENSE", b"")]),
    ];
    assert_eq!(licenses(&scan(&removed)), [""; 0]);
    for (entry, manifest, expected) in [
        ("META-INF/LICENSE", "", "AGPL-3.0-only"),
        ("META-INF/LICENSE.txt", "", "AGPL-3.0-only"),
        ("LICENSE", "", "AGPL-3.0-only"),
        ("META-INF/LICENSE", "Bundle-License: MIT\n", "MIT"),
    ] {
        let manifest = format!("Implementation-Version: 1\n{manifest}");
        let jar = build::zip(&[("META-INF/MANIFEST.MF", manifest.as_bytes()), (entry, agpl)]);
        assert_eq!(licenses(&scan_file("a-1.jar", &jar)), [expected], "{entry} {manifest}");
    }
}

#[test]
fn texts_that_name_other_licences() {
    let mpl =
        "Mozilla Public License Version 2.0\n1. Definitions\n GNU Affero General Public License, Version 3.0";
    let long = format!("{AGPL} {}", "x ".repeat(17_500));
    let cases: [(String, &[&str]); 6] = [
        (mpl.into(), &["MPL-2.0"]),
        (
            "Eclipse Public License - v 2.0 1. DEFINITIONS GNU General Public License, version 2".into(),
            &["EPL-2.0"],
        ),
        (AGPL.into(), &["AGPL-3.0-only"]),
        (format!("{long} {MIT} {}", "y ".repeat(300)), &["AGPL-3.0-only", "MIT"]),
        (
            format!("{mpl} {} {AGPL} {}", "x ".repeat(9_000), "y ".repeat(300)),
            &["AGPL-3.0-only", "GPL-1.0-or-later", "MPL-2.0"],
        ),
        ("This is free and unencumbered software released into the public domain.".into(), &["Unlicense"]),
    ];
    for (text, expected) in cases {
        assert_eq!(crate::license::of_text(&text), expected, "{}", &text[..60]);
    }
}

#[test]
fn copyright_files_of_every_form() {
    let format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n";
    let cases: [(String, &[&str]); 6] = [
        (format!("{format}License: AGPL-3+\n\nFiles: *\nLicense: Expat\n"), &["AGPL-3.0-or-later", "MIT"]),
        (
            format!("{format}\nFiles: *\nLicense: ours\n\nLicense: ours\n {AGPL}\n"),
            &["AGPL-3.0-only", "ours"],
        ),
        (
            format!("{format}\nFiles: *\nLicense: Expat\n\nFiles: x\nLicense:\n {AGPL}\n"),
            &["AGPL-3.0-only", "MIT"],
        ),
        (format!("Upstream-Name: a\n{format}\nFiles: *\nLicense: AGPL-3\n"), &["AGPL-3.0-only"]),
        (format!("\n\n{format}\nFiles: *\nLicense: GPL-2.0+\n"), &["GPL-2.0-or-later"]),
        (format!("{format}\r\n\r\nFiles: *\r\nLicense: AGPL-3\r\n"), &["AGPL-3.0-only"]),
    ];
    for (text, expected) in cases {
        let layer =
            build::tar(&[("var/lib/dpkg/status", STATUS), ("usr/share/doc/bash/copyright", text.as_bytes())]);
        assert_eq!(licenses(&scan(&[layer])), expected, "{text}");
    }
    let common = build::tar_of(&[
        ("var/lib/dpkg/status", File(STATUS)),
        ("usr/share/doc/bash/copyright", Soft("../../common-licenses/AGPL")),
        ("usr/share/common-licenses/AGPL", Soft("AGPL-3")),
        ("usr/share/common-licenses/AGPL-3", File(AGPL.as_bytes())),
    ]);
    assert_eq!(licenses(&scan(&[common])), ["AGPL-3.0-only"]);
}
