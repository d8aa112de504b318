//! What makes a decision stale: each of these empties the revision of the rows that it concerns, in the transaction of the
//! change, so that nobody acts on what was true before.

use rreg_oci::{Digest, Tag};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::digest_column;
use crate::db::now_ms;
use crate::error::StorageError;
use crate::fact_epochs::{form_in, names_in, note};

/// Rows of one change that are made stale themselves, so that workers decide them again. Whatever else the change
/// concerns is stale by the count of its form, which costs one narrow row however much has it, and is decided again when
/// it is asked for.
const AT_ONCE: i64 = 64;

/// The names of a manifest, or of what is inside an index, have changed. Whatever has the same form is called by its names
/// too ([`super::MetadataStore::names_of`]). Where nothing is decided nothing is walked.
pub(super) async fn names_changed(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
) -> Result<(), StorageError> {
    note(names_in(repository));
    forms_changed(&mut *conn, repository, digest, 0).await?;
    rows_changed(conn, repository, digest).await
}

/// Something else that is known of a manifest, or of what is inside an index, has changed: what was attached to it. That
/// says nothing of others of the same form; with those of a large index they are looked at again all the same.
pub(super) async fn evidence_changed(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
) -> Result<(), StorageError> {
    forms_changed(&mut *conn, repository, digest, AT_ONCE).await?;
    rows_changed(&mut *conn, repository, digest).await?;
    indexes_changed(conn, repository, digest).await
}

/// What was attached to an image is asked about with the indexes that have it, too.
async fn indexes_changed(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
) -> Result<(), StorageError> {
    let forms = format!(
        "WITH found(id, form) AS (SELECT p.id, COALESCE(p.config, p.digest) FROM manifests m \
         CROSS JOIN manifest_children mc CROSS JOIN manifests p WHERE m.repository_id = $1 AND m.digest = $2 \
         AND mc.child_id = m.id AND p.id = mc.manifest_id AND EXISTS (SELECT 1 FROM decisions WHERE manifest_id > 0)) \
         {COUNT_FORMS}"
    );
    count_forms(&mut *conn, forms, (repository, digest), AT_ONCE).await?;
    let rows = format!(
        "{MAKE_STALE} WHERE manifest_id IN (SELECT mc.manifest_id FROM manifests m CROSS JOIN manifest_children mc \
         WHERE m.repository_id = $1 AND m.digest = $2 AND mc.child_id = m.id LIMIT $3) {WHICH}"
    );
    make_stale(conn, rows, (repository, digest)).await
}

/// Counts a change of the forms of a manifest and of what is inside it, where these are more than `from`.
async fn forms_changed(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
    from: i64,
) -> Result<(), StorageError> {
    let forms = format!(
        "WITH RECURSIVE found(id, form) AS (SELECT id, COALESCE(config, digest) FROM manifests \
         WHERE repository_id = $1 AND digest = $2 AND EXISTS (SELECT 1 FROM decisions WHERE manifest_id > 0) \
         UNION SELECT c.id, COALESCE(c.config, c.digest) FROM found CROSS JOIN manifest_children mc CROSS JOIN manifests c \
         WHERE mc.manifest_id = found.id AND c.id = mc.child_id) {COUNT_FORMS}"
    );
    count_forms(conn, forms, (repository, digest), from).await
}

/// Makes the rows of a manifest and of the first ones inside it stale.
async fn rows_changed(
    conn: &mut AnyConnection,
    repository: i64,
    digest: &Digest,
) -> Result<(), StorageError> {
    let rows = format!(
        "WITH RECURSIVE below(id) AS (SELECT id FROM manifests WHERE repository_id = $1 AND digest = $2 \
         AND EXISTS (SELECT 1 FROM decisions WHERE manifest_id > 0) \
         UNION SELECT mc.child_id FROM below CROSS JOIN manifest_children mc WHERE mc.manifest_id = below.id) \
         {MAKE_STALE} WHERE manifest_id IN (SELECT id FROM below LIMIT $3) {WHICH}"
    );
    make_stale(conn, rows, (repository, digest)).await
}

