//! Every kind of manifest that must be stored and come back byte for byte.

use rreg_oci::{Algorithm, media_type};
use serde_json::json;

use crate::harness::http::{manifest, uploads};
use crate::harness::image::{Blob, EXAMPLE, Image, LAYER, Stored};
use crate::harness::{Backend, Registry};

on_each_backend!(
    every_kind_round_trips,
    large_manifest,
    lengths_are_those_of_the_content,
    sha512_throughout,
    tag_parameters,
    tags_move,
    location_and_headers,
    accept_does_not_convert,
    put_without_content_type_parameters,
);

/// A name, and the image it stands for.
fn kinds(label: &str) -> Vec<(&'static str, Image)> {
    let with_data = |image: Image| {
        let config = image.blobs.last().unwrap().bytes.clone();
        // Base64 of `{}` and of nothing else: the field may hold any content, and must match only when read.
        image.edited(|m| {
            m["layers"] = json!([{"mediaType": EXAMPLE, "size": 2, "data": "e30=",
                "digest": Blob::new("{}").digest.to_string()}]);
            m["config"]["annotations"] = json!({"size": config.len().to_string()});
        })
    };
    let mut inline = with_data(Image::layered(&format!("{label}-data"), 1));
    inline.blobs.push(Blob::new("{}"));
    let nested = (0..2).map(|i| Image::index(&format!("{label}-nested-{i}")));
    let empty_index = Image { blobs: vec![], ..Image::index_of([]) };
    let mut artifact_without_layers = Image::artifact(label, EXAMPLE).edited(|m| {
        m["layers"] = json!([Blob::new("{}").descriptor(media_type::OCI_EMPTY)]);
    });
    artifact_without_layers.blobs.truncate(1);
    let artifacts = (0..2).map(|i| Image::artifact(&format!("{label}-{i}"), EXAMPLE));
    vec![
        ("image", Image::layered(label, 3)),
        ("many-layers", Image::layered(&format!("{label}-many"), 40)),
        ("index", Image::index(label)),
        ("nested-index", Image::index_of(nested)),
        ("empty-index", empty_index),
        ("artifact", Image::artifact(label, EXAMPLE)),
        ("artifact-without-layers", artifact_without_layers),
        ("artifact-index", Image::index_of(artifacts).edited(|m| m["artifactType"] = json!(EXAMPLE))),
        ("chart", Image::chart(label.rsplit('/').next().unwrap())),
        ("docker", Image::docker(label, 2)),
        ("docker-list", Image::docker_list(label)),
        ("data-field", inline),
        ("no-layers", Image::layered(&format!("{label}-none"), 0)),
        ("nondistributable", nondistributable(label)),
        ("custom-fields", custom_fields(label)),
    ]
}

fn nondistributable(label: &str) -> Image {
    Image::layered(&format!("{label}-nd"), 1).edited(|m| {
        for (i, suffix) in ["tar", "tar+gzip", "tar+zstd"].iter().enumerate() {
            let digest = Blob::random(&format!("{label}{i}"), 9).digest;
            let layer = json!({
                "mediaType": format!("application/vnd.oci.image.layer.nondistributable.v1.{suffix}"),
                "digest": digest.to_string(), "size": 123_456,
                "urls": [format!("https://store.example.com/{}", digest.hex())],
            });
            m["layers"].as_array_mut().unwrap().push(layer);
        }
    })
}

fn custom_fields(label: &str) -> Image {
    Image::index(&format!("{label}-custom")).edited(|m| {
        m["org.example.unknown"] = json!({"nested": [1, "two", null, 3.5, {"deep": true}]});
        m["manifests"][0]["org.example.unknown"] = json!("text");
        m["manifests"][1]["annotations"] = json!({"a": "b"});
    })
}

async fn every_kind_round_trips(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for (name, image) in kinds(&repository) {
        api.push(&repository, &image, Some(name)).await;
        api.assert_image(&repository, &image, Some(name)).await;
        // Pushing the same once more is no error and changes nothing.
        api.push_manifest(&repository, name, image.root()).await;
    }
    let tags = api.get(format!("/v2/{repository}/tags/list")).expect(200).await.texts("tags");
    let mut names: Vec<&str> = kinds(&repository).iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(tags, names);
}

