//! The list of objects to be deleted.

use sqlx::AnyConnection;
use sqlx::Row as _;

use super::{MetadataStore, bind_all, list};
use crate::db::now_ms;
use crate::error::StorageError;

impl MetadataStore {
    /// How many objects' time has come, up to `limit`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn due_objects(&self, limit: u32) -> Result<usize, StorageError> {
        let rows = sqlx::query("SELECT object_key FROM reclaim WHERE due_at <= $1 ORDER BY due_at LIMIT $2")
            .bind(now_ms())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        Ok(rows.len())
    }

    /// Up to `limit` objects whose time has come, by key. From now on no row takes them: they may be deleted at any
    /// moment.
    ///
    /// # Errors
    /// A database failure.
    pub async fn take_due_objects(&self, limit: u32) -> Result<Vec<String>, StorageError> {
        self.db.write(limit, |conn, limit| Box::pin(take_due(conn, *limit)), |_, _| {}).await
    }

    /// Takes deleted objects off the list.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_objects(&self, keys: Vec<String>) -> Result<(), StorageError> {
        self.db
            .write(
                keys,
                |conn, keys| {
                    Box::pin(async move {
                        let sql =
                            format!("DELETE FROM reclaim WHERE object_key IN ({})", list(1, keys.len()));
                        let query = sqlx::query(sqlx::AssertSqlSafe(sql));
                        bind_all(query, keys.iter().cloned()).execute(conn).await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Puts an object that no row knows on the list of those to be deleted: its bytes arrived, its row did not.
    ///
    /// # Errors
    /// A database failure.
    pub async fn reclaim_object(&self, key: String) -> Result<(), StorageError> {
        self.db
            .write(
                key,
                |conn, key| {
                    Box::pin(async move {
                        sqlx::query(
                            "INSERT INTO reclaim (object_key, due_at) SELECT CAST($1 AS TEXT), $2 \
                             WHERE NOT EXISTS (SELECT 1 FROM blob_segments WHERE object_key = $1) \
                             AND NOT EXISTS (SELECT 1 FROM upload_segments WHERE object_key = $1) \
                             ON CONFLICT (object_key) DO NOTHING",
                        )
                        .bind(key.as_str())
                        .bind(now_ms())
                        .execute(conn)
                        .await?;
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }
}

/// When an object is due that is being deleted.
const TAKEN: i64 = -1;

async fn take_due(conn: &mut AnyConnection, limit: u32) -> Result<Vec<String>, StorageError> {
    let rows = sqlx::query(
        "UPDATE reclaim SET due_at = $3 WHERE object_key IN \
         (SELECT object_key FROM reclaim WHERE due_at <= $1 ORDER BY due_at LIMIT $2) RETURNING object_key",
    )
    .bind(now_ms())
    .bind(i64::from(limit))
    .bind(TAKEN)
    .fetch_all(conn)
    .await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// An object gets a row: it is not to be deleted any more. Where that has begun, it is too late.
///
/// # Errors
/// [`StorageError::Conflict`] then.
pub(super) async fn not_reclaimed(conn: &mut AnyConnection, key: &str) -> Result<(), StorageError> {
    let taken = sqlx::query("DELETE FROM reclaim WHERE object_key = $1 RETURNING due_at")
        .bind(key)
        .fetch_optional(conn)
        .await?;
    match taken.map(|row| row.try_get::<i64, _>(0)).transpose()? {
        Some(TAKEN) => Err(StorageError::Conflict),
        _ => Ok(()),
    }
}

/// Puts an object on the list of those to be deleted.
pub(super) async fn reclaim(conn: &mut AnyConnection, key: &str, due_at: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO reclaim (object_key, due_at) VALUES ($1, $2) ON CONFLICT (object_key) DO NOTHING",
    )
    .bind(key)
    .bind(due_at)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::store;

    /// Gives an object a row, as the end of an upload does.
    async fn take(store: &MetadataStore, key: &str) -> Result<(), StorageError> {
        store.db.write(key.to_owned(), |conn, key| Box::pin(not_reclaimed(conn, key)), |_, ()| {}).await
    }

    #[tokio::test]
    async fn what_gets_a_row_is_not_deleted_and_what_is_being_deleted_gets_none() {
        let (_dir, store) = store().await;
        for key in ["blobs/aa/1", "blobs/aa/2"] {
            store.reclaim_object(key.to_owned()).await.unwrap();
        }
        take(&store, "blobs/aa/1").await.unwrap();
        assert_eq!(store.take_due_objects(10).await.unwrap(), ["blobs/aa/2"]);
        assert!(matches!(take(&store, "blobs/aa/2").await, Err(StorageError::Conflict)));
        // A crash in between: it is taken again.
        assert_eq!(store.take_due_objects(10).await.unwrap(), ["blobs/aa/2"]);
        store.forget_objects(vec!["blobs/aa/2".to_owned()]).await.unwrap();
        take(&store, "blobs/aa/2").await.unwrap();
        assert_eq!(store.due_objects(10).await.unwrap(), 0);
    }
}
