//! Blobs on their way in: one request to the upstream, one growing copy, any number of readers.
//!
//! ```text
//! upstream ──► BlobReader ──┬──► Spool ──► every client that asks meanwhile, from any offset
//!              (hashes)     └──► Storage::store (hashes again, durable, then the row)
//! ```
//!
//! The last piece comes out of the reader only when the digest is right, so a client never gets the whole of a wrong
//! blob: its connection is cut before the end. The fill is a task of the server and, once it has a slot ([`super::slots`]),
//! does not care who listens.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rreg_client::{BlobReader, ClientError};
use rreg_oci::{Descriptor, Digest};
use rreg_storage::{ChunkHeaders, piece};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::{MirrorError, Missing};
use super::lease::Lease;
use super::sizes::Asker;
use super::slots::{Slot, Want, Wanted};
use super::spool::{Spool, SpoolWriter};
use super::upstream::Upstream;
use super::{BlobKey, Copy};
use crate::app::App;
use crate::shares::Source;

/// Fills that wait or are under way.
#[derive(Default)]
pub(super) struct Fills(Mutex<HashMap<BlobKey, Listed>>);

/// A fill, for whoever asks for the same. It counts as nobody who waits.
struct Listed {
    sender: watch::Sender<State>,
    want: Want,
}

impl Fills {
    fn lock(&self) -> MutexGuard<'_, HashMap<BlobKey, Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a fill is.
#[derive(Clone)]
enum State {
    /// There is no slot yet.
    Waiting,
    /// The upstream has not answered yet.
    Asked,
    /// So many bytes are there; the last of them only if all are right.
    Growing(Growing, u64),
    /// All bytes are there and right; readers finish from the copy, whether it could be stored or not.
    Whole(Growing),
    /// The blob is in the store: another replica or an earlier fill has put it there.
    Elsewhere,
    Failed(Arc<MirrorError>),
}

impl State {
    fn has_begun(&self) -> bool {
        match self {
            Self::Waiting | Self::Asked => false,
            Self::Growing(growing, there) => *there > 0 || growing.size == 0,
            Self::Whole(_) | Self::Elsewhere | Self::Failed(_) => true,
        }
    }
}

/// A blob being filled, to be read from.
#[derive(Clone)]
pub(crate) struct Growing {
    /// Length of the whole blob, in bytes.
    pub(crate) size: u64,
    spool: Spool,
}

/// A fill that can be waited for. One that has no slot yet is given up when the last of these is dropped.
pub(crate) struct Fill {
    state: watch::Receiver<State>,
    upstream: Arc<Upstream>,
}

impl super::Mirror {
    /// The fill of a blob that is not here, begun unless it is under way.
    pub(crate) fn fill(&self, app: &Arc<App>, copy: Copy, digest: Digest) -> Fill {
        let key = (copy.local.clone(), digest);
        let upstream = copy.upstream.clone();
        let source = copy.source.clone().unwrap_or(Source::Nobody);
        let mut fills = self.fills.lock();
        if let Some(Listed { sender, want }) = fills.get(&key) {
            // Where the source may wait for no more, it still has what others wait for.
            let _ = upstream.slots.join(source, want);
            return Fill { state: sender.subscribe(), upstream };
        }
        let wanted = self.may_ask_for_blob(&copy, &digest).and_then(|()| {
            let crowded = |refused| MirrorError::Crowded { upstream: upstream.name.clone(), refused };
            upstream.slots.want(source).map_err(crowded)
        });
        let (want, wanted) = match wanted {
            Ok(wanted) => wanted,
            Err(error) => {
                let state = watch::channel(State::Failed(Arc::new(error))).1;
                return Fill { state, upstream };
            }
        };
        let (sender, state) = watch::channel(State::Waiting);
        fills.insert(key.clone(), Listed { sender: sender.clone(), want });
        let running = Running { app: app.clone(), key, sender, is_listed: true };
        app.tasks.spawn(running.run(copy, wanted));
        Fill { state, upstream }
    }

    pub(super) fn may_ask_for_blob(&self, copy: &Copy, digest: &Digest) -> Result<(), MirrorError> {
        if copy.upstream.absent.has(&copy.remote, digest) {
            let upstream = copy.upstream.name.clone();
            return Err(MirrorError::Absent { upstream, what: Missing::Blob });
        }
        self.permits(copy)
    }
}

impl Fill {
    /// Waits for the first byte, or for why there is none: a refusal can still be told then, and an answer is not
    /// held up by it. For a slot it waits no longer than for an answer of the upstream.
    /// `None`: the blob is in the store.
    pub(crate) async fn begun(mut self) -> Result<Option<(Growing, Self)>, Arc<MirrorError>> {
        let within = self.upstream.patience;
        let slot = self.state.wait_for(|state| !matches!(state, State::Waiting));
        if timeout(within, slot).await.is_err() {
            let upstream = self.upstream.name.clone();
            return Err(Arc::new(MirrorError::Queued { upstream, within }));
        }
        let state = self.state.wait_for(State::has_begun).await;
        let state = state.map_err(|_| Arc::new(MirrorError::Ended))?.clone();
        match state {
            State::Waiting | State::Asked => Err(Arc::new(MirrorError::Ended)),
            State::Growing(growing, _) | State::Whole(growing) => Ok(Some((growing, self))),
            State::Elsewhere => Ok(None),
            State::Failed(error) => Err(error),
        }
    }