/// Counts a change of each form that was `found`, where these are more than `$4`. In order, so that two writers of the same
/// forms wait for each other and do not block.
const COUNT_FORMS: &str = "INSERT INTO form_changes (repository_id, form, changes) \
     SELECT DISTINCT CAST($1 AS BIGINT), form, CAST($3 AS BIGINT) FROM found \
     WHERE (SELECT COUNT(*) FROM found) > $4 ORDER BY form \
     ON CONFLICT (repository_id, form) DO UPDATE SET changes = form_changes.changes + 1 RETURNING form";

/// Empties the revision of rows, and says which.
const MAKE_STALE: &str = "UPDATE decisions SET revision = '', changes = changes + 1, leased_until = 0";
const WHICH: &str = "RETURNING (SELECT m.digest FROM manifests m WHERE m.id = decisions.manifest_id)";

/// Runs a statement that ends with [`COUNT_FORMS`].
async fn count_forms(
    conn: &mut AnyConnection,
    statement: String,
    (repository, digest): (i64, &Digest),
    from: i64,
) -> Result<(), StorageError> {
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(repository)
        .bind(digest.to_string())
        .bind(now_ms())
        .bind(from)
        .fetch_all(conn)
        .await?;
    for row in &rows {
        note(form_in(repository, row.try_get(0)?));
    }
    Ok(())
}

/// Runs a statement with [`MAKE_STALE`] and [`WHICH`] for [`AT_ONCE`] rows.
async fn make_stale(
    conn: &mut AnyConnection,
    statement: String,
    (repository, digest): (i64, &Digest),
) -> Result<(), StorageError> {
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(repository)
        .bind(digest.to_string())
        .bind(AT_ONCE)
        .fetch_all(conn)
        .await?;
    note_all(&rows)
}

/// The last manifest of a form has gone, or one that is not the last: its count goes with the last.
pub(super) async fn form_left(
    conn: &mut AnyConnection,
    repository: i64,
    form: &str,
) -> Result<(), StorageError> {
    sqlx::query(
        "DELETE FROM form_changes WHERE repository_id = $1 AND form = $2 \
         AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = $1 AND config = $2) \
         AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = $1 AND digest = $2)",
    )
    .bind(repository)
    .bind(form)
    .execute(conn)
    .await?;
    Ok(())
}

/// A part of an index has come that was missing when it was looked at.
pub(super) async fn manifest_changed(conn: &mut AnyConnection, manifest: i64) -> Result<(), StorageError> {
    let statement = format!("{MAKE_STALE} WHERE manifest_id = $1 {WHICH}");
    let rows = sqlx::query(AssertSqlSafe(statement)).bind(manifest).fetch_all(conn).await?;
    note_all(&rows)
}

/// What is remembered of these is to be read again, once the transaction has committed.
fn note_all(rows: &[AnyRow]) -> Result<(), StorageError> {
    for row in rows {
        note(digest_column(row, 0)?);
    }
    Ok(())
}

/// A tag came, moved or went: what it names has other names now, and cosign keeps evidence at tags named after the
/// digest that it is about (`sha256-<hex>`, `.sig`, `.att`, `.sbom`).
pub(super) async fn tag_changed(
    conn: &mut AnyConnection,
    repository: i64,
    tag: &Tag,
    digests: [Option<&Digest>; 2],
) -> Result<(), StorageError> {
    for digest in digests.into_iter().flatten() {
        names_changed(&mut *conn, repository, digest).await?;
    }
    let Some(subject) = named_subject(tag) else { return Ok(()) };
    // A tag has no room for a whole SHA-512: it names the first half.
    let rows =
        sqlx::query("SELECT digest FROM manifests WHERE repository_id = $1 AND digest >= $2 AND digest < $3")
            .bind(repository)
            .bind(subject.as_str())
            // After every hexadecimal digit.
            .bind(format!("{subject}g"))
            .fetch_all(&mut *conn)
            .await?;
    for row in rows {
        evidence_changed(&mut *conn, repository, &digest_column(&row, 0)?).await?;
    }
    Ok(())
}

/// The beginning of the digest that a tag is named after.
fn named_subject(tag: &Tag) -> Option<String> {
    let (algorithm, rest) = tag.as_str().split_once('-')?;
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && matches!(algorithm, "sha256" | "sha512")).then(|| format!("{algorithm}:{hex}"))
}
