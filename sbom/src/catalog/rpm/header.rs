//! An rpm header as the database keeps it (rpm's docs, "Package format", "Header structure"): two counts, an
//! index of 16-byte entries, a data store. Big-endian.

use crate::bytes::{index, slice, u32_be};
use crate::package::{Ecosystem, Package, Source};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE_RPM: u32 = 1044;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;

/// A package, and whether the hashes of its files went into `owned`, which may have `most`; `None` when it is no header.
pub(super) fn read(bytes: &[u8], most: usize, owned: &mut Vec<u64>) -> Option<(Package, bool)> {
    let header = Header::open(bytes)?;
    let version = header.text(VERSION)?;
    let full = match header.text(RELEASE) {
        Some(release) => format!("{version}-{release}"),
        None => version,
    };
    let mut package = Package::new(Ecosystem::Rpm, header.text(NAME)?, Some(full));
    package.architecture = header.text(ARCH).filter(|arch| arch != "(none)");
    package.epoch = header.number(EPOCH, 0).filter(|epoch| *epoch > 0);
    package.source = header.text(SOURCE_RPM).map(|name| Source { name, version: None });
    package.supplier = header.text(VENDOR).filter(|vendor| vendor != "(none)");
    package.licenses = header.text(LICENSE).into_iter().collect();
    let all = header.files(most.saturating_sub(owned.len()), owned);
    Some((package, all))
}

struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let (count, length) = (index(u32_be(bytes, 0)?)?, index(u32_be(bytes, 4)?)?);
        let entries = slice(bytes, 8, count.checked_mul(16)?)?;
        let data = slice(bytes, 8 + entries.len(), length)?;
        Some(Self { entries, data })
    }

    /// Where a tag's data begins, and how many values it has.
    fn find(&self, tag: u32) -> Option<(&'a [u8], usize)> {
        let entry = self.entries.chunks_exact(16).find(|entry| u32_be(entry, 0) == Some(tag))?;
        let data = self.data.get(index(u32_be(entry, 8)?)?..)?;
        Some((data, index(u32_be(entry, 12)?)?))
    }

    fn text(&self, tag: u32) -> Option<String> {
        let (data, _) = self.find(tag)?;
        let end = memchr::memchr(0, data)?;
        let text = String::from_utf8_lossy(data.get(..end)?).into_owned();
        Some(text).filter(|text| !text.is_empty())
    }

    fn number(&self, tag: u32, at: usize) -> Option<u32> {
        let (data, count) = self.find(tag)?;
        (at < count).then(|| u32_be(data, at.checked_mul(4)?)).flatten()
    }

    fn texts(&self, tag: u32) -> impl Iterator<Item = &'a [u8]> {
        let (mut data, count) = self.find(tag).unwrap_or_default();
        (0..count).map_while(move |_| {
            let end = memchr::memchr(0, data)?;
            let text = data.get(..end)?;
            data = data.get(end + 1..)?;
            Some(text)
        })
    }

    /// Each file is a directory's number and a name in it. Whether these are all, and in order.
    fn files(&self, room: usize, owned: &mut Vec<u64>) -> bool {
        let directories: Vec<&[u8]> = self.texts(DIR_NAMES).collect();
        let (indexes, _) = self.find(DIR_INDEXES).unwrap_or_default();
        for (at, name) in self.texts(BASE_NAMES).enumerate().take(room) {
            let directory = u32_be(indexes, at.saturating_mul(4)).and_then(index);
            let Some(directory) = directory.and_then(|at| directories.get(at)) else { return false };
            let path = [directory, name].concat();
            owned.push(crate::owned::hash(&String::from_utf8_lossy(&path)));
        }
        self.texts(BASE_NAMES).count() <= room
    }
}