/// The specification asks for 4 MiB at least; past the limit the error names it.
async fn large_manifest(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let fill = |bytes: usize| {
        Image::layered(&repository, 1).edited(|m| m["annotations"] = json!({"fill": "A".repeat(bytes)}))
    };
    let overhead = fill(0).root().bytes.len();
    let fits = fill((4 << 20) - overhead);
    assert_eq!(fits.root().bytes.len(), 4 << 20);
    api.push(&repository, &fits, Some("large")).await;
    api.assert_image(&repository, &fits, Some("large")).await;
    if api.is_strict() {
        let over = fill((4 << 20) - overhead + 1);
        let answer = api.put_manifest(&repository, "larger", over.root()).expect(413).await;
        let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("4194304") || message.contains("4 MiB"), "names the limit: {answer}");
        api.get_manifest(&repository, "larger").expect(404).await;
    }
}

/// A policy judges an image by the lengths that it states.
async fn lengths_are_those_of_the_content(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let honest = Image::layered(&repository, 2);
    api.push(&repository, &honest, Some("honest")).await;
    let layers = ["/config/size", "/layers/0/size", "/layers/1/size"];
    for (place, by) in layers.into_iter().flat_map(|place| [(place, -1), (place, 1)]) {
        let lie = honest.clone().edited(|m| {
            let size = m.pointer_mut(place).unwrap();
            *size = json!(size.as_i64().unwrap() + by);
        });
        let answer = api.put_manifest(&repository, "lie", lie.root()).expect(400).await;
        assert_eq!(answer.json()["errors"][0]["code"], "MANIFEST_INVALID", "{place} {by}: {answer}");
        api.get_manifest(&repository, "lie").expect(404).await;
    }
    // One blob with two lengths, of which one is right.
    let twice = honest.clone().edited(|m| {
        let mut layer = m["layers"][0].clone();
        layer["size"] = json!(1);
        m["layers"].as_array_mut().unwrap().push(layer);
    });
    api.put_manifest(&repository, "lie", twice.root()).expect(400).await;
}

async fn sha512_throughout(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for image in [
        Image::index_with(Algorithm::Sha512, &repository),
        Image::layered_with(Algorithm::Sha512, &format!("{repository}-image"), 2),
    ] {
        api.push(&repository, &image, None).await;
        api.assert_image(&repository, &image, None).await;
        let root = image.root();
        let answer = api.head(manifest(&repository, root.digest)).expect(200).await;
        answer.assert_digest(&root.digest, true);
    }
}

async fn tag_parameters(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let image = Image::layered_with(algorithm, &repository, 1);
        for content in &image.blobs {
            api.push_blob(&repository, content).await;
        }
        // The specification asks for ten at least.
        let tags: Vec<String> = (0..12).map(|i| format!("{algorithm}-{i}")).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let reference = format!("{}?{}", image.root().digest, query.join("&"));
        let answer = api.push_manifest(&repository, &reference, image.root()).await;
        let mut confirmed: Vec<String> = Vec::new();
        for value in answer.headers.get_all("oci-tag") {
            confirmed.extend(value.to_str().unwrap().split(',').map(|tag| tag.trim().to_owned()));
        }
        confirmed.sort();
        let mut expected = tags.clone();
        expected.sort();
        assert_eq!(confirmed, expected, "{answer}");
        for tag in &tags {
            let answer = api.get_manifest(&repository, tag).expect(200).await;
            assert_eq!(answer.body, image.root().bytes);
            answer.assert_digest(&image.root().digest, api.is_strict());
        }
    }
    if api.is_strict() {
        let image = Image::layered(&repository, 1);
        api.push(&repository, &image, None).await;
        let bad = format!("{}?tag=fine&tag=-bad", image.root().digest);
        api.put_manifest(&repository, &bad, image.root()).refused(400, "NAME_INVALID").await;
        api.get_manifest(&repository, "fine").expect(404).await;
    }
}

async fn tags_move(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let [first, second] = ["first", "second"].map(|l| Image::layered(&format!("{repository}{l}"), 1));
    for image in [&first, &second, &first] {
        api.push(&repository, image, Some("latest")).await;
        api.assert_image(&repository, image, Some("latest")).await;
    }
    // A tag that moved away leaves the manifest.
    api.assert_image(&repository, &second, None).await;
}

