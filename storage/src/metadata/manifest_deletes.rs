//! What deleting a tag or a manifest does inside its transaction.

use rreg_oci::{Digest, Reference, RepositoryName, Tag};
use sqlx::AnyConnection;
use sqlx::Row as _;

use super::changed_facts::{evidence_changed, form_left, names_changed};
use super::manifests::{MANIFEST_MEMBER, member};
use super::reviews::{ReviewKind, queue, queue_held_by};
use super::tags::{self, Scope};
use super::unrecorded;
use super::{digest_column, find_repository};
use crate::error::StorageError;

fn unknown(repository: &RepositoryName, reference: Reference) -> StorageError {
    StorageError::UnknownManifest { repository: repository.clone(), reference }
}

pub(super) async fn delete_tag(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    tag: &Tag,
) -> Result<(), StorageError> {
    let (repository, digest) = tags::delete_tag(conn, scope, tag).await?;
    unrecorded::queue(conn, repository, &digest).await?;
    queue(conn, repository, ReviewKind::Manifest, &digest).await
}

pub(super) async fn delete_by_digest(
    conn: &mut AnyConnection,
    scope: Scope<'_>,
    digest: &Digest,
) -> Result<(), StorageError> {
    let unknown = || unknown(scope.repository, Reference::Digest(*digest));
    let repository = find_repository(conn, scope.repository).await?.ok_or_else(unknown)?;
    let id = member(conn, Some(repository), MANIFEST_MEMBER, digest).await?.ok_or_else(unknown)?;
    if let Some(parent) = parent_of(conn, id).await? {
        return Err(StorageError::InUse { digest: *digest, by: parent.to_string() });
    }
    tags::check_untag(conn, scope, (id, digest)).await?;
    tags::delete_tags_of(conn, scope, repository, (id, digest)).await?;
    remove(conn, repository, (id, digest)).await
}

/// Deletes the manifest's row and asks for a look at all that it held.
pub(super) async fn remove(
    conn: &mut AnyConnection,
    repository: i64,
    manifest: (i64, &Digest),
) -> Result<(), StorageError> {
    queue_held_by(conn, repository, manifest).await?;
    names_changed(conn, repository, manifest.1).await?;
    let row = sqlx::query("SELECT subject, COALESCE(config, digest) FROM manifests WHERE id = $1")
        .bind(manifest.0)
        .fetch_one(&mut *conn)
        .await?;
    let (subject, form): (Option<String>, String) = (row.try_get(0)?, row.try_get(1)?);
    if let Some(subject) = subject.and_then(|text| text.parse().ok()) {
        evidence_changed(conn, repository, &subject).await?;
    }
    unrecorded::queue(conn, repository, manifest.1).await?;
    sqlx::query("DELETE FROM manifests WHERE id = $1").bind(manifest.0).execute(&mut *conn).await?;
    form_left(conn, repository, &form).await
}

/// One index that has this manifest as a child.
async fn parent_of(conn: &mut AnyConnection, id: i64) -> Result<Option<Digest>, StorageError> {
    let parent = sqlx::query(
        "SELECT m.digest FROM manifest_children mc JOIN manifests m ON m.id = mc.manifest_id \
         WHERE mc.child_id = $1 LIMIT 1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    parent.map(|row| digest_column(&row, 0)).transpose()
}
