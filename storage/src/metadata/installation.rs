//! Which registry this is.

use sqlx::Row as _;

use super::blobs::Segment;
use super::{MetadataStore, size_column, to_sql};
use crate::error::StorageError;

/// Before the name of a registry whose database is being restored. No older version serves such a database: to it, it is
/// another registry's.
const REBUILT: &str = "rebuilding ";

/// Which registry a database is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installation {
    /// The registry's name for itself.
    pub(crate) name: String,
    /// Whether it was begun to restore the database from the object store, and that has not ended.
    pub(crate) being_rebuilt: bool,
}

impl MetadataStore {
    /// What the registry is called, if it has a name yet.
    pub(crate) async fn installation(&self) -> Result<Option<Installation>, StorageError> {
        let row = sqlx::query("SELECT name FROM installation WHERE id = 1")
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let text: String = row.try_get(0)?;
        let (name, being_rebuilt) = match text.strip_prefix(REBUILT) {
            Some(name) => (name.to_owned(), true),
            None => (text, false),
        };
        Ok(Some(Installation { name, being_rebuilt }))
    }

    /// Notes that the database of the registry of this name is to be restored. Gives the name.
    pub(crate) async fn begin_rebuild(&self, name: String) -> Result<String, StorageError> {
        self.name_installation(format!("{REBUILT}{name}")).await?;
        Ok(name)
    }

    /// The database of the registry of this name is restored.
    pub(crate) async fn end_rebuild(&self, name: String) -> Result<(), StorageError> {
        self.db
            .write(
                name,
                |conn, name| {
                    Box::pin(async move {
                        sqlx::query("UPDATE installation SET name = $1 WHERE id = 1 AND name = $2")
                            .bind(name.as_str())
                            .bind(format!("{REBUILT}{name}"))
                            .execute(conn)
                            .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Gives the registry this name, unless it has one. Gives the name that it has then.
    pub(crate) async fn name_installation(&self, name: String) -> Result<String, StorageError> {
        self.db
            .write(
                name,
                |conn, name| {
                    Box::pin(async move {
                        sqlx::query(
                            "INSERT INTO installation (id, name) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
                        )
                        .bind(name.as_str())
                        .execute(&mut *conn)
                        .await?;
                        let row =
                            sqlx::query("SELECT name FROM installation WHERE id = 1").fetch_one(conn).await?;
                        Ok(row.try_get(0)?)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// Takes this name away again, if it is the registry's or is to become it.
    pub(crate) async fn unname_installation(&self, name: String) -> Result<(), StorageError> {
        self.db
            .write(
                name,
                |conn, name| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM installation WHERE id = 1 AND name IN ($1, $2)")
                            .bind(name.as_str())
                            .bind(format!("{REBUILT}{name}"))
                            .execute(conn)
                            .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Up to `limit` objects that blobs are in.
    ///
    /// # Errors
    /// A database failure.
    pub async fn some_objects(&self, limit: usize) -> Result<Vec<Segment>, StorageError> {
        let rows = sqlx::query("SELECT object_key, size FROM blob_segments ORDER BY blob_id DESC LIMIT $1")
            .bind(to_sql(limit as u64))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        rows.iter().map(|row| Ok(Segment { key: row.try_get(0)?, size: size_column(row, 1)? })).collect()
    }
}
