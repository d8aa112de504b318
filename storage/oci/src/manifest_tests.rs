use super::*;
use proptest::prelude::*;

fn parse(content_type: Option<&str>, body: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(content_type, body.as_bytes(), &ManifestLimits::default())
}

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","size":1,"digest":"{}"}}"#, Digest::sha256(b"x"))
}

#[test]
fn image_and_index() {
    let config = descriptor("application/vnd.example.config");
    let layer = descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar");
    let image = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{layer},{config}],"subject":{config},"x":{{}}}}"#
    );
    let image = parse(Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), &image).unwrap();
    assert_eq!(image.artifact_type.as_deref(), Some("application/vnd.example.config"));
    assert_eq!(image.blobs().count(), 2, "the non-distributable layer is not asked for");
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
    let index = parse(None, &index).unwrap();
    assert_eq!((index.kind, index.artifact_type), (ManifestKind::Index, None));
}

#[test]
fn refusals_say_what_is_wrong() {
    let c = descriptor("c");
    let oci = Some(media_type::OCI_MANIFEST);
    let cases = [
        (oci, "{".to_owned(), "JSON"),
        (oci, r#"{"schemaVersion":1}"#.to_owned(), "schema 1"),
        (Some(media_type::DOCKER_SCHEMA1[1]), "{}".to_owned(), "schema 1"),
        (oci, r#"{"schemaVersion":3}"#.to_owned(), "found 3"),
        (None, r#"{"schemaVersion":2}"#.to_owned(), "no mediaType"),
        (Some("text/plain"), "{}".to_owned(), "text/plain"),
        (oci, format!(r#"{{"mediaType":"{}"}}"#, media_type::OCI_INDEX), "Content-Type is"),
        (oci, format!(r#"{{"config":{c},"layers":[],"manifests":[]}}"#), "ambiguous"),
        (oci, format!(r#"{{"config":{c},"manifests":[]}}"#), "manifests"),
        (Some(media_type::OCI_INDEX), r#"{"layers":[]}"#.to_owned(), "layers"),
        (oci, r#"{"layers":[]}"#.to_owned(), "config"),
        (oci, format!(r#"{{"config":{c},"layers":[],"layers":[]}}"#), "duplicate"),
        (oci, r#"{"config":{"mediaType":"x","size":-1,"digest":"sha256:0"}}"#.to_owned(), "JSON"),
        (oci, format!(r#"{{"config":{c},"artifactType":"a\u0000"}}"#), "control"),
        (oci, format!(r#"{{"x":{}{}}}"#, "[".repeat(200), "]".repeat(200)), "limit of 64 levels"),
    ];
    for (content_type, body, expected) in cases {
        let error = parse(content_type, &body).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
    let limits = ManifestLimits { max_size: 10, ..ManifestLimits::default() };
    assert!(Manifest::parse(oci, &[b' '; 11], &limits).unwrap_err().to_string().contains("limit of 10"));
}

/// JSON with the fields of a manifest, and values that fit or do not.
fn almost_manifests() -> impl Strategy<Value = String> {
    let descriptor = prop_oneof![
        4 => Just(descriptor("x")),
        1 => Just(r#"{"mediaType":"a","digest":"sha256:0","size":1}"#.to_owned()),
        1 => Just(r#"{"size":-1}"#.to_owned()),
        1 => "null|1|\"x\"|\\[\\]|\\{\\}",
    ];
    let list = proptest::collection::vec(descriptor.clone(), 0..4).prop_map(|l| format!("[{}]", l.join(",")));
    let types = [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, "x", ""];
    let field = prop_oneof![
        (0..4u8).prop_map(|version| format!(r#""schemaVersion":{version}"#)),
        proptest::sample::select(types.to_vec()).prop_map(|t| format!(r#""mediaType":"{t}""#)),
        descriptor.clone().prop_map(|d| format!(r#""config":{d}"#)),
        descriptor.prop_map(|d| format!(r#""subject":{d}"#)),
        (proptest::sample::select(vec!["layers", "manifests"]), list)
            .prop_map(|(k, l)| format!(r#""{k}":{l}"#)),
        Just(r#""annotations":{"a":"b"}"#.to_owned()),
        (0..80usize).prop_map(|n| format!(r#""x":{}{}"#, "[".repeat(n), "]".repeat(n))),
    ];
    proptest::collection::vec(field, 0..7).prop_map(|fields| format!("{{{}}}", fields.join(",")))
}

proptest! {
    #[test]
    fn what_is_taken_has_one_shape(body in almost_manifests(), typed: bool) {
        if let Ok(manifest) = parse(typed.then_some(media_type::OCI_MANIFEST), &body) {
            match manifest.kind {
                ManifestKind::Image => prop_assert!(manifest.config.is_some() && manifest.manifests.is_empty()),
                ManifestKind::Index => prop_assert!(manifest.config.is_none() && manifest.layers.is_empty()),
            }
        }
    }

    #[test]
    fn never_panics(body: Vec<u8>, text in "\\PC{0,200}") {
        let _ = Manifest::parse(None, &body, &ManifestLimits::default());
        let _ = parse(Some(media_type::OCI_MANIFEST), &text);
    }
}

#[test]
fn containers() {
    let d = |kind: &str| descriptor(kind);
    let (oci, docker) = (media_type::OCI_CONFIG, media_type::DOCKER_CONFIG);
    let tar = "application/vnd.oci.image.layer.v1.tar+zstd";
    let make = |config: &str, layer: &str, more: &str| {
        let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]{more}}}"#, d(config), d(layer));
        parse(Some(media_type::OCI_MANIFEST), &text).unwrap().is_container()
    };
    assert!(make(oci, tar, ""));
    assert!(make(docker, "application/vnd.docker.image.rootfs.diff.tar.gzip", ""));
    assert!(!make(oci, "application/vnd.in-toto+json", ""), "BuildKit's attestations");
    assert!(!make(oci, "application/vnd.dev.cosign.simplesigning.v1+json", ""), "cosign's signatures");
    assert!(!make("application/vnd.cncf.helm.config.v1+json", tar, ""));
    assert!(!make(oci, tar, r#","artifactType":"application/vnd.example""#));
    assert!(make("application/vnd.oci.image.config.v1+json; a=b", tar, ""));
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, d("a/b"), d(tar));
    assert!(parse(Some(media_type::DOCKER_MANIFEST), &text).unwrap().is_container(), "podman runs it");
}

#[test]
fn an_image_is_the_same_in_all_its_forms() {
    let part = |bytes: &[u8], size: u64| {
        format!(r#"{{"mediaType":"a/b","size":{size},"digest":"{}"}}"#, Digest::sha256(bytes))
    };
    let form = |config: &str, layer: &str, more: &str| {
        let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]{more}}}"#);
        parse(Some(media_type::OCI_MANIFEST), &text).unwrap().form()
    };
    let (config, layer, empty) = (part(b"config", 6), part(b"layer", 5), part(b"{}", 2));
    assert_eq!(form(&config, &layer, ""), Some(Digest::sha256(b"config")));
    // Sizes and annotations are anybody's word.
    let more = r#","annotations":{"a":"b"}"#;
    assert_eq!(form(&part(b"config", 2), &layer, more), Some(Digest::sha256(b"config")));
    assert_eq!(form(&empty, &layer, ""), Some(Digest::sha256(b"layer")));
    assert_eq!(form(&part(b"{}", 9), &layer, ""), Some(Digest::sha256(b"layer")));
    assert_eq!(form(&empty, &empty, ""), None);
}

#[test]
fn an_image_is_one_whatever_its_types_say() {
    let make = |manifest: &str, config: &str, bytes: &[u8]| {
        let config = format!(r#"{{"mediaType":"{config}","size":2,"digest":"{}"}}"#, Digest::sha256(bytes));
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{manifest}","artifactType":"a/b","config":{config},"layers":[]}}"#
        );
        parse(Some(manifest), &text).unwrap().is_image()
    };
    let (oci, docker) = (media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST);
    assert_eq!(make(docker, "a/b", b"{}"), Some(true));
    assert_eq!(make(oci, media_type::OCI_CONFIG, b"{}"), Some(true));
    assert_eq!(make(oci, "application/vnd.docker.container.image.v1+json ; a=b", b"config"), Some(true));
    assert_eq!(make(oci, "a/b", b"config"), None);
    assert_eq!(make(oci, media_type::OCI_EMPTY, b"config"), None);
    assert_eq!(make(oci, "a/b", b"{}"), Some(false));
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor("a/b"));
    assert_eq!(parse(Some(media_type::OCI_INDEX), &index).unwrap().is_image(), Some(false));
}
