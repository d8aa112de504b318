//! Group commit for SQLite: whoever waits for the writer shares the next transaction and its fsync.
//!
//! A batch runs in one transaction. If one write of it fails half-way, the transaction is rolled back and each
//! write of the batch runs again in a transaction of its own, so that nobody pays for another's failure.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rreg_oci::Digest;
use sqlx::AnyConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Write;
use super::reserve::Reserve;
use crate::error::{StorageError, is_full};
use crate::fact_epochs::{FactEpochs, noting};

/// Most writes in one transaction: bounds how long the first one waits.
const MAX_BATCH: usize = 128;

/// One queued write, without its types.
trait Job: Send {
    fn run<'a>(&'a mut self, conn: &'a mut AnyConnection) -> BoxFuture<'a, Outcome>;
    /// Called once the transaction has ended: gives the outcome to whoever waits for it.
    fn finish(self: Box<Self>, committed: Result<(), StorageError>);
}

/// What became of a write, as far as its transaction is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Tainted,
    /// Tainted, because the disk is full.
    Full,
}

struct TypedJob<I, T, C> {
    input: I,
    write: Write<I, T>,
    committed: C,
    epochs: Arc<FactEpochs>,
    changed: Vec<Digest>,
    result: Option<Result<T, StorageError>>,
    reply: oneshot::Sender<Result<T, StorageError>>,
}

impl<I, T, C> Job for TypedJob<I, T, C>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    C: FnOnce(&I, &T) + Send + 'static,
{
    fn run<'a>(&'a mut self, conn: &'a mut AnyConnection) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let (result, changed) = noting((self.write)(conn, &self.input)).await;
            self.changed = changed;
            let outcome = match &result {
                Err(error) if error.is_full() => Outcome::Full,
                Err(error) if error.taints_transaction() => Outcome::Tainted,
                _ => Outcome::Done,
            };
            self.result = Some(result);
            outcome
        })
    }

    fn finish(self: Box<Self>, committed: Result<(), StorageError>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(Ok(value))) => {
                self.epochs.raise(&self.changed);
                (self.committed)(&self.input, &value);
                Ok(value)
            }
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), None) => Err(StorageError::Closed),
        };
        // Nobody listening any more is fine: the write stands.
        let _ = self.reply.send(result);
    }
}

/// The queue, and the task that empties it.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    sender: mpsc::WeakSender<Box<dyn Job>>,
    task: Mutex<Option<JoinHandle<()>>>,
    epochs: Arc<FactEpochs>,
}

impl Queue {
    pub(super) fn start(conn: AnyConnection, epochs: Arc<FactEpochs>, reserve: Arc<Reserve>) -> Self {
        let (sender, jobs) = mpsc::channel(1024);
        let task = tokio::spawn(work(conn, jobs, reserve));
        Self {
            sender: sender.downgrade(),
            jobs: Mutex::new(Some(sender)),
            task: Mutex::new(Some(task)),
            epochs,
        }
    }

    pub(super) async fn run<I, T, C>(
        &self,
        input: I,
        write: Write<I, T>,
        committed: C,
    ) -> Result<T, StorageError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        C: FnOnce(&I, &T) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(TypedJob {
            input,
            write,
            committed,
            epochs: self.epochs.clone(),
            changed: Vec::new(),
            result: None,
            reply,
        });
        let sender = self.sender.upgrade().ok_or(StorageError::Closed)?;
        sender.send(job).await.map_err(|_| StorageError::Closed)?;
        drop(sender);
        answer.await.map_err(|_| StorageError::Closed)?
    }

    /// Takes no more writes and waits for those that are queued.
    pub(super) async fn close(&self) {
        self.jobs.lock().await.take();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

async fn work(mut conn: AnyConnection, mut jobs: mpsc::Receiver<Box<dyn Job>>, reserve: Arc<Reserve>) {
    while let Some(first) = jobs.recv().await {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            match jobs.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        run_batch(&mut conn, batch, &reserve).await;
    }
    if let Err(error) = conn.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

async fn run_batch(conn: &mut AnyConnection, mut batch: Vec<Box<dyn Job>>, reserve: &Reserve) {
    if let Err(error) = reserve.in_place() {
        let text = error.to_string();
        tracing::error!(error = text, writes = batch.len(), "nothing is written");
        for job in batch {
            job.finish(Err(StorageError::Database(sqlx::Error::Protocol(text.clone()))));
        }
        return;
    }
    match transaction(conn, &mut batch, reserve).await {
        Ok(Outcome::Done) => batch.into_iter().for_each(|job| job.finish(Ok(()))),
        // Alone in its transaction it has only itself to blame.
        Ok(Outcome::Tainted | Outcome::Full) if batch.len() == 1 => {
            batch.into_iter().for_each(|job| job.finish(Ok(())))
        }
        Ok(Outcome::Tainted | Outcome::Full) => {
            for job in batch {
                let mut alone = vec![job];
                let result = transaction(conn, &mut alone, reserve).await.map(|_| ());
                finish_all(alone, result);
            }
        }
        Err(error) => finish_all(batch, Err(error)),
    }
}

fn finish_all(batch: Vec<Box<dyn Job>>, result: Result<(), sqlx::Error>) {
    match result {
        Ok(()) => batch.into_iter().for_each(|job| job.finish(Ok(()))),
        Err(error) => {
            tracing::error!(%error, writes = batch.len(), "a write transaction failed");
            let (text, full) = (error.to_string(), is_full(&error));
            for job in batch {
                job.finish(Err(if full {
                    StorageError::Full(format!("database: {text}"))
                } else {
                    StorageError::Database(sqlx::Error::Protocol(text.clone()))
                }));
            }
        }
    }
}

/// Runs the batch in one transaction: committed if all went well, rolled back if one tainted it. Once more where the disk
/// is full and the reserve makes room.
async fn transaction(
    conn: &mut AnyConnection,
    batch: &mut [Box<dyn Job>],
    reserve: &Reserve,
) -> Result<Outcome, sqlx::Error> {
    let mut result = attempt(conn, batch).await;
    let full = match &result {
        Ok(outcome) => *outcome == Outcome::Full,
        Err(error) => is_full(error),
    };
    if full && reserve.release() {
        result = attempt(conn, batch).await;
    }
    result
}

async fn attempt(conn: &mut AnyConnection, batch: &mut [Box<dyn Job>]) -> Result<Outcome, sqlx::Error> {
    conn.execute("BEGIN IMMEDIATE").await?;
    for job in batch.iter_mut() {
        let outcome = job.run(conn).await;
        if outcome != Outcome::Done {
            // Best effort: a full disk has rolled back already.
            let rolled_back = conn.execute("ROLLBACK").await;
            return if outcome == Outcome::Full { Ok(outcome) } else { rolled_back.map(|_| outcome) };
        }
    }
    if let Err(error) = conn.execute("COMMIT").await {
        // Best effort: some failures have rolled back already.
        let _ = conn.execute("ROLLBACK").await;
        return Err(error);
    }
    Ok(Outcome::Done)
}
