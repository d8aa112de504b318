//! Moving tags, refusing to, and what became of them.
//!
//! Under concurrent writers (PostgreSQL, READ COMMITTED) a look is no promise: each change first locks the tag's row,
//! or is the first to insert it, and judges what it then finds. A refusal after that rolls the transaction back. With
//! SQLite's single writer the first look, before anything is written, already decides.

use rreg_oci::{Digest, Reference, RepositoryName, Tag};
use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::changed_facts::tag_changed;
use super::{MetadataStore, digest_column, find_repository, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;
use crate::records::RecordedTag;
use crate::tag_rules::TagRules;

/// Two writers can find the row of a tag coming and going only so often before they are told to try again.
const TURNS: usize = 5;

/// One change of one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagChange {
    /// Names the change; later changes have larger numbers.
    pub id: i64,
    /// Which tag.
    pub tag: Tag,
    /// Who did it, if anybody in particular.
    pub actor: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// Where the tag pointed; `None` if it is new.
    pub from: Option<Digest>,
    /// Where it points since; `None` if it was deleted.
    pub to: Option<Digest>,
}

/// Whose tags are changed, by whom, under which rules.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) rules: &'a TagRules,
    pub(super) actor: Option<&'a str>,
}

impl Scope<'_> {
    fn refuse(&self, tag: &Tag, digest: Digest) -> Result<(), StorageError> {
        match self.rules.immutable(self.repository, tag) {
            Some(rule) => Err(StorageError::ImmutableTag {
                repository: self.repository.clone(),
                tag: tag.clone(),
                digest,
                rule: rule.name.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl MetadataStore {
    /// Deletes changes of tags from before `before` (milliseconds since the Unix epoch) among the `limit` oldest. Gives how
    /// many those were.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_tag_history(&self, before: i64, limit: u32) -> Result<u64, StorageError> {
        self.db
            .write(
                (before, limit),
                |conn, (before, limit)| Box::pin(forget(conn, *before, *limit)),
                |_, _| {},
            )
            .await
    }

    /// Up to `limit` changes in `repository`, the latest first; of one tag, or of all.
    ///
    /// # Errors
    /// [`StorageError::UnknownRepository`], or a database failure.
    pub async fn tag_history(
        &self,
        repository: &RepositoryName,
        tag: Option<&Tag>,
        limit: usize,
    ) -> Result<Vec<TagChange>, StorageError> {
        let mut conn = self.db.read().await?;
        let id = find_repository(&mut conn, repository)
            .await?
            .ok_or_else(|| StorageError::UnknownRepository(repository.clone()))?;
        let rows = match tag {
            Some(tag) => sqlx::query(
                "SELECT id, tag, actor, changed_at, from_digest, to_digest FROM tag_history \
                 WHERE repository_id = $1 AND tag = $3 ORDER BY id DESC LIMIT $2",
            )
            .bind(id)
            .bind(to_sql(limit as u64))
            .bind(tag.as_str()),
            None => sqlx::query(
                "SELECT id, tag, actor, changed_at, from_digest, to_digest FROM tag_history \
                 WHERE repository_id = $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(id)
            .bind(to_sql(limit as u64)),
        };
        let rows = rows.fetch_all(&mut *conn).await?;
        rows.iter().map(change).collect()
    }
}

fn change(row: &AnyRow) -> Result<TagChange, StorageError> {
    let digest = |column| {
        let text: Option<String> = row.try_get(column)?;
        text.map(|text| text.parse().map_err(|e| StorageError::Corrupt(format!("{text:?}: {e}")))).transpose()
    };
    Ok(TagChange {
        id: row.try_get(0)?,
        tag: text_column(row, 1)?,
        actor: row.try_get(2)?,
        at: row.try_get(3)?,
        from: digest(4)?,
        to: digest(5)?,
    })
}

/// Refuses, before anything is written, to point an immutable tag at anything but what it points at.
pub(super) async fn check_move(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    repository: i64,
    tag: &Tag,
    to: &Digest,
) -> Result<(), StorageError> {
    if scope.rules.immutable(scope.repository, tag).is_none() {
        return Ok(());
    }
    match target(conn, repository, tag).await? {
        Some(digest) if digest != *to => scope.refuse(tag, digest),
        _ => Ok(()),
    }
}

/// What the tag points at.
pub(super) async fn target(
    conn: &mut AnyConnection,
    repository: i64,
    tag: &Tag,
) -> Result<Option<Digest>, StorageError> {
    let row = sqlx::query(
        "SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id \
         WHERE t.repository_id = $1 AND t.name = $2",
    )
    .bind(repository)
    .bind(tag.as_str())
    .fetch_optional(conn)
    .await?;
    row.map(|row| digest_column(&row, 0)).transpose()
}

/// Points the tag at the manifest. Gives what it pointed at before, if that was another.
pub(super) async fn set_tag(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    repository: i64,
    tag: &Tag,
    to: (i64, &Digest),
) -> Result<Option<Digest>, StorageError> {
    for _ in 0..TURNS {
        // Locks the row, so that what is read of it now holds until the commit.
        let locked = sqlx::query("UPDATE tags SET updated_at = $3 WHERE repository_id = $1 AND name = $2")
            .bind(repository)
            .bind(tag.as_str())
            .bind(now_ms())
            .execute(&mut *conn)
            .await?;
        if locked.rows_affected() > 0 {
            let from = target(conn, repository, tag).await?.ok_or(StorageError::Conflict)?;
            if from == *to.1 {
                return Ok(None);
            }
            scope.refuse(tag, from)?;
            sqlx::query("UPDATE tags SET manifest_id = $3 WHERE repository_id = $1 AND name = $2")
                .bind(repository)
                .bind(tag.as_str())
                .bind(to.0)
                .execute(&mut *conn)
                .await?;
            record(conn, scope, repository, tag, (Some(&from), Some(to.1))).await?;
            return Ok(Some(from));
        }
        let inserted = sqlx::query(
            "INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (repository_id, name) DO NOTHING",
        )
        .bind(repository)
        .bind(tag.as_str())
        .bind(to.0)
        .bind(now_ms())
        .execute(&mut *conn)
        .await?;
        if inserted.rows_affected() > 0 {
            record(conn, scope, repository, tag, (None, Some(to.1))).await?;
            return Ok(None);
        }
    }
    Err(StorageError::Conflict)
}

/// Deletes one tag. Gives what it pointed at.
pub(super) async fn delete_tag(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    tag: &Tag,
) -> Result<(i64, Digest), StorageError> {
    let unknown = || StorageError::UnknownManifest {
        repository: scope.repository.clone(),
        reference: Reference::Tag(tag.clone()),
    };
    let repository = find_repository(conn, scope.repository).await?.ok_or_else(unknown)?;
    let from = target(conn, repository, tag).await?.ok_or_else(unknown)?;
    scope.refuse(tag, from)?;
    let deleted =
        sqlx::query("DELETE FROM tags WHERE repository_id = $1 AND name = $2 RETURNING manifest_id")
            .bind(repository)
            .bind(tag.as_str())
            .fetch_optional(&mut *conn)
            .await?
            .ok_or_else(unknown)?;
    let row = sqlx::query("SELECT digest FROM manifests WHERE id = $1")
        .bind(deleted.try_get::<i64, _>(0)?)
        .fetch_optional(&mut *conn)
        .await?;
    // Another replica may have moved the tag since it was looked at.
    let from = row.map(|row| digest_column(&row, 0)).transpose()?.unwrap_or(from);
    record(conn, scope, repository, tag, (Some(&from), None)).await?;
    Ok((repository, from))
}

/// Refuses, before anything is written, to take a manifest from under an immutable tag.
pub(super) async fn check_untag(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    manifest: (i64, &Digest),
) -> Result<(), StorageError> {
    let rows = sqlx::query("SELECT name FROM tags WHERE manifest_id = $1 ORDER BY name")
        .bind(manifest.0)
        .fetch_all(conn)
        .await?;
    rows.iter().try_for_each(|row| scope.refuse(&text_column(row, 0)?, *manifest.1))
}

/// Deletes all tags of a manifest, whose row is to be removed next: that tells who decides.
pub(super) async fn delete_tags_of(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    repository: i64,
    manifest: (i64, &Digest),
) -> Result<(), StorageError> {
    let rows = sqlx::query("DELETE FROM tags WHERE manifest_id = $1 RETURNING name")
        .bind(manifest.0)
        .fetch_all(&mut *conn)
        .await?;
    for row in &rows {
        let tag: Tag = text_column(row, 0)?;
        scope.refuse(&tag, *manifest.1)?;
        write_history(conn, scope, repository, &tag, (Some(manifest.1), None)).await?;
        // The manifest's own facts change once, when its row goes.
        tag_changed(conn, repository, &tag, [None, None]).await?;
    }
    Ok(())
}

/// Points a tag where a record says, unless it has been written later. Tells whether it did.
pub(super) async fn restore_tag(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    repository: i64,
    to: (i64, &Digest),
    tag: &RecordedTag,
) -> Result<bool, StorageError> {
    let from = target(conn, repository, &tag.name).await?;
    if from == Some(*to.1) {
        return Ok(false);
    }
    let set = sqlx::query(
        "INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, \
         updated_at = excluded.updated_at WHERE tags.updated_at < excluded.updated_at",
    )
    .bind(repository)
    .bind(tag.name.as_str())
    .bind(to.0)
    .bind(tag.updated_at)
    .execute(&mut *conn)
    .await?;
    if set.rows_affected() == 0 {
        return Ok(false);
    }
    record(conn, scope, repository, &tag.name, (from.as_ref(), Some(to.1))).await?;
    Ok(true)
}

async fn record(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    repository: i64,
    tag: &Tag,
    (from, to): (Option<&Digest>, Option<&Digest>),
) -> Result<(), StorageError> {
    write_history(conn, scope, repository, tag, (from, to)).await?;
    tag_changed(conn, repository, tag, [from, to]).await
}

/// Changes of one tag that are remembered: its last ones, and up to [`TRIMMED`] more of all tags together.
const CHANGES: i64 = 1_000;
/// Every so many changes the tag that is changed is looked at.
const TRIMMED: i64 = 32;

/// Changes come one after another, so that those that are too old are the first.
async fn forget(conn: &mut AnyConnection, before: i64, limit: u32) -> Result<u64, StorageError> {
    let oldest = sqlx::query("SELECT id, changed_at FROM tag_history ORDER BY id LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
    let mut last = None;
    for row in &oldest {
        let (id, at): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if at >= before {
            break;
        }
        last = Some(id);
    }
    let Some(last) = last else { return Ok(0) };
    let deleted = sqlx::query("DELETE FROM tag_history WHERE id <= $1").bind(last).execute(conn).await?;
    Ok(deleted.rows_affected())
}

async fn write_history(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    repository: i64,
    tag: &Tag,
    (from, to): (Option<&Digest>, Option<&Digest>),
) -> Result<(), StorageError> {
    let row = sqlx::query(
        "INSERT INTO tag_history (repository_id, tag, actor, changed_at, from_digest, to_digest) \
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
    )
    .bind(repository)
    .bind(tag.as_str())
    .bind(scope.actor.map(str::to_owned))
    .bind(now_ms())
    .bind(from.map(ToString::to_string))
    .bind(to.map(ToString::to_string))
    .fetch_one(&mut *conn)
    .await?;
    if row.try_get::<i64, _>(0)? % TRIMMED == 0 {
        sqlx::query(
            "DELETE FROM tag_history WHERE repository_id = $1 AND tag = $2 AND id <= (SELECT id FROM tag_history \
             WHERE repository_id = $1 AND tag = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)",
        )
        .bind(repository)
        .bind(tag.as_str())
        .bind(CHANGES)
        .execute(conn)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{here, index, put, store};
    use super::*;

    #[tokio::test]
    async fn what_is_remembered_of_tags_has_a_number_and_an_age() {
        let (_directory, store) = store().await;
        let [one, other] = ["one", "other"].map(|beside| index(&[], None, beside));
        put(&store, &one, &["still"]).await;
        let changes = usize::try_from(CHANGES + TRIMMED).unwrap();
        for n in 0..changes + 100 {
            put(&store, if n % 2 == 0 { &one } else { &other }, &["moved"]).await;
        }
        let of = async |tag: &str| {
            let tag: Tag = tag.parse().unwrap();
            store.tag_history(&here(), Some(&tag), 10_000).await.unwrap().len()
        };
        let left = of("moved").await;
        assert!((1_000..=changes).contains(&left), "{left}");
        assert_eq!(of("still").await, 1);
        assert_eq!(store.forget_tag_history(0, 10_000).await.unwrap(), 0);
        assert_eq!(store.forget_tag_history(i64::MAX, 10).await.unwrap(), 10);
        assert_eq!(of("still").await, 0);
        assert_eq!(of("moved").await, left - 9);
    }
}
