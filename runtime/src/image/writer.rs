//! Writes an OCI image layout. A blob gets its name only after length and digest are checked; `index.json` is
//! replaced last, so an interrupted write leaves what was there before.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use rreg_oci::{Descriptor, Hasher, media_type};
use tempfile::{NamedTempFile, TempDir};

use super::error::ImageError;
use super::pack;
use super::reader::{IndexFile, REF_NAME, blob_name};
use crate::client::{BlobSource, SourceError};

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Why a blob could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Of the files.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Of where the content comes from.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A layout being written: a directory, or an archive that is gathered in a directory beside it.
pub struct LayoutWriter {
    root: PathBuf,
    archive: Option<(PathBuf, TempDir)>,
}

impl LayoutWriter {
    /// Begins or continues the layout at `path`; a path that ends in `.tar` becomes an archive.
    ///
    /// # Errors
    /// [`ImageError`] when nothing can be written there.
    pub fn create(path: &Path) -> Result<Self, ImageError> {
        let failed = |e| ImageError::io(path, e);
        if path.extension().is_some_and(|e| e == "tar") {
            let beside = parent(path);
            let gathered = tempfile::Builder::new().prefix(".rreg-").tempdir_in(beside).map_err(failed)?;
            return Ok(Self { root: gathered.path().into(), archive: Some((path.into(), gathered)) });
        }
        if path.is_dir() && !path.join("index.json").exists() {
            let mut entries = std::fs::read_dir(path).map_err(failed)?;
            if entries.next().is_some() && !path.join("blobs").is_dir() {
                let why = "the directory is not empty and no OCI image layout; name a new one";
                return Err(ImageError::invalid(path, why));
            }
        }
        std::fs::create_dir_all(path).map_err(failed)?;
        Ok(Self { root: path.into(), archive: None })
    }

    /// Whether the blob is there. Only verified content ever got that name.
    pub fn has_blob(&self, descriptor: &Descriptor) -> bool {
        let found = std::fs::metadata(self.root.join(blob_name(&descriptor.digest)));
        found.is_ok_and(|meta| meta.is_file() && meta.len() == descriptor.size)
    }

    /// Writes a blob, or nothing when `source` does not match the descriptor.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn write_blob(
        &self,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), WriteError> {
        let path = self.root.join(blob_name(&descriptor.digest));
        let failed = |e| ImageError::io(&path, e);
        let directory = parent(&path);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let temporary = NamedTempFile::new_in(directory).map_err(failed)?;
        let mut file = tokio::fs::File::from_std(temporary.as_file().try_clone().map_err(failed)?);
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        let (mut length, mut stream) = (0u64, source.open(0).await?);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            length += chunk.len() as u64;
            if length > descriptor.size {
                break;
            }
            hasher.update(&chunk);
            tokio::io::AsyncWriteExt::write_all(&mut file, &chunk).await.map_err(failed)?;
        }
        let found = hasher.finish();
        if length != descriptor.size || found != descriptor.digest {
            let why = format!("the content to write is damaged: {length} bytes, {found}");
            return Err(ImageError::invalid(&path, why).into());
        }
        file.sync_all().await.map_err(failed)?;
        self.persist(temporary, &path)?;
        Ok(())
    }

    /// Writes `index.json` with `entries` added; an entry replaces those of the same name or digest. An
    /// archive is packed now.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn finish(&self, entries: Vec<Descriptor>) -> Result<(), ImageError> {
        let path = self.root.join("index.json");
        let mut index = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<IndexFile>(&bytes)
                .map_err(|e| ImageError::invalid(&path, format!("no image index: {e}")))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => IndexFile::default(),
            Err(e) => return Err(ImageError::io(&path, e)),
        };
        index.schema_version = 2;
        index.media_type = Some(media_type::OCI_INDEX.into());
        for entry in entries {
            index.manifests.retain(|known| !replaces(&entry, known));
            index.manifests.push(entry);
        }
        let bytes = serde_json::to_vec(&index).map_err(|e| ImageError::invalid(&path, e.to_string()))?;
        self.replace(LAYOUT_FILE, LAYOUT)?;
        self.replace("index.json", &bytes)?;
        match &self.archive {
            Some((archive, gathered)) => pack::pack(gathered.path(), archive),
            None => Ok(()),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.root.join(name);
        let write = || {
            let mut temporary = NamedTempFile::new_in(&self.root)?;
            temporary.write_all(bytes)?;
            temporary.as_file().sync_all()?;
            Ok(temporary)
        };
        self.persist(write().map_err(|e| ImageError::io(&path, e))?, &path)
    }

    /// Gives a finished file its name. Temporary files are private; a layout is for whoever may read its place.
    fn persist(&self, temporary: NamedTempFile, path: &Path) -> Result<(), ImageError> {
        use std::os::unix::fs::PermissionsExt as _;
        let readable = std::fs::Permissions::from_mode(0o644);
        temporary.as_file().set_permissions(readable).map_err(|e| ImageError::io(path, e))?;
        temporary.persist(path).map(|_| ()).map_err(|e| ImageError::io(path, e.error))
    }
}

/// The directory of a file; the current one for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A tag names one thing; a nameless entry is needed once.
fn replaces(new: &Descriptor, known: &Descriptor) -> bool {
    let name = |d: &Descriptor| d.annotations.as_ref().and_then(|a| a.get(REF_NAME)).cloned();
    match (name(new), name(known)) {
        (Some(new), Some(known)) => new == known,
        (None, None) => new.digest == known.digest,
        _ => false,
    }
}
