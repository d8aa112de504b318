//! Makes archives, databases and programs, byte by byte.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        match path.strip_suffix('/') {
            Some(_) => header.set_entry_type(tar::EntryType::Directory),
            None => header.set_entry_type(tar::EntryType::Regular),
        }
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What an entry of [`tar_of`] is.
pub(super) enum Node<'a> {
    File(&'a [u8]),
    Hard(&'a str),
    Soft(&'a str),
}

pub(super) fn tar_of(nodes: &[(&str, Node<'_>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, node) in nodes {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        let kind = if matches!(node, Node::Hard(_)) { tar::EntryType::Link } else { tar::EntryType::Symlink };
        header.set_entry_type(kind);
        match node {
            Node::File(content) => {
                header.set_size(content.len() as u64);
                header.set_entry_type(tar::EntryType::Regular);
                builder.append_data(&mut header, path, *content).unwrap();
            }
            Node::Hard(target) | Node::Soft(target) => {
                builder.append_link(&mut header, path, target).unwrap()
            }
        }
    }
    builder.into_inner().unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub(super) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive with all entries deflated.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut body, mut central) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let sizes = [packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
        let at = body.len() as u32;
        // Version, flags, method 8, time, date, no checksum.
        let common = [&[20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes].concat();
        let length = (name.len() as u16).to_le_bytes();
        body.extend([b"PK\x03\x04", &common[..], &length, &[0; 2], name.as_bytes(), &packed].concat());
        let rest = [&length[..], &[0; 12], &at.to_le_bytes(), name.as_bytes()].concat();
        central.extend([b"PK\x01\x02", &[20, 0][..], &common, &rest].concat());
    }
    let at = body.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    body.extend(&central);
    body.extend([b"PK\x05\x06", &[0; 4][..], &count, &count].concat());
    body.extend([(central.len() as u32).to_le_bytes(), at.to_le_bytes()].concat());
    body.extend([0; 2]);
    body
}

/// The same with all lengths and offsets in the fields of 64 bits (APPNOTE.TXT, 4.3.14, 4.5.3).
pub(super) fn zip64(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut body, mut central) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let at = (body.len() as u64).to_le_bytes();
        let size = (content.len() as u64).to_le_bytes();
        let common = [&[45, 0, 0, 0, 0, 0][..], &[0; 8], &[0xff; 8]].concat();
        let length = (name.len() as u16).to_le_bytes();
        let extra = |more: &[u8]| {
            let count = (16 + more.len() as u16).to_le_bytes();
            [&[1, 0][..], &count, &size, &size, more].concat()
        };
        let local = extra(&[]);
        let count = (local.len() as u16).to_le_bytes();
        body.extend([b"PK\x03\x04", &common[..], &length, &count, name.as_bytes(), &local, content].concat());
        let extra = extra(&at);
        let count = (extra.len() as u16).to_le_bytes();
        let rest = [&length[..], &count, &[0; 10], &[0xff; 4], name.as_bytes(), &extra].concat();
        central.extend([b"PK\x01\x02", &[45, 0][..], &common, &rest].concat());
    }
    let (at, length) = ((body.len() as u64).to_le_bytes(), (central.len() as u64).to_le_bytes());
    body.extend(&central);
    let end = (body.len() as u64).to_le_bytes();
    let count = (entries.len() as u64).to_le_bytes();
    body.extend(
        [b"PK\x06\x06", &44_u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 8], &count, &count].concat(),
    );
    body.extend([length, at].concat());
    body.extend([b"PK\x06\x07", &[0; 4][..], &end, &[1, 0, 0, 0]].concat());
    body.extend([b"PK\x05\x06", &[0; 4][..], &[0xff; 12], &[0; 2]].concat());
    body
}

