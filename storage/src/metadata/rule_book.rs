//! Rules for immutable tags: those of the configuration, and those that are kept in the database.

use std::sync::{Arc, Mutex, PoisonError};

use rreg_oci::{Glob, GlobError};
use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::MetadataStore;
use super::audit::{AuditEvent, note};
use crate::db::Engine;
use crate::error::StorageError;
use crate::tag_rules::{TagRule, TagRules};

/// Most rules in the database: each is asked at every push of a tag.
const MAX_RULES: i64 = 1000;
/// Most patterns in one list, for the same reason.
const MAX_PATTERNS: usize = 100;

/// The rules as of the last time that somebody looked.
#[derive(Debug)]
pub(super) struct RuleBook {
    engine: Engine,
    configured: TagRules,
    /// The version, and all rules that hold then.
    known: Mutex<Option<(i64, Arc<TagRules>)>>,
}

impl RuleBook {
    pub(super) fn new(engine: Engine, configured: TagRules) -> Self {
        Self { engine, configured, known: Mutex::new(None) }
    }

    /// The rules that hold until this transaction ends: it reads one row, and the rules if they have changed.
    pub(super) async fn now(&self, conn: &mut AnyConnection) -> Result<Arc<TagRules>, StorageError> {
        let sql = match self.engine {
            Engine::Sqlite => "SELECT version FROM tag_rules_version WHERE id = 1",
            Engine::Postgres => "SELECT version FROM tag_rules_version WHERE id = 1 FOR SHARE",
        };
        let version: i64 = sqlx::query(sql).fetch_one(&mut *conn).await?.try_get(0)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, rules)) = known.filter(|(known, _)| *known == version) {
            return Ok(rules);
        }
        let stored = stored(conn).await?;
        let rules = Arc::new(self.configured.clone().followed_by(stored));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, rules.clone()));
        Ok(rules)
    }
}

impl MetadataStore {
    /// The rules in the database, by name.
    ///
    /// # Errors
    /// A database failure.
    pub async fn stored_tag_rules(&self) -> Result<Vec<TagRule>, StorageError> {
        stored(&mut *self.db.read().await?).await
    }

    /// The rules of the configuration.
    pub fn configured_tag_rules(&self) -> &[TagRule] {
        self.rules.configured.all()
    }

    /// Adds a rule, or puts it in the place of the one of the same name. Every change of a tag that commits after
    /// this obeys it, on every replica.
    ///
    /// # Errors
    /// [`StorageError::TagRule`] if there are too many rules or patterns, or a database failure.
    pub async fn put_tag_rule(&self, rule: TagRule, audit: AuditEvent) -> Result<(), StorageError> {
        if [&rule.repositories, &rule.tags, &rule.except].iter().any(|list| list.len() > MAX_PATTERNS) {
            return Err(StorageError::TagRule(format!(
                "rule {:?} has a list of more than {MAX_PATTERNS} patterns",
                rule.name
            )));
        }
        self.db
            .write(
                (rule, audit),
                |conn, (rule, audit)| {
                    Box::pin(async move {
                        put(&mut *conn, rule).await?;
                        note(conn, Some(audit)).await
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Takes a rule out of the database. Tells whether it was there.
    ///
    /// # Errors
    /// A database failure.
    pub async fn delete_tag_rule(&self, name: &str, audit: AuditEvent) -> Result<bool, StorageError> {
        self.db
            .write(
                (name.to_owned(), audit),
                |conn, (name, audit)| {
                    Box::pin(async move {
                        let deleted = delete(&mut *conn, name).await?;
                        if deleted {
                            note(conn, Some(audit)).await?;
                        }
                        Ok(deleted)
                    })
                },
                |_, _| {},
            )
            .await
    }
}

async fn stored(conn: &mut AnyConnection) -> Result<Vec<TagRule>, StorageError> {
    let rows = sqlx::query("SELECT name, repositories, tags, except_tags FROM tag_rules ORDER BY name")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(TagRule {
                name: row.try_get(0)?,
                repositories: globs(row, 1)?,
                tags: globs(row, 2)?,
                except: globs(row, 3)?,
            })
        })
        .collect()
}

/// A rule that cannot be read is an error and not a rule less: it may be what forbids.
fn globs(row: &AnyRow, column: usize) -> Result<Vec<Glob>, StorageError> {
    let text: String = row.try_get(column)?;
    let corrupt = |why: String| StorageError::Corrupt(format!("patterns {text:?}: {why}"));
    let texts: Vec<String> = serde_json::from_str(&text).map_err(|e| corrupt(e.to_string()))?;
    texts.iter().map(|text| text.parse().map_err(|e: GlobError| corrupt(e.to_string()))).collect()
}

fn list(globs: &[Glob]) -> String {
    serde_json::Value::from_iter(globs.iter().map(Glob::to_string)).to_string()
}

async fn put(conn: &mut AnyConnection, rule: &TagRule) -> Result<(), StorageError> {
    change_version(conn).await?;
    let others: i64 = sqlx::query("SELECT COUNT(*) FROM tag_rules WHERE name <> $1")
        .bind(&rule.name)
        .fetch_one(&mut *conn)
        .await?
        .try_get(0)?;
    if others >= MAX_RULES {
        return Err(StorageError::TagRule(format!("there are {MAX_RULES} rules already; remove one first")));
    }
    sqlx::query(
        "INSERT INTO tag_rules (name, repositories, tags, except_tags) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET repositories = excluded.repositories, tags = excluded.tags, \
         except_tags = excluded.except_tags",
    )
    .bind(&rule.name)
    .bind(list(&rule.repositories))
    .bind(list(&rule.tags))
    .bind(list(&rule.except))
    .execute(conn)
    .await?;
    Ok(())
}

async fn delete(conn: &mut AnyConnection, name: &str) -> Result<bool, StorageError> {
    change_version(conn).await?;
    let deleted = sqlx::query("DELETE FROM tag_rules WHERE name = $1").bind(name).execute(conn).await?;
    Ok(deleted.rows_affected() > 0)
}

/// First of all: waits for the changes of tags that act on the old rules.
async fn change_version(conn: &mut AnyConnection) -> Result<(), StorageError> {
    sqlx::query("UPDATE tag_rules_version SET version = $1 WHERE id = 1")
        .bind(rand::random::<i64>())
        .execute(conn)
        .await?;
    Ok(())
}
