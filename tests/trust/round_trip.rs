//! What is signed here is verified here, and nothing else is.

use rreg_oci::Digest;
use serde_json::Value;

use super::{evidence, file, json, key_pair, output, person, rreg};
use crate::harness::Registry;
use crate::harness::http;
use crate::harness::image::{Blob, Image, Stored};

on_each_backend!(
    signed_and_verified,
    attested,
    moved_to_another_image,
    drawn_as_a_tree,
    asked_without_an_answer
);

async fn signed_and_verified(registry: Registry) {
    let (home, repository) = (person(), registry.repository());
    let image = Image::index(&repository);
    registry.api().push(&repository, &image, Some("v1")).await;
    let (private, public) = key_pair(&home, "team");
    let (_, other) = key_pair(&home, "other");
    let name = format!("{}/{repository}:v1", registry.address());
    let digest = image.root().digest.to_string();

    let (unsigned, code) = json(&home, &["verify", &name, "--key", &public]);
    assert_eq!((code, evidence(&unsigned).len()), (1, 0), "{unsigned}");
    let said = rreg(&home, &["sign", &name, "--key", &private]);
    assert!(said.contains(&digest) && said.contains(":v1"), "the digest behind the tag is named: {said}");

    let (verified, code) = json(&home, &["verify", &name, "--key", &public]);
    assert_eq!(
        (code, &verified["verified"], &verified["digest"]),
        (0, &true.into(), &digest.as_str().into())
    );
    let [piece] = &evidence(&verified)[..] else { panic!("{verified}") };
    assert_eq!((&piece["kind"], &piece["verification"]["verdict"]), (&"bundle".into(), &"valid".into()));
    assert!(rreg(&home, &["verify", &name, "--key", &public]).contains("verified"));

    let (refused, code) = json(&home, &["verify", &name, "--key", &other]);
    assert_eq!((code, &refused["verified"]), (1, &false.into()), "{refused}");
    assert_ne!(evidence(&refused)[0]["verification"]["verdict"], "valid");

    // A signature of the index is not one of each part by itself, and says so nowhere.
    let part = format!("{}/{repository}@{}", registry.address(), image.manifests[0].digest);
    assert_eq!(json(&home, &["verify", &part, "--key", &public]).1, 1);
    // Chosen from the index, it is covered by what is about the index.
    let (chosen, code) = json(&home, &["verify", &name, "--platform", "linux/amd64", "--key", &public]);
    assert_eq!((code, &chosen["index"]), (0, &digest.as_str().into()), "{chosen}");
    assert_eq!(chosen["digest"], image.manifests[0].digest.to_string());
    assert_eq!(evidence(&chosen)[0]["subject"], digest.as_str());
    assert_eq!(json(&home, &["verify", &name, "--platform", "linux/amd64", "--key", &other]).1, 1);
    let absent = output(&home, &["verify", &name, "--platform", "linux/s390x", "--key", &public]);
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");
    // By digest it signs what it is told to.
    let done = json(&home, &["sign", &part, "--key", &private]);
    assert_eq!((done.1, &done.0["digest"]), (0, &image.manifests[0].digest.to_string().into()));
    assert_eq!(json(&home, &["verify", &part, "--key", &public]).1, 0);
}

