//! HTTP/1.1 responses, read piece by piece with as little work as can be: the generator shares the processor
//! with the server that it measures.

use super::Failure;

/// Largest response head that is read.
const MAX_HEAD: usize = 64 << 10;

#[derive(Clone, Copy)]
enum State {
    Head,
    Body {
        left: u64,
    },
    /// In the line with a chunk's size; the digits read so far.
    ChunkSize {
        size: u64,
        extension: bool,
    },
    ChunkData {
        left: u64,
    },
    /// Behind the last chunk: trailers up to an empty line; bytes in the current line.
    Trailer {
        line: usize,
    },
    Done,
}

/// Reads one response at a time off a connection.
pub(crate) struct ResponseReader {
    state: State,
    head: Vec<u8>,
    to_head: bool,
    status: u16,
}

impl ResponseReader {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, head: Vec::with_capacity(1024), to_head: false, status: 0 }
    }

    /// Gets ready for the next response; `to_head` when it answers HEAD and has no body.
    pub(crate) fn reset(&mut self, to_head: bool) {
        self.state = State::Head;
        self.head.clear();
        self.to_head = to_head;
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header field of the response read last.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split(|c| *c == b'\n').skip(1).find_map(|line| {
            let colon = line.iter().position(|c| *c == b':')?;
            let (key, value) = (&line[..colon], &line[colon + 1..]);
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| std::str::from_utf8(value.trim_ascii()).ok())?
        })
    }

    /// Takes what was received; the content goes to `sink`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), Failure> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.feed_head(bytes)?,
                State::Body { left } => {
                    let (now, rest) = bytes.split_at(part(left, bytes.len()));
                    sink(now);
                    let left = left - now.len() as u64;
                    self.state = if left == 0 { State::Done } else { State::Body { left } };
                    rest
                }
                State::ChunkData { left } => {
                    // `left` counts the CRLF behind the data.
                    let (now, rest) = bytes.split_at(part(left, bytes.len()));
                    let data = part(left.saturating_sub(2), now.len());
                    sink(&now[..data]);
                    let left = left - now.len() as u64;
                    self.state = if left == 0 {
                        State::ChunkSize { size: 0, extension: false }
                    } else {
                        State::ChunkData { left }
                    };
                    rest
                }
                State::ChunkSize { size, extension } => {
                    self.state = chunk_size(bytes[0], size, extension)?;
                    &bytes[1..]
                }
                State::Trailer { line } => {
                    self.state = match (bytes[0], line) {
                        (b'\n', 0) => State::Done,
                        (b'\n', _) => State::Trailer { line: 0 },
                        (b'\r', line) => State::Trailer { line },
                        (_, line) => State::Trailer { line: line + 1 },
                    };
                    &bytes[1..]
                }
                State::Done => return Err("the server sent more than one response".into()),
            };
        }
        Ok(())
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
        let before = self.head.len();
        let searched = before.saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head[searched..].windows(4).position(|four| four == b"\r\n\r\n") else {
            return if self.head.len() > MAX_HEAD { Err("endless response head".into()) } else { Ok(&[]) };
        };
        let end = searched + end + 4;
        self.head.truncate(end);
        let rest = &bytes[end - before..];
        let status = self.head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        self.status = status.and_then(|digits| digits.parse().ok()).ok_or("no HTTP status line")?;
        if self.status < 200 {
            self.head.clear();
            return Ok(rest);
        }
        self.state = if self.to_head || matches!(self.status, 204 | 304) {
            State::Done
        } else if let Some(length) = self.header("content-length") {
            match length.parse()? {
                0 => State::Done,
                left => State::Body { left },
            }
        } else if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            State::ChunkSize { size: 0, extension: false }
        } else {
            return Err("a response without Content-Length and not chunked".into());
        };
        Ok(rest)
    }
}

fn part(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

fn chunk_size(byte: u8, size: u64, extension: bool) -> Result<State, Failure> {
    Ok(match byte {
        b'\n' if size == 0 => State::Trailer { line: 0 },
        b'\n' => State::ChunkData { left: size + 2 },
        b'\r' => State::ChunkSize { size, extension },
        _ if extension => State::ChunkSize { size, extension },
        b';' => State::ChunkSize { size, extension: true },
        digit => {
            let digit = char::from(digit).to_digit(16).ok_or("a chunk size that is no number")?;
            State::ChunkSize { size: (size << 4) | u64::from(digit), extension }
        }
    })
}
