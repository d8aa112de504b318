//! Layers as they come: plain, gzip or zstd, told apart by their first bytes.
//!
//! Both formats may be several streams in a row (eStargz, zstd:chunked). Memory is bounded by the window:
//! 32 KiB of gzip, at most 100 MiB of zstd, beyond which the decoder refuses a frame.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How much is read at once, in bytes.
const READ: usize = 128 << 10;

/// The tar stream in `layer`.
pub(crate) fn decompress<'a>(layer: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut layer = BufReader::with_capacity(READ, layer);
    let mut head = [0; 4];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match layer.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    let begin = head.get(..filled).unwrap_or_default().to_vec();
    let whole = BufReader::with_capacity(READ, io::Cursor::new(begin).chain(layer));
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(READ, MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(BufReader::with_capacity(READ, Zstd::new(whole))),
        // A skippable frame in front (RFC 8878, 3.1.2).
        [kind, 0x2a, 0x4d, 0x18] if kind & 0xf0 == 0x50 => {
            Box::new(BufReader::with_capacity(READ, Zstd::new(whole)))
        }
        _ => Box::new(whole),
    })
}

/// Frames of zstd, one after the other. The decoder and its window are used again for each.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), inside: false }
    }

    /// Begins the next frame; skippable ones are skipped. `false` at the end of the source.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            let length = match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => u64::from(length),
                Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
            };
            if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside {
                if into.is_empty() || !self.next_frame()? {
                    return Ok(0);
                }
                self.inside = true;
            }
            while self.decoder.can_collect() < into.len() && !self.decoder.is_finished() {
                let wanted = into.len() - self.decoder.can_collect();
                let strategy = BlockDecodingStrategy::UptoBytes(wanted);
                self.decoder
                    .decode_blocks(&mut self.source, strategy)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            }
            match self.decoder.read(into)? {
                0 => self.inside = false,
                read => return Ok(read),
            }
        }
    }
}
