//! What is where in a tar archive of a stranger. Bounded in entries, names and extension headers; names are
//! keys of a map and nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header, PaxExtensions};

use super::error::ImageError;
use super::file_span::FileSpan;

/// Most entries in an archive. An image has a few dozen.
const MAX_ENTRIES: usize = 100_000;
/// Longest extension header (long name, PAX record), in bytes.
const MAX_EXTENSION: u64 = 64 << 10;
/// Tar's unit, in bytes.
const BLOCK: u64 = 512;
/// Longest chain of links followed.
const MAX_LINKS: usize = 8;

enum Entry {
    File { offset: u64, length: u64 },
    Link(String),
}

/// The files of an archive by name.
pub(crate) struct TarIndex {
    path: PathBuf,
    entries: HashMap<String, Entry>,
}

/// What extension headers say about the entry that follows.
#[derive(Default)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl TarIndex {
    /// Reads the headers of the archive. Blocks.
    pub(crate) fn scan(path: &Path) -> Result<Self, ImageError> {
        let mut file = File::open(path).map_err(|e| ImageError::io(path, e))?;
        let total = file.metadata().map_err(|e| ImageError::io(path, e))?.len();
        let mut index = Self { path: path.to_owned(), entries: HashMap::new() };
        let (mut position, mut extension) = (0u64, Extension::default());
        while let Some(header) = index.header(&mut file, position, total)? {
            let data = position + BLOCK;
            let size = header.entry_size().map_err(|e| ImageError::io(path, e))?;
            let size = extension.size.unwrap_or(size);
            let end = data.checked_add(size).filter(|end| *end <= total);
            let end = end.ok_or_else(|| index.invalid("an entry is longer than the archive"))?;
            if is_extension(header.entry_type()) {
                index.read_extension(&mut file, &header, size, &mut extension)?;
            } else {
                index.add(&header, std::mem::take(&mut extension), data, size)?;
            }
            position = end.div_ceil(BLOCK) * BLOCK;
        }
        Ok(index)
    }

    fn invalid(&self, why: &str) -> ImageError {
        ImageError::invalid(&self.path, format!("not a usable tar archive: {why}"))
    }

    /// The header at `position`, `None` at the end of the archive.
    fn header(&self, file: &mut File, position: u64, total: u64) -> Result<Option<Header>, ImageError> {
        if position >= total {
            return if position == 0 { Err(self.invalid("it is empty")) } else { Ok(None) };
        }
        let mut header = Header::new_old();
        let read = file.seek(SeekFrom::Start(position)).and_then(|_| file.read_exact(header.as_mut_bytes()));
        match read {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.invalid(what_else(header.as_bytes())));
            }
            Err(e) => return Err(ImageError::io(&self.path, e)),
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        // The checksum counts its own eight bytes as spaces.
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(self.invalid(what_else(bytes))),
        }
    }

    fn read_extension(
        &self,
        file: &mut File,
        header: &Header,
        size: u64,
        extension: &mut Extension,
    ) -> Result<(), ImageError> {
        if size > MAX_EXTENSION {
            return Err(self.invalid("an extension header is too long"));
        }
        let mut bytes = Vec::new();
        file.take(size).read_to_end(&mut bytes).map_err(|e| ImageError::io(&self.path, e))?;
        let text = || Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned());
        match header.entry_type() {
            EntryType::GNULongName => extension.name = text(),
            EntryType::GNULongLink => extension.link = text(),
            EntryType::XHeader => {
                for record in PaxExtensions::new(&bytes) {
                    let record = record.map_err(|e| ImageError::io(&self.path, e))?;
                    let (Ok(key), Ok(value)) = (record.key(), record.value()) else { continue };
                    match key {
                        "path" => extension.name = Some(value.to_owned()),
                        "linkpath" => extension.link = Some(value.to_owned()),
                        "size" => {
                            let size = value.parse().map_err(|_| self.invalid("a size is no number"))?;
                            extension.size = Some(size);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(
        &mut self,
        header: &Header,
        extension: Extension,
        offset: u64,
        length: u64,
    ) -> Result<(), ImageError> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(self.invalid("it has too many entries"));
        }
        let own_name = || String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let name = resolve("", &extension.name.unwrap_or_else(own_name));
        let link = || {
            let own = header.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            extension.link.or(own).unwrap_or_default()
        };
        let entry = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Entry::File { offset, length },
            // A symbolic link is relative to its directory, a hard link to the archive.
            EntryType::Symlink => Entry::Link(resolve(parent(&name), &link())),
            EntryType::Link => Entry::Link(resolve("", &link())),
            _ => return Ok(()),
        };
        // As when unpacking, the later of two entries wins.
        self.entries.insert(name, entry);
        Ok(())
    }

    /// Where the file `name` is, links inside the archive followed.
    pub(crate) fn find(&self, name: &str) -> Option<FileSpan> {
        let mut name = resolve("", name);
        for _ in 0..MAX_LINKS {
            match self.entries.get(&name)? {
                Entry::File { offset, length } => {
                    return Some(FileSpan { path: self.path.clone(), offset: *offset, length: *length });
                }
                Entry::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

fn is_extension(kind: EntryType) -> bool {
    kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions()
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A name without `.`, `..` and leading slashes. `..` stops at the archive's root.
fn resolve(base: &str, name: &str) -> String {
    let mut parts: Vec<&str> = if name.starts_with('/') { Vec::new() } else { base.split('/').collect() };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

/// A guess that helps: the file begins like something else.
fn what_else(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x1f, 0x8b, ..] => "it is compressed with gzip; run gunzip on it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd; run unzstd on it first",
        _ => "a header is damaged or the archive ends early",
    }
}
