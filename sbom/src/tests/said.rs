//! Licences in documents of others: wherever a document has one, rules see it.

use serde_json::{Value, json};

use crate::FindingKind;
use crate::license::normal;
use crate::read::{Document, attached};

const AGPL: &str = "AGPL-3.0-only";

fn read(document: &Value) -> Result<Document, FindingKind> {
    read_text("application/json", &document.to_string())
}

fn read_text(media_type: &str, text: &str) -> Result<Document, FindingKind> {
    let read = attached(media_type, text.as_bytes().to_vec(), &[]).map_err(|finding| finding.kind)?;
    Ok(read.unwrap().document)
}

/// All licences, of packages and of all else, in SPDX's words.
fn licenses(document: &Document) -> Vec<String> {
    let packages = document.packages.iter().flat_map(|package| &package.licenses);
    let mut all: Vec<String> =
        packages.chain(document.other_licenses.keys()).map(|license| normal(license)).collect();
    all.sort();
    all.dedup();
    all
}

/// Each place is filled with a licence in turn.
fn everywhere(cases: &[Value], skeleton: impl Fn(&Value) -> Value) {
    for case in cases {
        let document = read(&skeleton(case)).unwrap();
        assert!(document.findings.is_empty(), "{case}: {:?}", document.findings);
        assert_eq!(licenses(&document), [AGPL, "MIT"], "{case}");
        assert_eq!(document.packages[0].name, "a", "{case}");
    }
}

#[test]
fn cyclonedx() {
    let mit = json!([{"license": {"id": "MIT"}}]);
    let agpl = json!([{"expression": AGPL}]);
    let part = json!({"type": "library", "name": "b", "licenses": agpl});
    let component = |more: &Value| {
        let mut component = json!({"type": "library", "name": "a", "version": "1", "licenses": mit});
        component.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        component
    };
    let bom = |more: &Value| {
        let mut bom =
            json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [component(&json!({}))]});
        bom.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bom
    };
    let of_bom = [
        json!({"metadata": {"component": {"type": "container", "name": "i", "licenses": agpl}}}),
        json!({"metadata": {"component": {"type": "container", "licenses": agpl}}}),
        json!({"metadata": {"component": {"type": "container", "name": "i", "components": [part]}}}),
        json!({"metadata": {"component": {"type": "container", "name": "i", "components": [{"type": "file",
            "name": "f", "components": [part]}]}}}),
        json!({"services": [{"name": "s", "licenses": agpl}]}),
        json!({"services": [{"name": "s", "services": [{"name": "t", "licenses": agpl}]}]}),
        json!({"components": [component(&json!({})), {"type": "file", "name": "f", "licenses": agpl}]}),
        json!({"components": [component(&json!({})), {"type": "operating-system", "name": "o", "licenses": agpl}]}),
        json!({"components": [component(&json!({})), {"type": "application", "name": "package.json", "licenses": agpl}]}),
    ];
    everywhere(&of_bom, bom);
    let of_component = [
        json!({"components": [{"type": "container", "name": "c", "components": [{"type": "container", "name": "d",
            "licenses": agpl}]}]}),
        json!({"evidence": {"licenses": agpl}}),
        json!({"evidence": {"licenses": [{"license": {"name": "GNU AGPL v3"}}]}}),
        json!({"licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "GNU Affero General Public License v3"}}]}),
        json!({"licenses": [{"license": {"id": "MIT", "name": "GNU Affero General Public License v3.0"}}]}),
        json!({"licenses": [{"license": {"id": "MIT"}}, {"license": {"id": AGPL}, "expression": "MIT"}]}),
        json!({"licenses": [{"expression": "MIT"}, {"license": {"name": "AGPL\u{200b}-3.0\u{2011}only"}}]}),
    ];
    everywhere(&of_component, |more| bom(&json!({"components": [component(more)]})));
}

/// A name that says nothing is told by its address or its text.
#[test]
fn texts_and_addresses() {
    let text = "GNU AFFERO GENERAL PUBLIC LICENSE Version 3, 19 November 2007\nTERMS AND CONDITIONS\n0. Definitions.";
    let coded = "R05VIEFGRkVSTyBHRU5FUkFMIFBVQkxJQyBMSUNFTlNFIFZlcnNpb24gMyBURVJNUyBBTkQgQ09ORElUSU9OUw==";
    for license in [
        json!({"name": "Our terms", "text": {"content": text}}),
        json!({"name": "Our terms", "text": {"content": coded, "encoding": "base64"}}),
        json!({"name": "Our terms", "url": "https://www.gnu.org/licenses/agpl-3.0.html"}),
    ] {
        let document = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
            {"type": "library", "name": "a", "licenses": [{"license": license}]}]});
        assert_eq!(licenses(&read(&document).unwrap()), [AGPL, "Our terms"], "{license}");
    }
    let nothing = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
        {"type": "library", "name": "a", "licenses": [{"license": {"id": "MIT"}}, {"license": {"bom-ref": AGPL}}]}]});
    assert_eq!(licenses(&read(&nothing).unwrap()), ["MIT", "NOASSERTION"]);
}

