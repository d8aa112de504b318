//! One image: read it, write its documents, push them beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rreg_oci::{Descriptor, Digest, Manifest, ManifestLimits, Reference, RepositoryName, media_type};
use rreg_sbom::{Sbom, Subject};
use rreg_storage::{AuditEvent, ChunkHeaders, NewManifest, SbomJob, Storage, StorageError, StoredManifest};
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::layers::{self, Until};

/// Longest configuration read, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// Who pushes documents, in audit rows and in annotations.
const CREATOR: &str = concat!("rreg ", env!("CARGO_PKG_VERSION"));

/// What bounds the work on one image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// All layers together, compressed, in bytes.
    pub(super) image_bytes: u64,
    pub(super) time: Duration,
    /// Longest manifest, in bytes: it was pushed under this limit.
    pub(super) manifest_bytes: usize,
}

/// A document's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    CycloneDx,
    Spdx,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::CycloneDx => "application/vnd.cyclonedx+json",
            Self::Spdx => "application/spdx+json",
        }
    }

    fn write(self, sbom: &Sbom) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let written = match self {
            Self::CycloneDx => rreg_sbom::write_cyclonedx(sbom, &mut bytes),
            Self::Spdx => rreg_sbom::write_spdx(sbom, &mut bytes),
        };
        let refused = |message: String| Failure { name: "unwritable", message, again: false };
        written.map(|()| bytes).map_err(|e| refused(e.to_string()))
    }
}

/// Lists the packages of the job's image and attaches the documents.
pub(super) async fn attach(
    storage: &Storage,
    job: &SbomJob,
    documents: &'static [Format],
    limits: &Limits,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let reference = Reference::Digest(job.digest);
    let stored = storage.metadata().manifest(&job.repository, &reference).await?;
    let image = parse(&stored, limits)?;
    let mut size = 0_u64;
    for layer in image.layers.iter().filter(|layer| !layer.is_external()) {
        // What the manifest says of lengths is its author's word.
        let stored = storage.metadata().blob(&job.repository, &layer.digest).await?;
        size = size.saturating_add(stored.size);
    }
    if size > limits.image_bytes {
        let message = format!("the layers have {size} bytes; sbom.max_image_size is {}", limits.image_bytes);
        return Err(Failure { name: "image-too-large", message, again: false });
    }
    let config = config(storage, &job.repository, &image).await?;
    let until = Until { deadline: Instant::now() + limits.time, stop: stop.clone() };
    let (reader, repository) = (storage.clone(), job.repository.clone());
    // Named by its digest: the same image gets the same documents in every repository.
    let digest = job.digest.to_string();
    let sbom = blocking(move || {
        let scanner = layers::scan(&reader, &repository, &image, &until, &Handle::current())?;
        Ok(Arc::new(scanner.finish(Subject::image(digest.clone(), digest, &config))))
    })
    .await?;
    // One after the other: of a large image each takes as much memory as the list.
    for format in documents {
        let list = Arc::clone(&sbom);
        let bytes = blocking(move || format.write(&list)).await?;
        push(storage, job, &stored, *format, bytes.into(), sbom.subject.created.as_deref()).await?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let broke_off = |e: tokio::task::JoinError| Failure {
        name: "interrupted",
        message: format!("the scan broke off: {e}"),
        again: true,
    };
    tokio::task::spawn_blocking(work).await.map_err(broke_off)?
}

fn parse(stored: &StoredManifest, limits: &Limits) -> Result<Manifest, Failure> {
    // Its number of entries and its depth were within what was configured when it was pushed.
    let limits =
        ManifestLimits { max_size: limits.manifest_bytes, max_descriptors: usize::MAX, max_depth: 128 };
    let media_type = String::from_utf8_lossy(&stored.media_type);
    let parsed = Manifest::parse(Some(&media_type), &stored.body, &limits);
    parsed.map_err(|e| Failure { name: "malformed", message: e.to_string(), again: false })
}

async fn config(
    storage: &Storage,
    repository: &RepositoryName,
    image: &Manifest,
) -> Result<Vec<u8>, Failure> {
    let Some(config) = image.config.as_ref().filter(|config| config.size <= MAX_CONFIG) else {
        return Ok(Vec::new());
    };
    let mut pieces = layers::open(storage, repository, config).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() as u64 > MAX_CONFIG {
            return Ok(Vec::new());
        }
    }
    Ok(bytes)
}

/// Pushes one document and its manifest, as a client would.
async fn push(
    storage: &Storage,
    job: &SbomJob,
    image: &StoredManifest,
    format: Format,
    document: Bytes,
    created: Option<&str>,
) -> Result<(), Failure> {
    let kind = format.media_type();
    let empty = Bytes::from_static(b"{}");
    let described = |media_type: &str, bytes: &Bytes| {
        Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    };
    let subject =
        Descriptor::new(String::from_utf8_lossy(&image.media_type), image.digest, image.body.len() as u64);
    let mut annotations = json!({ "rreg.creator": CREATOR });
    // Of the image, not of this moment: the same image gets the same manifest.
    if let (Some(created), Some(annotations)) = (created, annotations.as_object_mut()) {
        annotations.insert("org.opencontainers.image.created".into(), created.into());
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": kind,
        "config": described(media_type::OCI_EMPTY, &empty),
        "layers": [described(kind, &document)],
        "subject": subject,
        "annotations": annotations,
    });
    let refused = |message: String| Failure { name: "unwritable", message, again: false };
    let body = Bytes::from(serde_json::to_vec(&manifest).map_err(|e| refused(e.to_string()))?);
    let parsed = Manifest::parse(Some(media_type::OCI_MANIFEST), &body, &ManifestLimits::default());
    let parsed = parsed.map_err(|e| refused(e.to_string()))?;
    for blob in [empty, document] {
        store(storage, &job.repository, blob).await?;
    }
    // Deleted meanwhile? Then its list is of no use.
    storage.metadata().manifest(&job.repository, &Reference::Digest(job.digest)).await?;
    let digest = Digest::sha256(&body);
    let mut event = AuditEvent::new("sbom.attach", "allowed", "sbom.attach");
    event.actor = CREATOR.to_owned();
    event.repository = Some(job.repository.to_string());
    event.target = Some(digest.to_string());
    let new = NewManifest {
        repository: job.repository.clone(),
        digest,
        body,
        manifest: parsed,
        tags: Vec::new(),
        allow_sparse: false,
        audit: Some(event),
        list_packages: false,
    };
    Ok(storage.metadata().put_manifest(new).await?)
}

async fn store(storage: &Storage, repository: &RepositoryName, bytes: Bytes) -> Result<(), StorageError> {
    let digest = Digest::sha256(&bytes);
    let headers = ChunkHeaders { range: None, length: Some(bytes.len() as u64) };
    let body = stream::iter([Ok::<_, StorageError>(bytes)]);
    storage.store(repository, &digest, headers, body, None).await
}
