//! Images made on the spot. The same label gives the same bytes, another label others.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rreg_oci::{Algorithm, Digest, media_type};
use serde_json::{Value, json};

/// A compressed layer.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// What an example artifact is.
pub(crate) const EXAMPLE: &str = "application/vnd.example.sbom";

/// Bytes and their digest.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
}

impl Blob {
    /// Of these bytes.
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        Self::with(Algorithm::Sha256, bytes)
    }

    /// Of these bytes, by another algorithm.
    pub(crate) fn with(algorithm: Algorithm, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(algorithm, &bytes), bytes }
    }

    /// `length` bytes that do not compress.
    pub(crate) fn random(label: &str, length: usize) -> Self {
        Self::new(noise(label, length))
    }

    /// The descriptor.
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest.to_string(), "size": self.bytes.len()})
    }
}

/// A manifest as it is pushed.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
}

impl Stored {
    /// `manifest` in JSON; its type is its `mediaType`.
    pub(crate) fn new(manifest: &Value) -> Self {
        Self::with(Algorithm::Sha256, manifest)
    }

    /// The same, named by another algorithm.
    pub(crate) fn with(algorithm: Algorithm, manifest: &Value) -> Self {
        // Indented, so that a registry that writes manifests anew is found out.
        let bytes = Bytes::from(serde_json::to_vec_pretty(manifest).unwrap());
        let media_type = manifest["mediaType"].as_str().unwrap_or(media_type::OCI_MANIFEST).to_owned();
        Self { media_type, digest: Digest::of(algorithm, &bytes), bytes }
    }

    /// The descriptor.
    pub(crate) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.bytes.len()})
    }

    /// The manifest.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

/// Everything that one push brings: blobs, and manifests with children before parents.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) blobs: Vec<Blob>,
    pub(crate) manifests: Vec<Stored>,
}

impl Image {
    /// An image of `layers` gzipped layers for linux/amd64.
    pub(crate) fn layered(label: &str, layers: usize) -> Self {
        Self::for_platform(Algorithm::Sha256, label, layers, "amd64")
    }

    /// The same with all digests by `algorithm`.
    pub(crate) fn layered_with(algorithm: Algorithm, label: &str, layers: usize) -> Self {
        Self::for_platform(algorithm, label, layers, "amd64")
    }

    fn for_platform(algorithm: Algorithm, label: &str, layers: usize, architecture: &str) -> Self {
        let types = [media_type::OCI_MANIFEST, media_type::OCI_CONFIG, LAYER];
        Self::build(algorithm, &format!("{label}/{architecture}"), layers, architecture, types)
    }

    /// An image of one gzipped layer with these files.
    pub(crate) fn of_files(files: &[(&str, &[u8])], architecture: &str) -> Self {
        let tar = tarball(files);
        let made = vec![(Blob::new(gzip(&tar)), Digest::sha256(&tar).to_string())];
        let types = [media_type::OCI_MANIFEST, media_type::OCI_CONFIG, LAYER];
        Self::assemble(Algorithm::Sha256, "files", made, architecture, types)
    }

