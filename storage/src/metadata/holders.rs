//! Under which names this database has taken its object store over.

use super::MetadataStore;
use crate::error::StorageError;

impl MetadataStore {
    /// Adds a name, and forgets the oldest.
    pub(crate) async fn add_holder(&self, name: String) -> Result<(), StorageError> {
        self.db
            .write(
                name,
                |conn, name| {
                    Box::pin(async move {
                        sqlx::query("INSERT INTO store_holders (name) VALUES ($1)")
                            .bind(name.as_str())
                            .execute(&mut *conn)
                            .await?;
                        // The last hundred starts: the store has the name of the last one or, where one ended in between
                        // or two began together, of one shortly before.
                        sqlx::query(
                            "DELETE FROM store_holders WHERE id <= (SELECT MAX(id) FROM store_holders) - 100",
                        )
                        .execute(conn)
                        .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Whether this database has taken the store over under this name.
    pub(crate) async fn was_holder(&self, name: &str) -> Result<bool, StorageError> {
        let row = sqlx::query("SELECT 1 FROM store_holders WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        Ok(row.is_some())
    }
}
