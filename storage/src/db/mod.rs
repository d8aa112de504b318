//! One door to SQLite and PostgreSQL.
//!
//! Both engines run the same SQL text through `sqlx::Any`. They differ in how writes are grouped: SQLite has one
//! writer connection, and all requests that wait for it share the next transaction, so that they share its
//! fsync too ([`writer`]); PostgreSQL does that grouping itself, so each write is a transaction of its own.

mod migrate;
mod reserve;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _};

use self::reserve::Reserve;
use crate::error::StorageError;
use crate::fact_epochs::FactEpochs;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded: this process is the only one that writes.
    Sqlite,
    /// Shared with other replicas.
    Postgres,
}

/// How often a write that lost against a concurrent one is tried again (PostgreSQL only).
const ATTEMPTS: usize = 5;

/// Set on each SQLite connection. FULL: a commit is on disk before it is acknowledged.
const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 10000; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY; \
     PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;";

/// A write: called with the connection inside a transaction, more than once if that transaction has to be
/// repeated. It answers about content before it writes anything ([`StorageError::taints_transaction`]).
pub(crate) type Write<I, T> =
    for<'c> fn(&'c mut AnyConnection, &'c I) -> BoxFuture<'c, Result<T, StorageError>>;

/// The database, open and migrated.
#[derive(Debug)]
pub(crate) struct Database {
    engine: Engine,
    pool: AnyPool,
    /// The queue before SQLite's one writer.
    writer: Option<writer::Queue>,
    epochs: Arc<FactEpochs>,
    /// Of SQLite's disk.
    reserve: Option<Arc<Reserve>>,
}

/// A connection to a SQLite database that has the tables of this version.
async fn begin(url: &str) -> Result<AnyConnection, StorageError> {
    let mut conn = AnyConnection::connect(url).await?;
    conn.execute(SQLITE_PRAGMAS).await?;
    migrate::migrate(Engine::Sqlite, &mut conn).await?;
    Ok(conn)
}

impl Database {
    /// Opens or creates the SQLite file at `path`.
    pub(crate) async fn sqlite(path: &Path) -> Result<Self, StorageError> {
        sqlx::any::install_default_drivers();
        let url = sqlite_url(path, "rwc")?;
        let reserve = Arc::new(Reserve::keep(path));
        let conn = match begin(&url).await {
            // To open it takes room as well.
            Err(_) if reserve.room().is_err() && reserve.release() => begin(&url).await,
            result => result,
        };
        let conn = conn.map_err(|error| match reserve.room() {
            Err(full) => full,
            Ok(()) => error,
        })?;
        reserve.opened();
        let pool = AnyPoolOptions::new()
            .max_connections(4)
            .min_connections(0)
            .test_before_acquire(false)
            .idle_timeout(Some(Duration::from_secs(60)))
            .max_lifetime(None)
            .after_connect(|conn, _| Box::pin(async move { conn.execute(SQLITE_PRAGMAS).await.map(|_| ()) }))
            .connect_lazy(&url)?;
        let epochs = Arc::new(FactEpochs::default());
        let writer = Some(writer::Queue::start(conn, epochs.clone(), reserve.clone()));
        Ok(Self { engine: Engine::Sqlite, pool, writer, epochs, reserve: Some(reserve) })
    }

    /// Opens the existing SQLite file at `path` to read it, also while another process writes it.
    pub(crate) async fn sqlite_to_read(path: &Path) -> Result<Self, StorageError> {
        sqlx::any::install_default_drivers();
        if !path.exists() {
            return Err(StorageError::Setting(format!("there is no database {}", path.display())));
        }
        let pool = AnyPoolOptions::new()
            .max_connections(4)
            .after_connect(|conn, _| {
                Box::pin(async move {
                    conn.execute("PRAGMA query_only = ON; PRAGMA busy_timeout = 10000;").await.map(|_| ())
                })
            })
            .connect(&sqlite_url(path, "ro")?)
            .await?;
        migrate::check(&mut *pool.acquire().await?).await?;
        Ok(Self { engine: Engine::Sqlite, pool, writer: None, epochs: Arc::default(), reserve: None })
    }