    /// The bytes of `range`, as they arrive.
    pub(crate) fn read(
        self,
        growing: Growing,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Arc<MirrorError>>> + Send + 'static {
        stream::try_unfold((self, growing, range), async |(mut fill, growing, mut range)| {
            if range.is_empty() {
                return Ok(None);
            }
            let there = piece::waiting(fill.wait_for(range.start, growing.size)).await?;
            let most = piece::most().map_or(u64::MAX, |most| most as u64);
            let most = most.min(there.min(range.end) - range.start);
            let piece = growing.spool.read(range.start, most).await;
            let piece = piece.map_err(|error| Arc::new(error.into()))?;
            range.start += piece.len() as u64;
            Ok(Some((piece, (fill, growing, range))))
        })
    }

    /// Waits until more than `offset` bytes are there and says how many.
    async fn wait_for(&mut self, offset: u64, size: u64) -> Result<u64, Arc<MirrorError>> {
        let state = self.state.wait_for(|state| match state {
            State::Waiting | State::Asked => false,
            State::Growing(_, there) => *there > offset,
            State::Whole(_) | State::Elsewhere | State::Failed(_) => true,
        });
        match &*state.await.map_err(|_| Arc::new(MirrorError::Ended))? {
            State::Growing(_, there) => Ok(*there),
            State::Whole(_) => Ok(size),
            State::Failed(error) => Err(error.clone()),
            State::Waiting | State::Asked | State::Elsewhere => Err(Arc::new(MirrorError::Ended)),
        }
    }
}

/// The task behind a fill. However it ends, it takes itself off the list.
struct Running {
    app: Arc<App>,
    key: BlobKey,
    sender: watch::Sender<State>,
    is_listed: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it was given up, the entry is a successor's.
        if self.is_listed {
            self.app.mirror.fills.lock().remove(&self.key);
        }
    }
}

impl Running {
    async fn run(mut self, copy: Copy, wanted: Wanted) {
        let Some(_slot) = self.slot(wanted).await else { return };
        self.sender.send_replace(State::Asked);
        match self.alone(&copy).await {
            // A successor would find the blob in the store.
            Ok(Some(growing)) => {
                self.sender.send_replace(State::Whole(growing));
            }
            Ok(None) => {
                self.sender.send_replace(State::Elsewhere);
            }
            Err(error) => {
                let metrics = &self.app.metrics.mirror;
                metrics.failed_fills.inc();
                let (repository, digest) = &self.key;
                tracing::warn!(%repository, %digest, %error, "a blob could not be fetched, or not be kept");
                self.sender.send_if_modified(|state| {
                    let is_whole = matches!(state, State::Whole(_));
                    if !is_whole {
                        *state = State::Failed(error);
                    }
                    !is_whole
                });
            }
        }
    }

    /// Waits for a slot for as long as somebody waits for the blob.
    async fn slot(&mut self, mut wanted: Wanted) -> Option<Slot> {
        loop {
            tokio::select! {
                biased;
                () = self.sender.closed() => {
                    let app = self.app.clone();
                    let mut fills = app.mirror.fills.lock();
                    // Whoever joins does so under the lock.
                    if self.sender.receiver_count() == 0 {
                        fills.remove(&self.key);
                        self.is_listed = false;
                        return None;
                    }
                }
                slot = wanted.slot() => return slot,
            }
        }
    }

    /// Fills under a lease, which nobody holds who has no slot. `None`: the blob is there already.
    async fn alone(&mut self, copy: &Copy) -> Result<Option<Growing>, Arc<MirrorError>> {
        let app = self.app.clone();
        let (repository, digest) = &self.key;
        let patience = copy.upstream.patience;
        let lease = Lease::take(&app.storage, &app.mirror.holder, repository, digest, patience).await?;
        let Some(lease) = lease else { return Ok(None) };
        let filled = tokio::select! {
            filled = self.fill(copy) => filled,
            () = lease.keep() => Err(Arc::new(MirrorError::Ended)),
        };
        lease.give_back().await;
        filled.map(Some)
    }

