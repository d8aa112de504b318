//! Rows from the records of the object store: see [`crate::RecordedManifest`]. Rows are added, never taken away.

use bytes::Bytes;
use rreg_oci::{Digest, Manifest, RepositoryName};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::blob_writes::insert_blob;
use super::blobs::{NewBlob, segments};
use super::manifests::{MANIFEST_MEMBER, NewManifest, Origin, insert_manifest, member, tell_decisions};
use super::references::{Members, blob_members, link_blobs, unique};
use super::reviews::{ReviewKind, queue};
use super::tags::{Scope, restore_tag};
use super::{MetadataStore, ensure_repository, find_repository, size_column, unrecorded};
use crate::error::StorageError;
use crate::records::{RecordedContent, RecordedManifest};
use crate::tag_rules::TagRules;

/// Who has set a restored tag, for its history.
const ACTOR: &str = "rreg fsck --rebuild";

/// What a record has become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Contents that the database did not know.
    pub blobs: u64,
    /// Whether the manifest was not there and is now.
    pub manifest: bool,
    /// Tags that were not there, or pointed at something earlier.
    pub tags: u64,
    /// Blobs that are not to be had, for want of which there is no manifest.
    pub missing: Vec<Digest>,
}

impl MetadataStore {
    /// Whether nothing was ever pushed.
    ///
    /// # Errors
    /// A database failure.
    pub async fn is_empty(&self) -> Result<bool, StorageError> {
        let row =
            sqlx::query("SELECT 1 WHERE EXISTS (SELECT 1 FROM blobs) OR EXISTS (SELECT 1 FROM manifests)")
                .fetch_optional(&mut *self.db.read().await?)
                .await?;
        Ok(row.is_none())
    }

    /// In what the rows say something else than the record, if in anything.
    ///
    /// # Errors
    /// A database failure.
    pub async fn contradiction(&self, record: &RecordedManifest) -> Result<Option<String>, StorageError> {
        let mut conn = self.db.read().await?;
        for blob in &record.blobs {
            let row = sqlx::query("SELECT id, size, content FROM blobs WHERE digest = $1")
                .bind(blob.digest.to_string())
                .fetch_optional(&mut *conn)
                .await?;
            let Some(row) = row else { continue };
            let size = size_column(&row, 1)?;
            if size != blob.size {
                let what = format!("blob {} has {size} bytes here and {} there", blob.digest, blob.size);
                return Ok(Some(what));
            }
            let inline = row.try_get::<Option<Vec<u8>>, _>(2)?;
            let same = match (&blob.content, inline) {
                (RecordedContent::Bytes(there), Some(here)) => *there == here,
                (RecordedContent::Elsewhere, Some(_)) => true,
                (RecordedContent::Objects(there), None) => {
                    *there == segments(&mut conn, row.try_get(0)?).await?
                }
                _ => false,
            };
            if !same {
                return Ok(Some(format!("blob {} is stored elsewhere here than there", blob.digest)));
            }
        }
        let Some(repository) = find_repository(&mut conn, &record.repository).await? else { return Ok(None) };
        for tag in &record.tags {
            let here = super::tags::target(&mut conn, repository, &tag.name).await?;
            if let Some(here) = here.filter(|here| *here != record.digest) {
                let (name, there) = (&tag.name, &record.digest);
                return Ok(Some(format!(
                    "tag {}:{name} is {here} here and {there} there",
                    record.repository
                )));
            }
        }
        Ok(None)
    }