/// A zip archive as those who cannot go back write it: lengths behind the contents, with or without a mark, in 32 or
/// 64 bits. Entries whose name begins with `=` are stored, with their lengths in front.
pub(super) fn zip_streamed(entries: &[(&str, &[u8])], mark: bool, long: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in entries {
        if let Some(name) = name.strip_prefix('=') {
            let size = (content.len() as u32).to_le_bytes();
            body.extend([b"PK\x03\x04", &[20, 0, 0, 0, 0, 0][..], &[0; 8], &size, &size].concat());
            body.extend([&(name.len() as u16).to_le_bytes()[..], &[0; 2], name.as_bytes(), content].concat());
            continue;
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let length = (name.len() as u16).to_le_bytes();
        let head = [20, 0, 8, 0, 8, 0];
        body.extend([b"PK\x03\x04", &head[..], &[0; 16], &length, &[0; 2], name.as_bytes()].concat());
        body.extend(&packed);
        body.extend(if mark { b"PK\x07\x08".as_slice() } else { b"" });
        body.extend([1, 2, 3, 4]);
        for size in [packed.len() as u64, content.len() as u64].map(u64::to_le_bytes) {
            body.extend(if long { &size[..] } else { &size[..4] });
        }
    }
    body.extend([b"PK\x05\x06".as_slice(), &[0; 18]].concat());
    body
}

/// A 64-bit little-endian ELF file whose sections are these, each at a multiple of 16.
pub(super) fn elf(sections: &[&[u8]]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut headers = Vec::new();
    for section in sections {
        file.resize(file.len().next_multiple_of(16), 0);
        let mut header = [0; 64];
        header[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(section.len() as u64).to_le_bytes());
        file.extend(*section);
        headers.extend(header);
    }
    let at = (file.len() as u64).to_le_bytes();
    file[40..48].copy_from_slice(&at);
    file[58..60].copy_from_slice(&64_u16.to_le_bytes());
    file[60..62].copy_from_slice(&(sections.len() as u16).to_le_bytes());
    file.extend(headers);
    file
}

/// An rpm header with a package's name, version, release, and one file.
pub(super) fn rpm_header(name: &str, version: &str, filler: usize) -> Vec<u8> {
    let summary = "x".repeat(filler);
    let texts = [(1000, name), (1001, version), (1002, "1.fc40"), (1022, "x86_64"), (1004, &summary)];
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let mut add = |tag: u32, kind: u32, bytes: &[u8]| {
        index.extend([tag, kind, data.len() as u32, 1].map(u32::to_be_bytes).concat());
        data.extend(bytes);
    };
    add(1116, 4, &[0; 4]);
    for (tag, text) in texts {
        add(tag, 6, format!("{text}\0").as_bytes());
    }
    add(1117, 8, b"METADATA\0");
    add(1118, 8, b"/usr/lib/python3/site-packages/owned.dist-info/\0");
    let head = [(index.len() / 16) as u32, data.len() as u32].map(u32::to_be_bytes).concat();
    [head, index, data].concat()
}

pub(super) fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0; 4096];
    file[..4].copy_from_slice(b"RpmP");
    file[12..16].copy_from_slice(&1_u32.to_le_bytes());
    for slot in file[32..].chunks_exact_mut(16) {
        slot[..4].copy_from_slice(b"Slot");
    }
    for (at, header) in headers.iter().enumerate() {
        let number = (at as u32 + 1).to_le_bytes();
        let slot = 32 + at * 16;
        let block = (file.len() / 16) as u32;
        file[slot + 4..slot + 8].copy_from_slice(&number);
        file[slot + 8..slot + 12].copy_from_slice(&block.to_le_bytes());
        file.extend([b"BlbS", &number[..], &[0; 4], &(header.len() as u32).to_le_bytes(), header].concat());
        file.resize(file.len().next_multiple_of(16), 0);
    }
    file
}

/// A hash database with pages of 512 bytes: its head, one hash page, then overflow pages.
pub(super) fn bdb(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[12..16].copy_from_slice(&0x0006_1561_u32.to_le_bytes());
    file[20..24].copy_from_slice(&512_u32.to_le_bytes());
    file[512 + 25] = 13;
    file[512 + 20..512 + 22].copy_from_slice(&(headers.len() as u16 * 2).to_le_bytes());
    for (at, header) in headers.iter().enumerate() {
        let item = 512 - 12 * (at + 1);
        let pointer = 512 + 26 + (at * 2 + 1) * 2;
        file[pointer..pointer + 2].copy_from_slice(&(item as u16).to_le_bytes());
        file[512 + item] = 3;
        let first = (file.len() / 512) as u32;
        file[512 + item + 4..512 + item + 8].copy_from_slice(&first.to_le_bytes());
        file[512 + item + 8..512 + item + 12].copy_from_slice(&(header.len() as u32).to_le_bytes());
        let mut parts = header.chunks(512 - 26).peekable();
        while let Some(part) = parts.next() {
            let mut page = vec![0; 512];
            let next = if parts.peek().is_some() { (file.len() / 512) as u32 + 1 } else { 0 };
            page[16..20].copy_from_slice(&next.to_le_bytes());
            page[22..24].copy_from_slice(&(part.len() as u16).to_le_bytes());
            page[25] = 7;
            page[26..26 + part.len()].copy_from_slice(part);
            file.extend(page);
        }
    }
    file
}

