//! What was decided about manifests, and when it has to be decided again.
//!
//! A row is good for those who have the policies that it names ([`StoredDecision::revision`]) until its time. Every
//! change of what is known of a manifest (its tags, what refers to it, the indexes that have it) empties the revision, or
//! raises the count of changes of its form ([`super::changed_facts`]), in the transaction of that change, so that nobody
//! acts on what was true before. Workers of all replicas take rows without a revision under leases; who wants a decision
//! earlier makes it, and the counts of changes say whose was made on the latest facts.

use rreg_oci::{Digest, RepositoryName, Tag};
use sqlx::{AnyConnection, Row as _};

use super::audit::{AuditEvent, add};
use super::manifests::one_name;
use super::{MetadataStore, digest_column, find_repository, text_column, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;
use crate::fact_epochs::{FactsEpoch, form_in, names_in};

/// Time never changes it.
pub(super) const NEVER: i64 = i64::MAX;

/// What a pull asks for: a row without its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDecision {
    /// Digest of the policies that it was made by; empty when facts have changed since.
    pub revision: String,
    /// When it has to be made again, in milliseconds since the Unix epoch.
    pub due_at: i64,
    /// For a pull by tag.
    pub by_tag: String,
    /// For a pull by digest.
    pub by_digest: String,
}

impl StoredDecision {
    /// Whether it holds now under these policies.
    pub fn holds(&self, revision: &str) -> bool {
        self.revision == revision && now_ms() < self.due_at
    }
}

