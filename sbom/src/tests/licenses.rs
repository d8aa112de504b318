//! Licences: whatever a package calls its own, rules that are written in SPDX's words see it.

use super::build::Node::{File, Soft};
use super::{build, scan, scan_file};
use crate::license::normal;

#[test]
fn names_of_licences() {
    let cases = [
        ("AGPLv3+", "AGPL-3.0-or-later"),
        ("AGPLv3", "AGPL-3.0-only"),
        ("AGPL 3.0 or later", "AGPL-3.0-or-later"),
        ("GNU Affero General Public License v3", "AGPL-3.0-only"),
        ("GNU Affero General Public License v3 or later (AGPLv3+)", "AGPL-3.0-or-later"),
        ("GNU AGPL, version 3", "AGPL-3.0-only"),
        ("AGPL", "AGPL-3.0-or-later"),
        ("GNU General Public License (GPL)", "GPL-1.0-or-later"),
        ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
        ("GNU GPL v2 or any later version", "GPL-2.0-or-later"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("gpl3", "GPL-3.0-only"),
        ("LGPLv2.1+", "LGPL-2.1-or-later"),
        ("GNU Library or Lesser General Public License (LGPL)", "LGPL-2.0-or-later"),
        ("GNU Lesser General Public License, Version 2.1", "LGPL-2.1-only"),
        ("https://www.gnu.org/licenses/agpl-3.0.html", "AGPL-3.0-only"),
        ("http://www.gnu.org/licenses/old-licenses/lgpl-2.1.html", "LGPL-2.1-only"),
        ("The Apache Software License, Version 2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        ("ASL 2.0", "Apache-2.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0"),
        ("MIT License", "MIT"),
        ("mit", "MIT"),
        ("Expat", "MIT"),
        ("http://www.opensource.org/licenses/mit-license.php", "MIT"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
        ("New BSD License", "BSD-3-Clause"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("http://www.eclipse.org/legal/epl-v10.html", "EPL-1.0"),
        ("https://www.eclipse.org/legal/epl-2.0/", "EPL-2.0"),
        ("ISC License (ISCL)", "ISC"),
        ("Server Side Public License, v 1", "SSPL-1.0"),
        // Of several.
        ("MIT AND Apache-2.0", "MIT AND Apache-2.0"),
        ("GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0"),
        ("GPLv2+ and LGPLv2+ and BSD", "GPL-2.0-or-later AND LGPL-2.0-or-later AND BSD"),
        ("GPL-1+ or Artistic, and BSD-3-clause", "(GPL-1.0-or-later OR Artistic-1.0) AND BSD-3-Clause"),
        ("GPLv2 with classpath exception", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("CDDL + GPLv2 with classpath exception", "CDDL-1.0 AND GPL-2.0-only WITH Classpath-exception-2.0"),
        ("(MIT or AGPLv3)", "(MIT OR AGPL-3.0-only)"),
        ("MIT/Apache-2.0", "(MIT OR Apache-2.0)"),
        // Words that SPDX has given up.
        ("GPL-2.0", "GPL-2.0-only"),
        ("gpl-2.0+", "GPL-2.0-or-later"),
        ("AGPL-3.0+ OR MIT", "AGPL-3.0-or-later OR MIT"),
        ("(LGPL-2.1 AND MIT)", "(LGPL-2.1-only AND MIT)"),
        ("GPL-2.0-with-classpath-exception", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("GPL-3.0-with-GCC-exception", "GPL-3.0-only WITH GCC-exception-3.1"),
        ("GPL-2.0 WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        // Lists without words between.
        ("GPL2 LGPL2.1+", "GPL-2.0-only AND LGPL-2.1-or-later"),
        ("MIT BSD AGPL3+", "MIT AND BSD AND AGPL-3.0-or-later"),
        // What nobody knows.
        ("custom", "custom"),
        ("My Own License", "My Own License"),
        ("BSD-style", "BSD-style"),
        ("SEE LICENSE IN LICENSE.md", "SEE LICENSE IN LICENSE.md"),
        ("Dual License", "Dual License"),
        ("public-domain", "public-domain"),
        ("https://h2database.com/html/license.html", "https://h2database.com/html/license.html"),
        ("", ""),
    ];
    for (written, expected) in cases {
        assert_eq!(normal(written), expected, "{written:?}");
        assert_eq!(normal(expected), expected, "{written:?} twice");
    }
}

/// The licences of the only package in a layer.
fn of(layer: Vec<u8>) -> Vec<String> {
    let mut sbom = scan(&[layer]);
    assert_eq!(sbom.packages.len(), 1, "{sbom:?}");
    sbom.packages.remove(0).licenses
}

#[test]
fn python() {
    let mit = "Permission is hereby granted, free of charge, to any person obtaining a copy";
    let agpl = "GNU AFFERO GENERAL PUBLIC LICENSE\n        Version 3, 19 November 2007\n        TERMS AND CONDITIONS\n        GNU General Public License";
    let cases: [(String, &[&str]); 10] = [
        ("License: AGPLv3+".into(), &["AGPL-3.0-or-later"]),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3".into(), &["AGPL-3.0-only"]),
        ("License: MIT\nClassifier: License :: OSI Approved :: MIT License".into(), &["MIT"]),
        (
            "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\nClassifier: License :: OSI Approved".into(),
            &["MIT"],
        ),
        (
            "License: Dual License\nClassifier: License :: OSI Approved :: BSD License\nClassifier: License :: OSI Approved :: GNU General Public License v2 (GPLv2)".into(),
            &["Dual License", "BSD License", "GPL-2.0-only"],
        ),
        ("Classifier: License :: Other/Proprietary License".into(), &["Other/Proprietary License"]),
        ("License-Expression: MIT OR AGPL-3.0-only\nLicense: x".into(), &["MIT OR AGPL-3.0-only"]),
        (format!("License: MIT License\n        {mit}\n        of this"), &["MIT"]),
        (format!("License: {agpl}"), &["AGPL-3.0-only"]),
        ("Classifier: Topic :: X".into(), &[]),
    ];
    for (fields, expected) in cases {
        let text =
            format!("Metadata-Version: 2.1\nName: a\nVersion: 1\n{fields}\nSummary: x\n\nLicense: no\n");
        let layer = build::tar(&[("v/a.dist-info/METADATA", text.as_bytes())]);
        assert_eq!(of(layer), expected, "{fields}");
    }
}

#[test]
fn debian_copyright_files() {
    let format =
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: a\n\n";
    let gnu = "the terms of the GNU General Public License as published by the Free Software Foundation; either\n\
        version 2 of the License, or (at your option) any later version.\n see `/usr/share/common-licenses/GPL-2'.";
    let cases: [(String, &[&str]); 9] = [
        (
            format!(
                "{format}Files: *\nLicense: AGPL-3+\n text\n .\n License: no\n\nLicense: AGPL-3+\n long\n"
            ),
            &["AGPL-3.0-or-later"],
        ),
        (
            format!(
                "{format}Files: *\nLicense: Expat\n\nFiles: lib/*\nLicense: GPL-2+ or Artistic\n\nFiles: debian/*\nLicense: GPL-3+\n"
            ),
            &["GPL-2.0-or-later OR Artistic-1.0", "MIT"],
        ),
        (format!("{format}Files: debian/*\nLicense: GPL-3+\n"), &["GPL-3.0-or-later"]),
        (format!("{format}License: Zlib\n text\n"), &["Zlib"]),
        (
            format!("{format}Files: *\nCopyright: x\n\nfree text /usr/share/common-licenses/Apache-2.0\n"),
            &["Apache-2.0"],
        ),
        (format!("This is a. It may be copied under {gnu}"), &["GPL-2.0-or-later"]),
        (
            "See /usr/share/common-licenses/LGPL-2.1, and /usr/share/common-licenses/Artistic.".into(),
            &["Artistic-1.0", "LGPL-2.1-only"],
        ),
        (
            "This program is free software under the GNU Affero General Public License, version 3.".into(),
            &["AGPL-3.0-only"],
        ),
        ("All rights reserved.".into(), &[]),
    ];
    let status: &[u8] = b"Package: a\nStatus: install ok installed\nVersion: 1\n\n";
    for (text, expected) in cases {
        let copyright = File(text.as_bytes());
        let plain = [("var/lib/dpkg/status", File(status)), ("usr/share/doc/a/copyright", copyright)];
        assert_eq!(of(build::tar_of(&plain)), expected, "{text}");
        let linked = [
            ("usr/share/doc/a", Soft("a-base")),
            ("usr/share/doc/a-base/copyright", File(text.as_bytes())),
            ("var/lib/dpkg/status.d/a", File(b"Package: a\nVersion: 1\n")),
        ];
        assert_eq!(of(build::tar_of(&linked)), expected, "{text}, linked");
    }
    let opkg = b"Package: a\nVersion: 1\nLicense: GPLv2\n\n";
    assert_eq!(of(build::tar(&[("var/lib/dpkg/status", opkg)])), ["GPL-2.0-only"]);
}

#[test]
fn java() {
    let pom =
        |licenses: &str| format!("<project><version>1</version><licenses>{licenses}</licenses></project>");
    let license = |name: &str, url: &str| format!("<license><name>{name}</name><url>{url}</url></license>");
    let agpl = license("GNU Affero General Public License v3", "x");
    let odd = license("Our terms", "https://www.gnu.org/licenses/agpl-3.0.txt");
    let two = format!("{}{agpl}", license("MIT", ""));
    let cases: [(&str, String, &[&str]); 9] = [
        ("Bundle-License: https://www.gnu.org/licenses/agpl-3.0.txt", String::new(), &["AGPL-3.0-only"]),
        ("Bundle-License: AGPL-3.0-only;link=https://x.example", String::new(), &["AGPL-3.0-only"]),
        ("Bundle-License: \"Apache-2.0\";link=\"https://x.example\"", String::new(), &["Apache-2.0"]),
        ("Bundle-License: The Apache License, Version 2.0", String::new(), &["Apache-2.0"]),
        (
            "Bundle-License: https://www.eclipse.org/legal/epl-2.0/, https://www.apache.org/licenses/LICENSE-2.0",
            String::new(),
            &["EPL-2.0", "Apache-2.0"],
        ),
        ("", pom(&agpl), &["AGPL-3.0-only"]),
        ("", pom(&odd), &["AGPL-3.0-only"]),
        ("Bundle-License: MIT", pom(&two), &["MIT", "AGPL-3.0-only"]),
        ("Created-By: x", pom(""), &[]),
    ];
    for (manifest, pom, expected) in cases {
        let manifest = format!("{manifest}\nImplementation-Version: 1\n");
        let mut entries = vec![("META-INF/MANIFEST.MF", manifest.as_bytes())];
        if !pom.is_empty() {
            entries.push(("META-INF/maven/g.h/a/pom.xml", pom.as_bytes()));
        }
        let sbom = scan_file("a-1.jar", &build::zip(&entries));
        assert_eq!(sbom.packages[0].licenses, expected, "{manifest} {pom}");
    }
}

/// What a document says of licences is what was found, in whatever form it is.
#[test]
fn documents_carry_all_licences() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["AGPLv3+"], &["AGPL-3.0-or-later"]),
        (&["MIT License", "AGPLv3+"], &["MIT", "AGPL-3.0-or-later"]),
        (&["MIT or Apache-2.0", "GPLv2"], &["MIT OR Apache-2.0", "GPL-2.0-only"]),
        (&["Our own terms"], &["Our own terms"]),
        (&["Our own terms", "AGPLv3+"], &["Our own terms", "AGPL-3.0-or-later"]),
        (&[], &[]),
    ];
    for (written, expected) in cases {
        let json = serde_json::json!({"name": "a", "version": "1", "licenses": written});
        let sbom = scan_file("package.json", json.to_string().as_bytes());
        assert_eq!(sbom.packages[0].licenses, expected);
        let documents = [
            ("application/vnd.cyclonedx+json", crate::cyclonedx(&sbom).unwrap()),
            ("application/spdx+json", crate::spdx(&sbom).unwrap()),
        ];
        for (media_type, document) in documents {
            let read = crate::read::attached(media_type, document.to_string().into_bytes(), &[]);
            let read = read.unwrap().unwrap().document;
            let text = read.packages[0].licenses.join(" | ");
            for license in expected {
                let word = crate::license::word(license);
                assert!(
                    text.contains(license) || text.contains(&word),
                    "{license} of {written:?} in {text:?}"
                );
            }
            assert_eq!(text.is_empty(), expected.is_empty(), "{written:?}: {text:?}");
        }
    }
}
