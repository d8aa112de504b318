//! Manifests and tags.

use std::sync::Arc;

use bytes::Bytes;
use rreg_oci::{Algorithm, Digest, Manifest, Reference, RepositoryName, Tag};
use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::audit::{AuditEvent, note};
use super::cached::manifest_came;
use super::changed_facts::{evidence_changed, names_changed};
use super::manifest_deletes::{delete_by_digest, delete_tag};
use super::promises::Promised;
use super::references::References;
use super::reviews::{ReviewKind, queue};
use super::rule_book::RuleBook;
use super::tags::{self, Scope};
use super::unrecorded;
use super::{MetadataStore, digest_column, ensure_repository, find_repository};
use crate::db::{Engine, now_ms};
use crate::error::StorageError;

/// A manifest as stored: exactly the bytes that were pushed.
#[derive(Debug)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// The digest's text, for headers.
    pub digest_text: Bytes,
    /// The digest's text in double quotes: an entity tag.
    pub etag: Bytes,
    /// The type under which it was pushed.
    pub media_type: Bytes,
    /// The bytes.
    pub body: Bytes,
    pub(super) promised: Promised,
}

/// Where a manifest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Somebody pushed it here.
    Pushed,
    /// An upstream has it: it can be fetched again.
    Copied,
}

/// A manifest that was checked and shall be stored.
#[derive(Debug)]
pub struct NewManifest {
    /// Where to.
    pub repository: RepositoryName,
    /// Digest of `body`, in the algorithm under which it will be known.
    pub digest: Digest,
    /// The bytes.
    pub body: Bytes,
    /// What they mean.
    pub manifest: Manifest,
    /// Tags to point at it.
    pub tags: Vec<Tag>,
    /// Whether an index may refer to manifests that are not here.
    pub allow_sparse: bool,
    /// Whether its packages are to be listed, if it is new here.
    pub list_packages: bool,
    /// What goes into the audit trail with it. Its actor goes into the history of the tags.
    pub audit: Option<AuditEvent>,
}

const SELECT_BY_DIGEST: &str = "SELECT m.digest, m.media_type, m.body FROM repositories r \
     JOIN manifests m ON m.repository_id = r.id WHERE r.name = $1 AND m.digest = $2";
const SELECT_BY_TAG: &str = "SELECT m.digest, m.media_type, m.body FROM repositories r \
     JOIN tags t ON t.repository_id = r.id JOIN manifests m ON m.id = t.manifest_id \
     WHERE r.name = $1 AND t.name = $2";