    async fn fill(&mut self, copy: &Copy) -> Result<Growing, Arc<MirrorError>> {
        let (app, digest) = (self.app.clone(), self.key.1);
        let size = app.mirror.blob_size(&app, copy, &digest, Asker::Fill).await?;
        if size > app.mirror.max_blob_size {
            let (upstream, limit) = (copy.upstream.name.clone(), app.mirror.max_blob_size);
            return Err(Arc::new(MirrorError::TooLarge { upstream, size, limit }));
        }
        app.metrics.mirror.fills.inc();
        let descriptor = Descriptor::new("application/octet-stream", digest, size);
        let reader = copy.upstream.client.read_blob(&copy.remote, &descriptor);
        let reader = copy.upstream.begin_blob(&copy.remote, reader).await;
        let reader = reader.inspect_err(|error| app.mirror.miss(copy, digest, error))?;
        let writer = SpoolWriter::new(app.mirror.spool(), size);
        let growing = Growing { size, spool: writer.reader() };
        self.sender.send_replace(State::Growing(growing.clone(), 0));
        let mut cause = None;
        let headers = ChunkHeaders { range: None, length: Some(size) };
        let stored = {
            let tee = Tee { running: self, reader, writer, growing: &growing, cause: &mut cause };
            let body = std::pin::pin!(tee.into_body());
            app.storage.store(&copy.local, &digest, headers, body, None).await
        };
        if let Some(cause) = cause {
            let error = match cause {
                Cause::Upstream(error) => copy.upstream.failure(error),
                Cause::Spool(error) => error.into(),
            };
            copy.upstream.judge_body(&copy.remote, &error);
            return Err(Arc::new(error));
        }
        copy.upstream.succeeded(&copy.remote);
        stored.map_err(MirrorError::from)?;
        Ok(growing)
    }
}

/// What really went wrong, while the store only hears that its body ended.
enum Cause {
    Upstream(ClientError),
    Spool(std::io::Error),
}

/// The upstream's bytes, on their way to the store and to the clients.
struct Tee<'a> {
    running: &'a mut Running,
    reader: BlobReader,
    writer: SpoolWriter,
    growing: &'a Growing,
    cause: &'a mut Option<Cause>,
}

impl<'a> Tee<'a> {
    /// What the store gets.
    fn into_body(self) -> impl Stream<Item = Result<Bytes, &'static str>> + Send + 'a {
        let state = (self, 0u64, VecDeque::new(), false);
        stream::unfold(state, async |(mut tee, mut offset, mut ready, mut ended)| {
            loop {
                if let Some(piece) = ready.pop_front() {
                    return Some((Ok(piece), (tee, offset, ready, ended)));
                }
                if ended {
                    return None;
                }
                match tee.next(&mut offset, &mut ready).await {
                    Ok(more) => ended = !more,
                    Err(cause) => {
                        *tee.cause = Some(cause);
                        return Some((Err("the fill failed"), (tee, offset, ready, true)));
                    }
                }
            }
        })
        .fuse()
    }

    /// Receives a piece and shows it to the clients. `false` after the last.
    async fn next(&mut self, offset: &mut u64, ready: &mut VecDeque<Bytes>) -> Result<bool, Cause> {
        let Some(piece) = self.reader.next().await.map_err(Cause::Upstream)? else {
            ready.extend(self.writer.finish());
            return Ok(false);
        };
        let length = piece.len() as u64;
        let whole = self.writer.push(piece).await.map_err(Cause::Spool)?;
        ready.extend(whole.into_iter().flatten());
        *offset += length;
        self.running.app.metrics.mirror.fill_bytes.inc_by(length);
        let growing = self.growing.clone();
        // What becomes of the store is nothing to those who read along.
        let is_whole = *offset == growing.size;
        let state = if is_whole { State::Whole(growing) } else { State::Growing(growing, *offset) };
        self.running.sender.send_replace(state);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use futures_util::Stream as _;
    use rreg_storage::piece::Polled;

    use super::*;
    use crate::config;

    /// Whoever holds memory for its next piece can give it back meanwhile.
    #[tokio::test]
    async fn readers_that_wait_for_the_upstream_say_so() {
        let mut writer = SpoolWriter::new(std::path::Path::new("/nowhere"), 10);
        let growing = Growing { size: 10, spool: writer.reader() };
        let (sender, receiver) = watch::channel(State::Growing(growing.clone(), 0));
        let url = Some("https://registry.example.org".into());
        let upstream = Upstream::new(&config::Upstream { url, ..Default::default() }).unwrap();
        let fill = Fill { state: receiver, upstream: Arc::new(upstream) };
        let mut pieces = pin!(fill.read(growing.clone(), 0..10));
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || piece::poll_within(piece::PIECE, || pieces.as_mut().poll_next(&mut context));
        assert!(matches!(poll(), Polled::Waiting));
        writer.push(Bytes::from_static(b"0123456789")).await.unwrap();
        sender.send_replace(State::Growing(growing, 10));
        assert!(matches!(poll(), Polled::Ready(Some(Ok(bytes))) if bytes == "0123456789"));
    }
}
