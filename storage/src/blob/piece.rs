//! How large the pieces of a blob are is up to who takes them: a piece lies in memory until its client has taken it.

/// Size of a piece in bytes, where nothing smaller is asked for. Measured: 64 to 256 KiB are equally fast, larger ones fall
/// out of the CPU's cache.
pub const PIECE: usize = 128 << 10;

tokio::task_local! {
    static MOST: usize;
}

/// Does `work`, in which each piece that is read of a blob has at most `most` bytes, and no more memory behind it.
///
/// Pieces of [`PIECE`] bytes and more are as large as their source makes them.
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    MOST.sync_scope(most.max(1), work)
}

/// Most bytes of a piece that is read now, if they are fewer than [`PIECE`].
pub fn most() -> Option<usize> {
    MOST.try_with(|most| *most).ok().filter(|most| *most < PIECE)
}