/// SPDX with a package under MIT, and more.
fn spdx(package: &Value, more: &Value) -> Value {
    let mut own = json!({"name": "a", "SPDXID": "SPDXRef-a", "licenseDeclared": "MIT"});
    own.as_object_mut().unwrap().extend(package.as_object().unwrap().clone());
    let mut document = json!({"spdxVersion": "SPDX-2.3", "packages": [own]});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

#[test]
fn spdx_json() {
    let of_package = [
        json!({"licenseConcluded": AGPL}),
        json!({"licenseDeclared": "NOASSERTION", "licenseConcluded": "MIT AND AGPL-3.0-only", "name": "a"}),
        json!({"licenseInfoFromFiles": ["MIT", "NONE", AGPL]}),
        json!({"licenseConcluded": "LicenseRef-AGPL-3.0-only"}),
        json!({"licenseConcluded": "AGPL\u{200b}-3.0-only"}),
        json!({"licenseConcluded": "AGPL\u{2010}3.0\u{ad}-only"}),
    ];
    for package in of_package {
        let found = licenses(&read(&spdx(&package, &json!({}))).unwrap());
        assert!(found.iter().any(|license| license.contains(AGPL)), "{package}: {found:?}");
        assert!(found.iter().any(|license| license.contains("MIT")), "{package}: {found:?}");
    }
    let info = |name: &str, text: &str, links: &Value| json!({"licenseId": "LicenseRef-1", "name": name, "extractedText": text, "seeAlsos": links});
    let other = |fields: &Value| {
        let mut other = json!({"name": "i", "SPDXID": "SPDXRef-i", "licenseDeclared": AGPL});
        other.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"packages": [{"name": "a", "licenseDeclared": "MIT"}, other]})
    };
    let of_document = [
        json!({"files": [{"fileName": "./f", "licenseConcluded": AGPL}]}),
        json!({"files": [{"fileName": "./f", "licenseConcluded": "NOASSERTION", "licenseInfoInFiles": [AGPL]}]}),
        json!({"files": [{"fileName": "./f", "licenseInfoFromFiles": [AGPL]}]}),
        json!({"snippets": [{"name": "s", "licenseConcluded": AGPL}]}),
        json!({"snippets": [{"name": "s", "licenseInfoInSnippets": [AGPL]}]}),
        json!({"files": [{"fileName": "./f", "licenseConcluded": "LicenseRef-1"}],
            "hasExtractedLicensingInfos": [info("GNU Affero General Public License v3.0", "", &json!([]))]}),
        json!({"hasExtractedLicensingInfos": [info("GNU Affero General Public License v3.0", "", &json!([]))]}),
        json!({"hasExtractedLicensingInfos": [info("NOASSERTION", "under the GNU Affero General Public License, version 3.", &json!([]))]}),
        json!({"hasExtractedLicensingInfos": [info("", "x", &json!(["https://www.gnu.org/licenses/agpl-3.0.html"]))]}),
        other(&json!({"primaryPackagePurpose": "CONTAINER"})),
        other(&json!({"primaryPackagePurpose": "FILE"})),
    ];
    everywhere(&of_document, |more| spdx(&json!({}), more));
    let mut subject = other(&json!({}));
    subject["documentDescribes"] = json!(["SPDXRef-i"]);
    everywhere(&[subject], |more| spdx(&json!({}), more));
}

