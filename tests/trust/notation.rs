//! The real notation signs, rreg verifies, with trust policy and stores as notation keeps them.

use std::fs;
use std::os::unix::fs::symlink;

use super::{evidence, json, output};
use crate::clients::Home;
use crate::harness::Registry;
use crate::harness::image::Image;
use crate::harness::tool;

on_each_backend!(ours_accepts_notations);

const POLICY: &str = r#"{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
    "signatureVerification":{"level":"strict"},"trustStores":["ca:team"],"trustedIdentities":["*"]}]}"#;

async fn ours_accepts_notations(registry: Registry) {
    let Some(home) = Home::for_programs(&["notation"]) else { return };
    let notation = |args: &[&str]| tool::run(home.command("notation").args(args));
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{}/{repository}@{}", registry.address(), image.root().digest);
    notation(&["cert", "generate-test", "--default", "team"]);
    notation(&["cert", "generate-test", "stranger"]);
    for form in ["jws", "cose"] {
        notation(&["sign", "--signature-format", form, "--insecure-registry", &name]);
    }
    let trust = home.path(".config/notation");
    let verify = || json(&home, &["verify", &name, "--notation-trust", &trust.display().to_string()]);
    let write = |name: &str, text: &str| fs::write(trust.join(name), text).unwrap();

    // Without a policy every store counts.
    let (found, code) = verify();
    assert_eq!((code, evidence(&found).len()), (0, 2), "{found}");
    write("trustpolicy.json", POLICY);
    let (found, code) = verify();
    assert_eq!((code, evidence(&found).len()), (0, 2), "{found}");
    for piece in evidence(&found) {
        assert_eq!(piece["verification"]["verdict"], "valid", "{piece}");
        assert_eq!(piece["verification"]["signer"]["store"], "ca:team", "{piece}");
    }
    // The newer name goes first; another store vouches for nobody here.
    write("trustpolicy.oci.json", &POLICY.replace("ca:team", "ca:stranger"));
    let (found, code) = verify();
    assert_eq!(code, 1, "{found}");
    write(
        "trustpolicy.oci.json",
        &POLICY.replace(
            r#"["*"],
    "sig"#,
            r#"["registry.example.org/elsewhere"],
    "sig"#,
        ),
    );
    let said = output(&home, &["verify", &name, "--notation-trust", &trust.display().to_string()]);
    assert_eq!(said.status.code(), Some(66), "no statement speaks about this repository: {said:?}");
    fs::remove_file(trust.join("trustpolicy.oci.json")).unwrap();
    // A policy that names a store says where it was looked for.
    let policy = "{apiVersion: rreg/v1, kind: Policy, name: named, match: {repos: ['**']}, at: [pull], \
                  require: [{signature: {any: [{notation: {store: STORE}}]}}]}";
    for (store, code) in [("team", 0), ("teem", 66)] {
        write("policy.yaml", &policy.replace("STORE", store));
        let said = output(&home, &["policy", "check", &trust.join("policy.yaml").display().to_string()]);
        let text =
            String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
        assert_eq!(said.status.code() == Some(0), code == 0, "{text}");
        assert_eq!(text.contains("truststore/x509/ca/teem"), code != 0, "{text}");
    }
    let store = trust.join("truststore/x509/ca/team");
    symlink(trust.join("localkeys/stranger.crt"), store.join("linked.crt")).unwrap();
    let said = output(&home, &["verify", &name, "--notation-trust", &trust.display().to_string()]);
    assert_eq!(said.status.code(), Some(66), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("symbolic links"), "{said:?}");
}
