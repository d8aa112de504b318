//! Reads an image from a directory or an archive.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rreg_oci::{Descriptor, Digest, Manifest, ManifestLimits, Tag};
use serde::{Deserialize, Serialize};

use super::docker;
use super::error::ImageError;
use super::file_span::{FileSpan, LocalBlob};
use super::tar_index::TarIndex;
use crate::client::FetchedManifest;

/// The annotation of an index entry that names it (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which podman, containerd and Docker name what they load: the whole name, of host, repository and tag.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
/// Longest `index.json` and `manifest.json`, in bytes.
const MAX_INDEX: u64 = 4 << 20;

/// `index.json`: other fields are of no use to a copy.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexFile {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

enum Files {
    Directory(PathBuf),
    Archive(TarIndex),
}

impl Files {
    fn find(&self, name: &str) -> Option<FileSpan> {
        match self {
            Self::Directory(root) => {
                let path = root.join(name);
                let length = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
                Some(FileSpan { path, offset: 0, length })
            }
            Self::Archive(index) => index.find(name),
        }
    }
}

/// An image in files, opened.
pub struct LayoutReader {
    path: PathBuf,
    files: Files,
    /// Of a `docker save` archive, whose blobs have no digest for a name.
    made: HashMap<Digest, LocalBlob>,
    roots: Vec<Descriptor>,
    referrers: HashMap<Digest, Vec<Descriptor>>,
    /// Under the tags of cosign 2.
    tagged: HashMap<Tag, Descriptor>,
}

