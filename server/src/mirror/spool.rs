//! The bytes of a blob on its way in, while others read them: the newest in memory, all of them in a file.
//!
//! ```text
//! 0 ─────────── written ─────────── end
//! │   the file   │                   │
//!          start ─┴── in memory ─────┘   at most WINDOW, or what is not written yet
//! ```
//!
//! Readers that keep up share the pieces in memory and cost no copy; those that are behind or came late read the
//! file. A blob that fits the memory has no file. The file has no name, so nothing is left of it when its last user
//! is gone.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use rreg_storage::piece;
use rustix::io::ReadWriteFlags;
use tokio::task::{JoinHandle, spawn_blocking};

/// How much of the blob's newest part stays in memory, in bytes.
const WINDOW: u64 = 4 << 20;
/// Written to the file at once, in bytes.
const BATCH: u64 = 1 << 20;
/// Largest piece read from the file at once: what each client that is behind costs in memory, in bytes.
const PIECE: u64 = 64 << 10;
/// Pieces shorter than this are collected: an upstream that sends single bytes shall not fill the memory with what
/// describes them.
const SMALL: usize = 4 << 10;
/// How much of them is collected, in bytes.
const COLLECTED: usize = 32 << 10;

/// A reader's side. Cheap to clone.
#[derive(Clone)]
pub(super) struct Spool(Arc<Shared>);

struct Shared {
    file: OnceLock<File>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    /// Each with its offset in the blob.
    pieces: VecDeque<(u64, Bytes)>,
    /// Small pieces that are no part of `pieces` yet.
    small: BytesMut,
    /// Bytes of the blob that have arrived, and how many of them are in the file.
    end: u64,
    written: u64,
}

impl Recent {
    /// Moves what has been collected to the pieces.
    fn close_small(&mut self) -> Option<Bytes> {
        if self.small.is_empty() {
            return None;
        }
        let piece = self.small.split().freeze();
        self.pieces.push_back((self.end - piece.len() as u64, piece.clone()));
        Some(piece)
    }

    /// Forgets what is written, except for the newest part.
    fn trim(&mut self) {
        let keep_from = self.written.min(self.end.saturating_sub(WINDOW));
        while self.pieces.front().is_some_and(|(offset, piece)| offset + piece.len() as u64 <= keep_from) {
            self.pieces.pop_front();
        }
    }

    fn get(&self, offset: u64, most: u64) -> Option<Bytes> {
        let small_at = self.end - self.small.len() as u64;
        let cut = |at: u64, length: usize| {
            let start = usize::try_from(offset - at).ok()?;
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            (start < length).then(|| start..length.min(start.saturating_add(most)))
        };
        if offset >= small_at {
            return self.small.get(cut(small_at, self.small.len())?).map(Bytes::copy_from_slice);
        }
        let index = self.pieces.partition_point(|(at, _)| *at <= offset).checked_sub(1)?;
        let (at, piece) = self.pieces.get(index)?;
        Some(piece.slice(cut(*at, piece.len())?))
    }
}

impl Spool {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some of the bytes at `offset`, at least one and at most `most`. They must have been pushed.
    pub(super) async fn read(&self, offset: u64, most: u64) -> io::Result<Bytes> {
        if let Some(piece) = self.recent().get(offset, most) {
            // A part of a large piece would keep all of it, where little is to lie in memory.
            return Ok(if piece::most().is_some() { Bytes::copy_from_slice(&piece) } else { piece });
        }
        let file = || self.0.file.get().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof));
        let mut piece = BytesMut::zeroed(usize::try_from(most.min(PIECE)).unwrap_or_default());
        // What was just written is in the page cache, where reading it waits for nothing.
        let part = &mut [IoSliceMut::new(&mut piece)];
        if let Ok(read @ 1..) = rustix::io::preadv2(file()?, part, offset, ReadWriteFlags::NOWAIT) {
            piece.truncate(read);
            return Ok(piece.freeze());
        }
        let shared = self.clone();
        blocking(move || {
            let file = shared.0.file.get().ok_or(io::ErrorKind::UnexpectedEof)?;
            file.read_exact_at(&mut piece, offset)?;
            Ok(piece.freeze())
        })
        .await
    }
}