impl MetadataStore {
    /// The manifest that `reference` means in `repository`.
    ///
    /// # Errors
    /// [`StorageError::UnknownManifest`], [`StorageError::DamagedManifest`], or a database failure.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>, StorageError> {
        if let Some(manifest) = self.cached_manifest(repository, reference) {
            return Ok(manifest);
        }
        let epoch = self.cache.epoch();
        if let Some(manifest) = self.known_body(repository, reference).await? {
            return Ok(manifest);
        }
        let (sql, key) = match reference {
            Reference::Tag(tag) => (SELECT_BY_TAG, tag.to_string()),
            Reference::Digest(digest) => (SELECT_BY_DIGEST, digest.to_string()),
        };
        let row = sqlx::query(sql)
            .bind(repository.as_str())
            .bind(key)
            .fetch_optional(&mut *self.db.read().await?)
            .await?;
        let Some(row) = row else {
            return Err(StorageError::UnknownManifest {
                repository: repository.clone(),
                reference: reference.clone(),
            });
        };
        let manifest = Arc::new(stored(&row).inspect_err(|error| self.note_if_damaged(error))?);
        match reference {
            Reference::Tag(tag) => self.cache.keep_tag(epoch, repository, tag, &manifest),
            Reference::Digest(_) => self.cache.keep_manifest(epoch, repository, &manifest),
        }
        Ok(manifest)
    }

    /// The manifest, if it can be had without waiting.
    pub fn cached_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Option<Arc<StoredManifest>> {
        match reference {
            Reference::Tag(tag) => self.cache.tag(repository, tag),
            // Another replica may have deleted it: the body is good for ever, that it is here is not.
            Reference::Digest(_) if self.engine() == Engine::Postgres => None,
            Reference::Digest(digest) => self.cache.manifest(repository, digest),
        }
    }

    /// With PostgreSQL: the body from memory, after asking whether the repository still has the manifest.
    async fn known_body(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Arc<StoredManifest>>, StorageError> {
        let Reference::Digest(digest) = reference else { return Ok(None) };
        let Some(manifest) = self.cache.manifest(repository, digest) else { return Ok(None) };
        let there = sqlx::query(
            "SELECT 1 FROM repositories r JOIN manifests m ON m.repository_id = r.id \
             WHERE r.name = $1 AND m.digest = $2",
        )
        .bind(repository.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        Ok(there.map(|_| manifest))
    }

    fn note_if_damaged(&self, error: &StorageError) {
        if let StorageError::DamagedManifest { digest } = error {
            self.note_damage(digest, "the manifest in the database has another digest");
        }
    }

    /// Stores a manifest, what it refers to, and its tags, all or nothing.
    ///
    /// # Errors
    /// [`StorageError::MissingReferences`], [`StorageError::SizeMismatch`], [`StorageError::ImmutableTag`],
    /// [`StorageError::Full`], or a database failure.
    pub async fn put_manifest(&self, new: NewManifest) -> Result<(), StorageError> {
        self.db.room()?;
        let new = Arc::new(new);
        let references = References::find(&mut *self.db.read().await?, &new).await?;
        match self.write_manifest(new.clone(), Some(references)).await {
            // What it refers to has come or gone since it was looked up, so this time nothing can come between.
            Err(StorageError::Conflict) => self.write_manifest(new, None).await,
            result => result,
        }
    }

    async fn write_manifest(
        &self,
        new: Arc<NewManifest>,
        references: Option<References>,
    ) -> Result<(), StorageError> {
        let cache = self.cache.clone();
        self.db
            .write(
                (new, references, self.rules.clone()),
                |conn, (new, references, rules)| {
                    Box::pin(put_manifest(conn, new, references.as_ref(), rules))
                },
                move |(new, ..), ()| {
                    cache.committed(|forget| {
                        new.tags.iter().for_each(|tag| forget.tag(&new.repository, tag));
                    });
                },
            )
            .await
    }

    /// Deletes a tag, or a manifest with all its tags. `audit` goes into the trail with it, its actor into the history
    /// of the tags.
    ///
    /// # Errors
    /// [`StorageError::UnknownManifest`], [`StorageError::InUse`] for a child of an index,
    /// [`StorageError::ImmutableTag`], or a database failure.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        audit: Option<AuditEvent>,
    ) -> Result<(), StorageError> {
        let cache = self.cache.clone();
        self.db
            .write(
                (repository.clone(), reference.clone(), self.rules.clone(), audit),
                |conn, (repository, reference, rules, audit)| {
                    Box::pin(async move {
                        let rules = rules.now(conn).await?;
                        let actor = audit.as_ref().and_then(AuditEvent::author);
                        let scope = Scope { repository, rules: &rules, actor };
                        match reference {
                            Reference::Tag(tag) => delete_tag(&mut *conn, scope, tag).await?,
                            Reference::Digest(digest) => delete_by_digest(&mut *conn, scope, digest).await?,
                        }
                        note(conn, audit.as_ref()).await
                    })
                },
                move |(repository, reference, ..), ()| {
                    cache.committed(|forget| match reference {
                        Reference::Tag(tag) => forget.tag(repository, tag),
                        Reference::Digest(digest) => forget.manifest(repository, digest),
                    });
                },
            )
            .await
    }
}

/// Checks the bytes against the digest: what the database gives back is as little trusted as a disk.
fn stored(row: &AnyRow) -> Result<StoredManifest, StorageError> {
    let digest = digest_column(row, 0)?;
    let media_type: String = row.try_get(1)?;
    let body: Vec<u8> = row.try_get(2)?;
    if Digest::of(digest.algorithm(), &body) != digest {
        return Err(StorageError::DamagedManifest { digest });
    }
    let digest_text = digest.to_string();
    Ok(StoredManifest {
        digest,
        etag: format!("\"{digest_text}\"").into(),
        digest_text: digest_text.into(),
        media_type: media_type.into(),
        body: body.into(),
        promised: Promised::default(),
    })
}

