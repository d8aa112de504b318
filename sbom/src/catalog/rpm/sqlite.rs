//! The table `Packages` of an SQLite file (sqlite.org, fileformat2.html), without SQLite: an image's file is
//! bytes, not a database to be opened. [`super::wal`] adds what only a log beside it holds.

use super::{MAX_HEADER, Sink};
use crate::bytes::{index, slice, u16_be, u32_be};
use crate::finding::{Complaint, FindingKind};

pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

/// Whether nothing was ever moved from the log into the file: it has a page or none, without tables.
pub(super) fn is_new(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.starts_with(MAGIC) && bytes.len() <= 65536
}

struct File<'a> {
    bytes: &'a [u8],
    page: usize,
    /// Bytes of a page that content may use.
    usable: usize,
}

pub(super) fn packages(bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Complaint> {
    if !bytes.starts_with(MAGIC) {
        return Err(Complaint::malformed("no SQLite database"));
    }
    let page = match u16_be(bytes, 16) {
        Some(1) => 65536,
        Some(size) if size >= 512 && size.is_power_of_two() => usize::from(size),
        _ => return Err(Complaint::malformed("an impossible page size")),
    };
    let reserved = usize::from(bytes.get(20).copied().unwrap_or(0));
    let file = File { bytes, page, usable: page.saturating_sub(reserved).max(480) };
    let mut root = None;
    file.table(1, &mut |record| {
        // sqlite_schema: type, name, tbl_name, rootpage, sql.
        let (kind, name) = (column(record, 0), column(record, 1));
        if kind == Some(b"table".as_slice()) && name == Some(b"Packages".as_slice()) {
            root = column(record, 3).and_then(number);
        }
        Ok(())
    })?;
    let root = root.ok_or_else(|| Complaint::malformed("the database has no table Packages"))?;
    file.table(root, &mut |record| match column(record, 1) {
        Some(blob) => sink(blob),
        None => Err(Complaint::malformed("a row of Packages without its blob")),
    })
}

impl<'a> File<'a> {
    fn page(&self, number: usize) -> Option<&'a [u8]> {
        slice(self.bytes, number.checked_sub(1)?.checked_mul(self.page)?, self.page)
    }

    /// Every record of the table whose tree begins at `root`.
    fn table(&self, root: usize, sink: &mut Sink<'_>) -> Result<(), Complaint> {
        // A tree and its overflow pages use each page once.
        let mut budget = self.bytes.len() / self.page + 1;
        let mut waiting = vec![root];
        while let Some(number) = waiting.pop() {
            spend(&mut budget)?;
            let page = self.page(number);
            let page = page.ok_or_else(|| Complaint::truncated(format!("no page {number}")))?;
            let head = if number == 1 { 100 } else { 0 };
            let kind = page.get(head).copied();
            let cells = u16_be(page, head + 3).map_or(0, usize::from);
            let pointers = head + if kind == Some(INTERIOR) { 12 } else { 8 };
            let cell = |at: usize| u16_be(page, pointers + at * 2).map(usize::from);
            let broken = || Complaint::malformed(format!("page {number} is broken"));
            match kind {
                Some(INTERIOR) => {
                    // Last first, so that rows come in their order.
                    waiting.push(u32_be(page, head + 8).and_then(index).ok_or_else(broken)?);
                    for at in (0..cells).rev() {
                        let child = cell(at).and_then(|at| u32_be(page, at)).and_then(index);
                        waiting.push(child.ok_or_else(broken)?);
                    }
                    // Each page is visited once, so more can only be repetition.
                    if waiting.len() > budget.saturating_add(1) {
                        return Err(Complaint::new(
                            FindingKind::Cycle,
                            "the tree names more pages than there are",
                        ));
                    }
                }
                Some(LEAF) => {
                    for at in 0..cells {
                        let at = cell(at).ok_or_else(broken)?;
                        let record = self.record(page, at, &mut budget)?;
                        sink(&record)?;
                    }
                }
                _ => return Err(broken()),
            }
        }
        Ok(())
    }

    /// The content of a leaf's cell: in the page, the rest on a chain of overflow pages.
    fn record(&self, page: &[u8], at: usize, budget: &mut usize) -> Result<Vec<u8>, Complaint> {
        let broken = || Complaint::malformed("a cell that does not fit in its page");
        let cell = page.get(at..).ok_or_else(broken)?;
        let (length, used) = varint(cell).ok_or_else(broken)?;
        let (_, row) = cell.get(used..).and_then(varint).ok_or_else(broken)?;
        let length = index(length).filter(|length| *length <= MAX_HEADER);
        let length = length.ok_or_else(|| Complaint::malformed("a row longer than any package's"))?;
        let (most, least) = (self.usable - 35, (self.usable - 12) * 32 / 255 - 23);
        let local = match length {
            length if length <= most => length,
            length => {
                let fitting = least + (length - least) % (self.usable - 4);
                if fitting <= most { fitting } else { least }
            }
        };
        let mut record = slice(cell, used + row, local).ok_or_else(broken)?.to_vec();
        let mut next = if local < length { u32_be(cell, used + row + local) } else { None };
        while record.len() < length {
            spend(budget)?;
            let page = next.and_then(index).and_then(|next| self.page(next));
            let page = page.ok_or_else(|| Complaint::truncated("a row's overflow page is missing"))?;
            let part = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(slice(page, 4, part).ok_or_else(broken)?);
            next = u32_be(page, 0);
        }
        Ok(record)
    }
}

fn spend(budget: &mut usize) -> Result<(), Complaint> {
    *budget = budget
        .checked_sub(1)
        .ok_or_else(|| Complaint::new(FindingKind::Cycle, "pages are used more than once"))?;
    Ok(())
}

/// A column's bytes.
fn column(record: &[u8], wanted: usize) -> Option<&[u8]> {
    let (header, mut at) = varint(record)?;
    let header = index(header)?;
    let mut content = header;
    for column in 0..=wanted {
        let (serial, used) = varint(record.get(at..header)?)?;
        at += used;
        let length = match serial {
            0 | 8 | 9 => 0,
            1..=4 => serial,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            other => (other - 12) / 2,
        };
        let length = index(length)?;
        if column == wanted {
            return slice(record, content, length);
        }
        content = content.checked_add(length)?;
    }
    None
}

/// A big-endian integer of up to four bytes, as root pages are.
fn number(bytes: &[u8]) -> Option<usize> {
    let fits = (1..=4).contains(&bytes.len());
    fits.then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// A variable-length integer and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        if at == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}
