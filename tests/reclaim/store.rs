//! Storage in this process, and the few things that the tests do with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use object_store::ObjectStore;
use rreg_gc::{Depth, Extra, Schedule};
use rreg_oci::{Digest, Manifest, ManifestLimits, RepositoryName};
use rreg_storage::{
    BlobStore, CacheLimits, ChunkHeaders, MetadataStore, NewManifest, Storage, StorageError, StorageOptions,
};
use serde_json::{Value, json};

pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Every object without a row is found.
pub(super) const NOTHING_IS_YOUNG: Extra = Extra { after: Duration::ZERO, reclaim: false };

/// Which database the rows are in; objects are in a directory.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    Sqlite,
    Postgres(String),
}

pub(super) async fn open(rows: &Rows, data: &Path) -> Storage {
    open_wrapped(rows, data, |objects| objects).await
}

/// Over an object store that misbehaves.
pub(super) async fn open_wrapped(
    rows: &Rows,
    data: &Path,
    wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
) -> Storage {
    let caches = CacheLimits::default();
    let metadata = match rows {
        Rows::Sqlite => MetadataStore::sqlite(&data.join("rreg.db"), caches).await.unwrap(),
        Rows::Postgres(url) => MetadataStore::postgres(url, 8, caches).await.unwrap(),
    };
    let blobs = BlobStore::directory(data.join("objects"), Duration::from_secs(3600)).unwrap().wrapped(wrap);
    Storage::new(blobs, metadata, StorageOptions { inline_max: 1000, ..StorageOptions::default() })
}

/// Everything is due at once.
pub(super) fn at_once(untagged: bool) -> Schedule {
    Schedule {
        idle: Duration::ZERO,
        blobs_after: Duration::ZERO,
        untagged_after: untagged.then_some(Duration::ZERO),
        grace: Duration::ZERO,
        period: Duration::from_secs(60),
    }
}

pub(super) fn pieces(
    bytes: &Bytes,
) -> impl stream::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Unpin + use<> {
    stream::iter([Ok(bytes.clone())])
}

pub(super) async fn push(
    storage: &Storage,
    repository: &RepositoryName,
    content: &Bytes,
) -> Result<(), StorageError> {
    let digest = Digest::sha256(content);
    storage.store(repository, &digest, ChunkHeaders::default(), pieces(content), None).await
}

/// Pushes a manifest and gives its digest.
pub(super) async fn put(
    storage: &Storage,
    repository: &RepositoryName,
    manifest: &Value,
    tag: Option<&str>,
) -> Result<Digest, StorageError> {
    let body = Bytes::from(manifest.to_string());
    let media_type = manifest["mediaType"].as_str();
    let digest = Digest::sha256(&body);
    let new = NewManifest {
        repository: repository.clone(),
        digest,
        manifest: Manifest::parse(media_type, &body, &ManifestLimits::default()).unwrap(),
        body,
        tags: tag.into_iter().map(|tag| tag.parse().unwrap()).collect(),
        allow_sparse: false,
        list_packages: false,
        audit: None,
    };
    storage.metadata().put_manifest(new).await.map(|()| digest)
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// An image whose first blob is its configuration. `salt` makes it another image with the same blobs.
pub(super) fn image(blobs: &[&Bytes], subject: Option<&Digest>, salt: u64) -> Value {
    let of = |media_type, bytes: &Bytes| descriptor(media_type, &Digest::sha256(bytes), bytes.len());
    let layers = blobs.iter().skip(1).map(|bytes| of("application/vnd.oci.image.layer.v1.tar", bytes));
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": of("application/vnd.oci.image.config.v1+json", blobs[0]),
        "layers": layers.collect::<Vec<_>>(),
        "annotations": {"salt": salt.to_string()},
    });
    if let Some(subject) = subject {
        manifest["subject"] = descriptor(IMAGE, subject, 2);
    }
    manifest
}

pub(super) fn index(children: &[Digest], salt: u64) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": children.iter().map(|digest| descriptor(IMAGE, digest, 2)).collect::<Vec<_>>(),
        "annotations": {"salt": salt.to_string()},
    })
}

/// The blob's bytes, read through and checked.
pub(super) async fn read(
    storage: &Storage,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Bytes, StorageError> {
    let record = storage.metadata().blob(repository, digest).await?;
    let mut reader = storage.open(record.clone(), 0..record.size).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// Rows and objects agree to the byte; gives how many blobs there are.
pub(super) async fn assert_sound(storage: &Storage) -> u64 {
    let inspection = rreg_gc::fsck(storage, Depth::Deep, NOTHING_IS_YOUNG, 10).await.unwrap();
    assert_eq!(inspection.count, 0, "{inspection:?}");
    inspection.blobs
}
