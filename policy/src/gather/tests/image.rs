//! What an image says of itself is seen as runtimes see it.

use super::*;
use crate::facts::ImageFacts;

async fn facts(memory: &Memory, image: &ManifestContent) -> Result<(ImageFacts, Vec<String>), ReadError> {
    image_facts(memory, "", "team/app", &["v1".to_owned()], image, &[], &limits()).await
}

#[tokio::test]
async fn facts_of_an_image_and_of_an_index() {
    let mut memory = Memory::default();
    let (image, other) = (memory.image("a"), memory.image("b"));
    let (of_image, incomplete) = facts(&memory, &image).await.unwrap();
    assert!(incomplete.is_empty());
    let config = &of_image.configs[0];
    assert_eq!(of_image.platforms, ["linux/amd64"]);
    assert_eq!((config.user.as_str(), config.command[0].as_str()), ("65532", "/app"));
    assert_eq!(
        (&config.ports[0], config.environment.join(" ")),
        (&"80/tcp".to_owned(), "PATH TOKEN".to_owned())
    );
    assert_eq!(of_image.base_name.as_deref(), Some("base:1"));
    assert!(of_image.size > 0 && of_image.artifact_type.is_none() && of_image.layers.len() == 1);

    let missing = json!(Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"gone"), 9));
    let mut attestation = descriptor(&other);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest.to_string()});
    let index = memory.index(vec![descriptor(&image), missing, attestation]);
    let (of_index, incomplete) = facts(&memory, &index).await.unwrap();
    assert_eq!(
        (of_index.configs.len(), of_index.size, incomplete.len()),
        (1, of_image.size, 1),
        "{incomplete:?}"
    );
    assert_eq!(of_index.incomplete, incomplete);
    // As if it were asked for by its digest.
    let child = of_index.child(&of_index.images[0]);
    assert_eq!(child, ImageFacts { parents: vec![index.digest], ..of_image });

    memory.broken.insert(Digest::sha256(b"no config").to_string());
    let config = json!(Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(b"no config"), 9));
    let broken = memory.put(json!({"config": config, "layers": []}));
    assert!(facts(&memory, &broken).await.is_err());
}

#[tokio::test]
async fn no_image_of_an_index_is_passed_over() {
    let mut memory = Memory::default();
    let (image, hidden) = (memory.image("a"), memory.image("hidden"));
    let about = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest.to_string()});
    // An image that calls itself an attestation: with a platform, with half of none, without one.
    for (platform, configs) in [
        (json!({"os": "linux", "architecture": "arm64"}), 2),
        (json!({"os": "linux", "architecture": "unknown"}), 2),
        (Value::Null, 2),
        (json!({"os": "unknown", "architecture": "unknown"}), 1),
    ] {
        let mut entry = descriptor(&hidden);
        entry["annotations"] = about.clone();
        entry["platform"] = platform.clone();
        let index = memory.index(vec![descriptor(&image), entry.clone()]);
        assert_eq!(facts(&memory, &index).await.unwrap().0.configs.len(), configs, "{platform}");
        let parsed: Descriptor = serde_json::from_value(entry).unwrap();
        let meant = platform.is_null() || configs == 1;
        assert_eq!(attestation_of(&parsed), meant.then_some(image.digest), "{platform}");
    }
    // One whose config is of no known type is run all the same.
    let config = memory.store("application/vnd.evil+json", "{}");
    let odd = memory.put(json!({"config": config, "layers": []}));
    let mut entry = descriptor(&odd);
    entry["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let index = memory.index(vec![descriptor(&image), entry]);
    let (found, _) = facts(&memory, &index).await.unwrap();
    assert_eq!((found.configs[1].platform.as_str(), found.configs[1].user.as_str()), ("linux/arm64", ""));
    // BuildKit keeps the layers of its cache in an index; what is there as a manifest is one.
    let blob = memory.store("application/vnd.oci.image.layer.v1.tar", "a layer of a cache");
    let mut called = descriptor(&hidden);
    called["mediaType"] = blob["mediaType"].clone();
    let cache = memory.index(vec![descriptor(&image), blob, called]);
    let (found, unread) = facts(&memory, &cache).await.unwrap();
    assert!(found.configs.len() == 2 && unread.is_empty() && found.unread.is_empty(), "{found:?}");
    // Nested, and past the limit: said of the image, and no failure to read.
    let outer = memory.index(vec![descriptor(&image), descriptor(&index)]);
    let (found, unread) = facts(&memory, &outer).await.unwrap();
    assert!(found.unread[0].contains("is an index") && unread.is_empty(), "{found:?}");
    let few = Limits { max_referrers: 1, ..limits() };
    let (found, unread) = image_facts(&memory, "", "a", &[], &index, &[], &few).await.unwrap();
    assert!(found.unread[0].contains("more than 1 images") && unread.is_empty(), "{found:?}");
}