/// A manifest about which is to be decided, and what was known of it.
#[derive(Clone, Debug)]
pub struct Undecided {
    pub(super) manifest: i64,
    /// Changes of its facts, and of its form, before anybody began to look.
    pub(super) changes: i64,
    pub(super) form_changes: i64,
    /// Where it is.
    pub repository: RepositoryName,
    /// Its digest.
    pub digest: Digest,
    /// Whether the facts below are still all that there is.
    pub facts_hold: bool,
    /// The facts of the last time, JSON.
    pub facts: Option<String>,
    /// Digest of the trust roots that they were verified under.
    pub trust: Option<String>,
    /// The last decisions, JSON.
    pub body: Option<String>,
    /// When each policy was last passed, JSON.
    pub good: Option<String>,
    /// When time changes it, in milliseconds since the Unix epoch.
    pub due_at: i64,
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct NewDecision {
    /// Digest of the policies.
    pub revision: String,
    /// `allow`, `warn` or `deny`.
    pub by_tag: String,
    /// The same for a pull by digest.
    pub by_digest: String,
    /// When time changes it, in milliseconds since the Unix epoch.
    pub due_at: Option<i64>,
    /// When each policy was last passed, JSON.
    pub good: String,
    /// The decisions with their reasons, JSON.
    pub body: String,
    /// Digest of the trust roots.
    pub trust: String,
    /// The facts, JSON; `None` leaves those that are there.
    pub facts: Option<String>,
    /// What goes into the trail with it.
    pub audit: Vec<AuditEvent>,
}

pub(super) const SELECT: &str = "SELECT m.id, r.name, m.digest, COALESCE(d.changes, 0), \
     CASE WHEN d.form_changes = COALESCE(f.changes, 0) THEN d.revision ELSE '' END, d.facts, \
     d.trust, d.body, d.good, COALESCE(d.due_at, 0), COALESCE(f.changes, 0) \
     FROM manifests m JOIN repositories r ON r.id = m.repository_id LEFT JOIN decisions d ON d.manifest_id = m.id \
     LEFT JOIN form_changes f ON f.repository_id = m.repository_id AND f.form = COALESCE(m.config, m.digest)";

impl MetadataStore {
    /// What was decided, if anything was.
    ///
    /// # Errors
    /// A database failure.
    pub async fn decision(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<StoredDecision>, StorageError> {
        let row = sqlx::query(
            "SELECT CASE WHEN d.form_changes = COALESCE(f.changes, 0) THEN d.revision ELSE '' END, d.due_at, \
             d.by_tag, d.by_digest FROM repositories r \
             JOIN manifests m ON m.repository_id = r.id JOIN decisions d ON d.manifest_id = m.id \
             LEFT JOIN form_changes f ON f.repository_id = m.repository_id AND f.form = COALESCE(m.config, m.digest) \
             WHERE r.name = $1 AND m.digest = $2 AND d.by_tag IS NOT NULL AND d.by_digest IS NOT NULL",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        let decision = |row: sqlx::any::AnyRow| {
            Ok(StoredDecision {
                revision: row.try_get(0)?,
                due_at: row.try_get(1)?,
                by_tag: row.try_get(2)?,
                by_digest: row.try_get(3)?,
            })
        };
        row.map(decision).transpose()
    }

    /// What changes the facts of a manifest is counted: what is remembered of decisions about it holds while
    /// [`Self::is_now`] of this. To be taken before they are read. `None` where other replicas change things too, and of
    /// what is not there.
    ///
    /// # Errors
    /// A database failure.
    pub async fn facts_epoch(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<FactsEpoch>, StorageError> {
        let Some(epochs) = self.db.epochs() else { return Ok(None) };
        let row = sqlx::query(
            "SELECT r.id, COALESCE(m.config, m.digest) FROM repositories r \
             JOIN manifests m ON m.repository_id = r.id WHERE r.name = $1 AND m.digest = $2",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(epochs.now(digest, &form_in(row.try_get(0)?, row.try_get(1)?))))
    }

    /// Whether nothing has changed since that is counted there.
    pub fn is_now(&self, epoch: &FactsEpoch) -> bool {
        self.db.epochs().is_some_and(|epochs| epochs.is_now(epoch))
    }

    /// Whether only this process changes what decisions are made on.
    pub fn decides_alone(&self) -> bool {
        self.cache.is_exclusive()
    }

    /// What is known of one manifest, to decide about it now. From then on changes of facts are counted.
    ///
    /// # Errors
    /// A database failure.
    pub async fn undecided(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Undecided>, StorageError> {
        for _ in 0..2 {
            let sql = format!("{SELECT} WHERE r.name = $1 AND m.digest = $2");
            let row = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(repository.as_str())
                .bind(digest.to_string())
                .fetch_optional(&mut *self.db.read().await?)
                .await?;
            let Some(about) = row.as_ref().map(undecided).transpose()? else { return Ok(None) };
            if about.changes > 0 {
                return Ok(Some(about));
            }
            self.expect(about.manifest - 1, about.manifest).await?;
        }
        Err(StorageError::Conflict)
    }

    /// Stores what was decided, unless facts have changed since `about` was read: then `false`, and it has to be
    /// decided again.
    ///
    /// # Errors
    /// A database failure.
    pub async fn keep_decision(&self, about: &Undecided, new: NewDecision) -> Result<bool, StorageError> {
        // What is remembered of decisions stays good: it names its revision and its end, and a change of facts, which
        // is what this is not, ends it.
        self.db
            .write((about.clone(), new), |conn, (about, new)| Box::pin(keep(conn, about, new)), |_, _| {})
            .await
    }

    /// The decisions on one manifest with their reasons (JSON), and the facts they were made on.
    ///
    /// # Errors
    /// A database failure.
    pub async fn decision_body(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<String>, StorageError> {
        let row = sqlx::query(
            "SELECT d.body FROM repositories r JOIN manifests m ON m.repository_id = r.id \
             JOIN decisions d ON d.manifest_id = m.id WHERE r.name = $1 AND m.digest = $2",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        Ok(row.map(|row| row.try_get::<Option<String>, _>(0)).transpose()?.flatten())
    }

    /// Up to `limit` manifests of a repository after the one with this digest, with what is known of them, for a look at
    /// what other policies would do.
    ///
    /// # Errors
    /// A database failure.
    pub async fn judged_manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<Undecided>, StorageError> {
        let sql = format!("{SELECT} WHERE r.name = $1 AND m.digest > $2 ORDER BY m.digest LIMIT $3");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(repository.as_str())
            .bind(after.map(ToString::to_string).unwrap_or_default())
            .bind(to_sql(limit as u64))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        rows.iter().map(undecided).collect()
    }

    /// Up to `limit` repositories whose names begin so and come after `after`, in order.
    ///
    /// # Errors
    /// A database failure.
    pub async fn repositories_like(
        &self,
        beginning: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>, StorageError> {
        // Names have characters above a blank and below DEL only: what follows on a name, and what ends a beginning.
        let from = after.map(|after| format!("{after} ")).unwrap_or_default().max(beginning.to_owned());
        let rows = sqlx::query(
            "SELECT name FROM repositories WHERE name >= $1 AND name < $2 ORDER BY name LIMIT $3",
        )
        .bind(from)
        .bind(format!("{beginning}\u{7f}"))
        .bind(to_sql(limit as u64))
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter().map(|row| text_column(row, 0)).collect()
    }

    /// How many manifests have no decision by these policies.
    ///
    /// # Errors
    /// A database failure.
    pub async fn undecided_count(&self, revision: &str) -> Result<u64, StorageError> {
        let count: i64 = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM manifests) - (SELECT COUNT(*) FROM decisions WHERE revision = $1)",
        )
        .bind(revision)
        .fetch_one(&mut *self.db.read().await?)
        .await?
        .try_get(0)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The tags that name a manifest or an index that has it, and those indexes. At most `limit` of each.
    ///
    /// What has the same `form` ([`rreg_oci::Manifest::form`]) is the same image: its tags count too, so that none of the
    /// forms gets by what the others are held to.
    ///
    /// # Errors
    /// A database failure.
    pub async fn names_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        form: Option<&Digest>,
        limit: usize,
    ) -> Result<(Vec<Tag>, Vec<Digest>), StorageError> {
        // SQLite keeps the order of a CROSS JOIN. Left to itself it walks all manifests, because they come in the order
        // that is asked for.
        const ABOVE: &str = "UNION SELECT mc.manifest_id FROM above CROSS JOIN manifest_children mc \
             WHERE mc.child_id = above.id)";
        let mut conn = self.db.read().await?;
        let form = one_name(&mut conn, form.copied()).await?;
        // Of many manifests of one form each has the same names: they are looked up once.
        let place = find_repository(&mut conn, repository).await?.zip(form);
        let epoch = place.and_then(|(id, _)| Some(self.db.epochs()?.of(&names_in(id))));
        let known = place.zip(epoch).and_then(|(place, epoch)| {
            self.names_of_forms.get(&place).filter(|(known, _)| *known == epoch).map(|(_, tags)| tags)
        });
        let parents = self.indexes_of(&mut conn, repository, digest, limit).await?;
        if let Some(tags) = known {
            return Ok((tags.to_vec(), parents));
        }
        let sql = format!(
            "WITH RECURSIVE above(id) AS (SELECT m.id FROM repositories r CROSS JOIN manifests m \
             WHERE r.name = $1 AND m.repository_id = r.id AND m.digest = $2 \
             UNION SELECT m.id FROM repositories r CROSS JOIN manifests m \
             WHERE r.name = $1 AND m.repository_id = r.id AND m.config = $4 {ABOVE} \
             SELECT DISTINCT t.name FROM above CROSS JOIN tags t WHERE t.manifest_id = above.id \
             ORDER BY t.name LIMIT $3"
        );
        let tags = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(repository.as_str())
            .bind(digest.to_string())
            .bind(to_sql(limit as u64))
            .bind(form.map(|form| form.to_string()))
            .fetch_all(&mut *conn)
            .await?;
        let tags: Vec<Tag> = tags.iter().map(|row| text_column(row, 0)).collect::<Result<_, _>>()?;
        if let Some((place, epoch)) = place.zip(epoch) {
            self.names_of_forms.insert(place, (epoch, tags.as_slice().into()));
        }
        Ok((tags, parents))
    }

    async fn indexes_of(
        &self,
        conn: &mut AnyConnection,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Digest>, StorageError> {
        let parents = sqlx::query(
            "WITH RECURSIVE above(id) AS (SELECT m.id FROM repositories r CROSS JOIN manifests m \
             WHERE r.name = $1 AND m.repository_id = r.id AND m.digest = $2 \
             UNION SELECT mc.manifest_id FROM above CROSS JOIN manifest_children mc WHERE mc.child_id = above.id) \
             SELECT m.digest FROM above CROSS JOIN manifests m WHERE m.id = above.id AND m.digest <> $2 \
             ORDER BY m.id LIMIT $3",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .bind(to_sql(limit as u64))
        .fetch_all(conn)
        .await?;
        parents.iter().map(|row| digest_column(row, 0)).collect()
    }
}

pub(super) fn undecided(row: &sqlx::any::AnyRow) -> Result<Undecided, StorageError> {
    let revision: String = row.try_get(4)?;
    Ok(Undecided {
        manifest: row.try_get(0)?,
        repository: text_column(row, 1)?,
        digest: digest_column(row, 2)?,
        changes: row.try_get(3)?,
        facts_hold: !revision.is_empty(),
        facts: row.try_get(5)?,
        trust: row.try_get(6)?,
        body: row.try_get(7)?,
        good: row.try_get(8)?,
        due_at: row.try_get(9)?,
        form_changes: row.try_get(10)?,
    })
}

async fn keep(conn: &mut AnyConnection, about: &Undecided, new: &NewDecision) -> Result<bool, StorageError> {
    let stored = sqlx::query(
        "UPDATE decisions SET revision = $2, due_at = $4, leased_until = 0, by_tag = $5, by_digest = $6, good = $7, \
         error = NULL, body = $8, trust = $9, facts = COALESCE($10, facts), decided_at = $11, form_changes = $12 \
         WHERE manifest_id = $1 AND changes = $3 AND $12 = COALESCE((SELECT f.changes FROM manifests m \
         JOIN form_changes f ON f.repository_id = m.repository_id AND f.form = COALESCE(m.config, m.digest) \
         WHERE m.id = $1), 0)",
    )
    .bind(about.manifest)
    .bind(new.revision.as_str())
    .bind(about.changes)
    .bind(new.due_at.unwrap_or(NEVER))
    .bind(new.by_tag.as_str())
    .bind(new.by_digest.as_str())
    .bind(new.good.as_str())
    .bind(new.body.as_str())
    .bind(new.trust.as_str())
    .bind(new.facts.clone())
    .bind(now_ms())
    .bind(about.form_changes)
    .execute(&mut *conn)
    .await?;
    if stored.rows_affected() == 0 {
        return Ok(false);
    }
    for event in &new.audit {
        add(conn, event).await?;
    }
    Ok(true)
}
