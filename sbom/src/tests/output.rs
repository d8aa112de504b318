//! Documents: readable by others' readers, and the same bytes each time.

use std::str::FromStr as _;

use cyclonedx_bom::prelude::{Bom, Validate as _};
use proptest::prelude::*;
use spdx_rs::models::SPDX;

use super::{build, scan};
use crate::{Sbom, cyclonedx, spdx};

fn example() -> Sbom {
    let mut sbom = scan(&[build::tar(&[
        ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20\n"),
        (
            "lib/apk/db/installed",
            b"P:a\nV:1-r0\nL:MIT AND Apache-2.0\nm:A <a@example.org>\n\nP:b\nV:2\nL:custom\n\n",
        ),
        ("app/package.json", b"{\"name\":\"@s/n\",\"version\":\"1\"}"),
        ("broken/package.json", b"{"),
    ])]);
    sbom.subject.name = "registry.example.org/app:1".into();
    sbom.subject.created = Some("2024-05-06T07:08:09.123456789Z".into());
    sbom
}

#[test]
fn cyclonedx_is_read_back() {
    let document = cyclonedx(&example()).unwrap();
    assert_eq!((&document["specVersion"], &document["bomFormat"]), (&"1.6".into(), &"CycloneDX".into()));
    let mut older = document.clone();
    older["specVersion"] = "1.5".into();
    let bom = Bom::parse_json_value(older).unwrap();
    assert!(bom.validate().passed(), "{:?}", bom.validate());
    let names: Vec<&str> =
        document["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alpine", "a", "b", "n"]);
    assert_eq!(document["components"][1]["licenses"][0]["expression"], "MIT AND Apache-2.0");
    assert_eq!(document["components"][2]["licenses"][0]["license"]["name"], "custom");
    assert!(document["metadata"].to_string().contains("rreg:finding:malformed"));
}

#[test]
fn spdx_is_read_back() {
    let document = spdx(&example()).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["creationInfo"]["created"], "2024-05-06T07:08:09Z");
    let read: SPDX = serde_json::from_value(document).unwrap();
    assert_eq!((read.package_information.len(), read.relationships.len()), (4, 4));
    assert!(read.document_creation_information.document_comment.unwrap().contains("malformed"));
}

#[test]
fn the_same_bytes_for_the_same_image() {
    let (a, b) = (example(), example());
    assert_eq!(cyclonedx(&a).unwrap().to_string(), cyclonedx(&b).unwrap().to_string());
    assert_eq!(spdx(&a).unwrap().to_string(), spdx(&b).unwrap().to_string());
    let mut other = example();
    other.subject.digest = Some("sha256:01".into());
    assert_ne!(cyclonedx(&a).unwrap()["serialNumber"], cyclonedx(&other).unwrap()["serialNumber"]);
}

proptest! {
    /// Whatever a package calls itself, its URL is one, and says the name again.
    #[test]
    fn urls_are_urls(name in "[ -~äö]{1,20}", version in "[ -~]{1,12}") {
        let json = serde_json::json!({ "name": format!("x{}", name.replace('/', "")), "version": version });
        let sbom = scan(&[build::tar(&[("package.json", json.to_string().as_bytes())])]);
        let package = &sbom.packages[0];
        let read = purl::GenericPurl::<String>::from_str(&package.purl).unwrap();
        prop_assert_eq!(read.name(), package.name.to_lowercase());
        prop_assert_eq!(read.version(), package.version.as_deref());
        prop_assert!(cyclonedx(&sbom).is_ok() && spdx(&sbom).is_ok());
    }
}

/// Written piece by piece it is what it is in memory, with no packages and with many.
#[test]
fn pieces_make_the_whole() {
    let packages = |count: usize| {
        let names = (0..count)
            .map(|at| format!("P:p{at}\nV:{at}\nL:{}\n\n", ["MIT", "ours", "GPLv2 custom"][at % 3]));
        scan(&[build::tar(&[("lib/apk/db/installed", names.collect::<String>().as_bytes())])])
    };
    for sbom in [example(), packages(0), packages(1), packages(64), packages(200)] {
        let mut written = Vec::new();
        crate::write_cyclonedx(&sbom, &mut written).unwrap();
        assert_eq!(written, serde_json::to_vec(&cyclonedx(&sbom).unwrap()).unwrap());
        written.clear();
        crate::write_spdx(&sbom, &mut written).unwrap();
        assert_eq!(written, serde_json::to_vec(&spdx(&sbom).unwrap()).unwrap());
    }
}