async fn location_and_headers(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, None).await;
    for reference in [image.root().digest.to_string(), "v1".to_owned()] {
        let answer = api.push_manifest(&repository, &reference, image.root()).await;
        let accept = media_type::ACCEPT_MANIFESTS;
        let back = api.get(answer.location()).header("accept", accept).expect(200).await;
        assert_eq!(back.body, image.root().bytes);
        assert_eq!(back.header("content-type"), media_type::OCI_MANIFEST);
        assert_eq!(back.header("content-length"), image.root().bytes.len().to_string());
        assert_eq!(answer.find_header("oci-subject"), None);
    }
}

/// Manifests are signed by their digest: whatever is accepted, the bytes are those that were pushed.
async fn accept_does_not_convert(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::index(&repository);
    api.push(&repository, &image, Some("v1")).await;
    let target = manifest(&repository, "v1");
    for accept in [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST, "*/*", "application/*"] {
        let answer = api.get(&target).header("accept", accept).send().await;
        if api.is_strict() {
            assert_eq!(answer.status, 200, "{accept}: {answer}");
        }
        if answer.status == 200 {
            assert_eq!(answer.body, image.root().bytes, "{accept}");
        }
    }
}

async fn put_without_content_type_parameters(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    if !api.is_strict() {
        return;
    }
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, None).await;
    let target = manifest(&repository, "v1");
    let with_charset = format!("{}; charset=utf-8", media_type::OCI_MANIFEST);
    let put = api.put(&target, image.root().bytes.clone());
    put.header("content-type", &with_charset).expect(201).await;
    assert_eq!(api.get(&target).expect(200).await.header("content-type"), media_type::OCI_MANIFEST);
    // Without a header the manifest's own mediaType counts.
    api.put(&target, image.root().bytes.clone()).expect(201).await;
}

/// Sparse indexes only where the setting allows them; the subject and the layers stay as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sparse_index_by_setting() {
    let settings = [("RREG_MANIFESTS__ALLOW_SPARSE", "true")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let index = Image::index(&repository);
    api.push_manifest(&repository, "sparse", index.root()).await;
    assert_eq!(api.get_manifest(&repository, "sparse").expect(200).await.body, index.root().bytes);
    // What is missing can be filled in later.
    api.push(&repository, &index, Some("sparse")).await;
    api.assert_image(&repository, &index, Some("sparse")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn largest_blob_by_setting() {
    let settings = [("RREG_UPLOADS__MAX_BLOB_SIZE", "1000")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    api.push_blob(&repository, &Blob::random("fits", 1000)).await;
    let large = Blob::random("large", 1001);
    let location = api.open_upload(&repository).await;
    let put = crate::harness::http::commit(&location, &large.digest);
    api.put(put, large.bytes.clone()).octets().refused(413, "SIZE_INVALID").await;
    let post = crate::harness::http::commit(&uploads(&repository), &large.digest);
    api.post(post).body(large.bytes.clone()).octets().refused(413, "SIZE_INVALID").await;
    // Nor in pieces that are small enough each, nor without a length.
    let location = api.open_upload(&repository).await;
    let answer = api.patch(location, large.bytes.slice(..600)).chunk_at(0, 600).expect(202).await;
    api.patch(answer.location(), large.bytes.slice(600..))
        .chunk_at(600, 401)
        .refused(413, "SIZE_INVALID")
        .await;
    let location = api.open_upload(&repository).await;
    let pieces = [large.bytes.slice(..600), large.bytes.slice(600..)];
    api.patch(location, "").octets().stream(pieces).refused(413, "SIZE_INVALID").await;
    api.head(crate::harness::http::blob(&repository, &large.digest)).expect(404).await;
}

/// Small blobs may live in the database; with that switched off everything must look the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_inline_by_setting() {
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let settings = [("RREG_STORAGE__INLINE_MAX", "0")];
        let Some(registry) = Registry::start_with(backend, &settings).await else { continue };
        let (api, repository) = (registry.api(), registry.repository());
        let layer = Blob::new("").descriptor(LAYER);
        let mut empty_layer = Image::layered(&repository, 1).edited(|m| m["layers"] = json!([layer]));
        empty_layer.blobs.push(Blob::new(""));
        for (name, image) in kinds(&repository).into_iter().chain([("empty-layer", empty_layer)]) {
            api.push(&repository, &image, Some(name)).await;
            api.assert_image(&repository, &image, Some(name)).await;
        }
        let signature = Stored::new(&Image::artifact(&repository, EXAMPLE).root().json());
        api.get_manifest(&repository, &signature.digest.to_string()).expect(200).await;
    }
}
