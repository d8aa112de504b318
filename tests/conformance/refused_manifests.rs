//! Manifests that must not be accepted, with the code that says why.

use bytes::Bytes;
use rreg_oci::{Digest, media_type};
use serde_json::{Value, json};

use crate::harness::http::manifest;
use crate::harness::image::{Blob, EXAMPLE, Image, LAYER, Stored};
use crate::harness::{Api, Registry};

on_each_backend!(missing_references, wrong_shapes, schema_one, wrong_digests, unknown_manifests);

async fn missing_references(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let image = Image::layered(&repository, 2);
    for missing in 0..image.blobs.len() {
        let part = format!("{repository}/{missing}");
        for (i, content) in image.blobs.iter().enumerate() {
            if i != missing {
                api.push_blob(&part, content).await;
            }
        }
        let answer = api.put_manifest(&part, "v1", image.root()).refused(404, "MANIFEST_BLOB_UNKNOWN").await;
        let digest = image.blobs[missing].digest.to_string();
        assert!(String::from_utf8_lossy(&answer.body).contains(&digest), "names what is missing: {answer}");
        api.get_manifest(&part, "v1").expect(404).await;
        api.push_blob(&part, &image.blobs[missing]).await;
        api.push_manifest(&part, "v1", image.root()).await;
    }
    let index = Image::index(&repository);
    let answer =
        api.put_manifest(&repository, "v1", index.root()).refused(404, "MANIFEST_BLOB_UNKNOWN").await;
    let child = index.manifests[0].digest.to_string();
    assert!(String::from_utf8_lossy(&answer.body).contains(&child), "names what is missing: {answer}");
    // A child that is a blob and not a manifest does not count.
    api.push_blob(&repository, &Blob::new(index.manifests[0].bytes.clone())).await;
    api.put_manifest(&repository, "v1", index.root()).refused(404, "MANIFEST_BLOB_UNKNOWN").await;
}

/// An image whose blobs are all there, changed.
async fn refused(api: &Api, repository: &str, why: &str, edit: impl FnOnce(&mut Value)) {
    let image = Image::layered(repository, 1);
    api.push(repository, &image, None).await;
    let changed = image.edited(edit);
    let stored = changed.root();
    for reference in ["v1".to_owned(), stored.digest.to_string()] {
        let answer = api.put_manifest(repository, &reference, stored).send().await;
        assert_eq!(answer.status, 400, "{why}: {answer}");
        assert_eq!(answer.json()["errors"][0]["code"], "MANIFEST_INVALID", "{why}: {answer}");
        api.get_manifest(repository, &reference).expect(404).await;
    }
}

async fn wrong_shapes(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let r = repository.as_str();
    refused(&api, r, "layers and manifests", |m| m["manifests"] = json!([])).await;
    refused(&api, r, "no config", |m| m.as_object_mut().unwrap().retain(|k, _| k != "config")).await;
    refused(&api, r, "schemaVersion 3", |m| m["schemaVersion"] = json!(3)).await;
    refused(&api, r, "layers is no list", |m| m["layers"] = json!({})).await;
    refused(&api, r, "size is negative", |m| m["layers"][0]["size"] = json!(-1)).await;
    refused(&api, r, "size is a text", |m| m["config"]["size"] = json!("12")).await;
    refused(&api, r, "digest is none", |m| m["config"]["digest"] = json!("sha256:x")).await;
    refused(&api, r, "unknown digest algorithm", |m| m["config"]["digest"] = json!("md5:00")).await;
    refused(&api, r, "subject is none", |m| m["subject"] = json!("text")).await;
    refused(&api, r, "annotation is no text", |m| m["annotations"] = json!({"a": 1})).await;
    refused(&api, r, "too many", |m| {
        let layer = Blob::new("").descriptor(LAYER);
        m["layers"] = json!(vec![layer; 20_000]);
    })
    .await;
    // Written as text: a value nested like this would be too deep for this test, too.
    let deep = format!("{{\"schemaVersion\":2,\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for body in
        [deep.as_str(), "", "{", "[]", "null", "\"text\"", "{\"schemaVersion\":2}", "\u{0}\u{0}", "{}{}"]
    {
        let put =
            api.put(manifest(r, "v1"), body.to_owned()).header("content-type", media_type::OCI_MANIFEST);
        put.refused(400, "MANIFEST_INVALID").await;
    }
    let image = Image::layered(r, 1);
    for wrong in [media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, "text/plain", "application/json", "x"] {
        let put = api.put(manifest(r, "v1"), image.root().bytes.clone()).header("content-type", wrong);
        put.refused(400, "MANIFEST_INVALID").await;
    }
}

async fn schema_one(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let body = json!({"schemaVersion": 1, "name": repository, "tag": "v1", "architecture": "amd64",
        "fsLayers": [], "history": [], "signatures": []});
    let body = Bytes::from(serde_json::to_vec(&body).unwrap());
    for media_type in media_type::DOCKER_SCHEMA1 {
        let put = api.put(manifest(&repository, "v1"), body.clone()).header("content-type", media_type);
        let answer = put.refused(400, "MANIFEST_INVALID").await;
        if api.is_strict() {
            let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_lowercase();
            assert!(message.contains("schema 1"), "says what it is: {answer}");
        }
    }
}

async fn wrong_digests(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, None).await;
    let padded = Stored { bytes: [&image.root().bytes[..], b"  "].concat().into(), ..image.root().clone() };
    let other = Digest::sha256(b"another manifest").to_string();
    for (reference, stored) in [(image.root().digest.to_string(), &padded), (other, image.root())] {
        api.put_manifest(&repository, &reference, stored).refused(400, "DIGEST_INVALID").await;
    }
    for bad in ["sha256:baddigeststring", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        api.put_manifest(&repository, bad, image.root()).refused(400, "DIGEST_INVALID").await;
        let answer = api.get_manifest(&repository, bad).send().await;
        assert!(matches!(answer.status, 400 | 404), "{answer}");
    }
    // What was there is untouched.
    api.assert_image(&repository, &image, None).await;
}

async fn unknown_manifests(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    api.push(&repository, &Image::artifact(&repository, EXAMPLE), Some("there")).await;
    for reference in ["missing".to_owned(), Digest::sha256(b"missing").to_string()] {
        api.get_manifest(&repository, &reference).refused(404, "MANIFEST_UNKNOWN").await;
        api.head(manifest(&repository, &reference)).expect(404).await;
    }
}
