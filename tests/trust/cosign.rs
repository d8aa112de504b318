//! The real cosign reads what rreg signs, and rreg what cosign signs: by key, without a transparency log.

use std::process::{Command, Output};

use super::{PASSWORD, command, evidence, file, json, key_pair, rreg};
use crate::clients::Home;
use crate::harness::Registry;
use crate::harness::image::Image;
use crate::harness::tool;

on_each_backend!(cosign_accepts_ours, every_kind_of_key, ours_accepts_cosigns);

/// Tells cosign to ask neither a log nor a timestamp authority.
pub(crate) const NO_SERVICES: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;

pub(super) fn cosign(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command("cosign");
    command.args(args).env("COSIGN_PASSWORD", PASSWORD).env("COSIGN_YES", "true");
    command
}

fn accepted(output: &Output) -> bool {
    output.status.success()
}

async fn cosign_accepts_ours(registry: Registry) {
    let Some(home) = Home::for_programs(&["cosign"]) else { return };
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let (private, public) = key_pair(&home, "ours");
    let (_, other) = key_pair(&home, "other");
    let name = format!("{}/{repository}@{}", registry.address(), image.root().digest);
    file(&home, "predicate.json", r#"{"builder": {"id": "https://example.org/ci"}, "number": 1.50}"#);
    rreg(&home, &["sign", &name, "--key", &private]);
    rreg(&home, &["attest", &name, "--key", &private, "--predicate", "predicate.json", "--type", "custom"]);

    let offline = ["--insecure-ignore-tlog", "--allow-http-registry"];
    let verify = |verb: &str, public: &str, more: &[&str]| {
        let args = [&[verb, "--key", public][..], &offline, more, &[&name]].concat();
        let mut command = cosign(&home, &args);
        let output = tool::output(&mut command);
        (accepted(&output), tool::describe(&command, &output))
    };
    for (verb, more) in [("verify", &[][..]), ("verify-attestation", &["--type", "custom"])] {
        let (good, said) = verify(verb, &public, more);
        assert!(good, "{said}");
        let (bad, said) = verify(verb, &other, more);
        assert!(!bad, "{said}");
    }
    // Its own tools open our keys.
    let shown = tool::run(&mut cosign(&home, &["public-key", "--key", &private]));
    assert_eq!(shown, std::fs::read_to_string(&public).unwrap());
}

/// Every kind of key that cosign imports: rreg signs with it, and each reads what the other has signed.
async fn every_kind_of_key(registry: Registry) {
    let Some(home) = Home::for_programs(&["cosign"]) else { return };
    file(&home, "services.json", NO_SERVICES);
    // cosign signs with the hash that fits the key, and verifies with SHA-256 unless it is told.
    let sha384 = &["--signature-digest-algorithm", "sha384"][..];
    for (kind, algorithm, hash) in [
        ("ecdsa", &rcgen::PKCS_ECDSA_P384_SHA384, sha384),
        ("ed25519", &rcgen::PKCS_ED25519, &[]),
        ("rsa", &rcgen::PKCS_RSA_SHA256, &[]),
    ] {
        let pem = rcgen::KeyPair::generate_for(algorithm).unwrap().serialize_pem();
        file(&home, "plain.key", &pem);
        tool::run(&mut cosign(
            &home,
            &["import-key-pair", "--key", "plain.key", "--output-key-prefix", kind],
        ));
        let (private, public) = (format!("{kind}.key"), format!("{kind}.pub"));
        for (form, key) in [("imported", private.as_str()), ("plain", "plain.key")] {
            let repository = format!("{}/{kind}/{form}", registry.repository());
            let image = Image::layered(&repository, 1);
            registry.api().push(&repository, &image, Some("v1")).await;
            let name = format!("{}/{repository}@{}", registry.address(), image.root().digest);
            rreg(&home, &["sign", &name, "--key", key]);
            let offline = ["--insecure-ignore-tlog", "--allow-http-registry", &name];
            let args = [&["verify", "--key", &public][..], hash, &offline].concat();
            tool::run(&mut cosign(&home, &args));
            assert_eq!(json(&home, &["verify", &name, "--key", &public]).1, 0, "{kind} {form}");
        }
    }
}

async fn ours_accepts_cosigns(registry: Registry) {
    let Some(home) = Home::for_programs(&["cosign"]) else { return };
    tool::run(&mut cosign(&home, &["generate-key-pair"]));
    let (_, other) = key_pair(&home, "other");
    file(&home, "services.json", NO_SERVICES);
    file(&home, "predicate.json", r#"{"spdxVersion": "SPDX-2.3"}"#);
    let bundles = ["--signing-config", "services.json"];
    let tags = ["--new-bundle-format=false", "--tlog-upload=false", "--use-signing-config=false"];
    for (form, flags, kinds) in [
        ("bundle", &bundles[..], ["bundle", "bundle"]),
        ("tags", &tags, ["cosign-signature", "cosign-attestation"]),
    ] {
        let repository = format!("{}/{form}", registry.repository());
        let image = Image::layered(&repository, 1);
        registry.api().push(&repository, &image, Some("v1")).await;
        let name = format!("{}/{repository}@{}", registry.address(), image.root().digest);
        let common = [&["--key", "cosign.key", "--allow-http-registry"][..], flags].concat();
        tool::run(&mut cosign(&home, &[&["sign"][..], &common, &[&name]].concat()));
        let predicate = ["attest", "--predicate", "predicate.json", "--type", "spdxjson"];
        tool::run(&mut cosign(&home, &[&predicate[..], &common, &[&name]].concat()));

        let (found, code) = json(&home, &["verify", &name, "--key", "cosign.pub"]);
        assert_eq!(code, 0, "{form}: {found}");
        let mut found_kinds: Vec<&str> =
            evidence(&found).iter().map(|e| e["kind"].as_str().unwrap()).collect();
        found_kinds.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found_kinds, kinds, "{form}: {found}");
        for piece in evidence(&found) {
            assert_eq!(piece["verification"]["verdict"], "valid", "{form}: {piece}");
        }
        assert_eq!(json(&home, &["verify", &name, "--key", "cosign.pub", "--type", "spdx"]).1, 0, "{form}");
        let (refused, code) = json(&home, &["verify", &name, "--key", &other]);
        assert_eq!(code, 1, "{form}: {refused}");
        // What cosign made, rreg signs with.
        let mut sign = command(&home, &["sign", &name, "--key", "cosign.key"]);
        tool::run(&mut sign);
    }
}
