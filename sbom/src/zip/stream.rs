//! An archive as it streams by, entry by entry, for those too long to be kept (PKWARE APPNOTE.TXT, 4.3.6): local
//! headers, contents, and lengths behind them where a header does not know them yet.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::DeflateDecoder;

use crate::bytes::{slice, u16_le, u32_le};
use crate::finding::{Complaint, FindingKind};

/// How much is read at once, in bytes.
const READ: usize = 128 << 10;
/// Longest script in front of the first entry, in bytes.
const MAX_FRONT: u64 = 1 << 20;
/// What a byte of the archive may decompress to, on average; deflate makes at most 1032 of one.
const MAX_RATIO: u64 = 64;
/// Longest record behind a content: a mark, a sum, two lengths of 64 bits.
const MAX_DESCRIPTOR: u64 = 24;
/// The length is known only behind the content.
const LATER: u16 = 1 << 3;

/// An archive of which so much was read.
pub(crate) struct Stream<R> {
    source: BufReader<R>,
    begun: bool,
    /// The mark behind the last entry, where it was read to find that entry's end.
    mark: Option<[u8; 4]>,
    /// What contents may still decompress to.
    left: u64,
}

/// A header whose content comes next.
pub(crate) struct StreamEntry {
    pub(crate) name: Vec<u8>,
    flags: u16,
    method: u16,
    packed: u64,
}

impl<R: Read> Stream<R> {
    pub(crate) fn new(source: R, size: u64) -> Self {
        let source = BufReader::with_capacity(READ, source);
        Self { source, begun: false, mark: None, left: size.saturating_mul(MAX_RATIO) }
    }

    /// The next entry, `None` where the directory begins.
    pub(crate) fn next(&mut self) -> Result<Option<StreamEntry>, Complaint> {
        let mark = match self.mark.take() {
            Some(mark) => mark,
            None if self.begun => self.array()?,
            None => self.find(MAX_FRONT)?,
        };
        self.begun = true;
        if mark != *b"PK\x03\x04" {
            let end = mark.starts_with(b"PK");
            return if end { Ok(None) } else { Err(Complaint::malformed("no entry where one should begin")) };
        }
        let head: [u8; 26] = self.array()?;
        let half = |at| u16_le(&head, at).unwrap_or(0);
        let word = |at| u64::from(u32_le(&head, at).unwrap_or(0));
        let (name, extra) = (self.vec(half(22).into())?, self.vec(half(24).into())?);
        let packed = match word(14) {
            0xffff_ffff => long_length(&extra).unwrap_or(u64::MAX),
            length => length,
        };
        Ok(Some(StreamEntry { name, flags: half(2), method: half(4), packed }))
    }

    /// The content of the entry that was just read, refused when it is longer than `limit` bytes.
    pub(crate) fn content(&mut self, entry: &StreamEntry, limit: u64) -> Result<Vec<u8>, Complaint> {
        let mut content = Vec::new();
        let all = self.each(entry, &mut |bytes| {
            let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(content.len());
            content.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        })?;
        if all > limit {
            let why =
                format!("{} decompresses to more than {limit} bytes", String::from_utf8_lossy(&entry.name));
            return Err(Complaint::new(FindingKind::ArchiveTooLarge, why));
        }
        Ok(content)
    }

    pub(crate) fn skip(&mut self, entry: &StreamEntry) -> Result<(), Complaint> {
        if entry.flags & LATER == 0 {
            return self.pass(entry.packed);
        }
        self.each(entry, &mut |_| {}).map(drop)
    }

    /// Reads a content to its end, and says how long it was.
    fn each(&mut self, entry: &StreamEntry, sink: &mut dyn FnMut(&[u8])) -> Result<u64, Complaint> {
        let name = || String::from_utf8_lossy(&entry.name).into_owned();
        let later = entry.flags & LATER != 0;
        let readable = entry.flags & 1 == 0 && (entry.method == 8 || entry.method == 0 && !later);
        if !readable {
            // Where its end cannot be found nothing behind it can.
            let why = format!("{} is encrypted or compressed by method {}", name(), entry.method);
            let complaint = Complaint::new(FindingKind::Unsupported, why);
            return if later { Err(complaint) } else { self.pass(entry.packed).and(Err(complaint)) };
        }
        let packed = if later { u64::MAX } else { entry.packed };
        let left = self.left;
        let mut part = self.source.by_ref().take(packed);
        let read = match entry.method {
            8 => drain(&mut DeflateDecoder::new(&mut part), left, sink),
            _ => drain(&mut part, left, sink),
        };
        let rest = part.limit();
        let all = read.map_err(|e| Complaint::malformed(format!("{}: {e}", name())))?;
        self.left -= all.min(left);
        if all > left {
            let why = format!("entries decompress to more than {MAX_RATIO} times the archive");
            return Err(Complaint::new(FindingKind::ArchiveTooLarge, why));
        }
        match later {
            true => self.mark = Some(self.find(MAX_DESCRIPTOR + 4)?),
            false => self.pass(rest)?,
        }
        Ok(all)
    }

    fn pass(&mut self, length: u64) -> Result<(), Complaint> {
        let passed = io::copy(&mut self.source.by_ref().take(length), &mut io::sink());
        match passed {
            Ok(passed) if passed == length => Ok(()),
            Ok(_) => Err(Complaint::truncated("the archive ends within an entry")),
            Err(e) => Err(Complaint::malformed(format!("the archive cannot be read on: {e}"))),
        }
    }

    /// The next mark, at most so many bytes on.
    fn find(&mut self, within: u64) -> Result<[u8; 4], Complaint> {
        let mut seen: [u8; 4] = self.array()?;
        for _ in 0..within {
            if [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"].contains(&&seen) {
                return Ok(seen);
            }
            let [next] = self.array()?;
            seen.rotate_left(1);
            seen[3] = next;
        }
        Err(Complaint::malformed("no entry where one should begin"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Complaint> {
        let mut bytes = [0; N];
        let read = self.source.read_exact(&mut bytes);
        read.map_err(|_| Complaint::truncated("the archive has no directory at its end"))?;
        Ok(bytes)
    }

    fn vec(&mut self, length: usize) -> Result<Vec<u8>, Complaint> {
        let mut bytes = vec![0; length];
        let read = self.source.read_exact(&mut bytes);
        read.map_err(|_| Complaint::truncated("the archive ends within a header"))?;
        Ok(bytes)
    }
}

/// Gives everything to `sink`; stops once it is more than `most`.
fn drain(source: &mut dyn Read, most: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = BufReader::with_capacity(16 << 10, source);
    let mut all = 0_u64;
    loop {
        let bytes = match buffer.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let length = bytes.len();
        if length == 0 || all > most {
            return Ok(all);
        }
        sink(bytes);
        all = all.saturating_add(length as u64);
        buffer.consume(length);
    }
}

/// The packed length in the extra field of 64-bit archives (APPNOTE.TXT, 4.5.3), behind the length itself.
fn long_length(extra: &[u8]) -> Option<u64> {
    let mut at = 0;
    loop {
        let (kind, length) = (u16_le(extra, at)?, usize::from(u16_le(extra, at + 2)?));
        if kind == 1 {
            let bytes = slice(extra, at + 4 + 8, 8)?;
            return Some(u64::from_le_bytes(bytes.try_into().ok()?));
        }
        at += 4 + length;
    }
}
