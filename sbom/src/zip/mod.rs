//! Reads zip archives in memory (PKWARE APPNOTE.TXT), entry by entry and without a list of them: what an
//! archive says about itself costs no memory.

mod stream;

use std::io::Read as _;

use flate2::read::DeflateDecoder;

use crate::bytes::{index, slice, u16_le, u32_le, u64_le};
use crate::finding::{Complaint, FindingKind};
pub(crate) use stream::Stream;

/// Length of the end record without its comment, and of the longest comment.
const END: usize = 22;
const MAX_COMMENT: usize = u16::MAX as usize;

/// An archive, with its central directory found.
pub(crate) struct Zip<'a> {
    bytes: &'a [u8],
    /// Where the next central header is.
    at: usize,
    end: usize,
    /// Bytes in front of the archive, as of self-extracting ones, which its offsets do not count.
    shift: usize,
}

/// An entry of an archive.
pub(crate) struct ZipEntry<'a> {
    pub(crate) name: &'a [u8],
    flags: u16,
    method: u16,
    packed: usize,
    local: usize,
}

impl<'a> Zip<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Complaint> {
        let from = bytes.len().saturating_sub(END + MAX_COMMENT);
        let tail = bytes.get(from..).unwrap_or_default();
        let end = memchr::memmem::rfind(tail, b"PK\x05\x06").map(|at| from + at);
        let end = end.ok_or_else(|| Complaint::truncated("no end of central directory"))?;
        let field = |at| u32_le(bytes, end + at).and_then(index);
        let (Some(length), Some(offset)) = (field(12), field(16)) else {
            return Err(Complaint::truncated("the end of central directory is cut off"));
        };
        let long = offset == u32::MAX as usize || length == u32::MAX as usize;
        let (end, length, offset) = if long { long_end(bytes, end)? } else { (end, length, offset) };
        // A 64-bit end record may lie between the directory and the end: then the offset is the better guide.
        let written = slice(bytes, offset, 4) == Some(b"PK\x01\x02");
        let at = if written { Some(offset) } else { end.checked_sub(length) };
        let at =
            at.ok_or_else(|| Complaint::malformed("the central directory does not fit in front of its end"))?;
        Ok(Self { bytes, at, end, shift: at.saturating_sub(offset) })
    }

    /// The next entry, `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<ZipEntry<'a>>, Complaint> {
        let bytes = self.bytes;
        if self.at >= self.end || slice(bytes, self.at, 4).is_some_and(|sign| sign.starts_with(b"PK\x06")) {
            return Ok(None);
        }
        let entry = self.central().ok_or_else(|| Complaint::malformed("a broken central directory"))?;
        Ok(Some(entry))
    }

    fn central(&mut self) -> Option<ZipEntry<'a>> {
        let at = self.at;
        if slice(self.bytes, at, 4)? != b"PK\x01\x02" {
            return None;
        }
        let half = |offset| u16_le(self.bytes, at + offset);
        let word = |offset| u32_le(self.bytes, at + offset).and_then(index);
        let (name, extra, comment) = (half(28)?, half(30)?, half(32)?);
        let behind = slice(self.bytes, (at + 46).checked_add(name.into())?, extra.into())?;
        let mut long = long_fields(behind);
        let full = |value: usize| if value == u32::MAX as usize { None } else { Some(value) };
        // Fields of 64 bits are there for those that do not fit, in this order.
        if full(word(24)?).is_none() {
            long.next()?;
        }
        let packed = full(word(20)?).or_else(|| long.next())?;
        let local = full(word(42)?).or_else(|| long.next())?;
        let entry = ZipEntry {
            name: slice(self.bytes, at + 46, name.into())?,
            flags: half(8)?,
            method: half(10)?,
            packed,
            local: local.checked_add(self.shift)?,
        };
        self.at = at + 46 + usize::from(name) + usize::from(extra) + usize::from(comment);
        Some(entry)
    }

    /// An entry's content, refused when it is longer than `limit` bytes.
    pub(crate) fn content(&self, entry: &ZipEntry<'_>, limit: u64) -> Result<Vec<u8>, Complaint> {
        let name = || String::from_utf8_lossy(entry.name).into_owned();
        if entry.flags & 1 != 0 {
            return Err(Complaint::new(FindingKind::Unsupported, format!("{} is encrypted", name())));
        }
        let packed = self.packed(entry).ok_or_else(|| {
            Complaint::truncated(format!("the content of {} lies outside of the archive", name()))
        })?;
        let mut content = Vec::new();
        let read = match entry.method {
            0 => packed.take(limit + 1).read_to_end(&mut content),
            8 => DeflateDecoder::new(packed).take(limit + 1).read_to_end(&mut content),
            other => {
                let why = format!("{} is compressed by method {other}", name());
                return Err(Complaint::new(FindingKind::Unsupported, why));
            }
        };
        read.map_err(|e| Complaint::malformed(format!("{}: {e}", name())))?;
        if content.len() as u64 > limit {
            let why = format!("{} decompresses to more than {limit} bytes", name());
            return Err(Complaint::new(FindingKind::ArchiveTooLarge, why));
        }
        Ok(content)
    }

    fn packed(&self, entry: &ZipEntry<'_>) -> Option<&'a [u8]> {
        if slice(self.bytes, entry.local, 4)? != b"PK\x03\x04" {
            return None;
        }
        let (name, extra) = (u16_le(self.bytes, entry.local + 26)?, u16_le(self.bytes, entry.local + 28)?);
        slice(self.bytes, entry.local + 30 + usize::from(name) + usize::from(extra), entry.packed)
    }
}

/// The end record of 64 bits, which a locator in front of the other one leads to: where it is, the directory's length and
/// its offset (APPNOTE.TXT, 4.3.14, 4.3.15).
fn long_end(bytes: &[u8], end: usize) -> Result<(usize, usize, usize), Complaint> {
    const LOCATOR: usize = 20;
    const RECORD: usize = 56;
    let found = end.checked_sub(LOCATOR).and_then(|locator| {
        slice(bytes, locator, 4).filter(|mark| *mark == b"PK\x06\x07")?;
        let told = u64_le(bytes, locator + 8).and_then(index);
        // Bytes in front of the archive are not counted in what the locator says.
        let near = locator.checked_sub(RECORD);
        let places = [told, near].into_iter().flatten();
        let at = places.into_iter().find(|at| slice(bytes, *at, 4) == Some(b"PK\x06\x06"))?;
        Some((at, u64_le(bytes, at + 40).and_then(index)?, u64_le(bytes, at + 48).and_then(index)?))
    });
    found.ok_or_else(|| Complaint::malformed("no end record of 64 bits where one should be"))
}

/// The values in the extra field of 64-bit archives (APPNOTE.TXT, 4.5.3).
fn long_fields(extra: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    let field = loop {
        let (Some(kind), Some(length)) = (u16_le(extra, at), u16_le(extra, at + 2)) else { break None };
        if kind == 1 {
            break slice(extra, at + 4, length.into());
        }
        at += 4 + usize::from(length);
    };
    let field = field.unwrap_or_default();
    (0..field.len() / 8).map_while(move |at| u64_le(field, 8 * at).and_then(index))
}
