//! Reads a tar stream entry by entry (POSIX pax and GNU), in constant memory.
//!
//! Header blocks are the `tar` crate's. Its iterator is not used as it reads extended headers whole, however
//! long they say they are.

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Longest extended header and long name, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

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
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: Read> Tar<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0 }
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
            EntryType::GNUSparse => {
                self.skip_sparse_map(header)?;
                Kind::Other
            }
            _ => Kind::Other,
        };
        // Links and devices have no content, whatever their size says.
        let has_content = !matches!(
            header.entry_type(),
            EntryType::Link | EntryType::Symlink | EntryType::Char | EntryType::Block | EntryType::Fifo
        ) && kind != Kind::Directory;
        self.enter(if has_content { size } else { 0 });
        Ok(Entry { path, kind, size: self.left })
    }

    fn enter(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    /// Goes to the end of the current entry.
    fn skip(&mut self) -> io::Result<()> {
        let wanted = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(wanted), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if skipped == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next header block; `None` for a block of zeros or a stream that ends where an entry could begin.
    fn header(&mut self) -> io::Result<Option<Header>> {
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
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum field itself counts as blanks (POSIX ustar).
        let sum: u32 = bytes
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        if header.cksum()? != sum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a tar header has a wrong checksum"));
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
        for record in tar::PaxExtensions::new(&bytes) {
            let record = record?;
            let value = || String::from_utf8_lossy(record.value_bytes()).into_owned();
            match record.key_bytes() {
                b"path" => extended.path = Some(value()),
                b"linkpath" => extended.link = Some(value()),
                b"size" => extended.size = value().parse().ok(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Further blocks of an old GNU sparse map lie between the header and the content.
    fn skip_sparse_map(&mut self, header: &Header) -> io::Result<()> {
        let mut more = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        while more {
            let mut block = [0; BLOCK as usize];
            self.source.read_exact(&mut block)?;
            // 21 entries of 24 bytes, then whether there is another block.
            more = block.get(504).is_some_and(|byte| *byte == 1);
        }
        Ok(())
    }
}

/// The content of the current entry.
impl<R: Read> Read for Tar<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(into) = into.get_mut(..wanted).filter(|into| !into.is_empty()) else { return Ok(0) };
        match self.source.read(into)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}
