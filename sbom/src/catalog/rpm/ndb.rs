//! rpm's own database, `Packages.db` (rpm source, lib/backend/ndb/rpmpkg.c): pages of 16-byte slots, then blobs
//! in blocks of 16 bytes. Little-endian.

use super::{MAX_HEADER, Sink};
use crate::bytes::{index, slice, u32_le};
use crate::finding::Complaint;

pub(super) const MAGIC: &[u8] = b"RpmP";
const PAGE: usize = 4096;
const BLOCK: usize = 16;

pub(super) fn packages(bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Complaint> {
    if !bytes.starts_with(MAGIC) {
        return Err(Complaint::malformed("no ndb database: it does not begin with RpmP"));
    }
    let pages = u32_le(bytes, 12).and_then(index).and_then(|pages| pages.checked_mul(PAGE));
    let slots = pages.and_then(|length| bytes.get(..length));
    let slots = slots.ok_or_else(|| Complaint::truncated("the slots do not fit in the file"))?;
    // The first two slots are the header's place.
    for slot in slots.chunks_exact(BLOCK).skip(2) {
        if slice(slot, 0, 4) != Some(b"Slot") {
            return Err(Complaint::malformed("a slot without its mark"));
        }
        let (Some(package), Some(block)) = (u32_le(slot, 4), u32_le(slot, 8).and_then(index)) else {
            continue;
        };
        if block == 0 {
            continue;
        }
        let blob = blob(bytes, package, block);
        let blob = blob.ok_or_else(|| Complaint::truncated(format!("package {package} has no header")))?;
        sink(blob)?;
    }
    Ok(())
}

/// A mark, the package's number, a generation and the length, then the header.
fn blob(bytes: &[u8], package: u32, block: usize) -> Option<&[u8]> {
    let at = block.checked_mul(BLOCK)?;
    let right = slice(bytes, at, 4)? == b"BlbS" && u32_le(bytes, at.checked_add(4)?)? == package;
    let length = index(u32_le(bytes, at.checked_add(12)?)?).filter(|length| *length <= MAX_HEADER)?;
    right.then(|| slice(bytes, at.checked_add(BLOCK)?, length)).flatten()
}
