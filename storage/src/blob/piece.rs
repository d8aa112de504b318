//! How large the pieces of a blob are. Whoever sends them decides, since a piece lies in memory until its client has taken
//! it.

/// Size of a piece in bytes, where nothing smaller is asked for. Measured: 64 to 256 KiB are equally fast, larger ones fall
/// out of the CPU's cache.
pub const PIECE: usize = 128 << 10;

tokio::task_local! {
    static MOST: usize;
}

/// Does `work`, in which each piece that is read of a blob has at most `most` bytes, and keeps no more than these in memory.
/// From [`PIECE`] bytes on nothing is limited: pieces are as large as their source makes them.
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    MOST.sync_scope(most.max(1), work)
}

/// Most bytes of a piece that is read now; `None` where [`within`] sets no limit.
pub fn most() -> Option<usize> {
    MOST.try_with(|most| *most).ok().filter(|most| *most < PIECE)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::{Stream as _, stream};
    use object_store::memory::InMemory;
    use rreg_oci::{Algorithm, Digest};

    use super::*;
    use crate::{BlobStore, CacheLimits, ChunkHeaders, MetadataStore, Storage, StorageOptions};

    /// Wherever the bytes come from, and whenever it is that little is wanted.
    #[tokio::test]
    async fn pieces_are_as_small_as_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let long = Duration::from_secs(3600);
        let network = BlobStore::new(Arc::new(InMemory::new()), 1 << 20, long);
        for blobs in [BlobStore::directory(dir.path().join("objects"), long).unwrap(), network] {
            let data = tempfile::tempdir().unwrap();
            let database = data.path().join("rreg.db");
            let metadata = MetadataStore::sqlite(&database, CacheLimits::default()).await.unwrap();
            let storage = Storage::new(blobs, metadata, StorageOptions::default());
            let repository = "team/app".parse().unwrap();
            for size in [20 << 10, 2_500_000_usize] {
                let content: Vec<u8> = (0..size).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
                let digest = Digest::of(Algorithm::Sha256, &content);
                let body = stream::iter([Ok::<_, &str>(content.clone().into())]);
                storage.store(&repository, &digest, ChunkHeaders::default(), body, None).await.unwrap();
                let record = storage.metadata().blob(&repository, &digest).await.unwrap();
                let mut pieces = pin!(storage.open(record, 0..size as u64).await.unwrap().into_stream());
                let mut found = Vec::new();
                for most in [PIECE, 1000, 7000].into_iter().cycle() {
                    let next = poll_fn(|cx| within(most, || pieces.as_mut().poll_next(cx)));
                    let Some(piece) = next.await else { break };
                    let piece = piece.unwrap();
                    assert!(most == PIECE || piece.len() <= most, "{} of {most}", piece.len());
                    found.extend_from_slice(&piece);
                }
                assert!(found == content, "{} of {size}", found.len());
            }
        }
    }
}
