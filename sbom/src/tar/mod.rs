//! Reads a tar stream entry by entry (POSIX pax and GNU), in bounded memory.
//!
//! Header blocks are the `tar` crate's. Its iterator is not used as it reads extended headers whole, however
//! long they say they are.

mod sparse;

use std::io::{self, Read};

use sparse::{Map, Step};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Longest extended header and long name, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// What is read of holes of all sparse files together, in bytes: they take no room in a layer.
const MAX_HOLES: u64 = 8 << 30;

/// What an entry is, as far as a package list cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// Another name of an earlier entry.
    HardLink(String),
    /// Another name of whatever is at a path.
    Symlink(String),
    /// Devices and the like.
    Other,
}

/// The head of an entry; its content follows in the stream.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

/// A tar stream, between two entries or within one.
pub(crate) struct Tar<R> {
    source: R,
    /// Bytes of the current entry still to come, and the padding after it.
    left: u64,
    padding: u64,
    /// Where the content belongs, of a sparse file.
    map: Option<Map>,
    holes: u64,
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    sparse: Sparse,
}

/// What pax records say of a sparse file.
#[derive(Default)]
struct Sparse {
    /// The map is in front of the content.
    in_front: bool,
    blocks: Vec<(u64, u64)>,
    size: Option<u64>,
}

impl<R: Read> Tar<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, map: None, holes: 0 }
    }

    /// The next entry, `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size()?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName => extended.path = Some(self.name(size)?),
                EntryType::GNULongLink => extended.link = Some(self.name(size)?),
                EntryType::XHeader => self.pax(size, &mut extended)?,
                EntryType::XGlobalHeader => self.enter(size),
                _ => return self.entry(&header, kind, size, extended).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extended: Extended,
    ) -> io::Result<Entry> {
        let path =
            extended.path.unwrap_or_else(|| String::from_utf8_lossy(&header.path_bytes()).into_owned());
        let size = extended.size.unwrap_or(size);
        let link = || {
            let own = header.link_name_bytes().map(|b| String::from_utf8_lossy(&b).into_owned());
            extended.link.clone().or(own).unwrap_or_default()
        };
        let kind = match kind {
            // Old archives write directories as files with a slash at the end.
            EntryType::Regular | EntryType::Continuous if path.ends_with('/') => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Link => Kind::HardLink(link()),
            EntryType::Symlink => Kind::Symlink(link()),
            EntryType::GNUSparse => Kind::File,
            _ => Kind::Other,
        };
        // Links and devices have no content, whatever their size says.
        let has_content = !matches!(
            header.entry_type(),
            EntryType::Link | EntryType::Symlink | EntryType::Char | EntryType::Block | EntryType::Fifo
        ) && kind != Kind::Directory;
        // Further blocks of an old map lie between the header and the content.
        let old = match (header.entry_type() == EntryType::GNUSparse, header.as_gnu()) {
            (true, Some(gnu)) => Some(Map::of_header(gnu, &mut self.source)?),
            (true, None) => return Err(sparse::broken()),
            (false, _) => None,
        };
        self.enter(if has_content { size } else { 0 });
        if kind == Kind::File {
            self.map = self.sparse(old, extended.sparse)?;
        }
        let size = self.map.as_ref().map_or(self.left, |map| map.size);
        Ok(Entry { path, kind, size })
    }

    /// The map of a file whose content comes next, if it is a sparse one.
    fn sparse(&mut self, old: Option<(Vec<(u64, u64)>, u64)>, said: Sparse) -> io::Result<Option<Map>> {
        let (blocks, size) = match (old, said.size) {
            (Some(old), _) => old,
            (None, Some(size)) if said.in_front => (Map::in_front(self)?.0, size),
            (None, Some(size)) => (said.blocks, size),
            (None, None) if said.in_front || !said.blocks.is_empty() => return Err(sparse::broken()),
            (None, None) => return Ok(None),
        };
        Map::new(blocks, size, self.left).map(Some)
    }

    fn enter(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    /// Goes to the end of the current entry.
    fn skip(&mut self) -> io::Result<()> {
        let wanted = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(wanted), &mut io::sink())?;
        (self.left, self.padding, self.map) = (0, 0, None);
        if skipped == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next header; `None` for two blocks of zeros or a stream that ends where an entry could begin.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let is_empty = |header: &Header| header.as_bytes().iter().all(|byte| *byte == 0);
        let Some(header) = self.block()?.filter(|header| !is_empty(header)) else {
            // Readers differ in whether anything may follow a single one.
            return match self.block()? {
                Some(next) if !is_empty(&next) => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "something follows an empty tar header"))
                }
                _ => Ok(None),
            };
        };
        // The checksum field itself counts as blanks (POSIX ustar).
        let bytes = header.as_bytes().iter().enumerate();
        let sum: u32 =
            bytes.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        if header.cksum()? != sum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a tar header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    fn block(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while let Some(rest) = header.as_mut_bytes().get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            let why = format!("an extended tar header of {size} bytes; the limit is {MAX_EXTENSION}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.enter(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn name(&mut self, size: u64) -> io::Result<String> {
        let bytes = self.extension(size)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
    }

    fn pax(&mut self, size: u64, extended: &mut Extended) -> io::Result<()> {
        let bytes = self.extension(size)?;
        let mut named = false;
        for record in tar::PaxExtensions::new(&bytes) {
            let record = record?;
            let value = || String::from_utf8_lossy(record.value_bytes()).into_owned();
            let number = || match value().as_str() {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| io::ErrorKind::InvalidData),
            };
            let sparse = &mut extended.sparse;
            match record.key_bytes() {
                b"path" if !named => extended.path = Some(value()),
                b"linkpath" => extended.link = Some(value()),
                b"size" => extended.size = number()?,
                // What is in `path` then is for readers that do not know this.
                b"GNU.sparse.name" => {
                    named = true;
                    extended.path = Some(value());
                }
                b"GNU.sparse.major" => sparse.in_front = value() != "0",
                b"GNU.sparse.realsize" | b"GNU.sparse.size" => sparse.size = number()?,
                b"GNU.sparse.map" => sparse.blocks = Map::of_record(&value())?,
                b"GNU.sparse.offset" => sparse.blocks.push((number()?.unwrap_or_default(), 0)),
                b"GNU.sparse.numbytes" => {
                    if let Some(last) = sparse.blocks.last_mut() {
                        last.1 = number()?.unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The content of the current entry.
impl<R: Read> Read for Tar<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stored = match self.map.as_ref().map(|map| map.step(into.len())) {
            None => into.len(),
            Some(Step::Stored(length)) => length,
            Some(Step::Hole(length)) => {
                self.holes += length as u64;
                if self.holes > MAX_HOLES {
                    return Err(sparse::broken());
                }
                into.iter_mut().take(length).for_each(|byte| *byte = 0);
                self.map.iter_mut().for_each(|map| map.advance(length));
                return Ok(length);
            }
            Some(Step::End) => return Ok(0),
        };
        let wanted = stored.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(into) = into.get_mut(..wanted).filter(|into| !into.is_empty()) else { return Ok(0) };
        match self.source.read(into)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.left -= read as u64;
                self.map.iter_mut().for_each(|map| map.advance(read));
                Ok(read)
            }
        }
    }
}
