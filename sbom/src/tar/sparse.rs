//! Files with holes, as GNU tar writes them (tar manual, "Storing Sparse Files"): where in the file the stored bytes
//! belong. All else is zeros.

use std::io::{self, Read};

use tar::{GnuHeader, GnuSparseHeader};

/// Most stretches of one file.
const MAX_BLOCKS: usize = 1 << 16;
/// Longest file, in bytes: longer ones are nothing that is read here.
const MAX_SIZE: u64 = 128 << 20;
/// Longest number in a map, in digits.
const MAX_DIGITS: usize = 20;

/// The stretches of a file that are stored.
#[derive(Debug)]
pub(super) struct Map {
    /// Offset and length of each, in order.
    blocks: Vec<(u64, u64)>,
    next: usize,
    at: u64,
    pub(super) size: u64,
}

/// What comes next, and how many bytes of it.
pub(super) enum Step {
    Stored(usize),
    Hole(usize),
    End,
}

impl Map {
    /// Of a file of `size` bytes of which `stored` are in the archive.
    pub(super) fn new(blocks: Vec<(u64, u64)>, size: u64, stored: u64) -> io::Result<Self> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for (at, length) in &blocks {
            let fits = *at >= end || *length == 0;
            end = at.checked_add(*length).filter(|end| fits && *end <= size).ok_or_else(broken)?;
            sum = sum.checked_add(*length).ok_or_else(broken)?;
        }
        if sum != stored || size > MAX_SIZE || blocks.len() > MAX_BLOCKS {
            return Err(broken());
        }
        let blocks = blocks.into_iter().filter(|(_, length)| *length > 0).collect();
        Ok(Self { blocks, next: 0, at: 0, size })
    }

    /// The blocks in a GNU header and those that follow it, and the file's size.
    pub(super) fn of_header(header: &GnuHeader, source: &mut dyn Read) -> io::Result<(Vec<(u64, u64)>, u64)> {
        let mut blocks = Vec::new();
        let mut add = |parts: &[GnuSparseHeader]| {
            for part in parts.iter().filter(|part| !part.is_empty()) {
                blocks.push((part.offset()?, part.length()?));
            }
            if blocks.len() > MAX_BLOCKS { Err(broken()) } else { Ok(()) }
        };
        add(&header.sparse)?;
        let mut more = header.is_extended();
        while more {
            let mut next = tar::GnuExtSparseHeader::new();
            source.read_exact(next.as_mut_bytes())?;
            add(next.sparse())?;
            more = next.is_extended();
        }
        Ok((blocks, header.real_size()?))
    }

    /// The map in front of the content (pax, format 1.0): numbers in lines, filled up to a block. Also says how long it is.
    pub(super) fn in_front(source: &mut dyn Read) -> io::Result<(Vec<(u64, u64)>, u64)> {
        let mut lines = Lines { source, block: [0; 512], at: 512, read: 0 };
        let count = usize::try_from(lines.number()?).ok().filter(|count| *count <= MAX_BLOCKS);
        let blocks = (0..count.ok_or_else(broken)?).map(|_| Ok((lines.number()?, lines.number()?)));
        let blocks = blocks.collect::<io::Result<Vec<_>>>()?;
        Ok((blocks, lines.read))
    }

    /// The map in a pax record (format 0.1): offsets and lengths in turn, with commas.
    pub(super) fn of_record(text: &str) -> io::Result<Vec<(u64, u64)>> {
        let numbers: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
        let numbers = numbers.map_err(|_| broken())?;
        let pairs = numbers.chunks(2).map(|pair| match pair {
            [at, length] => Ok((*at, *length)),
            _ => Err(broken()),
        });
        pairs.collect()
    }

    pub(super) fn step(&self, most: usize) -> Step {
        let within = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(most);
        match self.blocks.get(self.next) {
            Some((at, _)) if self.at < *at => Step::Hole(within(at - self.at)),
            Some((at, length)) => Step::Stored(within((at + length).saturating_sub(self.at))),
            None if self.at < self.size => Step::Hole(within(self.size - self.at)),
            None => Step::End,
        }
    }

    pub(super) fn advance(&mut self, by: usize) {
        self.at += by as u64;
        let done = self.blocks.get(self.next).is_some_and(|(at, length)| self.at >= at + length);
        self.next += usize::from(done);
    }
}

pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the map of a sparse file is broken, or the file is too long")
}

/// Numbers in lines, block by block.
struct Lines<'a> {
    source: &'a mut dyn Read,
    block: [u8; 512],
    at: usize,
    read: u64,
}

impl Lines<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        loop {
            if self.at == self.block.len() {
                self.source.read_exact(&mut self.block)?;
                (self.at, self.read) = (0, self.read + self.block.len() as u64);
            }
            let byte = self.block.get(self.at).copied().unwrap_or_default();
            self.at += 1;
            match byte {
                b'\n' => return text.parse().map_err(|_| broken()),
                digit if digit.is_ascii_digit() && text.len() < MAX_DIGITS => text.push(char::from(digit)),
                _ => return Err(broken()),
            }
        }
    }
}