/// Identifiers of the document are what they stand for, alone and in expressions; both that are there twice.
#[test]
fn what_only_the_document_knows() {
    let text = "This is free software under the GNU Affero General Public License, version 3.";
    for (infos, declared, expected) in [
        (
            json!([{"licenseId": "LicenseRef-1", "name": "Ours", "extractedText": text}]),
            "LicenseRef-1",
            &[AGPL, "Ours"][..],
        ),
        (
            json!([{"licenseId": "LicenseRef-1", "extractedText": text}]),
            "MIT OR LicenseRef-1",
            &["MIT OR AGPL-3.0-only"],
        ),
        (
            json!([{"licenseId": "LicenseRef-1", "name": "Ours", "extractedText": text}]),
            "MIT AND LicenseRef-1",
            &["MIT AND (Ours AND AGPL-3.0-only)"],
        ),
        (
            json!([{"licenseId": "LicenseRef-1", "name": "MIT"}, {"licenseId": "LicenseRef-1", "name": AGPL}]),
            "LicenseRef-1",
            &[AGPL, "MIT"],
        ),
        (json!([{"licenseId": "LicenseRef-1", "name": "NOASSERTION"}]), "LicenseRef-1", &["LicenseRef-1"]),
    ] {
        let document =
            spdx(&json!({"licenseDeclared": declared}), &json!({"hasExtractedLicensingInfos": infos}));
        assert_eq!(licenses(&read(&document).unwrap()), expected, "{infos} {declared}");
    }
}

/// What was found in files and is a choice in what was declared is no more than that.
#[test]
fn a_choice_stays_one() {
    let package =
        json!({"licenseDeclared": "(MIT OR AGPL-3.0-only)", "licenseInfoFromFiles": ["MIT", "AGPLv3"]});
    let document = read(&spdx(&package, &json!({}))).unwrap();
    assert_eq!(document.packages[0].licenses, ["(MIT OR AGPL-3.0-only)"]);
}

#[test]
fn tag_value() {
    let head = "SPDXVersion: SPDX-2.3\nPackageName: a\nSPDXID: SPDXRef-a\nPackageLicenseDeclared: MIT\n";
    for more in [
        "PackageLicenseConcluded: AGPL-3.0-only\n",
        " PackageLicenseConcluded : AGPL-3.0-only\n",
        "PackageLicenseConcluded: <text>AGPL-3.0-only</text>\n",
        "PackageLicenseInfoFromFiles: AGPL-3.0-only\n",
        "FileName: ./f\nLicenseConcluded: AGPL-3.0-only\n",
        "FileName: ./f\nLicenseInfoInFile: AGPL-3.0-only\nFileName: ./g\n",
        "SnippetSPDXID: SPDXRef-s\nSnippetLicenseConcluded: AGPL-3.0-only\n",
        "SnippetSPDXID: SPDXRef-s\nLicenseInfoInSnippet: AGPL-3.0-only\n",
        "PackageName: i\nSPDXID: SPDXRef-i\nPrimaryPackagePurpose: CONTAINER\nPackageLicenseDeclared: AGPL-3.0-only\n",
        "FileName: ./f\nLicenseConcluded: LicenseRef-1\nLicenseID: LicenseRef-1\nLicenseName: AGPLv3\n",
        "LicenseID: LicenseRef-1\nExtractedText: <text>It is under the\nGNU Affero General Public License,\nversion 3.</text>\n",
    ] {
        let document = read_text("text/spdx", &format!("{head}{more}")).unwrap();
        assert_eq!(licenses(&document), [AGPL, "MIT"], "{more}");
        assert_eq!(document.packages.len(), 1, "{more}");
    }
    for (more, kind) in [
        ("packagename: b\nPackageLicenseDeclared: AGPL-3.0-only\n", FindingKind::Malformed),
        ("PACKAGELICENSECONCLUDED: AGPL-3.0-only\n", FindingKind::Malformed),
        ("PackageComment: <text>\nPackageLicenseConcluded: AGPL-3.0-only\n", FindingKind::Truncated),
    ] {
        assert_eq!(read_text("text/spdx", &format!("{head}{more}")).unwrap_err(), kind, "{more}");
    }
}