async fn attested(registry: Registry) {
    let (home, repository) = (person(), registry.repository());
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let (private, public) = key_pair(&home, "team");
    let (_, other) = key_pair(&home, "other");
    let name = format!("{}/{repository}:v1", registry.address());
    file(&home, "bom.json", r#"{"spdxVersion": "SPDX-2.3"}"#);
    file(&home, "broken.json", "{");
    let attest = |predicate: &str, kind: &str| {
        output(&home, &["attest", &name, "--key", &private, "--predicate", predicate, "--type", kind])
            .status
            .code()
    };
    assert_eq!(attest("bom.json", "spdx"), Some(0));
    assert_eq!(attest("broken.json", "spdx"), Some(66));
    assert_eq!(attest("absent.json", "spdx"), Some(66));
    assert_eq!(attest("bom.json", "no type"), Some(64));
    assert_eq!(
        attest("bom.json", "https://sigstore.dev/cosign/sign/v1"),
        Some(64),
        "an attestation is no signature"
    );

    let verify =
        |public: &str, more: &[&str]| json(&home, &[&["verify", &name, "--key", public][..], more].concat());
    let (found, code) = verify(&public, &[]);
    assert_eq!(code, 1, "an attestation is no signature: {found}");
    assert_eq!(evidence(&found)[0]["verification"]["verdict"], "valid");
    assert_eq!(verify(&public, &["--type", "spdx"]).1, 0);
    assert_eq!(verify(&public, &["--type", "cyclonedx"]).1, 1);
    assert_eq!(verify(&other, &["--type", "spdx"]).1, 1);
}

/// CVE-2026-22703: a good signature about something else.
async fn moved_to_another_image(registry: Registry) {
    let (home, repository, api) = (person(), registry.repository(), registry.api());
    let (signed, victim) = (Image::layered("signed", 1), Image::layered("victim", 1));
    api.push(&repository, &signed, Some("signed")).await;
    api.push(&repository, &victim, Some("victim")).await;
    let (private, public) = key_pair(&home, "team");
    let name = |tag: &str| format!("{}/{repository}:{tag}", registry.address());
    let (done, _) = json(&home, &["sign", &name("signed"), "--key", &private]);
    let manifest = api.get_manifest(&repository, done["referrer"].as_str().unwrap()).expect(200).await.json();
    let bundle: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let bundle = api.get(http::blob(&repository, &bundle)).expect(200).await;
    let mut moved = manifest;
    moved["subject"] = victim.root().descriptor();
    let moved = Image { blobs: vec![Blob::new(bundle.body)], manifests: vec![Stored::new(&moved)] };
    api.push(&repository, &moved, None).await;

    let (found, code) = json(&home, &["verify", &name("victim"), "--key", &public]);
    assert_eq!(code, 1, "{found}");
    let verification = &evidence(&found)[0]["verification"];
    assert_eq!(verification["verdict"], "invalid", "{found}");
    let checks = verification["checks"].as_array().unwrap();
    let wrong: Vec<&Value> = checks.iter().filter(|check| check["verdict"] != "valid").collect();
    assert_eq!(wrong.len(), 1, "the signature is good and about something else: {found}");
    assert_eq!(wrong[0]["name"], "subject");
    assert_eq!(json(&home, &["verify", &name("signed"), "--key", &public]).1, 0);
}

async fn drawn_as_a_tree(registry: Registry) {
    let (home, repository) = (person(), registry.repository());
    let image = Image::index(&repository);
    registry.api().push(&repository, &image, Some("v1")).await;
    let (private, public) = key_pair(&home, "team");
    let name = format!("{}/{repository}:v1", registry.address());
    file(&home, "bom.json", "{}");
    rreg(&home, &["attest", &name, "--key", &private, "--predicate", "bom.json", "--type", "cyclonedx"]);
    let (attestation, _) = json(&home, &["tree", &name]);
    let referrer = attestation["tree"]["children"][2]["digest"].as_str().unwrap().to_owned();
    // A signature of the attestation hangs below it.
    rreg(&home, &["sign", &format!("{}/{repository}@{referrer}", registry.address()), "--key", &private]);

    let (drawn, code) = json(&home, &["tree", &name, "--key", &public]);
    assert_eq!(code, 0);
    let children = drawn["tree"]["children"].as_array().unwrap();
    assert_eq!(children.len(), 3, "{drawn}");
    assert_eq!(
        (&children[0]["platform"], &children[1]["platform"]),
        (&"linux/amd64".into(), &"linux/arm64".into())
    );
    assert_eq!(children[2]["evidence"][0]["predicateType"], "https://cyclonedx.org/bom");
    assert_eq!(children[2]["evidence"][0]["verification"]["verdict"], "valid");
    assert_eq!(children[2]["children"][0]["evidence"][0]["signature"], true, "{drawn}");
    let text = rreg(&home, &["tree", &name]);
    assert!(text.contains("signed, not checked") && text.contains("linux/arm64"), "{text}");
    let text = rreg(&home, &["tree", &name, "--key", &public]);
    assert!(text.contains("valid the key sha256:") && !text.contains("not checked"), "{text}");
}

async fn asked_without_an_answer(registry: Registry) {
    let home = person();
    let (private, public) = key_pair(&home, "team");
    let missing = format!("{}/{}:none", registry.address(), registry.repository());
    let code = |args: &[&str]| output(&home, args).status.code();
    assert_eq!(code(&["verify", &missing, "--key", &public]), Some(1), "there is no such image");
    assert_eq!(code(&["verify", "127.0.0.1:1/a:b", "--key", &public]), Some(2), "no registry answers");
    assert_eq!(code(&["verify", &missing]), Some(64), "nobody to trust");
    assert_eq!(code(&["verify", &missing, "--trusted-root", "public-good"]), Some(64), "anybody at all");
    assert_eq!(code(&["verify", &missing, "--key", &private]), Some(66), "no public key");
    assert_eq!(code(&["verify", &missing, "--key", &public, "--identity", "x"]), Some(64));
    assert_eq!(code(&["sign", &missing, "--key", &private]), Some(1));
    assert_eq!(code(&["sign", &missing, "--key", &public]), Some(66));

    // Something that cannot be read is not nothing.
    let (repository, api) = (registry.repository(), registry.api());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    let gone = Image::artifact("gone", "application/vnd.example").root().descriptor();
    let index = Image {
        blobs: Vec::new(),
        manifests: vec![Stored::new(&serde_json::json!({"schemaVersion": 2,
        "mediaType": rreg_oci::media_type::OCI_INDEX, "manifests": [gone]}))],
    };
    let tag = image.root().digest.referrers_tag();
    let pushed = api.put_manifest(&repository, &tag, index.root()).send().await;
    if pushed.status == 201 {
        let name = format!("{}/{repository}:v1", registry.address());
        assert_eq!(code(&["verify", &name, "--key", &public]), Some(2), "a listed manifest is not there");
    }
}