/// The writer's side.
pub(super) struct SpoolWriter {
    spool: Spool,
    directory: PathBuf,
    /// Whether the blob outgrows the memory.
    on_disk: bool,
    /// Up to where the batch that is being written goes.
    begun: u64,
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl SpoolWriter {
    /// For a blob of `size` bytes; its file, if it needs one, goes to `directory`.
    pub(super) fn new(directory: &Path, size: u64) -> Self {
        let shared = Shared { file: OnceLock::new(), recent: Mutex::default() };
        Self {
            spool: Spool(Arc::new(shared)),
            directory: directory.to_owned(),
            on_disk: size > WINDOW,
            begun: 0,
            writing: None,
        }
    }

    pub(super) fn reader(&self) -> Spool {
        self.spool.clone()
    }

    /// Makes the next bytes readable. Gives them back in pieces that are worth handing on, now or with a later call.
    pub(super) async fn push(&mut self, piece: Bytes) -> io::Result<[Option<Bytes>; 2]> {
        let (whole, unwritten) = {
            let mut recent = self.spool.recent();
            let whole = if piece.len() < SMALL {
                recent.small.extend_from_slice(&piece);
                recent.end += piece.len() as u64;
                let full = recent.small.len() >= COLLECTED;
                [full.then(|| recent.close_small()).flatten(), None]
            } else {
                let before = recent.close_small();
                let offset = recent.end;
                recent.end += piece.len() as u64;
                recent.pieces.push_back((offset, piece.clone()));
                [before, Some(piece)]
            };
            recent.trim();
            (whole, recent.end - self.begun)
        };
        if self.on_disk && unwritten >= BATCH {
            self.write().await?;
        }
        Ok(whole)
    }

    /// What was collected last.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        self.spool.recent().close_small()
    }

    /// Begins to write what has been pushed, once the batch before it is written.
    async fn write(&mut self) -> io::Result<()> {
        if let Some(writing) = self.writing.take() {
            writing.await.map_err(io::Error::other)??;
        }
        let from = self.begun;
        let batch: Vec<(u64, Bytes)> = {
            let recent = self.spool.recent();
            let first = recent.pieces.partition_point(|(offset, _)| *offset < from);
            recent.pieces.range(first..).cloned().collect()
        };
        self.begun = batch.last().map_or(from, |(offset, piece)| offset + piece.len() as u64);
        let (spool, directory, end) = (self.spool.clone(), self.directory.clone(), self.begun);
        self.writing = Some(spawn_blocking(move || {
            let file = match spool.0.file.get() {
                Some(file) => file,
                None => {
                    let file = tempfile::tempfile_in(directory)?;
                    spool.0.file.get_or_init(|| file)
                }
            };
            for (offset, piece) in &batch {
                file.write_all_at(piece, *offset)?;
            }
            let mut recent = spool.recent();
            recent.written = end;
            recent.trim();
            Ok(())
        }));
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(spool: &Spool, end: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < end {
            let at = bytes.len() as u64;
            bytes.extend_from_slice(&spool.read(at, end - at).await.unwrap());
        }
        bytes
    }

    #[tokio::test]
    async fn whatever_the_pieces_each_reader_gets_all_bytes() {
        let directory = tempfile::tempdir().unwrap();
        for (size, step) in [(10_usize, 3_usize), (200_000, 1_000), (9 << 20, 5_000), (9 << 20, 300_001)] {
            let content: Vec<u8> = (0..size).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
            let mut writer = SpoolWriter::new(directory.path(), size as u64);
            let (spool, mut handed_on) = (writer.reader(), Vec::new());
            for piece in content.chunks(step) {
                let whole = writer.push(Bytes::copy_from_slice(piece)).await.unwrap();
                whole.into_iter().flatten().for_each(|piece| handed_on.extend_from_slice(&piece));
                let end = spool.recent().end;
                assert_eq!(
                    spool.read(end - 1, 1).await.unwrap()[..],
                    content[usize::try_from(end).unwrap() - 1..][..1]
                );
            }
            writer.finish().into_iter().for_each(|piece| handed_on.extend_from_slice(&piece));
            assert!(handed_on == content && all(&spool, size as u64).await == content, "{size} by {step}");
            let held: usize = spool.recent().pieces.iter().map(|(_, piece)| piece.len()).sum();
            assert!(held as u64 <= WINDOW + 2 * BATCH + step as u64, "{held} bytes in memory");
            assert_eq!(spool.0.file.get().is_some(), size as u64 > WINDOW);
        }
    }

    /// Wherever it is read from, from memory or from the file.
    #[tokio::test]
    async fn a_small_piece_keeps_nothing_else_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let size = WINDOW + 2 * BATCH;
        let mut writer = SpoolWriter::new(directory.path(), size);
        for _ in 0..size / 100_000 {
            writer.push(Bytes::from(vec![0; 100_000])).await.unwrap();
        }
        let spool = writer.reader();
        let recent = spool.recent().end - 50_000;
        for offset in [0, recent] {
            let mut read = std::pin::pin!(spool.read(offset, 1000));
            let small =
                std::future::poll_fn(|cx| match piece::poll_within(1000, || read.as_mut().poll(cx)) {
                    piece::Polled::Ready(small) => std::task::Poll::Ready(small),
                    _ => std::task::Poll::Pending,
                });
            let small = small.await.unwrap();
            assert!(small.len() == 1000 && small.is_unique(), "at {offset}");
        }
        assert!(!spool.read(recent, 1000).await.unwrap().is_unique(), "nothing is copied in vain");
    }

    #[tokio::test]
    async fn single_bytes_are_collected() {
        let mut writer = SpoolWriter::new(Path::new("/nowhere"), 100_000);
        for _ in 0..100_000 {
            writer.push(Bytes::from_static(b"x")).await.unwrap();
        }
        assert!(writer.reader().recent().pieces.len() <= 100_000 / COLLECTED + 1);
    }
}
