//! Copies of what upstream registries have: manifests that come before what they refer to.
//!
//! A cached manifest is an ordinary manifest whose missing content is written down in `awaited_content`. Each blob
//! or child that arrives is linked to the manifests that wait for it, so that from then on the foreign keys keep it.

use std::collections::BTreeMap;
use std::time::Duration;

use rreg_oci::{Digest, RepositoryName, Tag};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::changed_facts::manifest_changed;
use super::evictions::{note_copy, note_use};
use super::manifests::{Origin, insert_manifest, tell_decisions};
use super::references::{Members, await_content, blob_members, link_blobs, link_children};
use super::reviews::{ReviewKind, queue};
use super::tags::{Scope, set_tag};
use super::{MetadataStore, NewManifest, ensure_repository, find_repository, size_column};
use crate::db::now_ms;
use crate::error::StorageError;
use crate::tag_rules::TagRules;

/// Who moves the tags of a copy, in their history.
const UPSTREAM: &str = "upstream";

impl MetadataStore {
    /// Stores a manifest of an upstream with its tags, whether or not what it refers to is here, and remembers that
    /// the upstream was asked about the tags now.
    ///
    /// # Errors
    /// [`StorageError::Full`], or a database failure.
    pub async fn cache_manifest(&self, new: NewManifest, upstream: &str) -> Result<(), StorageError> {
        self.db.room()?;
        let cache = self.cache.clone();
        self.db
            .write(
                (new, upstream.to_owned()),
                |conn, (new, upstream)| Box::pin(cache_manifest(conn, new, upstream)),
                move |(new, _), ()| {
                    cache.committed(|forget| {
                        new.tags.iter().for_each(|tag| forget.tag(&new.repository, tag));
                    });
                },
            )
            .await
    }

    /// How long ago the upstream was asked about a cached tag; `None` if the tag is no copy.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cached_tag_age(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Duration>, StorageError> {
        let row = sqlx::query(
            "SELECT c.checked_at FROM repositories r JOIN cached_references c ON c.repository_id = r.id \
             WHERE r.name = $1 AND c.tag = $2",
        )
        .bind(repository.as_str())
        .bind(tag.as_str())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        // A clock that was set back makes an age of nothing, and the next look at it is right again.
        let age = now_ms().saturating_sub(row.try_get(0)?);
        Ok(Some(Duration::from_millis(u64::try_from(age).unwrap_or_default())))
    }

    /// Remembers that the upstream has just confirmed a tag.
    ///
    /// # Errors
    /// A database failure.
    pub async fn confirm_cached_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<(), StorageError> {
        self.db
            .write(
                (repository.clone(), tag.clone()),
                |conn, (repository, tag)| {
                    Box::pin(async move {
                        match find_repository(conn, repository).await? {
                            Some(id) => checked_now(conn, id, tag).await,
                            None => Ok(()),
                        }
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// The length of a blob that a cached manifest of `repository` waits for, where one says it: 0 says nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn awaited_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, StorageError> {
        let row = sqlx::query(
            "SELECT a.size FROM repositories r JOIN awaited_content a ON a.repository_id = r.id \
             WHERE r.name = $1 AND a.digest = $2 AND a.size > 0 ORDER BY a.manifest_id LIMIT 1",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        row.map(|row| size_column(&row, 0)).transpose()
    }
}

async fn cache_manifest(
    conn: &mut AnyConnection,
    new: &NewManifest,
    upstream: &str,
) -> Result<(), StorageError> {
    let repository = ensure_repository(conn, &new.repository).await?;
    if new.tags.is_empty() {
        // Before the row is looked for: see `reviews`.
        queue(conn, repository, ReviewKind::Manifest, &new.digest).await?;
    }
    let id = insert_manifest(conn, repository, new, Origin::Copied).await?;
    if new.manifest.blobs().chain(new.manifest.member_blobs()).next().is_some() {
        note_copy(conn, id, upstream).await?;
    }
    let stated: BTreeMap<Digest, u64> = new.manifest.blobs().map(|d| (d.digest, d.size)).collect();
    let blobs = blob_members(conn, Some(repository), &stated.keys().copied().collect::<Vec<_>>()).await?;
    let members = Members::find(conn, Some(repository), &new.manifest).await?;
    let ids = blobs.values().map(|(id, _)| *id).chain(members.blobs.into_values());
    link_blobs(conn, repository, id, &ids.collect::<Vec<_>>()).await?;
    link_children(conn, id, &members.children.into_values().collect::<Vec<_>>()).await?;
    let awaited = stated.into_iter().filter(|(digest, _)| !blobs.contains_key(digest));
    await_content(conn, repository, id, &awaited.chain(members.missing).collect::<Vec<_>>()).await?;
    manifest_came(conn, repository, (id, &new.digest)).await?;
    tell_decisions(conn, repository, new).await?;
    // What a tag of a copy means is the upstream's decision; rules of immutability are for what is pushed here.
    let rules = TagRules::default();
    let scope = Scope { repository: &new.repository, rules: &rules, actor: Some(UPSTREAM) };
    for tag in &new.tags {
        if let Some(before) = set_tag(conn, scope, repository, tag, (id, &new.digest)).await? {
            queue(conn, repository, ReviewKind::Manifest, &before).await?;
        }
        checked_now(conn, repository, tag).await?;
    }
    Ok(())
}

/// Links a manifest that has come to the indexes that wait for it.
pub(super) async fn manifest_came(
    conn: &mut AnyConnection,
    repository: i64,
    (id, digest): (i64, &Digest),
) -> Result<(), StorageError> {
    let waiting = waiting_for(conn, repository, digest).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    for parent in waiting {
        link_children(conn, parent, &[id]).await?;
        manifest_changed(conn, parent).await?;
    }
    arrived(conn, repository, digest).await
}

/// Links a blob that has come to the manifests that wait for it.
pub(super) async fn blob_came(
    conn: &mut AnyConnection,
    repository: i64,
    (blob, digest): (i64, &Digest),
) -> Result<(), StorageError> {
    let waiting = waiting_for(conn, repository, digest).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    for manifest in waiting {
        link_blobs(conn, repository, manifest, &[blob]).await?;
        note_use(conn, manifest).await?;
    }
    arrived(conn, repository, digest).await
}

async fn waiting_for(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
) -> Result<Vec<i64>, StorageError> {
    let rows =
        sqlx::query("SELECT manifest_id FROM awaited_content WHERE repository_id = $1 AND digest = $2")
            .bind(repository)
            .bind(digest.to_string())
            .fetch_all(conn)
            .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn arrived(conn: &mut AnyConnection, repository: i64, digest: &Digest) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM awaited_content WHERE repository_id = $1 AND digest = $2")
        .bind(repository)
        .bind(digest.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

async fn checked_now(conn: &mut AnyConnection, repository: i64, tag: &Tag) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO cached_references (repository_id, tag, checked_at) VALUES ($1, $2, $3) \
         ON CONFLICT (repository_id, tag) DO UPDATE SET checked_at = excluded.checked_at",
    )
    .bind(repository)
    .bind(tag.as_str())
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}
