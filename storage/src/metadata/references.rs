//! What a manifest refers to. It is looked up on a reader's connection, and in the transaction only confirmed and
//! written, many at a time: a manifest of ten thousand references must not hold the writer that all share.

use std::collections::HashMap;

use rreg_oci::{Digest, Manifest, RepositoryName};
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
    /// Members of an index that are not there, where that is allowed. They are linked when they come.
    awaited: Vec<(Digest, u64)>,
}

/// What an index refers to, by what the repository has.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) children: HashMap<Digest, i64>,
    /// Members that are there as blobs only.
    pub(super) blobs: HashMap<Digest, i64>,
    /// Members that are not there, and their lengths where they are known, else 0. What the index calls a manifest and is
    /// there as a blob only is one of them: nobody could pull it.
    pub(super) missing: Vec<(Digest, u64)>,
}

impl Members {
    pub(super) async fn find(
        conn: &mut AnyConnection,
        repository: Option<i64>,
        manifest: &Manifest,
    ) -> Result<Self, StorageError> {
        let all = unique(manifest.manifests.iter().map(|d| d.digest));
        let children = manifest_members(conn, repository, &all).await?;
        let others: Vec<Digest> = all.into_iter().filter(|digest| !children.contains_key(digest)).collect();
        let known = blob_members(conn, repository, &others).await?;
        let stated: HashMap<Digest, u64> = manifest.member_blobs().map(|d| (d.digest, d.size)).collect();
        let lacks = |digest: &&Digest| !(known.contains_key(digest) && stated.contains_key(digest));
        let missing = others.iter().filter(lacks);
        Ok(Self {
            missing: missing.map(|digest| (*digest, stated.get(digest).copied().unwrap_or(0))).collect(),
            blobs: known.into_iter().map(|(digest, (id, _))| (digest, id)).collect(),
            children,
        })
    }
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
        let members = Members::find(conn, repository, &new.manifest).await?;
        let awaited = match new.allow_sparse {
            true => members.missing,
            false => {
                missing.extend(members.missing.iter().map(|(digest, _)| *digest));
                Vec::new()
            }
        };
        if !missing.is_empty() {
            return Err(StorageError::MissingReferences(missing));
        }
        // In one order for all, so that two pushes do not wait for each other's locks.
        let blobs = known.into_values().map(|(id, _)| id).chain(members.blobs.into_values());
        let mut blobs: Vec<i64> = blobs.collect();
        let mut children: Vec<i64> = members.children.into_values().collect();
        blobs.sort_unstable();
        children.sort_unstable();
        Ok(Self { repository, blobs, children, awaited })
    }

    /// Writes them down as what `manifest` of `repository` needs.
    pub(super) async fn link(
        &self,
        conn: &mut AnyConnection,
        repository: i64,
        manifest: i64,
    ) -> Result<(), StorageError> {
        await_content(conn, repository, manifest, &self.awaited).await?;
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
    /// Has an index of `repository` keep those of `children` that are there, as manifests or blobs. Gives the others.
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
                        let lacks = |child: &Digest| !found.contains_key(child);
                        let others: Vec<Digest> = children.iter().copied().filter(lacks).collect();
                        let blobs = blob_members(conn, repository, &others).await?;
                        if let (Some(repository), Some(parent)) = (repository, parent.get(index)) {
                            let ids: Vec<i64> = found.values().copied().collect();
                            self::link_children(conn, *parent, &ids).await?;
                            let ids: Vec<i64> = blobs.values().map(|(id, _)| *id).collect();
                            link_blobs(conn, repository, *parent, &ids).await?;
                        }
                        Ok(others.into_iter().filter(|child| !blobs.contains_key(child)).collect())
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

/// Writes down which content `manifest` waits for, and of which length; 0 where it is not known.
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
mod tests;
