//! SQLite's rollback journal (sqlite.org, fileformat2.html, "The Rollback Journal"): pages as they were before a change
//! that was broken off. Whoever opens the database puts them back first.

use crate::bytes::{index, slice, u32_be};
use crate::finding::{Complaint, FindingKind};

const MAGIC: &[u8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
/// A count of records that says: as many as there are.
const ALL: u32 = u32::MAX;
/// Of every so many bytes of a page one is in its sum.
const STEP: usize = 200;

/// Whether a file begins like a journal that is to be played back. A finished one is empty, or begins with zeros.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// The database as it was. `None` where there is nothing to put back.
pub(crate) fn apply(database: &[u8], journal: &[u8], limit: u64) -> Result<Option<Vec<u8>>, Complaint> {
    if database.is_empty() || !begins(journal) {
        return Ok(None);
    }
    if journal.ends_with(MAGIC) {
        let why = "a rollback journal that belongs to a change of several databases";
        return Err(Complaint::new(FindingKind::Unsupported, why));
    }
    let first = Segment::at(journal, 0).ok_or_else(|| Complaint::malformed("a broken rollback journal"))?;
    let length = first.pages.checked_mul(first.page).filter(|length| *length as u64 <= limit);
    let Some(length) = length.filter(|length| *length <= database.len() + journal.len()) else {
        return Err(Complaint::truncated("the rollback journal names more pages than there are"));
    };
    let mut restored = database.to_vec();
    restored.resize(length, 0);
    let (mut at, mut next) = (0, Some(first.clone()));
    while let Some(segment) = next {
        let Some(end) = segment.put_back(journal, at, &first, &mut restored) else { break };
        // Each segment begins a sector of its own.
        at = end.next_multiple_of(first.sector);
        next = Segment::at(journal, at);
    }
    Ok(Some(restored))
}

/// A header and the records behind it.
#[derive(Clone)]
struct Segment {
    records: u32,
    nonce: u32,
    /// Length of the database before the change, in pages.
    pages: usize,
    sector: usize,
    page: usize,
}

impl Segment {
    fn at(journal: &[u8], at: usize) -> Option<Self> {
        let header = slice(journal, at, 28).filter(|header| header.starts_with(MAGIC))?;
        let size = |at| u32_be(header, at).and_then(index).filter(|size| size.is_power_of_two());
        Some(Self {
            records: u32_be(header, 8)?,
            nonce: u32_be(header, 12)?,
            pages: index(u32_be(header, 16)?)?,
            sector: size(20).filter(|sector| (32..=65536).contains(sector))?,
            page: size(24).filter(|page| (512..=65536).contains(page))?,
        })
    }

    /// Where the records end; `None` where one is broken, which ends the journal as SQLite reads it.
    fn put_back(&self, journal: &[u8], at: usize, first: &Self, database: &mut [u8]) -> Option<usize> {
        let page = first.page;
        let begin = at.checked_add(first.sector)?;
        let there = journal.len().saturating_sub(begin) / (page + 8);
        let count = if self.records == ALL { there } else { index(self.records)? };
        for record in 0..count {
            let at = begin.checked_add(record.checked_mul(page + 8)?)?;
            let (number, content) = (index(u32_be(journal, at)?)?, slice(journal, at + 4, page)?);
            if u32_be(journal, at + 4 + page)? != self.sum(content) {
                return None;
            }
            let place = number.checked_sub(1)?.checked_mul(page)?;
            if let Some(place) = database.get_mut(place..place + page) {
                place.copy_from_slice(content);
            }
        }
        begin.checked_add(count.checked_mul(page + 8)?)
    }

    fn sum(&self, page: &[u8]) -> u32 {
        let places = (1..).map_while(|step| page.len().checked_sub(step * STEP)).filter(|at| *at > 0);
        let bytes = places.filter_map(|at| page.get(at));
        bytes.fold(self.nonce, |sum, byte| sum.wrapping_add(u32::from(*byte)))
    }
}