    /// Connects to PostgreSQL.
    pub(crate) async fn postgres(url: &str, max_connections: u32) -> Result<Self, StorageError> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(10))
            .connect(url)
            .await?;
        migrate::migrate(Engine::Postgres, &mut *pool.acquire().await?).await?;
        Ok(Self { engine: Engine::Postgres, pool, writer: None, epochs: Arc::default(), reserve: None })
    }

    /// Whether there is a schema of ours in a PostgreSQL database, which is not changed.
    pub(crate) async fn is_in_postgres(url: &str) -> Result<bool, StorageError> {
        sqlx::any::install_default_drivers();
        let mut conn = AnyConnection::connect(url).await?;
        let found = sqlx::query("SELECT version FROM _sqlx_migrations WHERE version = 1")
            .fetch_optional(&mut conn)
            .await;
        conn.close().await?;
        match found {
            Ok(row) => Ok(row.is_some()),
            // PostgreSQL's "undefined_table".
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// Counts changes of what decisions are made on, where nobody else makes any.
    pub(crate) fn epochs(&self) -> Option<&FactEpochs> {
        self.writer.as_ref().map(|_| &*self.epochs)
    }

    /// Whether there is room for new content, as far as this process can tell.
    ///
    /// # Errors
    /// [`StorageError::Full`].
    pub(crate) fn room(&self) -> Result<(), StorageError> {
        self.reserve.as_ref().map_or(Ok(()), |reserve| reserve.room())
    }

    /// A connection to read with.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Any>, StorageError> {
        Ok(self.pool.acquire().await?)
    }

    /// Runs `write` on `input` in a transaction that is durable when this returns `Ok`. `committed` runs once it
    /// is, before anybody hears of it, and even if the caller has gone away: that is where caches are told.
    pub(crate) async fn write<I, T, C>(
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
        match &self.writer {
            Some(queue) => queue.run(input, write, committed).await,
            None => {
                let pool = self.pool.clone();
                let task = tokio::spawn(async move {
                    let outcome = Self::transaction(&pool, &input, write).await?;
                    committed(&input, &outcome);
                    Ok(outcome)
                });
                task.await.map_err(|_| StorageError::Closed)?
            }
        }
    }

    async fn transaction<I, T>(pool: &AnyPool, input: &I, write: Write<I, T>) -> Result<T, StorageError> {
        for _ in 1..ATTEMPTS {
            match Self::attempt(pool, input, write).await {
                Err(StorageError::Database(error)) if lost_a_race(&error) => tokio::task::yield_now().await,
                result => return result,
            }
        }
        match Self::attempt(pool, input, write).await {
            Err(StorageError::Database(error)) if lost_a_race(&error) => Err(StorageError::Conflict),
            result => result,
        }
    }

    async fn attempt<I, T>(pool: &AnyPool, input: &I, write: Write<I, T>) -> Result<T, StorageError> {
        let mut transaction = pool.begin().await?;
        let outcome = write(&mut transaction, input).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Waits for queued writes and closes every connection.
    pub(crate) async fn close(&self) {
        if let Some(queue) = &self.writer {
            queue.close().await;
        }
        self.pool.close().await;
    }
}

fn sqlite_url(path: &Path, mode: &str) -> Result<String, StorageError> {
    let path = path.to_str().ok_or_else(|| {
        StorageError::Setting(format!("the database path {} is not valid UTF-8", path.display()))
    })?;
    let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("sqlite://{escaped}?mode={mode}"))
}

/// Serialization failure, deadlock, unique or foreign key violation: the state has changed under the transaction,
/// and a repetition sees the new one (PostgreSQL, appendix A, classes 23 and 40).
fn lost_a_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    matches!(code.as_deref(), Some("40001" | "40P01" | "23503" | "23505"))
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
