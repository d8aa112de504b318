//! Images that pass for something else, and the same image under another name.

use rreg_oci::{Algorithm, Digest, media_type};
use serde_json::json;

use super::{ANYWHERE, Desk, refusal, signed};
use crate::harness::Backend;
use crate::harness::http::manifest;
use crate::harness::image::{Blob, Image, Stored};

/// What calls itself a signature and is a layer of files is an image like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_in_disguise() {
    let desk = Desk::new();
    desk.set("anywhere", ANYWHERE);
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1).edited(|manifest| {
        manifest["layers"][0]["mediaType"] = "application/vnd.in-toto+json".into();
        manifest["artifactType"] = "application/vnd.in-toto+json".into();
    });
    api.push(&repository, &image, Some("v1")).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);

    // A signature in COSE that is a tar as well; documents beside a config that starts something; layers under a name
    // that other programs read as the layers.
    let polyglot = Blob::new(cose_and_tar());
    let document = Blob::new("{}");
    for blob in [&polyglot, &document] {
        api.push_blob(&repository, blob).await;
    }
    let layers = image.root().json()["layers"].clone();
    let disguises = [
        ("cose", json!({"layers": [polyglot.descriptor("application/cose")]})),
        ("config", json!({"layers": [document.descriptor("application/vnd.in-toto+json")]})),
        ("case", json!({"layers": [document.descriptor("application/vnd.in-toto+json")], "Layers": layers})),
    ];
    for (tag, with) in disguises {
        let disguised = Image::layered(&repository, 1).edited(|manifest| {
            for (name, value) in with.as_object().unwrap() {
                manifest[name] = value.clone();
            }
            manifest["artifactType"] = "application/vnd.cncf.notary.signature".into();
        });
        api.push_manifest(&repository, tag, disguised.root()).await;
        refusal(&api.get(manifest(&repository, tag)).send().await);
        let told = api.get(format!("/v2/{repository}/_rreg/decisions/{tag}")).expect(200).await.json();
        for point in ["pull", "admit", "run"] {
            assert_eq!(told["decisions"][point]["outcome"], "deny", "{tag}: {told}");
        }
    }
    // What is evidence may be read, and is no more free to run than anything else.
    let config = Blob::new("{}");
    api.push_blob(&repository, &config).await;
    let kind = "application/vnd.in-toto+json";
    let evidence = Stored::new(&json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": config.descriptor(media_type::OCI_EMPTY), "layers": [document.descriptor(kind)],
    }));
    api.push_manifest(&repository, "evidence", &evidence).await;
    api.get(manifest(&repository, "evidence")).expect(200).await;
    let told = api.get(format!("/v2/{repository}/_rreg/decisions/evidence")).expect(200).await.json();
    for (point, outcome) in [("pull", "allow"), ("admit", "deny"), ("run", "deny")] {
        assert_eq!(told["decisions"][point]["outcome"], outcome, "{told}");
    }

    // An index whose entries are called evidence: whoever runs it runs its children.
    let index = Image::index(&format!("{repository}/index")).edited(|index| {
        for child in index["manifests"].as_array_mut().unwrap() {
            child["artifactType"] = "application/vnd.dev.sigstore.bundle.v0.3+json".into();
        }
    });
    let tag = format!("sha256-{}", "0".repeat(64));
    api.push(&repository, &index, Some(&tag)).await;
    let told = api.get(format!("/v2/{repository}/_rreg/decisions/{tag}")).expect(200).await.json();
    assert_eq!(told["decisions"]["admit"]["outcome"], "deny", "{told}");
    assert_eq!(told["decisions"]["run"]["outcome"], "deny", "{told}");
    let children = index.root().json();
    for child in children["manifests"].as_array().unwrap() {
        refusal(&api.get(manifest(&repository, child["digest"].as_str().unwrap())).send().await);
    }
    // Whoever runs one that has its children in itself never asks for them.
    for field in ["data", "Data"] {
        let mut whole = index.root().json();
        whole["manifests"][0][field] = "e30=".into();
        let tag = format!("sha256-{}.att", "1".repeat(64));
        api.push_manifest(&repository, &tag, &Stored::new(&whole)).await;
        refusal(&api.get(manifest(&repository, &tag)).send().await);
    }
}

/// A COSE_Sign1 around a tar whose first file is called like its head.
fn cose_and_tar() -> Vec<u8> {
    let head = b"\x84\x40\xa0\x5a\0\0\x06\0";
    let mut header = head.to_vec();
    header.resize(512, 0);
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend([0; 1024 + 8]);
    header.push(0x40);
    header
}

/// The same image in another form is held to what its tag is held to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_of_a_tagged_image() {
    let desk = Desk::new();
    desk.set("signed", &signed("enforce", "pull").replace("repos:", "tags: [\"prod\"], repos:"));
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(registry) = desk.registry(backend).await else { return };
        let (api, repository) = (registry.api(), registry.repository());
        let image = Image::layered(&repository, 1);
        api.push(&repository, &image, None).await;
        let other = Image::layered(&repository, 1)
            .edited(|manifest| manifest["annotations"] = json!({"form": "other"}));
        let digest = other.root().digest.to_string();
        api.push_manifest(&repository, &digest, other.root()).await;
        api.get(manifest(&repository, &digest)).expect(200).await;
        // The same bytes, named by other digests within the manifest too.
        let named = Image::layered_with(Algorithm::Sha512, &repository, 1);
        api.push(&repository, &named, None).await;
        let named = named.root().digest.to_string();
        api.get(manifest(&repository, &named)).expect(200).await;
        // From now on it is called "prod" in one form: in all of them.
        api.push_manifest(&repository, "prod", image.root()).await;
        refusal(&api.get(manifest(&repository, &digest)).send().await);
        let sha512 = Digest::of(Algorithm::Sha512, &image.root().bytes).to_string();
        api.put_manifest(&repository, &sha512, image.root()).expect(201).await;
        for reference in ["prod", &sha512, &digest, &named] {
            refusal(&api.get(manifest(&repository, reference)).send().await);
        }
        // In Docker's form.
        let docker = image.edited(|manifest| {
            manifest["mediaType"] = media_type::DOCKER_MANIFEST.into();
            manifest["config"]["mediaType"] = media_type::DOCKER_CONFIG.into();
        });
        let docker_digest = docker.root().digest.to_string();
        api.push_manifest(&repository, &docker_digest, docker.root()).await;
        refusal(&api.get(manifest(&repository, &docker_digest)).send().await);
        // Without a config of its own its layer tells.
        let empty = Blob::new("{}");
        api.push_blob(&repository, &empty).await;
        let bare = Image::layered(&repository, 1)
            .edited(|manifest| manifest["config"] = json!(empty.descriptor(media_type::OCI_EMPTY)));
        api.push_manifest(&repository, "prod", bare.root()).await;
        let sha512 = Digest::of(Algorithm::Sha512, &bare.root().bytes).to_string();
        api.put_manifest(&repository, &sha512, bare.root()).expect(201).await;
        refusal(&api.get(manifest(&repository, &sha512)).send().await);
        // And no more once the tag has gone.
        api.delete(manifest(&repository, "prod")).expect(202).await;
        api.get(manifest(&repository, &digest)).expect(200).await;
    }
}
