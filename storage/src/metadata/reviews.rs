//! Reviews: what may have become unreferenced, who looks at it, and what became of it.
//!
//! Whoever takes a reference away, or adds content that nothing refers to yet, queues a review in the same
//! transaction. A worker claims reviews under a lease and settles each in one transaction: it takes the review away
//! (unless it was queued anew since), judges, and deletes the rows. A push queues its review before it looks at
//! anything else, so of a push and a worker that meet one waits for the other at that row: either the push comes
//! first and the worker finds the review too young, or the worker comes first and the push finds the content gone
//! and adds it. What a manifest refers to is protected by foreign keys besides.

use std::collections::HashMap;

use rreg_oci::{Digest, RepositoryName};
use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::judge::{Verdict, judge};
use super::{MetadataStore, digest_column, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// What a review is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReviewKind {
    /// Whether a manifest of the repository refers to the blob.
    Blob,
    /// Whether a tag, an index or a live subject holds the manifest.
    Manifest,
}

impl ReviewKind {
    /// The word in the database and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
        }
    }
}

/// Something to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub(super) id: i64,
    pub(super) repository_id: i64,
    /// What kind of thing it is.
    pub kind: ReviewKind,
    /// Where.
    pub repository: RepositoryName,
    /// Which.
    pub digest: Digest,
    /// When it was queued, in milliseconds since the Unix epoch.
    pub queued_at: i64,
    /// Until when its worker has it; 0 for one that was only looked at. Queueing it anew takes it from the worker.
    pub(super) leased_until: i64,
}

/// What became of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was judged, and carried out if the verdict was to reclaim.
    Judged(Verdict),
    /// It was queued anew since it was claimed, or somebody else has settled it.
    Postponed,
}

impl MetadataStore {
    /// Takes up to `limit` reviews that were queued `age_ms` ago or earlier, for `lease_ms`. Nobody else gets them
    /// until then.
    ///
    /// # Errors
    /// A database failure.
    pub async fn claim_reviews(
        &self,
        kind: ReviewKind,
        age_ms: u64,
        lease_ms: u64,
        limit: u32,
    ) -> Result<Vec<Review>, StorageError> {
        self.db
            .write(
                (kind, age_ms, lease_ms, limit),
                |conn, (kind, age, lease, limit)| Box::pin(claim(conn, *kind, *age, *lease, *limit)),
                |_, _| {},
            )
            .await
    }

    /// Judges a claimed review and carries the verdict out. Objects whose last row goes are deleted after
    /// `grace_ms`.
    ///
    /// # Errors
    /// A database failure; the review is there again when its lease has ended.
    pub async fn settle_review(&self, review: &Review, grace_ms: u64) -> Result<Settled, StorageError> {
        let cache = self.cache.clone();
        self.db
            .write(
                (review.clone(), grace_ms),
                |conn, (review, grace)| Box::pin(settle(conn, review, *grace)),
                move |(review, _), settled| {
                    if matches!(settled, Settled::Judged(Verdict::Reclaim { .. })) {
                        cache.committed(|forget| match review.kind {
                            ReviewKind::Blob => forget.blob(&review.repository, &review.digest),
                            ReviewKind::Manifest => forget.untagged(&review.repository, &review.digest),
                        });
                    }
                },
            )
            .await
    }

    /// Up to `limit` reviews queued `age_ms` ago or earlier, the oldest first, after `after`: what [`Self::claim_reviews`] would
    /// give, without taking it.
    ///
    /// # Errors
    /// A database failure.
    pub async fn due_reviews(
        &self,
        kind: ReviewKind,
        age_ms: u64,
        after: Option<&Review>,
        limit: u32,
    ) -> Result<Vec<Review>, StorageError> {
        let mut conn = self.db.read().await?;
        let rows = sqlx::query(
            "SELECT v.id, v.repository_id, v.digest, v.queued_at, r.name FROM reviews v \
             JOIN repositories r ON r.id = v.repository_id \
             WHERE v.kind = $1 AND v.queued_at <= $2 AND v.queued_at >= $3 AND (v.queued_at > $3 OR v.id > $4) \
             ORDER BY v.queued_at, v.id LIMIT $5",
        )
        .bind(kind.as_str())
        .bind(now_ms().saturating_sub(to_sql(age_ms)))
        .bind(after.map_or(i64::MIN, |review| review.queued_at))
        .bind(after.map_or(-1, |review| review.id))
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
        rows.iter().map(|row| review(row, kind, text_column(row, 4)?, 0)).collect()
    }

    /// What settling the review would do now.
    ///
    /// # Errors
    /// A database failure.
    pub async fn judge_review(&self, review: &Review) -> Result<Verdict, StorageError> {
        let mut conn = self.db.read().await?;
        Ok(judge(&mut conn, review.repository_id, review.kind, &review.digest).await?.1)
    }
}

