//! Packs a layout directory into a tar archive, the same bytes for the same content.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use tar::{Builder, Header};
use tempfile::NamedTempFile;

use super::error::ImageError;
use super::writer::parent;

/// Writes `archive` from the layout in `root`, and gives it its name when it is whole.
pub(super) fn pack(root: &Path, archive: &Path) -> Result<(), ImageError> {
    write(root, archive).map_err(|e| ImageError::io(archive, e))
}

fn write(root: &Path, archive: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let temporary = NamedTempFile::new_in(parent(archive))?;
    let mut builder = Builder::new(BufWriter::with_capacity(1 << 20, temporary.as_file()));
    for name in files(root)? {
        let mut file = File::open(root.join(&name))?;
        let mut header = Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, &name, &mut file)?;
    }
    builder.into_inner()?.flush()?;
    temporary.as_file().sync_all()?;
    temporary.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    temporary.persist(archive).map_err(|e| e.error)?;
    Ok(())
}

/// Names of the layout's files: the two small ones first, so that readers find them without a search.
fn files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut blobs = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        let below = Path::new("blobs").join(algorithm);
        match std::fs::read_dir(root.join(&below)) {
            Ok(entries) => {
                for entry in entries {
                    blobs.push(below.join(entry?.file_name()));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    blobs.sort();
    let small = ["oci-layout", "index.json"].map(PathBuf::from);
    Ok(small.into_iter().chain(blobs).collect())
}
