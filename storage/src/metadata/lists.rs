//! Sorted lists in pages. Each walks an index from where the page begins, so its cost does not depend on how much
//! lies before it.

use futures_util::TryStreamExt as _;
use rreg_oci::{Descriptor, Digest, RepositoryName};
use sqlx::Row as _;

use super::{MetadataStore, digest_column, find_repository, size_column, to_sql};
use crate::error::StorageError;

/// A stretch of a repository's tags, sorted by bytes.
#[derive(Debug)]
pub struct TagPage {
    /// The tags.
    pub tags: Vec<String>,
    /// Whether more follow.
    pub more: bool,
}

/// A stretch of the repositories, sorted by bytes.
#[derive(Debug)]
pub struct CatalogPage {
    /// The names.
    pub repositories: Vec<String>,
    /// Whether more follow.
    pub more: bool,
}

/// A manifest that says something about another.
#[derive(Debug)]
pub struct Referrer {
    /// Its descriptor, with artifact type and annotations as the referrers API asks for.
    pub descriptor: Descriptor,
}

/// A stretch of a subject's referrers, in the order in which they were pushed.
#[derive(Debug)]
pub struct ReferrerPage {
    /// The referrers.
    pub referrers: Vec<Referrer>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A page of referrers ends once it has so many bytes of annotations, because clients limit what they read.
const REFERRER_PAGE_BYTES: usize = 2 << 20;

impl MetadataStore {
    /// At most `limit` tags after `last`.
    ///
    /// # Errors
    /// [`StorageError::UnknownRepository`], or a database failure.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        last: &str,
        limit: usize,
    ) -> Result<TagPage, StorageError> {
        let mut conn = self.db.read().await?;
        let id = find_repository(&mut conn, repository)
            .await?
            .ok_or_else(|| StorageError::UnknownRepository(repository.clone()))?;
        let rows = sqlx::query(
            "SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3",
        )
        .bind(id)
        .bind(last)
        .bind(to_sql(limit as u64 + 1))
        .fetch_all(&mut *conn)
        .await?;
        let (tags, more) = names(&rows, limit)?;
        Ok(TagPage { tags, more })
    }

    /// At most `limit` repositories after `last`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn catalog(&self, last: &str, limit: usize) -> Result<CatalogPage, StorageError> {
        let rows = sqlx::query("SELECT name FROM repositories WHERE name > $1 ORDER BY name LIMIT $2")
            .bind(last)
            .bind(to_sql(limit as u64 + 1))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        let (repositories, more) = names(&rows, limit)?;
        Ok(CatalogPage { repositories, more })
    }

    /// At most `limit` manifests of `repository` whose subject is `subject`, after the place `last` that an
    /// earlier page gave. A repository or subject that does not exist has none.
    ///
    /// # Errors
    /// A database failure.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&str>,
        limit: usize,
    ) -> Result<ReferrerPage, StorageError> {
        let mut page = ReferrerPage { referrers: Vec::new(), next: None };
        if limit == 0 {
            return Ok(page);
        }
        let mut conn = self.db.read().await?;
        let Some(id) = find_repository(&mut conn, repository).await? else { return Ok(page) };
        let after = last.and_then(|last| last.parse::<i64>().ok()).unwrap_or(0);
        let mut rows = sqlx::query(
            "SELECT id, digest, media_type, artifact_type, annotations, length(body) FROM manifests \
             WHERE repository_id = $1 AND subject = $2 AND id > $3 AND ($4 = '' OR artifact_type = $4) \
             ORDER BY id LIMIT $5",
        )
        .bind(id)
        .bind(subject.to_string())
        .bind(after)
        .bind(artifact_type.unwrap_or_default())
        .bind(to_sql(limit as u64 + 1))
        .fetch(&mut *conn);
        let (mut bytes, mut place) = (0, 0i64);
        while let Some(row) = rows.try_next().await? {
            if page.referrers.len() == limit || (bytes > REFERRER_PAGE_BYTES && !page.referrers.is_empty()) {
                page.next = Some(place.to_string());
                break;
            }
            place = row.try_get(0)?;
            let annotations: Option<String> = row.try_get(4)?;
            bytes += annotations.as_ref().map_or(0, String::len);
            let mut descriptor =
                Descriptor::new(row.try_get::<String, _>(2)?, digest_column(&row, 1)?, size_column(&row, 5)?);
            descriptor.artifact_type = row.try_get(3)?;
            descriptor.annotations = annotations
                .map(|json| serde_json::from_str(&json))
                .transpose()
                .map_err(|e| StorageError::Corrupt(format!("annotations of {}: {e}", descriptor.digest)))?
                .filter(|map: &std::collections::BTreeMap<_, _>| !map.is_empty());
            page.referrers.push(Referrer { descriptor });
        }
        Ok(page)
    }
}

fn names(rows: &[sqlx::any::AnyRow], limit: usize) -> Result<(Vec<String>, bool), StorageError> {
    let names = rows.iter().take(limit).map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok((names, rows.len() > limit))
}