fn review(
    row: &AnyRow,
    kind: ReviewKind,
    repository: RepositoryName,
    leased_until: i64,
) -> Result<Review, StorageError> {
    Ok(Review {
        id: row.try_get(0)?,
        repository_id: row.try_get(1)?,
        kind,
        repository,
        digest: digest_column(row, 2)?,
        queued_at: row.try_get(3)?,
        leased_until,
    })
}

/// The lease is asked for twice: PostgreSQL looks at the outer condition again when another worker was first.
async fn claim(
    conn: &mut AnyConnection,
    kind: ReviewKind,
    age_ms: u64,
    lease_ms: u64,
    limit: u32,
) -> Result<Vec<Review>, StorageError> {
    let now = now_ms();
    let leased_until = now.saturating_add(to_sql(lease_ms));
    let rows = sqlx::query(
        "UPDATE reviews SET leased_until = $1 WHERE leased_until <= $2 AND id IN \
         (SELECT id FROM reviews WHERE kind = $3 AND queued_at <= $4 AND leased_until <= $2 \
          ORDER BY queued_at LIMIT $5) RETURNING id, repository_id, digest, queued_at",
    )
    .bind(leased_until)
    .bind(now)
    .bind(kind.as_str())
    .bind(now.saturating_sub(to_sql(age_ms)))
    .bind(i64::from(limit))
    .fetch_all(&mut *conn)
    .await?;
    let mut reviews = Vec::with_capacity(rows.len());
    let mut names: HashMap<i64, RepositoryName> = HashMap::new();
    for row in &rows {
        let repository = row.try_get::<i64, _>(1)?;
        let name = match names.get(&repository) {
            Some(name) => name.clone(),
            None => {
                let name = sqlx::query("SELECT name FROM repositories WHERE id = $1")
                    .bind(repository)
                    .fetch_one(&mut *conn)
                    .await?;
                let name: RepositoryName = text_column(&name, 0)?;
                names.insert(repository, name.clone());
                name
            }
        };
        reviews.push(review(row, kind, name, leased_until)?);
    }
    Ok(reviews)
}

async fn settle(conn: &mut AnyConnection, review: &Review, grace_ms: u64) -> Result<Settled, StorageError> {
    let taken = sqlx::query("DELETE FROM reviews WHERE id = $1 AND leased_until = $2")
        .bind(review.id)
        .bind(review.leased_until)
        .execute(&mut *conn)
        .await?;
    if taken.rows_affected() == 0 {
        return Ok(Settled::Postponed);
    }
    let (row, verdict) = judge(conn, review.repository_id, review.kind, &review.digest).await?;
    if let (Some(row), Verdict::Reclaim { .. }) = (row, &verdict) {
        match review.kind {
            ReviewKind::Blob => {
                super::blob_writes::release_blob(conn, review.repository_id, row, grace_ms).await?;
            }
            ReviewKind::Manifest => {
                super::manifest_deletes::remove(conn, review.repository_id, (row, &review.digest)).await?;
            }
        }
    }
    Ok(Settled::Judged(verdict))
}

/// Asks for a look at something, from now on.
pub(super) async fn queue(
    conn: &mut AnyConnection,
    repository: i64,
    kind: ReviewKind,
    digest: &Digest,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO reviews (repository_id, kind, digest, queued_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (repository_id, kind, digest) DO UPDATE SET queued_at = excluded.queued_at, leased_until = 0",
    )
    .bind(repository)
    .bind(kind.as_str())
    .bind(digest.to_string())
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}

/// Asks for a look at all that a manifest held which is about to go: its blobs, its children, its referrers.
pub(super) async fn queue_held_by(
    conn: &mut AnyConnection,
    repository: i64,
    manifest: (i64, &Digest),
) -> Result<(), StorageError> {
    const OF: [&str; 2] = [
        "INSERT INTO reviews (repository_id, kind, digest, queued_at) \
         SELECT mb.repository_id, 'blob', b.digest, $2 FROM manifest_blobs mb JOIN blobs b ON b.id = mb.blob_id \
         WHERE mb.manifest_id = $1 \
         ON CONFLICT (repository_id, kind, digest) DO UPDATE SET queued_at = excluded.queued_at, leased_until = 0",
        "INSERT INTO reviews (repository_id, kind, digest, queued_at) \
         SELECT m.repository_id, 'manifest', m.digest, $2 FROM manifest_children mc \
         JOIN manifests m ON m.id = mc.child_id WHERE mc.manifest_id = $1 \
         ON CONFLICT (repository_id, kind, digest) DO UPDATE SET queued_at = excluded.queued_at, leased_until = 0",
    ];
    for sql in OF {
        sqlx::query(sql).bind(manifest.0).bind(now_ms()).execute(&mut *conn).await?;
    }
    sqlx::query(
        "INSERT INTO reviews (repository_id, kind, digest, queued_at) \
         SELECT repository_id, 'manifest', digest, $3 FROM manifests WHERE repository_id = $1 AND subject = $2 \
         ON CONFLICT (repository_id, kind, digest) DO UPDATE SET queued_at = excluded.queued_at, leased_until = 0",
    )
    .bind(repository)
    .bind(manifest.1.to_string())
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}