/// Everything is looked up before anything is written, so that a refusal leaves nothing behind.
async fn put_manifest(
    conn: &mut AnyConnection,
    new: &NewManifest,
    references: Option<&References>,
    rules: &RuleBook,
) -> Result<(), StorageError> {
    let rules = if new.tags.is_empty() { Arc::default() } else { rules.now(conn).await? };
    let actor = new.audit.as_ref().and_then(AuditEvent::author);
    let scope = Scope { repository: &new.repository, rules: &rules, actor };
    let known = find_repository(conn, &new.repository).await?;
    let references = match references {
        Some(references) => references.confirm(conn, known).await?,
        None => &References::find(conn, new).await?,
    };
    if let Some(repository) = known {
        for tag in &new.tags {
            tags::check_move(conn, scope, repository, tag, &new.digest).await?;
        }
    }
    let repository = match known {
        Some(id) => id,
        None => ensure_repository(conn, &new.repository).await?,
    };
    if new.tags.is_empty() {
        // Before the row is looked for, which a worker may be taking away: see `reviews`. A tag holds it by itself.
        queue(conn, repository, ReviewKind::Manifest, &new.digest).await?;
    }
    let is_new = new.list_packages && member(conn, known, MANIFEST_MEMBER, &new.digest).await?.is_none();
    let id = insert_manifest(conn, repository, new, Origin::Pushed).await?;
    if is_new {
        super::sbom_jobs::queue(conn, id).await?;
    }
    references.link(conn, repository, id).await?;
    manifest_came(conn, repository, (id, &new.digest)).await?;
    tell_decisions(conn, repository, new).await?;
    for tag in &new.tags {
        let before = tags::set_tag(conn, scope, repository, tag, (id, &new.digest)).await?;
        if let Some(digest) = before {
            queue(conn, repository, ReviewKind::Manifest, &digest).await?;
            unrecorded::queue(conn, repository, &digest).await?;
        }
    }
    unrecorded::queue(conn, repository, &new.digest).await?;
    note(conn, new.audit.as_ref()).await
}

/// Decisions about what this manifest is evidence of, and about its children, have to be made again.
pub(super) async fn tell_decisions(
    conn: &mut AnyConnection,
    repository: i64,
    new: &NewManifest,
) -> Result<(), StorageError> {
    if !new.manifest.manifests.is_empty() {
        names_changed(&mut *conn, repository, &new.digest).await?;
    }
    match &new.manifest.subject {
        Some(subject) => evidence_changed(conn, repository, &subject.digest).await,
        None => Ok(()),
    }
}

pub(super) const MANIFEST_MEMBER: &str = "SELECT id FROM manifests WHERE repository_id = $1 AND digest = $2";

pub(super) async fn member(
    conn: &mut AnyConnection,
    repository: Option<i64>,
    sql: &'static str,
    digest: &Digest,
) -> Result<Option<i64>, StorageError> {
    let Some(repository) = repository else { return Ok(None) };
    let row = sqlx::query(sql).bind(repository).bind(digest.to_string()).fetch_optional(conn).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The one name of a form, whichever digest a manifest names it by: SHA-256 of its bytes, where they are small as those of
/// configs are.
pub(super) async fn one_name(
    conn: &mut AnyConnection,
    form: Option<Digest>,
) -> Result<Option<Digest>, StorageError> {
    let Some(form) = form.filter(|form| form.algorithm() != Algorithm::Sha256) else { return Ok(form) };
    let row = sqlx::query("SELECT content FROM blobs WHERE digest = $1 AND content IS NOT NULL")
        .bind(form.to_string())
        .fetch_optional(conn)
        .await?;
    let bytes: Option<Vec<u8>> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(Some(bytes.map_or(form, |bytes| Digest::sha256(&bytes))))
}

/// The manifest's row; the one that is there already if these bytes were pushed before.
pub(super) async fn insert_manifest(
    conn: &mut AnyConnection,
    repository: i64,
    new: &NewManifest,
    origin: Origin,
) -> Result<i64, StorageError> {
    let subject = new.manifest.subject.as_ref().map(|s| s.digest.to_string());
    let annotations = subject
        .as_ref()
        .map(|_| serde_json::to_string(&new.manifest.annotations))
        .transpose()
        .map_err(|e| StorageError::Corrupt(e.to_string()))?;
    let form = one_name(conn, new.manifest.form()).await?;
    crate::fact_epochs::note(crate::fact_epochs::names_in(repository));
    let row = sqlx::query(
        "INSERT INTO manifests \
         (repository_id, digest, media_type, artifact_type, subject, annotations, body, created_at, config, is_copy) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (repository_id, digest) DO NOTHING RETURNING id",
    )
    .bind(repository)
    .bind(new.digest.to_string())
    .bind(&new.manifest.media_type)
    .bind(new.manifest.artifact_type.clone())
    .bind(subject)
    .bind(annotations)
    .bind(new.body.to_vec())
    .bind(now_ms())
    .bind(form.map(|form| form.to_string()))
    .bind(i64::from(origin == Origin::Copied))
    .fetch_optional(&mut *conn)
    .await?;
    match row {
        Some(row) => Ok(row.try_get(0)?),
        None => {
            let known = member(conn, Some(repository), MANIFEST_MEMBER, &new.digest).await?;
            let id = known.ok_or(StorageError::Conflict)?;
            // The same digest with other bytes: what is stored is damaged, and this heals it.
            sqlx::query("UPDATE manifests SET body = $2 WHERE id = $1 AND body <> $2")
                .bind(id)
                .bind(new.body.to_vec())
                .execute(conn)
                .await?;
            Ok(id)
        }
    }
}
