//! What a manifest refers to. It is looked up on a reader's connection, and in the transaction only confirmed and
//! written, many at a time: a manifest of ten thousand references must not hold the writer that all share.

use std::collections::HashMap;

use rreg_oci::{Digest, RepositoryName};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::{
    MetadataStore, NewManifest, bind_all, digest_column, find_repository, list, rows, size_column, to_sql,
};
use crate::error::StorageError;

/// Most references that one statement takes.
const BATCH: usize = 512;

/// Rows of what a manifest refers to, in one repository.
#[derive(Debug, Default)]
pub(super) struct References {
    /// `None`: there was no such repository, and so there are no rows.
    repository: Option<i64>,
    blobs: Vec<i64>,
    children: Vec<i64>,
}

impl References {
    /// Looks up what `new` refers to.
    ///
    /// # Errors
    /// [`StorageError::SizeMismatch`], [`StorageError::MissingReferences`], or a database failure.
    pub(super) async fn find(conn: &mut AnyConnection, new: &NewManifest) -> Result<Self, StorageError> {
        let mut stated: Vec<(Digest, u64)> = new.manifest.blobs().map(|d| (d.digest, d.size)).collect();
        stated.sort_unstable();
        stated.dedup();
        let children = unique(new.manifest.manifests.iter().map(|d| d.digest));
        let repository = find_repository(conn, &new.repository).await?;
        let digests = unique(stated.iter().map(|(digest, _)| *digest));
        let known = blob_members(conn, repository, &digests).await?;
        let mut missing = Vec::new();
        for (digest, size) in stated {
            match known.get(&digest) {
                // What is judged by its length is as long as it says.
                Some((_, stored)) if *stored != size => {
                    return Err(StorageError::SizeMismatch { digest, stated: size, stored: *stored });
                }
                Some(_) => {}
                None => missing.push(digest),
            }
        }
        missing.dedup();
        let found = manifest_members(conn, repository, &children).await?;
        if !new.allow_sparse {
            missing.extend(children.iter().filter(|child| !found.contains_key(child)));
        }
        if !missing.is_empty() {
            return Err(StorageError::MissingReferences(missing));
        }
        // In one order for all, so that two pushes do not wait for each other's locks.
        let mut blobs: Vec<i64> = known.into_values().map(|(id, _)| id).collect();
        let mut children: Vec<i64> = found.into_values().collect();
        blobs.sort_unstable();
        children.sort_unstable();
        Ok(Self { repository, blobs, children })
    }

    /// Writes them down as what `manifest` needs.
    pub(super) async fn link(&self, conn: &mut AnyConnection, manifest: i64) -> Result<(), StorageError> {
        let Some(repository) = self.repository else { return Ok(()) };
        link_blobs(conn, repository, manifest, &self.blobs).await?;
        link_children(conn, manifest, &self.children).await
    }

    /// Whether they are still what `repository` has. Nothing is written.
    ///
    /// # Errors
    /// [`StorageError::Conflict`]: they have to be looked up again.
    pub(super) async fn confirm(
        &self,
        conn: &mut AnyConnection,
        repository: Option<i64>,
    ) -> Result<&Self, StorageError> {
        if self.blobs.is_empty() && self.children.is_empty() {
            return Ok(self);
        }
        let Some(known) = self.repository.filter(|known| repository == Some(*known)) else {
            return Err(StorageError::Conflict);
        };
        let blobs = "SELECT COUNT(*) FROM repository_blobs rb CROSS JOIN blobs b \
             WHERE rb.repository_id = $1 AND rb.blob_id IN ({}) AND b.id = rb.blob_id AND b.quarantined = 0";
        let children = "SELECT COUNT(*) FROM manifests WHERE repository_id = $1 AND id IN ({})";
        for (sql, ids) in [(blobs, &self.blobs), (children, &self.children)] {
            for batch in ids.chunks(BATCH) {
                let query =
                    bind_all(sqlx::query(filled(sql, 2, batch.len())).bind(known), batch.iter().copied());
                if size_column(&query.fetch_one(&mut *conn).await?, 0)? != batch.len() as u64 {
                    return Err(StorageError::Conflict);
                }
            }
        }
        Ok(self)
    }
}