#[test]
fn syft() {
    let artifact = |licenses: &Value| {
        json!({"descriptor": {"name": "syft"}, "artifacts": [{"name": "a", "licenses": licenses}],
            "files": [{"location": {"path": "/f"}, "licenses": [{"value": "MIT"}]}]})
    };
    let text = "It is under the GNU Affero General Public License, version 3.";
    for license in [
        json!({"value": "", "spdxExpression": AGPL}),
        json!({"value": "sha256:abc", "spdxExpression": "", "contents": text}),
        json!({"value": "x", "urls": ["https://www.gnu.org/licenses/agpl-3.0.html"]}),
        json!("AGPLv3"),
    ] {
        let document = read(&artifact(&json!([license]))).unwrap();
        let found = licenses(&document);
        assert!(found.iter().any(|license| license == AGPL), "{license}: {found:?}");
        assert_eq!(document.other_licenses["MIT"], ["/f"]);
    }
}

/// A name that another reader takes for a known one is not passed over, nor is a list that is not there.
#[test]
fn names_that_readers_disagree_about() {
    let bad = json!([{"name": "b", "type": "library", "licenseDeclared": AGPL, "licenses": [{"expression": AGPL}]}]);
    let with = |mut document: Value, at: &str, name: &str| {
        document.pointer_mut(at).unwrap().as_object_mut().unwrap().insert(name.into(), bad.clone());
        read(&document).map(|document| document.findings.len())
    };
    let bom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": {"name": "i"}},
        "components": [{"type": "library", "name": "a"}], "services": [{"name": "s"}]});
    for (at, name) in [
        ("", "Components"),
        ("", "\u{17f}ervices"),
        ("/metadata", "Component"),
        ("/metadata/component", "LICENSES"),
        ("/components/0", "Licenses"),
        ("/components/0", "Evidence"),
        ("/services/0", "licenseS"),
    ] {
        assert_eq!(with(bom.clone(), at, name), Err(FindingKind::Malformed), "{at} {name}");
        assert_eq!(with(bom.clone(), at, &format!("x-{name}")), Ok(0), "{at} {name}");
    }
    let spdx = json!({"spdxVersion": "SPDX-2.3", "packages": [{"name": "a"}], "files": [{"fileName": "f"}]});
    for (at, name) in [
        ("", "Packages"),
        ("", "Files"),
        ("", "hasExtractedLicensingInfo\u{17f}"),
        ("/packages/0", "LicenseConcluded"),
        ("/files/0", "LicenseInfoInFiles"),
    ] {
        assert_eq!(with(spdx.clone(), at, name), Err(FindingKind::Malformed), "{at} {name}");
    }
    let syft =
        json!({"descriptor": {"name": "syft"}, "artifacts": [{"name": "a", "metadata": {"Licenses": "x"}}]});
    assert_eq!(with(syft.clone(), "/artifacts/0/metadata", "License"), Ok(0));
    assert_eq!(with(syft.clone(), "/artifacts/0", "Licenses"), Err(FindingKind::Malformed));
    for document in [
        json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "packages": []}),
        json!({"spdxVersion": "SPDX-2.3", "components": []}),
    ] {
        assert_eq!(read(&document).unwrap().findings.len(), 1, "{document}");
    }
    let vex = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "vulnerabilities": []});
    assert!(read(&vex).unwrap().findings.is_empty());
}

