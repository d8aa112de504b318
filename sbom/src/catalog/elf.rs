//! Looks through an ELF file as it streams by, in bounded memory: for Go's build information and for the
//! `.dep-v0` section of cargo-auditable.
//!
//! Section headers lie at the end of a file and cannot be known in time. So possible beginnings are captured
//! where they are recognised by content; a crate list counts only if a section really begins there.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use memchr::memmem::Finder;

use super::{Content, cargo, go};
use crate::bytes::{Order, index};
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;

/// The first bytes of every ELF file.
pub(crate) const MAGIC: [u8; 4] = *b"\x7fELF";
/// How much is read at once, in bytes.
const READ: usize = 256 << 10;
/// Bytes that have to follow a possible beginning before it is judged.
const AHEAD: usize = 1 << 10;
/// Longest build information and crate list, in bytes of the file.
const MAX_CAPTURE: usize = 4 << 20;
/// What UPX puts behind the program headers (UPX source, src/conf.h, `UPX_MAGIC_LE32`).
const UPX: &[u8] = b"UPX!";
/// Most possible beginnings followed at once.
const MAX_CAPTURES: usize = 8;
/// How every list of cargo-auditable begins.
const AUDIT_BEGIN: &[u8] = b"{\"packages\":";

struct Capture {
    /// Offset in the file.
    at: u64,
    bytes: Vec<u8>,
}

impl Capture {
    fn feed(&mut self, bytes: &[u8]) {
        let room = MAX_CAPTURE.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }
}

/// Where the section headers are.
struct Sections {
    order: Order,
    wide: bool,
    offset: u64,
    entry: usize,
    length: u64,
}

impl Sections {
    /// From the file header (ELF-64 object file format, "ELF header").
    fn of(head: &[u8]) -> Option<Self> {
        let wide = *head.get(4)? == 2;
        let order = if *head.get(5)? == 2 { Order::Big } else { Order::Little };
        let (offset, entry, count) = if wide {
            (order.u64(head, 40)?, order.u16(head, 58)?, order.u16(head, 60)?)
        } else {
            (order.u32(head, 32)?.into(), order.u16(head, 46)?, order.u16(head, 48)?)
        };
        // Entries have one length a class, so the table is at most 4 MiB.
        let right = entry == if wide { 64 } else { 40 };
        let length = if right { u64::from(entry) * u64::from(count) } else { 0 };
        Some(Self { order, wide, offset, entry: entry.into(), length })
    }

    /// The length of the section that begins at `at`, if one does.
    fn length_at(&self, table: &[u8], at: u64) -> Option<usize> {
        let (offset, size) = (if self.wide { 24 } else { 16 }, if self.wide { 32 } else { 20 });
        let word = |header: &[u8], at| {
            if self.wide { self.order.u64(header, at) } else { self.order.u32(header, at).map(u64::from) }
        };
        let mut headers = table.chunks_exact(self.entry.max(1));
        let header = headers.find(|header| word(header, offset) == Some(at))?;
        index(word(header, size)?)
    }
}