impl MetadataStore {
    /// Has an index of `repository` keep those of `children` that are there. Gives the others.
    ///
    /// # Errors
    /// A database failure.
    pub async fn link_children(
        &self,
        repository: &RepositoryName,
        index: &Digest,
        children: Vec<Digest>,
    ) -> Result<Vec<Digest>, StorageError> {
        self.db
            .write(
                (repository.clone(), *index, children),
                |conn, (repository, index, children)| {
                    Box::pin(async move {
                        let repository = find_repository(conn, repository).await?;
                        let parent = manifest_members(conn, repository, &[*index]).await?;
                        let found = manifest_members(conn, repository, children).await?;
                        if let Some(parent) = parent.get(index) {
                            let ids: Vec<i64> = found.values().copied().collect();
                            self::link_children(conn, *parent, &ids).await?;
                        }
                        Ok(children.iter().filter(|child| !found.contains_key(child)).copied().collect())
                    })
                },
                |_, _| {},
            )
            .await
    }
}

/// Each digest once, in order.
pub(super) fn unique(digests: impl Iterator<Item = Digest>) -> Vec<Digest> {
    let mut digests: Vec<Digest> = digests.collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

/// Row and length of each blob that the repository has.
pub(super) async fn blob_members(
    conn: &mut AnyConnection,
    repository: Option<i64>,
    digests: &[Digest],
) -> Result<HashMap<Digest, (i64, u64)>, StorageError> {
    let mut found = HashMap::with_capacity(digests.len());
    let Some(repository) = repository else { return Ok(found) };
    let sql = "SELECT b.digest, b.id, b.size FROM blobs b CROSS JOIN repository_blobs rb \
         WHERE b.digest IN ({}) AND rb.blob_id = b.id AND rb.repository_id = $1 AND b.quarantined = 0";
    for batch in digests.chunks(BATCH) {
        let query = bind_all(
            sqlx::query(filled(sql, 2, batch.len())).bind(repository),
            batch.iter().map(ToString::to_string),
        );
        for row in query.fetch_all(&mut *conn).await? {
            found.insert(digest_column(&row, 0)?, (row.try_get(1)?, size_column(&row, 2)?));
        }
    }
    Ok(found)
}

/// The row of each manifest that the repository has.
pub(super) async fn manifest_members(
    conn: &mut AnyConnection,
    repository: Option<i64>,
    digests: &[Digest],
) -> Result<HashMap<Digest, i64>, StorageError> {
    let mut found = HashMap::with_capacity(digests.len());
    let Some(repository) = repository else { return Ok(found) };
    let sql = "SELECT digest, id FROM manifests WHERE repository_id = $1 AND digest IN ({})";
    for batch in digests.chunks(BATCH) {
        let query = bind_all(
            sqlx::query(filled(sql, 2, batch.len())).bind(repository),
            batch.iter().map(ToString::to_string),
        );
        for row in query.fetch_all(&mut *conn).await? {
            found.insert(digest_column(&row, 0)?, row.try_get(1)?);
        }
    }
    Ok(found)
}

/// Writes down that `manifest` needs these blobs. Rows are given and not looked up again: where one is gone since,
/// a foreign key refuses ([`StorageError::Conflict`]), and nothing is left out in silence.
pub(super) async fn link_blobs(
    conn: &mut AnyConnection,
    repository: i64,
    manifest: i64,
    blobs: &[i64],
) -> Result<(), StorageError> {
    for batch in blobs.chunks(BATCH) {
        let sql = format!(
            "INSERT INTO manifest_blobs (manifest_id, repository_id, blob_id) VALUES {} ON CONFLICT DO NOTHING",
            rows("$1, $2", 3, 1, batch.len())
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(manifest).bind(repository);
        bind_all(query, batch.iter().copied()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Writes down that the index `parent` needs these manifests of its repository. One that is gone is refused as a blob is.
pub(super) async fn link_children(
    conn: &mut AnyConnection,
    parent: i64,
    children: &[i64],
) -> Result<(), StorageError> {
    for batch in children.chunks(BATCH) {
        let sql = format!(
            "INSERT INTO manifest_children (manifest_id, child_id) VALUES {} ON CONFLICT DO NOTHING",
            rows("$1", 2, 1, batch.len())
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(parent);
        bind_all(query, batch.iter().copied()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Writes down which content, of which length, the copy `manifest` waits for.
pub(super) async fn await_content(
    conn: &mut AnyConnection,
    repository: i64,
    manifest: i64,
    content: &[(Digest, u64)],
) -> Result<(), StorageError> {
    for batch in content.chunks(BATCH) {
        let sql = format!(
            "INSERT INTO awaited_content (repository_id, manifest_id, digest, size) VALUES {} \
             ON CONFLICT DO NOTHING",
            rows("$1, $2", 3, 2, batch.len())
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(repository).bind(manifest);
        let query = batch
            .iter()
            .fold(query, |query, (digest, size)| query.bind(digest.to_string()).bind(to_sql(*size)));
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// `sql` with `count` placeholders from `$first` on in its braces.
fn filled(sql: &str, first: usize, count: usize) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.replace("{}", &list(first, count)))
}

#[cfg(test)]
mod tests {
    use rreg_oci::Reference;

    use super::*;
    use crate::metadata::tests::{here, index, new_manifest, put, store};

    #[tokio::test]
    async fn what_has_gone_since_it_was_looked_up_is_noticed() {
        let (_dir, store) = store().await;
        let child = put(&store, &index(&[], None, "child"), &[]).await;
        let new = new_manifest(&index(&[child], None, "parent"), &[]);
        let references = References::find(&mut store.db.read().await.unwrap(), &new).await.unwrap();
        let there = || async {
            let mut conn = store.db.read().await.unwrap();
            let repository = find_repository(&mut conn, &here()).await.unwrap();
            references.confirm(&mut conn, repository).await
        };
        there().await.unwrap();
        store.delete_manifest(&here(), &Reference::Digest(child), None).await.unwrap();
        assert!(matches!(there().await, Err(StorageError::Conflict)));
        // And a push says what is missing.
        assert!(
            matches!(store.put_manifest(new).await, Err(StorageError::MissingReferences(m)) if m == [child])
        );
    }

    #[tokio::test]
    async fn what_goes_after_it_was_confirmed_is_not_left_out() {
        let (_dir, store) = store().await;
        let child = put(&store, &index(&[], None, "child"), &[]).await;
        let parent = put(&store, &index(&[], None, "parent"), &[]).await;
        let new = new_manifest(&index(&[child], None, "new"), &[]);
        let found = References::find(&mut store.db.read().await.unwrap(), &new).await.unwrap();
        let blobs = References { blobs: vec![i64::MAX], children: Vec::new(), ..found };
        let children = References { blobs: Vec::new(), children: vec![i64::MAX], ..found };
        for gone in [blobs, children] {
            let linked = store
                .db
                .write(
                    (gone, parent),
                    |conn, (gone, parent)| {
                        Box::pin(async move {
                            let repository = find_repository(conn, &here()).await?;
                            let parent = manifest_members(conn, repository, &[*parent]).await?[parent];
                            gone.link(conn, parent).await
                        })
                    },
                    |_, ()| {},
                )
                .await;
            // With one writer nothing goes meanwhile; here the foreign key stands for what goes with several.
            assert!(linked.is_err(), "left out in silence");
        }
    }

    #[tokio::test]
    async fn more_references_than_one_statement_takes_are_all_kept() {
        let (_dir, store) = store().await;
        let mut children = Vec::new();
        for number in 0..2 * BATCH + 1 {
            children.push(put(&store, &index(&[], None, &number.to_string()), &[]).await);
        }
        put(&store, &index(&children, None, "parent"), &[]).await;
        for child in children {
            let refused = store.delete_manifest(&here(), &Reference::Digest(child), None).await;
            assert!(matches!(refused, Err(StorageError::InUse { .. })), "{child}");
        }
    }
}