    /// Adds what the record says and the database does not have. `manifest` is what its body means, `blobs` are
    /// those of its blobs that are to be had. Of two values of a tag the later stays.
    ///
    /// Children of an index are linked as far as they are there; see [`Self::link_children`].
    ///
    /// # Errors
    /// A database failure.
    pub async fn restore(
        &self,
        record: RecordedManifest,
        manifest: Manifest,
        blobs: Vec<NewBlob>,
    ) -> Result<Restored, StorageError> {
        let cache = self.cache.clone();
        let tags = record.tags.clone();
        let new = NewManifest {
            repository: record.repository,
            digest: record.digest,
            body: Bytes::from(record.body),
            manifest: Manifest { media_type: record.media_type, ..manifest },
            tags: Vec::new(),
            allow_sparse: true,
            audit: None,
            list_packages: false,
        };
        self.db
            .write(
                (new, blobs, tags),
                |conn, (new, blobs, tags)| {
                    Box::pin(async move {
                        let repository = ensure_repository(conn, &new.repository).await?;
                        let added = restore_blobs(conn, (repository, &new.repository), blobs).await?;
                        let mut restored = restore_manifest(conn, repository, new).await?;
                        restored.blobs = added;
                        if restored.missing.is_empty() {
                            restored.tags = restore_tags(conn, repository, new, tags).await?;
                        }
                        Ok(restored)
                    })
                },
                move |(new, ..), _| {
                    cache.committed(|forget| {
                        forget.all_blobs();
                        forget.manifest(&new.repository, &new.digest);
                    });
                },
            )
            .await
    }
}

/// Contents that are not known, and memberships of all. Gives how many were not known.
async fn restore_blobs(
    conn: &mut AnyConnection,
    (id, repository): (i64, &RepositoryName),
    blobs: &[NewBlob],
) -> Result<u64, StorageError> {
    let mut added = 0;
    for blob in blobs {
        let known = sqlx::query("SELECT id FROM blobs WHERE digest = $1")
            .bind(blob.digest.to_string())
            .fetch_optional(&mut *conn)
            .await?;
        // What is known and lost is put where the record has it.
        let Some(known) = known.filter(|_| !blob.replace) else {
            insert_blob(conn, repository, blob).await?;
            added += 1;
            continue;
        };
        // Not `insert_blob`: that takes objects it has no use for to be copies, and these are the blob's own.
        queue(conn, id, ReviewKind::Blob, &blob.digest).await?;
        sqlx::query(
            "INSERT INTO repository_blobs (repository_id, blob_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(known.try_get::<i64, _>(0)?)
        .execute(&mut *conn)
        .await?;
    }
    Ok(added)
}

async fn restore_manifest(
    conn: &mut AnyConnection,
    repository: i64,
    new: &NewManifest,
) -> Result<Restored, StorageError> {
    let mut restored = Restored::default();
    let stated = unique(new.manifest.blobs().map(|d| d.digest));
    let found = blob_members(conn, Some(repository), &stated).await?;
    restored.missing = stated.into_iter().filter(|digest| !found.contains_key(digest)).collect();
    if !restored.missing.is_empty() {
        return Ok(restored);
    }
    restored.manifest = member(conn, Some(repository), MANIFEST_MEMBER, &new.digest).await?.is_none();
    queue(conn, repository, ReviewKind::Manifest, &new.digest).await?;
    let id = insert_manifest(conn, repository, new, Origin::Pushed).await?;
    let blobs: Vec<i64> = found.into_values().map(|(id, _)| id).collect();
    link_blobs(conn, repository, id, &blobs).await?;
    let members = Members::find(conn, Some(repository), &new.manifest).await?;
    link_blobs(conn, repository, id, &members.blobs.into_values().collect::<Vec<_>>()).await?;
    tell_decisions(conn, repository, new).await?;
    Ok(restored)
}

async fn restore_tags(
    conn: &mut AnyConnection,
    repository: i64,
    new: &NewManifest,
    tags: &[crate::RecordedTag],
) -> Result<u64, StorageError> {
    let rules = TagRules::default();
    let scope = Scope { repository: &new.repository, rules: &rules, actor: Some(ACTOR) };
    let id = member(conn, Some(repository), MANIFEST_MEMBER, &new.digest).await?;
    let id = id.ok_or(StorageError::Conflict)?;
    let mut set = 0;
    for tag in tags {
        match restore_tag(conn, scope, repository, (id, &new.digest), tag).await? {
            true => set += 1,
            // The tag is another manifest's, or was there already: the record may say too much.
            false => unrecorded::queue(conn, repository, &new.digest).await?,
        }
    }
    Ok(set)
}