/// A database of pages of 512 bytes: the schema, an interior page as the root of Packages, a leaf for each
/// header with its overflow pages behind it.
pub(super) fn sqlite(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut root = vec![5, 0, 0, 0, (headers.len() - 1) as u8, 0, 0, 0];
    let mut leaves: Vec<u8> = Vec::new();
    let (mut children, mut cells) = (Vec::new(), Vec::new());
    for (at, header) in headers.iter().enumerate() {
        children.push((3 + leaves.len() / 512) as u32);
        let serial = varint(12 + 2 * header.len());
        let record = [&[serial.len() as u8 + 2, 0], &serial[..], header].concat();
        let local = match record.len() {
            length if length <= 477 => length,
            length => Some(39 + (length - 39) % 508).filter(|local| *local <= 477).unwrap_or(39),
        };
        let (inside, rest) = record.split_at(local);
        let mut cell = [&varint(record.len())[..], &[at as u8 + 1], inside].concat();
        if !rest.is_empty() {
            cell.extend((children[at] + 1).to_be_bytes());
        }
        let mut page = vec![13, 0, 0, 0, 1, 0, 0, 0];
        page.extend(((512 - cell.len()) as u16).to_be_bytes());
        page.resize(512 - cell.len(), 0);
        leaves.extend([page, cell].concat());
        let parts = rest.chunks(508).count();
        for (number, part) in rest.chunks(508).enumerate() {
            let next = if number + 1 < parts { children[at] + 2 + number as u32 } else { 0 };
            leaves.extend([&next.to_be_bytes()[..], part].concat());
            leaves.resize(leaves.len().next_multiple_of(512), 0);
        }
    }
    root.extend(children[headers.len() - 1].to_be_bytes());
    for (at, child) in children[..headers.len() - 1].iter().enumerate() {
        let place = 512 - 5 * (at + 1);
        root.extend((place as u16).to_be_bytes());
        cells.splice(0..0, [&child.to_be_bytes()[..], &[at as u8 + 1]].concat());
    }
    root.resize(512 - cells.len(), 0);
    [sqlite_schema(), root, cells, leaves].concat()
}

/// A big-endian integer of seven bits a byte, as SQLite writes it.
fn varint(value: usize) -> Vec<u8> {
    let groups = (0..9).rev().map(|group| value >> (7 * group)).skip_while(|rest| *rest == 0);
    let mut bytes: Vec<u8> = groups.map(|rest| (rest & 0x7f) as u8 | 0x80).collect();
    if let Some(last) = bytes.last_mut() {
        *last &= 0x7f;
    }
    bytes
}

/// A write-ahead log with these pages of 512 bytes, by their numbers, and the database's length in pages after each
/// (0: no commit). `big` says in which byte order it is summed.
pub(super) fn wal(big: bool, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut pair = (0_u32, 0_u32);
    let mut sum = |bytes: &[u8]| {
        for eight in bytes.chunks(8) {
            let word = |at: usize| {
                let four = eight[at..at + 4].try_into().unwrap();
                if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
            };
            pair.0 = pair.0.wrapping_add(word(0)).wrapping_add(pair.1);
            pair.1 = pair.1.wrapping_add(word(4)).wrapping_add(pair.0);
        }
        [pair.0, pair.1].map(u32::to_be_bytes).concat()
    };
    let magic = 0x377f_0682 | u32::from(big);
    let mut log = [magic, 3_007_000, 512, 1, 77, 78].map(u32::to_be_bytes).concat();
    log.extend(sum(&log.clone()));
    for (number, commit, page) in frames {
        let head = [*number, *commit].map(u32::to_be_bytes).concat();
        sum(&head);
        let sums = sum(page);
        log.extend([&head, &[77_u32, 78].map(u32::to_be_bytes).concat(), &sums, *page].concat());
    }
    log
}

/// A log that makes `database` of whatever was there, in one commit.
pub(super) fn wal_of(big: bool, database: &[u8]) -> Vec<u8> {
    let pages: Vec<&[u8]> = database.chunks(512).collect();
    let count = pages.len() as u32;
    let frames = (1..=count).zip(&pages).map(|(at, page)| (at, if at == count { count } else { 0 }, *page));
    wal(big, &frames.collect::<Vec<_>>())
}

/// The first page: its schema names page 2 the root of Packages.
pub(super) fn sqlite_schema() -> Vec<u8> {
    let mut page = vec![0; 512];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..18].copy_from_slice(&512_u16.to_be_bytes());
    let record = b"\x06\x17\x1d\x1d\x01\x0ctablePackagesPackages\x02";
    let cell = [&[record.len() as u8, 1], record.as_slice()].concat();
    let at = 512 - cell.len();
    page[at..].copy_from_slice(&cell);
    page[100..105].copy_from_slice(&[13, 0, 0, 0, 1]);
    page[108..110].copy_from_slice(&(at as u16).to_be_bytes());
    page
}