/// Licences in words of people, however long and however written.
#[test]
fn names_of_licences() {
    let long = format!("{}AGPLv3+", "MIT and Apache 2 and BSD 3-Clause and ".repeat(20));
    assert!(normal(&long).ends_with(" AND AGPL-3.0-or-later"), "{}", normal(&long));
    let text = format!(
        "{} under the GNU Affero General Public License, version 3 {}",
        "word ".repeat(100),
        "word ".repeat(100)
    );
    assert_eq!(normal(&text), AGPL);
    let nothing = "word ".repeat(200);
    assert_eq!(normal(&nothing), nothing.trim());
    for (written, expected) in [
        ("AGPL\u{200b}-3.0-only", AGPL),
        ("\u{feff}AGPL-3.0-only\u{0}", AGPL),
        ("AGPL\u{2011}3.0\u{2013}only", AGPL),
        ("\u{ff21}\u{ff27}\u{ff30}\u{ff2c}-3.0-only", AGPL),
        ("LicenseRef-AGPL-3.0-only", AGPL),
        ("LicenseRef-scancode-agpl-3.0-plus", "LicenseRef-scancode-agpl-3.0-plus"),
        ("MIT OR (LicenseRef-Callaway-AGPLv3)", "MIT OR (AGPL-3.0-only)"),
        ("LicenseRef-1", "LicenseRef-1"),
        ("LicenseRef-Our-License", "LicenseRef-Our-License"),
    ] {
        assert_eq!(normal(written), expected, "{written:?}");
    }
}

/// Lists of a stranger's length are read to their end, and what stands for an identifier is no longer for it.
#[test]
fn long_lists_of_licences() {
    let many: Vec<Value> = (0..3_000).map(|at| json!({"license": {"name": format!("x{at}")}})).collect();
    let with = |more: Value| {
        let found = [many.clone(), vec![more]].concat();
        json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
            {"type": "library", "name": "a", "licenses": many, "evidence": {"licenses": found}}]})
    };
    let document = read(&with(json!({"expression": AGPL}))).unwrap();
    assert_eq!(document.packages[0].licenses.len(), 3_001);
    let name =
        format!("{} {}", "word ".repeat(50_000), "under the GNU Affero General Public License, version 3");
    let mut packages: Vec<Value> =
        (0..5_000).map(|at| json!({"name": format!("p{at}"), "licenseDeclared": "LicenseRef-1"})).collect();
    let expression = vec!["LicenseRef-2"; 20_000].join(" AND ");
    packages.push(json!({"name": "q", "licenseDeclared": expression}));
    let long = "y".repeat(900);
    let document = json!({"spdxVersion": "SPDX-2.3",
        "packages": packages,
        "hasExtractedLicensingInfos": [{"licenseId": "LicenseRef-1", "name": name, "seeAlsos": vec!["https://x.example/"; 100]},
            {"licenseId": "LicenseRef-2", "name": format!("{long} AGPLv3")}]});
    let document = read(&document).unwrap();
    let length: usize = document.packages.iter().flat_map(|package| &package.licenses).map(String::len).sum();
    assert!(length < 40 << 20, "{length}");
    assert!(document.packages.iter().any(|package| package.licenses == [AGPL]));
    assert!(document.other_licenses.keys().any(|license| license.ends_with("AGPLv3")));
}

/// What a component was made from, and what else was made from that.
#[test]
fn pedigrees_count() {
    let license = json!([{"license": {"name": "AGPLv3"}}]);
    let one = json!({"type": "library", "name": "x", "version": "1", "licenses": license});
    let mut cases: Vec<Value> =
        ["ancestors", "descendants", "variants"].iter().map(|list| json!({*list: [one]})).collect();
    cases.push(json!({"ancestors": [{"name": "y", "pedigree": {"ancestors": [one]}}]}));
    cases.push(json!({"ancestors": [{"name": "y", "components": [one]}]}));
    everywhere(&cases, |pedigree| {
        json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
            {"type": "library", "name": "a", "version": "1", "licenses": [{"license": {"id": "MIT"}}], "pedigree": pedigree},
        ]})
    });
    // None of them is a package of the image; broken ones are told.
    let with = |pedigree: Value| {
        let component = json!({"type": "library", "name": "a", "pedigree": pedigree});
        read(&json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [component]})).unwrap()
    };
    assert_eq!(with(json!({"ancestors": [one, one]})).packages.len(), 1);
    assert_eq!(with(json!({"ancestors": [7]})).findings.len(), 1);
    let image = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [],
        "metadata": {"component": {"name": "i", "pedigree": {"ancestors": [one]}}}});
    assert_eq!(licenses(&read(&image).unwrap()), [AGPL]);
}
