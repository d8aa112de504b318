//! The keys that sign bearer tokens.

use sqlx::Row as _;

use super::MetadataStore;
use crate::db::now_ms;
use crate::error::StorageError;

/// A token's private key.
#[derive(Clone)]
pub struct StoredKey {
    /// PKCS #8, in clear or sealed.
    pub private: Vec<u8>,
    /// Milliseconds since the Unix epoch.
    pub created_at: i64,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredKey({})", self.created_at)
    }
}

impl MetadataStore {
    /// Keys of bearer tokens, oldest first.
    ///
    /// # Errors
    /// A database failure.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StorageError> {
        let rows = sqlx::query("SELECT private_key, created_at FROM signing_keys ORDER BY created_at, id")
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        rows.iter()
            .map(|row| Ok(StoredKey { private: row.try_get(0)?, created_at: row.try_get(1)? }))
            .collect()
    }

    /// Keeps the same key in another form.
    ///
    /// # Errors
    /// A database failure.
    pub async fn replace_signing_key(&self, old: Vec<u8>, new: Vec<u8>) -> Result<(), StorageError> {
        self.db
            .write(
                (old, new),
                |conn, (old, new)| {
                    Box::pin(async move {
                        sqlx::query("UPDATE signing_keys SET private_key = $2 WHERE private_key = $1")
                            .bind(old.clone())
                            .bind(new.clone())
                            .execute(conn)
                            .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Adds a key, unless a younger one than `newer_than` is there already, and forgets keys older than `older_than`.
    /// Both in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// A database failure.
    pub async fn rotate_signing_key(
        &self,
        private: Vec<u8>,
        newer_than: i64,
        older_than: i64,
    ) -> Result<(), StorageError> {
        self.db
            .write(
                (private, newer_than, older_than),
                |conn, (private, newer_than, older_than)| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM signing_keys WHERE created_at < $1")
                            .bind(*older_than)
                            .execute(&mut *conn)
                            .await?;
                        let row = sqlx::query("SELECT COUNT(*) FROM signing_keys WHERE created_at > $1")
                            .bind(*newer_than)
                            .fetch_one(&mut *conn)
                            .await?;
                        if row.try_get::<i64, _>(0)? == 0 {
                            sqlx::query("INSERT INTO signing_keys (private_key, created_at) VALUES ($1, $2)")
                                .bind(private.clone())
                                .bind(now_ms())
                                .execute(&mut *conn)
                                .await?;
                        }
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }
}
