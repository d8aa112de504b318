//! Hashing beside reading and writing: small content here and now, large content on a thread of its own.

use bytes::Bytes;
use rreg_oci::{Digest, Hasher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::StorageError;

/// Pieces that may wait for the hashing thread.
const QUEUE: usize = 16;
/// Below so many bytes hashing is quicker than handing over.
const HERE: u64 = 128 << 10;

/// A hash that follows a stream.
pub(super) struct StreamHash {
    state: State,
    seen: u64,
}

enum State {
    Here(Hasher),
    Thread(mpsc::Sender<Bytes>, JoinHandle<Hasher>),
    /// The thread is gone: the runtime is shutting down.
    Lost,
}

impl StreamHash {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { state: State::Here(hasher), seen: 0 }
    }

    /// Feeds the next piece.
    pub(super) async fn update(&mut self, piece: &Bytes) -> Result<(), StorageError> {
        self.seen += piece.len() as u64;
        if let State::Here(hasher) = &mut self.state
            && self.seen <= HERE
        {
            hasher.update(piece);
            return Ok(());
        }
        if matches!(self.state, State::Here(_))
            && let State::Here(mut hasher) = std::mem::replace(&mut self.state, State::Lost)
        {
            let (sender, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
            let thread = tokio::task::spawn_blocking(move || {
                while let Some(piece) = pieces.blocking_recv() {
                    hasher.update(&piece);
                }
                hasher
            });
            self.state = State::Thread(sender, thread);
        }
        match &self.state {
            State::Thread(sender, _) => sender.send(piece.clone()).await.map_err(|_| StorageError::Closed),
            State::Here(_) | State::Lost => Err(StorageError::Closed),
        }
    }

    /// The hash over everything fed.
    pub(super) async fn finish(self) -> Result<Hasher, StorageError> {
        match self.state {
            State::Here(hasher) => Ok(hasher),
            State::Thread(sender, thread) => {
                drop(sender);
                thread.await.map_err(|_| StorageError::Closed)
            }
            State::Lost => Err(StorageError::Closed),
        }
    }

    /// The digest of everything fed.
    pub(super) async fn digest(self) -> Result<Digest, StorageError> {
        Ok(self.finish().await?.finish())
    }
}
