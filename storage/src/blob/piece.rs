//! How large the pieces of a blob are. Whoever sends them decides, since a piece lies in memory until its client has taken
//! it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Size of a piece in bytes, where nothing smaller is asked for. Measured: 64 to 256 KiB are equally fast, larger ones fall
/// out of the CPU's cache.
pub const PIECE: usize = 128 << 10;

struct Terms {
    most: usize,
    /// Nothing is in memory yet of what is asked for.
    waits: Cell<bool>,
}

tokio::task_local! {
    static TERMS: Terms;
}

/// What asking for a piece gives.
#[derive(Debug)]
pub enum Polled<T> {
    /// What was asked for.
    Ready(T),
    /// It is being read, and may lie in memory by and by.
    Reading,
    /// Its source has nothing of it yet ([`waiting`]): nothing of it lies in memory.
    Waiting,
}

/// Does `poll`, in which each piece that is read of a blob has at most `most` bytes, and keeps no more than these in memory.
/// From [`PIECE`] bytes on nothing is limited: pieces are as large as their source makes them.
pub fn poll_within<T>(most: usize, poll: impl FnOnce() -> Poll<T>) -> Polled<T> {
    let terms = Terms { most: most.max(1), waits: Cell::new(false) };
    TERMS.sync_scope(terms, || match poll() {
        Poll::Ready(result) => Polled::Ready(result),
        Poll::Pending if TERMS.with(|terms| terms.waits.get()) => Polled::Waiting,
        Poll::Pending => Polled::Reading,
    })
}

/// Most bytes of a piece that is read now; `None` where [`poll_within`] sets no limit.
pub fn most() -> Option<usize> {
    TERMS.try_with(|terms| terms.most).ok().filter(|most| *most < PIECE)
}

/// Awaits that there is something to read, with nothing of it in memory meanwhile. How much may be read is asked afterwards.
pub async fn waiting<F: Future>(source: F) -> F::Output {
    let mut source = pin!(source);
    poll_fn(|cx| {
        let polled = source.as_mut().poll(cx);
        if polled.is_pending() {
            // Where nobody wants to know it, it is not noted.
            let _ = TERMS.try_with(|terms| terms.waits.set(true));
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::{Stream, stream};
    use object_store::memory::InMemory;
    use rreg_oci::{Algorithm, Digest, RepositoryName};

    use super::*;
    use crate::{BlobReader, BlobStore, CacheLimits, ChunkHeaders, MetadataStore, Storage, StorageOptions};

    const LONG: Duration = Duration::from_secs(3600);

    async fn storage(blobs: BlobStore, data: &std::path::Path) -> Storage {
        let database = data.join("rreg.db");
        let metadata = MetadataStore::sqlite(&database, CacheLimits::default()).await.unwrap();
        Storage::new(blobs, metadata, StorageOptions::default())
    }

    /// A blob of that size is stored and opened.
    async fn opened(storage: &Storage, size: usize) -> (Vec<u8>, BlobReader) {
        let repository: RepositoryName = "team/app".parse().unwrap();
        let content: Vec<u8> = (0..size).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
        let digest = Digest::of(Algorithm::Sha256, &content);
        let body = stream::iter([Ok::<_, &str>(content.clone().into())]);
        storage.store(&repository, &digest, ChunkHeaders::default(), body, None).await.unwrap();
        let record = storage.metadata().blob(&repository, &digest).await.unwrap();
        (content, storage.open(record, 0..size as u64).await.unwrap())
    }

    /// The next piece, which should have at most `most` bytes.
    async fn next<S>(pieces: &mut Pin<&mut S>, most: usize) -> Option<Bytes>
    where
        S: Stream<Item = std::result::Result<Bytes, crate::StorageError>>,
    {
        let next = poll_fn(|cx| match poll_within(most, || pieces.as_mut().poll_next(cx)) {
            Polled::Ready(piece) => Poll::Ready(piece),
            Polled::Reading => Poll::Pending,
            Polled::Waiting => panic!("a blob that is stored is there"),
        });
        next.await.map(|piece| piece.unwrap())
    }

    /// Wherever the bytes come from, and whenever it is that little is wanted.
    #[tokio::test]
    async fn pieces_are_as_small_as_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let network = BlobStore::new(Arc::new(InMemory::new()), 1 << 20, LONG);
        for blobs in [BlobStore::directory(dir.path().join("objects"), LONG).unwrap(), network] {
            let data = tempfile::tempdir().unwrap();
            let storage = storage(blobs, data.path()).await;
            for size in [20 << 10, 2_500_000_usize] {
                let (content, reader) = opened(&storage, size).await;
                let mut pieces = pin!(reader.into_stream());
                let mut found = Vec::new();
                for most in [PIECE, 1000, 7000].into_iter().cycle() {
                    let Some(piece) = next(&mut pieces, most).await else { break };
                    assert!(most == PIECE || piece.len() <= most, "{} of {most}", piece.len());
                    found.extend_from_slice(&piece);
                }
                assert!(found == content, "{} of {size}", found.len());
            }
        }
    }

    #[tokio::test]
    async fn what_waits_for_its_source_says_so() {
        let (source, gate) = tokio::sync::oneshot::channel::<()>();
        let mut work = pin!(async {
            let _ = waiting(gate).await;
            let most = most();
            tokio::task::yield_now().await;
            most
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = |most| poll_within(most, || work.as_mut().poll(&mut context));
        assert!(matches!(poll(PIECE), Polled::Waiting));
        source.send(()).unwrap();
        assert!(matches!(poll(1000), Polled::Reading));
        assert!(matches!(poll(PIECE), Polled::Ready(Some(1000))));
    }
}