    /// An image of one gzipped layer with everything below `root`.
    pub(crate) fn of_tree(root: &Path) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        builder.follow_symlinks(false);
        builder.append_dir_all(".", root).unwrap();
        let tar = builder.into_inner().unwrap();
        let made = vec![(Blob::new(gzip(&tar)), Digest::sha256(&tar).to_string())];
        let types = [media_type::OCI_MANIFEST, media_type::OCI_CONFIG, LAYER];
        Self::assemble(Algorithm::Sha256, "tree", made, "amd64", types)
    }

    /// A Docker version 2 schema 2 image.
    pub(crate) fn docker(label: &str, layers: usize) -> Self {
        let types = [media_type::DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER];
        Self::build(Algorithm::Sha256, label, layers, "amd64", types)
    }

    fn build(algorithm: Algorithm, label: &str, layers: usize, architecture: &str, types: [&str; 3]) -> Self {
        let made: Vec<(Blob, String)> =
            (0..layers).map(|i| layer(algorithm, &format!("{label}/{i}"))).collect();
        Self::assemble(algorithm, label, made, architecture, types)
    }

    fn assemble(
        algorithm: Algorithm,
        label: &str,
        made: Vec<(Blob, String)>,
        architecture: &str,
        types: [&str; 3],
    ) -> Self {
        let diff_ids: Vec<&String> = made.iter().map(|(_, diff_id)| diff_id).collect();
        let history: Vec<Value> =
            (0..made.len()).map(|i| json!({"created_by": format!("layer {i}")})).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["/file-0"], "Labels": {"label": label}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        });
        let config = Blob::with(algorithm, serde_json::to_vec(&config).unwrap());
        let descriptors: Vec<Value> = made.iter().map(|(blob, _)| blob.descriptor(types[2])).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": types[0],
            "config": config.descriptor(types[1]), "layers": descriptors,
        });
        let blobs = made.into_iter().map(|(blob, _)| blob).chain([config]).collect();
        Self { blobs, manifests: vec![Stored::with(algorithm, &manifest)] }
    }

    /// A multi-platform index over images for amd64 and arm64.
    pub(crate) fn index(label: &str) -> Self {
        Self::index_with(Algorithm::Sha256, label)
    }

    /// The same with all digests by `algorithm`.
    pub(crate) fn index_with(algorithm: Algorithm, label: &str) -> Self {
        let child = |architecture| (Self::for_platform(algorithm, label, 2, architecture), architecture);
        Self::over_platforms(algorithm, ["amd64", "arm64"].map(child))
    }

    /// A multi-platform index over these images.
    pub(crate) fn for_platforms(children: impl IntoIterator<Item = (Self, &'static str)>) -> Self {
        Self::over_platforms(Algorithm::Sha256, children)
    }

    fn over_platforms(
        algorithm: Algorithm,
        children: impl IntoIterator<Item = (Self, &'static str)>,
    ) -> Self {
        let (children, descriptors): (Vec<Self>, Vec<Value>) = children
            .into_iter()
            .map(|(child, architecture)| {
                let mut descriptor = child.root().descriptor();
                descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
                (child, descriptor)
            })
            .unzip();
        Self::over(algorithm, children, &descriptors)
    }

    /// A Docker manifest list.
    pub(crate) fn docker_list(label: &str) -> Self {
        let child = Self::docker(label, 2);
        let mut descriptor = child.root().descriptor();
        descriptor["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let list =
            json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_LIST, "manifests": [descriptor]});
        Self::joined([child], &Stored::new(&list))
    }

    /// An index whose entries are these images or indexes.
    pub(crate) fn index_of(children: impl IntoIterator<Item = Self>) -> Self {
        let children: Vec<Self> = children.into_iter().collect();
        let descriptors: Vec<Value> = children.iter().map(|child| child.root().descriptor()).collect();
        Self::over(Algorithm::Sha256, children, &descriptors)
    }

    fn over(algorithm: Algorithm, children: impl IntoIterator<Item = Self>, descriptors: &[Value]) -> Self {
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": descriptors});
        Self::joined(children, &Stored::with(algorithm, &index))
    }

    fn joined(children: impl IntoIterator<Item = Self>, root: &Stored) -> Self {
        let (mut blobs, mut manifests) = (Vec::new(), Vec::new());
        for child in children {
            blobs.extend(child.blobs);
            manifests.extend(child.manifests);
        }
        manifests.push(root.clone());
        Self { blobs, manifests }
    }

    /// An artifact: the empty config and one blob of its own type.
    pub(crate) fn artifact(label: &str, artifact_type: &str) -> Self {
        let payload = Blob::random(label, 700);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
            "config": Blob::new("{}").descriptor(media_type::OCI_EMPTY),
            "layers": [payload.descriptor(artifact_type)],
            "annotations": {"org.example.label": label},
        });
        Self { blobs: vec![Blob::new("{}"), payload], manifests: vec![Stored::new(&manifest)] }
    }

    /// A chart as helm pushes it.
    pub(crate) fn chart(label: &str) -> Self {
        let config = json!({"apiVersion": "v2", "name": label, "version": "0.1.0", "type": "application"});
        let config = Blob::new(serde_json::to_vec(&config).unwrap());
        let yaml = format!("apiVersion: v2\nname: {label}\nversion: 0.1.0\n");
        let archive = Blob::new(gzip(&tarball(&[("chart/Chart.yaml", yaml.as_bytes())])));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config.descriptor("application/vnd.cncf.helm.config.v1+json"),
            "layers": [archive.descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
        });
        Self { blobs: vec![config, archive], manifests: vec![Stored::new(&manifest)] }
    }

    /// The same blobs under a changed root manifest.
    pub(crate) fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let root = self.manifests.pop().unwrap();
        let mut json = root.json();
        edit(&mut json);
        self.manifests.push(Stored::with(root.digest.algorithm(), &json));
        self
    }

    /// The same image over this layer, which is not compressed, instead of its own.
    pub(crate) fn over_layer(self, layer: Blob) -> Self {
        let mut image = self.edited(|manifest| manifest["layers"] = json!([layer.descriptor(PLAIN_LAYER)]));
        let config = image.root().json()["config"]["digest"].as_str().unwrap().to_owned();
        image.blobs.retain(|blob| blob.digest.to_string() == config);
        image.blobs.push(layer);
        image
    }

    /// The same image saying that it is about `subject`.
    pub(crate) fn about(self, subject: &Value) -> Self {
        self.edited(|manifest| manifest["subject"] = subject.clone())
    }

    /// The manifest that names everything else.
    pub(crate) fn root(&self) -> &Stored {
        self.manifests.last().unwrap()
    }

    /// Writes an OCI image layout into `dir`, the root named `tag`.
    pub(crate) fn write_layout(&self, dir: &Path, tag: &str) {
        let write = |digest: &Digest, bytes: &[u8]| {
            let folder = dir.join("blobs").join(digest.algorithm().as_str());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(digest.hex()), bytes).unwrap();
        };
        self.blobs.iter().for_each(|b| write(&b.digest, &b.bytes));
        self.manifests.iter().for_each(|m| write(&m.digest, &m.bytes));
        let mut root = self.root().descriptor();
        root["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [root]});
        fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// A gzipped layer and the digest of its tar.
fn layer(algorithm: Algorithm, label: &str) -> (Blob, String) {
    let name = format!("file-{}", label.rsplit('/').next().unwrap_or_default());
    let tar = tarball(&[(&name, &noise(label, 4000)), ("label", label.as_bytes())]);
    (Blob::with(algorithm, gzip(&tar)), Digest::sha256(&tar).to_string())
}

/// A tar archive with nothing in it that depends on the machine.
pub(crate) fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Incompressible bytes that depend on the label alone: splitmix64 seeded by the label's digest.
pub(crate) fn noise(label: &str, length: usize) -> Vec<u8> {
    let seed = Digest::sha256(label.as_bytes());
    let mut state = u64::from_le_bytes(seed.hash()[..8].try_into().unwrap());
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    out.truncate(length);
    out
}
