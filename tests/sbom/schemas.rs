//! Documents against the official schemas: CycloneDX 1.6's JSON schema, in strict form, as the CycloneDX project's
//! own library carries it, and the SPDX project's own validator of SPDX 2.3 documents. (SPDX's JSON schema file
//! itself is in no package registry.) Both are fetched by pip through its usual settings.

use std::fs;
use std::process::Command;

use super::sbom;
use crate::harness::{RunDir, tool};

const VALIDATORS: [&str; 2] = ["cyclonedx-python-lib[json-validation]==11.12.0", "spdx-tools==0.8.5"];

/// Prints what is wrong; silence is good.
const SCRIPT: &str = r#"
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
with open(sys.argv[1]) as document:
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.read())
if wrong:
    print("CycloneDX:", wrong)
for wrong in validate_full_spdx_document(parse_file(sys.argv[2])):
    print("SPDX:", wrong.validation_message, wrong.context)
"#;

#[test]
fn documents_follow_them() {
    if !tool::have(&["pip3", "python3"]) {
        return;
    }
    let home = RunDir::get().subdir("schemas-");
    let packages = home.path().join("packages");
    let mut install = Command::new(tool::find("pip3").unwrap());
    install.args(["install", "-q", "--target"]).arg(&packages).args(VALIDATORS);
    let output = tool::output(&mut install);
    if !output.status.success() {
        tool::skip(&format!("the validators cannot be had here: {}", tool::describe(&install, &output)));
        return;
    }
    // Packages with and without versions, licences, suppliers and sources, of several kinds, and two findings.
    let tree = home.path().join("tree");
    let files = [
        ("etc/os-release", "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian\"\n"),
        (
            "var/lib/dpkg/status",
            "Package: a\nStatus: install ok installed\nVersion: 1:2.0+b1\nSource: b (2)\nArchitecture: amd64\n\
             Maintainer: A <a@example.org>\n\nPackage: c++\nVersion: 1~rc1\n\n",
        ),
        (
            "lib/apk/db/installed",
            "P:x\nV:1-r0\nL:MIT AND Apache-2.0\nm:A <a@example.org>\n\nP:y\nV:2\nL:custom\n\n",
        ),
        ("app/node_modules/s/package.json", r#"{"name":"@s/n","version":"1.0.0","license":"(MIT OR ISC)"}"#),
        (
            "app/node_modules/u/package.json",
            r#"{"name":"ü ñ","version":"not a version","license":"SEE LICENSE"}"#,
        ),
        (
            "site/x.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: X_y\nVersion: 1\nLicense: whatever it is\n",
        ),
        ("app/broken/package.json", "{"),
        ("app/broken.jar", "PK\u{3}\u{4}cut"),
    ];
    for (path, content) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let write = |format: &str, name: &str| {
        let path = home.path().join(name);
        fs::write(&path, sbom(&[&tree.display().to_string(), "--format", format])).unwrap();
        path
    };
    let (cyclonedx, spdx) = (write("cyclonedx", "cyclonedx.json"), write("spdx", "image.spdx.json"));
    let mut python = Command::new(tool::find("python3").unwrap());
    python.args(["-c", SCRIPT]).arg(&cyclonedx).arg(&spdx).env("PYTHONPATH", &packages);
    assert_eq!(tool::run(&mut python), "");
    // A check that finds nothing in anything is none.
    for (path, from, to) in
        [(&cyclonedx, "\"components\"", "\"componentz\""), (&spdx, "\"SPDX-2.3\"", "\"SPDX-9\"")]
    {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
    let found = tool::output(&mut python);
    assert!(!found.stdout.is_empty(), "{found:?}");
}
