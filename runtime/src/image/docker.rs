//! `docker save` archives (manifest.json, Docker Image Specification v1.2) as an image layout. Docker
//! leaves layers uncompressed there, some tools compress them; they are taken as they are; the manifest is made here, and as its bytes depend on the archive alone, its
//! digest is the same each time.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use rreg_oci::{Algorithm, Descriptor, Digest, Hasher, ImageReference, media_type};
use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::file_span::{FileSpan, LocalBlob};
use super::reader::REF_NAME;
use super::tar_index::TarIndex;

/// Longest configuration, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// An uncompressed layer; compressed ones add `+gzip` or `+zstd`.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Index entries and blobs of the archive.
pub(super) type Converted = (Vec<Descriptor>, HashMap<Digest, LocalBlob>);

/// Reads `manifest.json`, hashing every layer. Blocks.
pub(super) fn convert(path: &Path, archive: &TarIndex, manifest: &[u8]) -> Result<Converted, ImageError> {
    let saved: Vec<Saved> = serde_json::from_slice(manifest)
        .map_err(|e| ImageError::invalid(path, format!("manifest.json is not that of docker save: {e}")))?;
    let mut blobs = HashMap::new();
    let mut hashed = HashMap::new();
    let mut entries = Vec::new();
    for image in saved {
        let find = |name: &str| {
            archive.find(name).ok_or_else(|| ImageError::invalid(path, format!("the archive lacks {name:?}")))
        };
        let config = find(&image.config)?;
        if config.length > MAX_CONFIG {
            return Err(ImageError::invalid(
                path,
                format!("the configuration is longer than {MAX_CONFIG} bytes"),
            ));
        }
        let config = Bytes::from(config.read_all().map_err(|e| ImageError::io(path, e))?);
        let config = keep(&mut blobs, media_type::OCI_CONFIG, config);
        let mut layers = Vec::with_capacity(image.layers.len());
        for name in &image.layers {
            let span = find(name)?;
            let known: Option<&Descriptor> = hashed.get(&span.offset);
            let layer = match known {
                Some(layer) => layer.clone(),
                None => layer(&span).map_err(|e| ImageError::io(path, e))?,
            };
            hashed.insert(span.offset, layer.clone());
            blobs.insert(layer.digest, LocalBlob::File(span));
            layers.push(layer);
        }
        let made = ImageManifest { schema_version: 2, media_type: media_type::OCI_MANIFEST, config, layers };
        let made = serde_json::to_vec(&made).map_err(|e| ImageError::invalid(path, e.to_string()))?;
        let entry = keep(&mut blobs, media_type::OCI_MANIFEST, made.into());
        entries.extend(named(&entry, image.repo_tags.unwrap_or_default()));
    }
    Ok((entries, blobs))
}

fn keep(blobs: &mut HashMap<Digest, LocalBlob>, media_type: &str, bytes: Bytes) -> Descriptor {
    let descriptor = Descriptor::new(media_type, Digest::sha256(&bytes), bytes.len() as u64);
    blobs.insert(descriptor.digest, LocalBlob::Memory(bytes));
    descriptor
}

/// One index entry for each tag, or one without a name.
fn named(entry: &Descriptor, tags: Vec<String>) -> Vec<Descriptor> {
    if tags.is_empty() {
        return vec![entry.clone()];
    }
    let name = |full: String| {
        // The tag alone is what layouts carry; a short name such as `app:1` is no full reference.
        let tag = full.parse::<ImageReference>().ok().and_then(|r| r.tag).map(|t| t.to_string());
        tag.or_else(|| full.rsplit_once(':').map(|(_, tag)| tag.to_owned())).unwrap_or(full)
    };
    tags.into_iter()
        .map(|tag| {
            let annotations = Some([(REF_NAME.to_owned(), name(tag))].into());
            Descriptor { annotations, ..entry.clone() }
        })
        .collect()
}

/// Hashes a layer and tells its compression by its first bytes.
fn layer(span: &FileSpan) -> std::io::Result<Descriptor> {
    let mut reader = span.reader()?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    let mut compression = None;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            let media_type = format!("{LAYER}{}", compression.unwrap_or_default());
            return Ok(Descriptor::new(media_type, hasher.finish(), span.length));
        }
        compression.get_or_insert(match &buffer[..read] {
            [0x1f, 0x8b, ..] => "+gzip",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "+zstd",
            _ => "",
        });
        hasher.update(&buffer[..read]);
    }
}