impl LayoutReader {
    /// Opens a layout directory, a layout archive or a `docker save` archive.
    ///
    /// # Errors
    /// [`ImageError`] when there is none at `path`.
    pub async fn open(path: &Path) -> Result<Self, ImageError> {
        let owned = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&owned)).await;
        opened.map_err(|e| ImageError::invalid(path, format!("reading it was broken off: {e}")))?
    }

    fn open_blocking(path: &Path) -> Result<Self, ImageError> {
        let meta = std::fs::metadata(path).map_err(|e| ImageError::io(path, e))?;
        let files =
            if meta.is_dir() { Files::Directory(path.into()) } else { Files::Archive(TarIndex::scan(path)?) };
        let (entries, made) = match (read_small(path, &files, "index.json")?, &files) {
            (Some(index), _) => {
                let index: IndexFile = serde_json::from_slice(&index)
                    .map_err(|e| ImageError::invalid(path, format!("index.json is no image index: {e}")))?;
                (index.manifests, HashMap::new())
            }
            (None, Files::Archive(archive)) => match read_small(path, &files, "manifest.json")? {
                Some(manifest) => docker::convert(path, archive, &manifest)?,
                None => {
                    let why = "no image: neither an OCI layout (index.json) nor an archive of docker save (manifest.json)";
                    return Err(ImageError::invalid(path, why));
                }
            },
            (None, Files::Directory(_)) => {
                return Err(ImageError::invalid(
                    path,
                    "no image: it has no index.json, as an OCI layout has (`crane pull --format oci` or `skopeo copy` to oci: makes one)",
                ));
            }
        };
        let (roots, referrers, tagged) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut reader = Self { path: path.into(), files, made, roots, referrers, tagged };
        reader.sort(entries)?;
        Ok(reader)
    }

    /// Entries with a subject belong to that subject, and those that cosign names to what they are named after; the
    /// others are what the layout is about.
    fn sort(&mut self, entries: Vec<Descriptor>) -> Result<(), ImageError> {
        for entry in entries {
            let manifest = self.manifest_blocking(&entry)?;
            let name = entry.annotations.as_ref().and_then(|a| a.get(REF_NAME));
            let named = name.is_some();
            let tag =
                name.and_then(|name| name.parse::<Tag>().ok()).filter(|tag| tag.cosign_subject().is_some());
            if let Some(tag) = tag {
                self.tagged.insert(tag, entry);
                continue;
            }
            let parsed = manifest.parse().map_err(|e| self.invalid(&entry, &e.to_string()))?;
            match parsed {
                Manifest { subject: Some(subject), .. } if !named => {
                    self.referrers.entry(subject.digest).or_default().push(entry);
                }
                _ => self.roots.push(entry),
            }
        }
        if self.roots.is_empty() {
            // Somebody took the signatures alone.
            self.roots.extend(self.tagged.values().cloned());
            self.roots.sort_by_key(|entry| entry.digest);
        }
        Ok(())
    }

    /// What the layout holds, apart from referrers of these.
    pub fn roots(&self) -> &[Descriptor] {
        &self.roots
    }

    /// The one image meant: by the name it has in the layout, or the only one.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] that lists the names when it is not clear.
    pub fn select(&self, name: Option<&str>) -> Result<&Descriptor, ImageError> {
        let name_of = |d: &Descriptor| d.annotations.as_ref().and_then(|a| a.get(REF_NAME)).cloned();
        let found: Vec<_> = self
            .roots
            .iter()
            .filter(|d| name.is_none_or(|name| name_of(d).as_deref() == Some(name)))
            .collect();
        match found.as_slice() {
            [first, rest @ ..] if rest.iter().all(|other| other.digest == first.digest) => Ok(first),
            [] if self.roots.is_empty() => Err(ImageError::invalid(&self.path, "it holds no image")),
            _ => {
                let names: Vec<_> =
                    self.roots.iter().map(|d| name_of(d).unwrap_or_else(|| d.digest.to_string())).collect();
                let why = format!("choose one of its images by name: {}", names.join(", "));
                Err(ImageError::invalid(&self.path, why))
            }
        }
    }

    /// Manifests in the layout whose subject is `subject`.
    pub fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        self.referrers.get(subject).cloned().unwrap_or_default()
    }

    /// The manifest under one of cosign 2's tags, if the layout has it.
    pub fn tagged(&self, tag: &Tag) -> Option<&Descriptor> {
        self.tagged.get(tag)
    }

    /// A manifest, verified.
    ///
    /// # Errors
    /// [`ImageError`] when it is not there or not what its digest says.
    pub async fn manifest(
        self: &std::sync::Arc<Self>,
        descriptor: &Descriptor,
    ) -> Result<FetchedManifest, ImageError> {
        let (reader, wanted) = (self.clone(), descriptor.clone());
        let read = tokio::task::spawn_blocking(move || reader.manifest_blocking(&wanted)).await;
        read.map_err(|e| self.invalid(descriptor, &e.to_string()))?
    }

    fn manifest_blocking(&self, descriptor: &Descriptor) -> Result<FetchedManifest, ImageError> {
        let limit = ManifestLimits::default().max_size as u64;
        if descriptor.size > limit {
            return Err(self.invalid(descriptor, &format!("longer than the limit of {limit} bytes")));
        }
        let bytes = match self.blob(descriptor)? {
            LocalBlob::Memory(bytes) => bytes,
            LocalBlob::File(span) => Bytes::from(span.read_all().map_err(|e| ImageError::io(&self.path, e))?),
        };
        let found = Digest::of(descriptor.digest.algorithm(), &bytes);
        if found != descriptor.digest {
            return Err(self.invalid(descriptor, &format!("damaged, its content is {found}")));
        }
        Ok(FetchedManifest { descriptor: descriptor.clone(), bytes })
    }

    /// A blob of the length that its descriptor says. The digest is checked by whoever receives the bytes.
    ///
    /// # Errors
    /// [`ImageError`] when it is not there or has another length.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<LocalBlob, ImageError> {
        if let Some(made) = self.made.get(&descriptor.digest) {
            return Ok(made.clone());
        }
        let span = self.files.find(&blob_name(&descriptor.digest));
        let span = span.ok_or_else(|| self.invalid(descriptor, "not in the layout"))?;
        if span.length != descriptor.size {
            let why = format!("it has {} bytes, its descriptor says {}", span.length, descriptor.size);
            return Err(self.invalid(descriptor, &why));
        }
        Ok(LocalBlob::File(span))
    }

    fn invalid(&self, descriptor: &Descriptor, why: &str) -> ImageError {
        ImageError::invalid(&self.path, format!("{}: {why}", descriptor.digest))
    }
}

/// `blobs/<algorithm>/<encoded>`.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn read_small(path: &Path, files: &Files, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
    let Some(span) = files.find(name) else { return Ok(None) };
    if span.length > MAX_INDEX {
        return Err(ImageError::invalid(path, format!("{name} is longer than {MAX_INDEX} bytes")));
    }
    span.read_all().map(Some).map_err(|e| ImageError::io(path, e))
}
