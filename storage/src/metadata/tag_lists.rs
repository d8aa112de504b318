//! What upstreams said last of all tags of a repository.

use rreg_oci::RepositoryName;
use sqlx::{AnyConnection, Row as _};

use super::{MetadataStore, size_column, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// Most lists.
const LISTS: u64 = 5_000;
/// Most bytes of all lists together. A list longer than a quarter of it is not kept.
const BYTES: u64 = 64 << 20;

impl MetadataStore {
    /// Keeps the whole list of tags that `source` (host and repository) gave for `repository`, in place of an earlier one.
    /// A list that is too long to be kept is forgotten: an earlier one would be taken for it.
    ///
    /// # Errors
    /// [`StorageError::Full`], or a database failure.
    pub async fn keep_tag_list(
        &self,
        repository: &RepositoryName,
        source: &str,
        tags: &[String],
    ) -> Result<(), StorageError> {
        self.keep_tag_list_within(repository, source, tags, (LISTS, BYTES)).await
    }

    async fn keep_tag_list_within(
        &self,
        repository: &RepositoryName,
        source: &str,
        tags: &[String],
        limits: (u64, u64),
    ) -> Result<(), StorageError> {
        self.db.room()?;
        let text = serde_json::to_string(tags).map_err(|e| StorageError::Corrupt(e.to_string()))?;
        if text.len() as u64 > limits.1 / 4 {
            return self.forget_tag_list(repository).await;
        }
        self.db
            .write(
                (repository.clone(), source.to_owned(), text, limits),
                |conn, (repository, source, text, limits)| {
                    Box::pin(keep(conn, repository, source, text, *limits))
                },
                |_, ()| {},
            )
            .await
    }

    /// The list that was kept last of what `source` has, in the order of its tags' bytes.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or a database failure.
    pub async fn kept_tag_list(
        &self,
        repository: &RepositoryName,
        source: &str,
    ) -> Result<Option<Vec<String>>, StorageError> {
        let row = sqlx::query("SELECT tags FROM upstream_tag_lists WHERE repository = $1 AND source = $2")
            .bind(repository.as_str())
            .bind(source)
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let text: String = row.try_get(0)?;
        serde_json::from_str(&text).map(Some).map_err(|e| StorageError::Corrupt(e.to_string()))
    }

    /// Forgets the list of a repository that is gone.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_tag_list(&self, repository: &RepositoryName) -> Result<(), StorageError> {
        self.db
            .write(
                repository.clone(),
                |conn, repository| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM upstream_tag_lists WHERE repository = $1")
                            .bind(repository.as_str())
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

async fn keep(
    conn: &mut AnyConnection,
    repository: &RepositoryName,
    source: &str,
    text: &str,
    (lists, bytes): (u64, u64),
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO upstream_tag_lists (repository, source, tags, bytes, listed_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (repository) DO UPDATE SET source = excluded.source, tags = excluded.tags, \
         bytes = excluded.bytes, listed_at = excluded.listed_at",
    )
    .bind(repository.as_str())
    .bind(source)
    .bind(text)
    .bind(to_sql(text.len() as u64))
    .bind(now_ms())
    .execute(&mut *conn)
    .await?;
    loop {
        let row = sqlx::query(
            "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM upstream_tag_lists",
        )
        .fetch_one(&mut *conn)
        .await?;
        if size_column(&row, 0)? <= lists && size_column(&row, 1)? <= bytes {
            return Ok(());
        }
        let oldest = "SELECT repository FROM upstream_tag_lists ORDER BY listed_at LIMIT 1";
        let row = sqlx::query(oldest).fetch_optional(&mut *conn).await?;
        let Some(row) = row else { return Ok(()) };
        let oldest: String = text_column::<RepositoryName>(&row, 0)?.to_string();
        sqlx::query("DELETE FROM upstream_tag_lists WHERE repository = $1")
            .bind(oldest)
            .execute(&mut *conn)
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::store;

    #[tokio::test]
    async fn the_last_list_of_a_source_is_kept_within_limits() {
        let (_dir, store) = store().await;
        let name = |number: usize| format!("up/app{number}").parse::<RepositoryName>().unwrap();
        let tags = |count: usize| (0..count).map(|n| format!("\u{0}v{n}")).collect::<Vec<_>>();
        store.keep_tag_list(&name(0), "h.x/app", &tags(3)).await.unwrap();
        store.keep_tag_list(&name(0), "h.x/app", &tags(2)).await.unwrap();
        assert_eq!(store.kept_tag_list(&name(0), "h.x/app").await.unwrap(), Some(tags(2)));
        assert_eq!(store.kept_tag_list(&name(0), "other.x/app").await.unwrap(), None, "another upstream");
        store.forget_tag_list(&name(0)).await.unwrap();
        assert_eq!(store.kept_tag_list(&name(0), "h.x/app").await.unwrap(), None);

        let held = async || {
            let mut held = Vec::new();
            for number in 0..8 {
                if store.kept_tag_list(&name(number), "s").await.unwrap().is_some() {
                    held.push(number);
                }
            }
            held
        };
        for number in 0..8 {
            store.keep_tag_list_within(&name(number), "s", &tags(2), (3, 10_000)).await.unwrap();
        }
        assert_eq!(held().await.len(), 3, "the number");
        for number in 0..8 {
            store.keep_tag_list_within(&name(number), "s", &tags(2), (100, 120)).await.unwrap();
        }
        assert_eq!(held().await.len(), 120 / serde_json::to_string(&tags(2)).unwrap().len(), "the bytes");
        // One that is too long is not kept, and an earlier one is no answer any more.
        store.keep_tag_list_within(&name(7), "s", &tags(100), (100, 120)).await.unwrap();
        assert!(!held().await.contains(&7));
    }
}
