//! Berkeley DB's hash, `Packages` of rpm before 4.16 (Berkeley DB source, src/dbinc/db_page.h).

use super::{MAX_HEADER, Sink};
use crate::bytes::{Order, index, slice};
use crate::finding::{Complaint, FindingKind};

const HASH_MAGIC: u32 = 0x0006_1561;
/// Length of a page's header, in bytes.
const PAGE_HEADER: usize = 26;
/// Page types: unsorted and sorted hash.
const HASH_PAGES: [u8; 2] = [2, 13];
const OVERFLOW_PAGE: u8 = 7;
/// Items: the content behind the mark, and content on overflow pages.
const ON_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;
/// Shorter items are no headers: the first key's is a counter.
const MIN_HEADER: usize = 24;

struct Pages<'a> {
    bytes: &'a [u8],
    order: Order,
    size: usize,
}

/// The byte order of a hash database, and whether it is one.
pub(super) fn order(bytes: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|order| order.u32(bytes, 12) == Some(HASH_MAGIC))
}

pub(super) fn packages(bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Complaint> {
    let order = order(bytes).ok_or_else(|| Complaint::malformed("no Berkeley DB hash"))?;
    let size = order.u32(bytes, 20).and_then(index).filter(|size| (512..=65536).contains(size));
    let size = size.ok_or_else(|| Complaint::malformed("an impossible page size"))?;
    let pages = Pages { bytes, order, size };
    if !bytes.len().is_multiple_of(size) {
        pages.walk(sink)?;
        return Err(Complaint::truncated("the file does not end with a page"));
    }
    pages.walk(sink)
}

impl<'a> Pages<'a> {
    fn page(&self, number: usize) -> Option<&'a [u8]> {
        slice(self.bytes, number.checked_mul(self.size)?, self.size)
    }

    /// Every page in file order: the buckets' chains need not be followed.
    fn walk(&self, sink: &mut Sink<'_>) -> Result<(), Complaint> {
        // All overflow pages together are no more than the file has, however often they are named.
        let mut budget = self.bytes.len() / self.size;
        for page in self.bytes.chunks_exact(self.size).skip(1) {
            if !page.get(25).is_some_and(|kind| HASH_PAGES.contains(kind)) {
                continue;
            }
            let items = usize::from(self.order.u16(page, 20).unwrap_or(0));
            // Keys and values alternate.
            for item in (1..items).step_by(2) {
                let at = self.order.u16(page, PAGE_HEADER + item * 2).map(usize::from);
                let at = at.ok_or_else(|| Complaint::malformed("a page with more items than fit"))?;
                match page.get(at) {
                    Some(&OFF_PAGE) => {}
                    Some(&ON_PAGE) => {
                        // An item ends where the one before it begins.
                        let before = PAGE_HEADER + (item - 1) * 2;
                        let end = self.order.u16(page, before).map_or(0, usize::from);
                        let inside = page.get(at + 1..end);
                        let inside =
                            inside.ok_or_else(|| Complaint::malformed("an item that does not fit"))?;
                        if inside.len() >= MIN_HEADER {
                            sink(inside)?;
                        }
                        continue;
                    }
                    // Items of several values, which rpm never writes.
                    _ => return Err(Complaint::malformed("an item of a kind that rpm's database has not")),
                }
                let first = self.order.u32(page, at + 4).and_then(index);
                let length = self.order.u32(page, at + 8).and_then(index).filter(|len| *len <= MAX_HEADER);
                let (Some(first), Some(length)) = (first, length) else {
                    return Err(Complaint::malformed("an item that does not fit in its page"));
                };
                sink(&self.overflow(first, length, &mut budget)?)?;
            }
        }
        Ok(())
    }

    fn overflow(&self, first: usize, length: usize, budget: &mut usize) -> Result<Vec<u8>, Complaint> {
        let mut content = Vec::new();
        let mut next = first;
        while next != 0 && content.len() < length {
            if *budget == 0 {
                return Err(Complaint::new(FindingKind::Cycle, "overflow pages are used more than once"));
            }
            *budget -= 1;
            let page = self.page(next).filter(|page| page.get(25) == Some(&OVERFLOW_PAGE));
            let page = page.ok_or_else(|| Complaint::truncated(format!("no overflow page {next}")))?;
            let used = usize::from(self.order.u16(page, 22).unwrap_or(0));
            let part = slice(page, PAGE_HEADER, used);
            content.extend_from_slice(part.ok_or_else(|| Complaint::malformed("an overfull page"))?);
            next = self.order.u32(page, 16).and_then(index).unwrap_or(0);
        }
        content.truncate(length);
        Ok(content)
    }
}