/// What its maker has made unreadable, or keeps elsewhere, is told for good: it is no failure that passes.
#[tokio::test]
async fn what_its_maker_chose_is_no_failure() {
    let mut memory = Memory::default();
    for config in [
        "no JSON".to_owned(),
        r#"{"config": {"User": 0}}"#.to_owned(),
        r#"{"config": {"Labels": {"a": null}}}"#.to_owned(),
        r#"{"created": 5}"#.to_owned(),
        format!("{{\"os\": \"{}\"}}", "x".repeat(9 << 20)),
    ] {
        let stored = memory.store(media_type::OCI_CONFIG, &config);
        let image = memory.put(json!({"config": stored, "layers": []}));
        let found = facts(&memory, &image).await.unwrap().0;
        assert_eq!((found.unread.len(), found.configs.len()), (1, 0), "{found:?}");
        let index = memory.index(vec![descriptor(&image)]);
        assert_eq!(facts(&memory, &index).await.unwrap().0.unread.len(), 1);
    }
    let config = memory.store(media_type::OCI_CONFIG, "{}");
    let here = memory.store("application/vnd.oci.image.layer.v1.tar", "a layer");
    let foreign = memory.store("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "elsewhere");
    let mut by_urls = here.clone();
    by_urls["urls"] = json!(["https://example.org/layer"]);
    for (layer, elsewhere) in [(here, 0), (foreign, 1), (by_urls, 1)] {
        let image = memory.put(json!({"config": config, "layers": [layer]}));
        assert_eq!(facts(&memory, &image).await.unwrap().0.elsewhere.len(), elsewhere, "{layer}");
        let index = memory.index(vec![descriptor(&image)]);
        assert_eq!(facts(&memory, &index).await.unwrap().0.elsewhere.len(), elsewhere, "{layer}");
    }
}

/// Runtimes look at what a config is, and not at the type that a manifest gives it.
#[tokio::test]
async fn what_can_run_is_an_image_whatever_its_types_say() {
    let mut memory = Memory::default();
    let ran =
        r#"{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "config": {"User": "0"}}"#;
    let other = "application/vnd.unknown.config.v1+json";
    let odd = ran.replace("rootfs", "RootFS");
    let cases = [
        (media_type::DOCKER_MANIFEST, other, ran, Some(1)),
        (media_type::DOCKER_MANIFEST, "application/vnd.docker.plugin.v1+json", "{}", Some(1)),
        (media_type::DOCKER_MANIFEST, other, "no JSON", None),
        (media_type::OCI_MANIFEST, other, ran, Some(1)),
        (media_type::OCI_MANIFEST, media_type::OCI_EMPTY, ran, Some(1)),
        (
            media_type::OCI_MANIFEST,
            "application/vnd.oci.image.config.v1+json; a=b",
            "{\"os\": \"linux\"}",
            Some(1),
        ),
        (media_type::OCI_MANIFEST, other, odd.as_str(), None),
        (media_type::OCI_MANIFEST, other, "{\"rootfs\": {}", None),
        (media_type::OCI_MANIFEST, other, "{\"rootfs\": {}, \"config\": 5}", None),
        (media_type::OCI_MANIFEST, "application/vnd.cncf.helm.config.v1+json", "{\"name\": \"a\"}", Some(0)),
        (media_type::OCI_MANIFEST, other, "{}", Some(0)),
        (media_type::OCI_MANIFEST, "text/plain", "no JSON", Some(0)),
        (media_type::OCI_MANIFEST, "application/vnd.oci.image.layer.nondistributable.v1.tar", ran, None),
    ];
    for (manifest, kind, config, configs) in cases {
        let stored = memory.store(kind, config);
        let image = memory.put(json!({"mediaType": manifest, "config": stored, "layers": []}));
        let of_image = facts(&memory, &image).await.unwrap().0;
        let index = memory.index(vec![descriptor(&image)]);
        let of_index = facts(&memory, &index).await.unwrap().0;
        let what = format!("{manifest} {kind} {config}: {of_image:?}");
        assert_eq!(of_image.unread.is_empty(), configs.is_some(), "{what}");
        assert_eq!(of_index.unread.is_empty(), configs.is_some(), "{what}");
        assert_eq!(of_image.configs.len(), configs.unwrap_or_default(), "{what}");
        let users = of_image.configs.iter().chain(&of_index.configs).map(|config| config.user.as_str());
        assert!(config != ran || configs.is_none() || users.eq(["0", "0"]), "{what}");
        let says_artifact = configs == Some(0) || configs.is_none() && manifest == media_type::OCI_MANIFEST;
        assert_eq!(of_image.artifact_type.as_deref(), says_artifact.then_some(kind), "{what}");
    }
    let stored = memory.store(media_type::OCI_CONFIG, ran);
    let image = memory.put(json!({"artifactType": other, "config": stored, "layers": []}));
    assert_eq!(facts(&memory, &image).await.unwrap().0.artifact_type, None, "it runs all the same");
}

/// Sizes are the word of who wrote the manifest: a wrong one is no failure that passes.
#[tokio::test]
async fn what_is_longer_than_its_manifest_says_is_no_failure() {
    let mut memory = Memory::default();
    let shorter = |mut descriptor: Value| {
        descriptor["size"] = json!(3);
        descriptor
    };
    let config = shorter(memory.store(media_type::OCI_CONFIG, r#"{"config": {"User": "7"}}"#));
    let image = memory.put(json!({"config": config, "layers": []}));
    let found = facts(&memory, &image).await.unwrap().0;
    assert!(found.unread.is_empty() && found.configs[0].user == "7", "{found:?}");
    let long = format!("{{\"os\": \"{}\"}}", "x".repeat(9 << 20));
    let config = shorter(memory.store(media_type::OCI_CONFIG, &long));
    let image = memory.put(json!({"config": config, "layers": []}));
    assert!(facts(&memory, &image).await.unwrap().0.unread[0].contains("too long"));
    let layer = shorter(memory.store(STATEMENT, r#"{"_type": "https://in-toto.io/Statement/v1"}"#));
    let config = memory.store(media_type::OCI_EMPTY, "{}");
    let image = memory.put(json!({"config": config, "layers": [layer]}));
    assert!(!crate::is_evidence(&memory, &image, &limits()).await.unwrap());
}

#[tokio::test]
async fn names_that_readers_disagree_about_are_refused() {
    let mut memory = Memory::default();
    let whole = r#"{"os": "linux", "id": 1, "ID": 2, "config": {"User": "1000", "Labels": {"User": "a", "user": "b"}}}"#;
    for (config, said) in [
        (whole, None),
        (r#"{"config": {"User": "1000", "user": "0"}}"#, Some("\"user\" is not \"User\"")),
        (r#"{"config": {"user": "0", "User": "1000"}}"#, Some("\"user\"")),
        (r#"{"config": {"\u017fhell": [], "User": "1000"}}"#, Some("\"Shell\"")),
        (r#"{"config": {"U\u0073er": "1000", "User": "0"}}"#, Some("\"User\" occurs twice")),
        (r#"{"config": {"exposedports": {"22/tcp": {}}}}"#, Some("\"ExposedPorts\"")),
        (r#"{"config": {"User": "1000"}, "Config": {"User": "0"}}"#, Some("\"Config\" is not \"config\"")),
        (r#"{"config": {"User": "0"}, "config": {"User": "1000"}}"#, Some("\"config\" occurs twice")),
        (r#"{"rootfs": {"Diff_IDs": []}}"#, Some("\"diff_ids\"")),
    ] {
        let stored = memory.store(media_type::OCI_CONFIG, config);
        let image = memory.put(json!({"config": stored, "layers": []}));
        let index = memory.index(vec![descriptor(&image)]);
        for manifest in [&image, &index] {
            let found = facts(&memory, manifest).await.unwrap().0;
            assert!(found.incomplete.is_empty(), "it stays so: {found:?}");
            match said {
                None => assert!(found.unread.is_empty(), "{config}: {found:?}"),
                Some(said) => assert!(found.unread[0].contains(said), "{config}: {found:?}"),
            }
        }
    }
    let (good, evil) = (memory.image("good"), memory.image("evil"));
    for (name, value) in [
        ("Config", descriptor(&evil)),
        ("LAYERS", json!([])),
        ("Manifests", json!([descriptor(&evil)])),
        ("mediatype", json!("x")),
        ("\u{17f}ubject", descriptor(&evil)),
    ] {
        let mut manifest: Value = serde_json::from_slice(&good.body).unwrap();
        manifest[name] = value;
        let manifest = memory.put(manifest);
        let found = facts(&memory, &manifest).await.unwrap().0;
        assert!(
            found.unknown && found.unread[0].contains("but runtimes take it for that"),
            "{name}: {found:?}"
        );
    }
    let mut entry = descriptor(&good);
    entry["platform"] = json!({"os": "linux", "OS": "windows", "architecture": "amd64"});
    let index = memory.index(vec![entry]);
    assert!(facts(&memory, &index).await.unwrap().0.unread[0].contains("\"OS\" is not \"os\""));
}

#[tokio::test]
async fn configs_of_an_index_have_a_limit_together() {
    let mut memory = Memory::default();
    let images = ["a", "b", "c"].map(|label| memory.image(label));
    let index = memory.index(images.iter().map(descriptor).collect());
    let whole = facts(&memory, &index).await.unwrap().0;
    assert!(whole.configs.len() == 3 && whole.unread.is_empty(), "{whole:?}");
    let few = Limits { max_total: 700, ..limits() };
    let (found, unread) = image_facts(&memory, "", "a", &[], &index, &[], &few).await.unwrap();
    assert!(found.unread[0].contains("with the others") && unread.is_empty(), "{found:?}");
}

/// What is left out of a platform may be any, and is not said to be something else.
#[tokio::test]
async fn platforms_are_told_as_they_are_written() {
    let mut memory = Memory::default();
    for (config, entry, own, in_index) in [
        (json!({"os": "linux", "architecture": "x86_64"}), Value::Null, "linux/x86_64", "linux/x86_64"),
        (json!({"os": "linux", "variant": "v8"}), Value::Null, "linux/unknown/v8", "linux/unknown/v8"),
        (json!({"architecture": "amd64"}), Value::Null, "unknown/amd64", "unknown/amd64"),
        (json!({"os": "linux/x", "architecture": "amd64"}), Value::Null, "unknown/amd64", "unknown/amd64"),
        (json!({}), Value::Null, "", "unknown/unknown"),
        (json!({}), json!({"os": "linux", "architecture": "arm64"}), "", "linux/arm64"),
        (json!({}), json!({"os": "linux"}), "", "linux/unknown"),
        (
            json!({"os": "linux", "architecture": "riscv64"}),
            json!({"os": "linux", "architecture": "amd64"}),
            "linux/riscv64",
            "linux/amd64 linux/riscv64",
        ),
    ] {
        let stored = memory.store(media_type::OCI_CONFIG, &config.to_string());
        let image = memory.put(json!({"config": stored, "layers": []}));
        assert_eq!(facts(&memory, &image).await.unwrap().0.platforms.join(" "), own, "{config}");
        let mut listed = descriptor(&image);
        listed["platform"] = entry.clone();
        let index = memory.index(vec![listed]);
        let platforms = facts(&memory, &index).await.unwrap().0.platforms;
        assert_eq!(platforms.join(" "), in_index, "{config} {entry}");
    }
}