/// Reads a file of which `head` was read already.
pub(crate) fn scan(head: &[u8], mut source: impl Read, limits: &Limits) -> io::Result<Content> {
    let mut window = head.to_vec();
    let mut base = 0_u64;
    let mut scan = Scan::new();
    scan.packed = memchr::memmem::find(head, UPX).is_some();
    let mut chunk = vec![0; READ];
    // What was read before counts as the first chunk.
    let mut fresh = head.to_vec();
    let mut sections = None;
    loop {
        let end = base + window.len() as u64;
        scan.feed(&fresh);
        if sections.is_none() && window.len() >= 64 && base == 0 {
            sections = Sections::of(&window);
        }
        if let Some(sections) = &sections {
            scan.table(sections, end - fresh.len() as u64, &fresh);
        }
        let read = loop {
            match source.read(&mut chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let judged = if read == 0 { window.len() } else { window.len().saturating_sub(AHEAD) };
        scan.search(&window, base, judged);
        if read == 0 {
            break;
        }
        window.drain(..judged);
        base += judged as u64;
        fresh.clear();
        fresh.extend_from_slice(chunk.get(..read).unwrap_or_default());
        window.extend_from_slice(&fresh);
    }
    Ok(scan.finish(sections.as_ref(), limits))
}

struct Scan {
    finder: Finder<'static>,
    go: Vec<Capture>,
    old_go: bool,
    broken_go: bool,
    /// Whether it is packed: what is in it does not show.
    packed: bool,
    build: Option<(String, String)>,
    audit: Vec<Capture>,
    /// The section headers, as far as they came by.
    headers: Vec<u8>,
}

impl Scan {
    fn new() -> Self {
        Self {
            finder: Finder::new(go::MAGIC),
            go: Vec::new(),
            old_go: false,
            broken_go: false,
            packed: false,
            build: None,
            audit: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Gives new bytes to the captures that have begun.
    fn feed(&mut self, bytes: &[u8]) {
        self.go.iter_mut().chain(&mut self.audit).for_each(|capture| capture.feed(bytes));
        self.judge(false);
    }

    fn judge(&mut self, whole: bool) {
        for capture in std::mem::take(&mut self.go) {
            match go::parse(&capture.bytes, whole || capture.bytes.len() >= MAX_CAPTURE) {
                go::BuildInfo::None => {}
                go::BuildInfo::More => self.go.push(capture),
                go::BuildInfo::Old => self.old_go = true,
                go::BuildInfo::Broken => self.broken_go = true,
                // A Go program may carry another's; the first is the linker's, in front of all data.
                go::BuildInfo::Found(version, modules) => {
                    self.build.get_or_insert((version, modules));
                }
            }
        }
    }

    /// Keeps what of `bytes`, at `at` in the file, belongs to the section headers.
    fn table(&mut self, sections: &Sections, at: u64, bytes: &[u8]) {
        let next = sections.offset + self.headers.len() as u64;
        let end = sections.offset.saturating_add(sections.length);
        let from = next.checked_sub(at).and_then(index);
        let to = index(end.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        if let Some(part) = from.and_then(|from| bytes.get(from..to)) {
            self.headers.extend_from_slice(part);
        }
    }

    /// Looks for beginnings in the first `judged` bytes of the window, which is at `base` in the file.
    fn search(&mut self, window: &[u8], base: u64, judged: usize) {
        let finder = self.finder.clone();
        for found in finder.find_iter(window).take_while(|found| *found < judged) {
            let at = base + found as u64;
            if self.build.is_none() && at.is_multiple_of(16) && self.go.len() < MAX_CAPTURES {
                let mut capture = Capture { at, bytes: Vec::new() };
                capture.feed(window.get(found..).unwrap_or_default());
                self.go.push(capture);
            }
        }
        self.judge(false);
        for found in memchr::memchr_iter(0x78, window).take_while(|found| *found < judged) {
            let rest = window.get(found..).unwrap_or_default();
            if self.audit.len() < MAX_CAPTURES && begins_audit(rest) {
                let mut capture = Capture { at: base + found as u64, bytes: Vec::new() };
                capture.feed(rest);
                self.audit.push(capture);
            }
        }
    }

    fn finish(mut self, sections: Option<&Sections>, limits: &Limits) -> Content {
        self.judge(true);
        let mut content = Content::default();
        if let Some((version, modules)) = &self.build {
            go::modules(version, modules, limits, &mut content);
        } else if self.broken_go {
            let why = "Go build information that cannot be read: its modules are not in the list";
            content.complaints.push(Complaint::malformed(why));
        } else if self.old_go {
            let why = "Go build information in the form of before Go 1.18 is not read";
            content.complaints.push(Complaint::new(FindingKind::Unsupported, why));
        }
        if self.packed && content.packages.is_empty() {
            let why = "a program packed with UPX: what is linked into it is not read";
            content.complaints.push(Complaint::new(FindingKind::Unsupported, why));
        }
        for capture in &self.audit {
            let length = sections.and_then(|sections| sections.length_at(&self.headers, capture.at));
            let Some(length) = length else { continue };
            match capture.bytes.get(..length) {
                Some(section) => cargo::dep_v0(section, limits, &mut content),
                None => content
                    .complaints
                    .push(Complaint::truncated(format!("a list of crates of {length} bytes is cut off"))),
            }
        }
        content
    }
}

/// Whether a zlib stream of a crate list begins here: a valid zlib header (RFC 1950), then the right first bytes.
fn begins_audit(bytes: &[u8]) -> bool {
    let (Some(first), Some(second)) = (bytes.first(), bytes.get(1)) else { return false };
    if *first != 0x78 || (u16::from(*first) * 256 + u16::from(*second)) % 31 != 0 {
        return false;
    }
    let mut begin = [0; AUDIT_BEGIN.len()];
    let head = bytes.get(..bytes.len().min(AHEAD)).unwrap_or_default();
    ZlibDecoder::new_with_buf(head, vec![0; 64]).read_exact(&mut begin).is_ok() && begin == *AUDIT_BEGIN
}
