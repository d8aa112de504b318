//! SQLite's write-ahead log (sqlite.org, fileformat2.html, "The Write-Ahead Log"): pages that are newer than those of
//! the database file. rpm leaves it filled where nothing closed the database in the end, as in many image builds.

use super::sqlite;
use crate::bytes::{Order, index, slice, u16_be, u32_be};
use crate::finding::{Complaint, FindingKind};

/// The first bytes; the last bit says the byte order of the sums.
const MAGICS: [(u32, Order); 2] = [(0x377f_0682, Order::Little), (0x377f_0683, Order::Big)];
const HEADER: usize = 32;
const FRAME: usize = 24;

/// Whether a file begins like a log.
pub(crate) fn begins(head: &[u8]) -> bool {
    order(head).is_some()
}

fn order(head: &[u8]) -> Option<Order> {
    let magic = u32_be(head, 0)?;
    MAGICS.iter().find(|(known, _)| *known == magic).map(|(_, order)| *order)
}

/// The database as one sees it who opens it: with all that the log has committed. `None` where the log has nothing,
/// as SQLite judges it: a wrong sum or salt ends it.
pub(crate) fn apply(database: &[u8], log: &[u8], limit: u64) -> Result<Option<Vec<u8>>, Complaint> {
    let Some(frames) = committed(log) else { return Ok(None) };
    let page = frames.page;
    let of_database = match u16_be(database, 16) {
        Some(1) => 65536,
        Some(size) => size.into(),
        None => page,
    };
    if of_database != page {
        return Err(Complaint::malformed("the write-ahead log has pages of another size than the database"));
    }
    let Some(length) = frames.pages.checked_mul(page).filter(|length| *length as u64 <= limit) else {
        let why = format!("with its write-ahead log the database has more than {limit} bytes");
        return Err(Complaint::new(FindingKind::FileTooLarge, why));
    };
    // What the log promises is not believed further than the bytes there are.
    if length > database.len() + log.len() {
        return Err(Complaint::truncated("the write-ahead log names more pages than there are"));
    }
    let mut merged = database.to_vec();
    merged.resize(length, 0);
    for at in 0..frames.count {
        let frame = HEADER + at * (FRAME + page);
        let number = u32_be(log, frame).and_then(index).and_then(|number| number.checked_sub(1));
        let from = number.and_then(|number| number.checked_mul(page));
        // Pages past the end were cut off by a later commit.
        let place = from.and_then(|from| merged.get_mut(from..from + page));
        if let (Some(place), Some(content)) = (place, slice(log, frame + FRAME, page)) {
            place.copy_from_slice(content);
        }
    }
    Ok(Some(merged).filter(|merged| merged.starts_with(sqlite::MAGIC)))
}

/// The frames up to the last commit.
struct Frames {
    page: usize,
    count: usize,
    /// Length of the database after the last commit, in pages.
    pages: usize,
}

fn committed(log: &[u8]) -> Option<Frames> {
    let order = order(log)?;
    let page = index(u32_be(log, 8)?)?;
    let page = Some(page).filter(|page| (512..=65536).contains(page) && page.is_power_of_two())?;
    let mut sum = Sum { order, pair: (0, 0) };
    sum.add(slice(log, 0, 24)?);
    if !sum.is_at(log, 24) {
        return None;
    }
    let salt = slice(log, 16, 8)?;
    let mut last = None;
    for (at, frame) in log.get(HEADER..)?.chunks_exact(FRAME + page).enumerate() {
        if slice(frame, 8, 8) != Some(salt) {
            break;
        }
        sum.add(slice(frame, 0, 8)?);
        sum.add(frame.get(FRAME..)?);
        if !sum.is_at(frame, 16) {
            break;
        }
        let pages = u32_be(frame, 4).and_then(index)?;
        if pages > 0 {
            last = Some(Frames { page, count: at + 1, pages });
        }
    }
    last
}

/// The running sum over the log.
struct Sum {
    order: Order,
    pair: (u32, u32),
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let word = |at| self.order.u32(pair, at).unwrap_or(0);
            self.pair.0 = self.pair.0.wrapping_add(word(0)).wrapping_add(self.pair.1);
            self.pair.1 = self.pair.1.wrapping_add(word(4)).wrapping_add(self.pair.0);
        }
    }

    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        (u32_be(bytes, at), u32_be(bytes, at + 4)) == (Some(self.pair.0), Some(self.pair.1))
    }
}
