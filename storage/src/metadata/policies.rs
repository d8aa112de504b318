//! Policies and trust material that were set through the API, every earlier text of a policy, and the number that
//! tells replicas that something has changed.

use sqlx::{AnyConnection, Row as _};

use super::MetadataStore;
use super::audit::{AuditEvent, note};
use crate::db::now_ms;
use crate::error::StorageError;

/// Texts in the history of all policies together, also of those that were taken away.
const MAX_HISTORY: i64 = 10_000;

/// A policy as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// Its name.
    pub name: String,
    /// YAML.
    pub document: String,
    /// When it was set, in milliseconds since the Unix epoch.
    pub changed_at: i64,
    /// By whom.
    pub changed_by: String,
}

/// Trust material as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTrust {
    /// What policies call it.
    pub name: String,
    /// The bytes.
    pub content: Vec<u8>,
    /// When it was set, in milliseconds since the Unix epoch.
    pub changed_at: i64,
    /// By whom.
    pub changed_by: String,
}

/// All that was set, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTexts {
    /// Changes with every change.
    pub version: i64,
    /// By name.
    pub policies: Vec<StoredPolicy>,
    /// By name.
    pub trust: Vec<StoredTrust>,
}

/// A change of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextChange {
    /// Sets the policy of this name to this YAML.
    PutPolicy(String, String),
    /// Takes the policy of this name away.
    DeletePolicy(String),
    /// Sets the trust material of this name to these bytes.
    PutTrust(String, Vec<u8>),
    /// Takes the trust material of this name away.
    DeleteTrust(String),
}

/// Which texts of policies stay in the history. The one that holds always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Most of one policy, the one that holds included.
    pub versions: u32,
    /// Those set since then (milliseconds since the Unix epoch).
    pub since: i64,
}

impl PolicyTexts {
    /// Makes the change here, so that it can be checked before it is made in the database. What it sets has no time and
    /// nobody who has set it.
    pub fn apply(&mut self, change: &TextChange) {
        match change {
            TextChange::PutPolicy(name, _) | TextChange::DeletePolicy(name) => {
                self.policies.retain(|text| text.name != *name);
            }
            TextChange::PutTrust(name, _) | TextChange::DeleteTrust(name) => {
                self.trust.retain(|text| text.name != *name);
            }
        }
        let (changed_at, changed_by) = (0, String::new());
        match change.clone() {
            TextChange::PutPolicy(name, document) => {
                self.policies.push(StoredPolicy { name, document, changed_at, changed_by });
            }
            TextChange::PutTrust(name, content) => {
                self.trust.push(StoredTrust { name, content, changed_at, changed_by });
            }
            TextChange::DeletePolicy(_) | TextChange::DeleteTrust(_) => {}
        }
    }
}

impl MetadataStore {
    /// The number that changes with every policy and trust material.
    ///
    /// # Errors
    /// A database failure.
    pub async fn policies_version(&self) -> Result<i64, StorageError> {
        version(&mut *self.db.read().await?).await
    }

    /// All policies and trust material.
    ///
    /// # Errors
    /// A database failure, or [`StorageError::Conflict`] if they do not stand still.
    pub async fn policy_texts(&self) -> Result<PolicyTexts, StorageError> {
        let mut conn = self.db.read().await?;
        for _ in 0..10 {
            let before = version(&mut conn).await?;
            let policies =
                sqlx::query("SELECT name, document, changed_at, changed_by FROM policies ORDER BY name")
                    .fetch_all(&mut *conn)
                    .await?;
            let trust =
                sqlx::query("SELECT name, content, changed_at, changed_by FROM trust_material ORDER BY name")
                    .fetch_all(&mut *conn)
                    .await?;
            if version(&mut conn).await? != before {
                continue;
            }
            let policy = |row: &sqlx::any::AnyRow| {
                Ok(StoredPolicy {
                    name: row.try_get(0)?,
                    document: row.try_get(1)?,
                    changed_at: row.try_get(2)?,
                    changed_by: row.try_get(3)?,
                })
            };
            let material = |row: &sqlx::any::AnyRow| {
                Ok(StoredTrust {
                    name: row.try_get(0)?,
                    content: row.try_get(1)?,
                    changed_at: row.try_get(2)?,
                    changed_by: row.try_get(3)?,
                })
            };
            return Ok(PolicyTexts {
                version: before,
                policies: policies.iter().map(policy).collect::<Result<_, StorageError>>()?,
                trust: trust.iter().map(material).collect::<Result<_, StorageError>>()?,
            });
        }
        Err(StorageError::Conflict)
    }

    /// Every text that a policy had, the latest first, with when and by whom. `None`: it was taken away.
    ///
    /// # Errors
    /// A database failure.
    pub async fn policy_history(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(Option<String>, i64, String)>, StorageError> {
        let rows = sqlx::query(
            "SELECT document, changed_at, changed_by FROM policy_history WHERE name = $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(name)
        .bind(super::to_sql(limit as u64))
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
    }

    /// Makes the change, if nothing has changed since `version`: what it was checked against still holds then. Tells
    /// whether there was anything to take away.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if something has changed, or a database failure.
    pub async fn change_texts(
        &self,
        change: TextChange,
        version: i64,
        history: HistoryLimits,
        audit: AuditEvent,
    ) -> Result<bool, StorageError> {
        self.db
            .write(
                (change, version, history, audit),
                |conn, (change, version, history, audit)| {
                    Box::pin(async move {
                        // First of all: it locks the row, so that changes come one after another.
                        let counted = sqlx::query(
                            "UPDATE policies_version SET version = version + 1 WHERE id = 1 AND version = $1",
                        )
                        .bind(*version)
                        .execute(&mut *conn)
                        .await?;
                        if counted.rows_affected() == 0 {
                            return Err(StorageError::Conflict);
                        }
                        let changed = change.make(&mut *conn, &audit.actor).await?;
                        history.keep(&mut *conn).await?;
                        note(conn, Some(audit)).await?;
                        Ok(changed)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// Deletes earlier texts of policies past the limits.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_policy_history(&self, history: HistoryLimits) -> Result<(), StorageError> {
        self.db
            .write(history, |conn, history| Box::pin(async move { history.keep(conn).await }), |_, ()| {})
            .await
    }
}

impl HistoryLimits {
    /// The text that holds is the last of its name, and never goes. A last row without a text says that the policy was taken
    /// away, and goes like any other.
    async fn keep(&self, conn: &mut AnyConnection) -> Result<(), StorageError> {
        sqlx::query(
            "DELETE FROM policy_history WHERE changed_at < $1 AND (document IS NULL \
             OR id NOT IN (SELECT MAX(id) FROM policy_history GROUP BY name))",
        )
        .bind(self.since)
        .execute(&mut *conn)
        .await?;
        sqlx::query(
            "DELETE FROM policy_history WHERE id IN (SELECT id FROM (SELECT id, \
             ROW_NUMBER() OVER (PARTITION BY name ORDER BY id DESC) AS place FROM policy_history) placed \
             WHERE place > $1)",
        )
        .bind(i64::from(self.versions.max(1)))
        .execute(&mut *conn)
        .await?;
        // Policies that are no more can have any number of names.
        sqlx::query(
            "DELETE FROM policy_history WHERE id <= (SELECT id FROM policy_history ORDER BY id DESC LIMIT 1 OFFSET $1) \
             AND (document IS NULL OR id NOT IN (SELECT MAX(id) FROM policy_history GROUP BY name))",
        )
        .bind(MAX_HISTORY)
        .execute(conn)
        .await?;
        Ok(())
    }
}

impl TextChange {
    async fn make(&self, conn: &mut AnyConnection, actor: &str) -> Result<bool, StorageError> {
        match self {
            Self::PutPolicy(name, document) => {
                sqlx::query(
                    "INSERT INTO policies (name, document, changed_at, changed_by) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (name) DO UPDATE SET document = excluded.document, \
                     changed_at = excluded.changed_at, changed_by = excluded.changed_by",
                )
                .bind(name.as_str())
                .bind(document.as_str())
                .bind(now_ms())
                .bind(actor)
                .execute(&mut *conn)
                .await?;
                remember(conn, name, Some(document), actor).await?;
                Ok(true)
            }
            Self::DeletePolicy(name) => {
                let sql = "DELETE FROM policies WHERE name = $1";
                let gone =
                    sqlx::query(sql).bind(name.as_str()).execute(&mut *conn).await?.rows_affected() > 0;
                if gone {
                    remember(conn, name, None, actor).await?;
                }
                Ok(gone)
            }
            Self::PutTrust(name, content) => {
                sqlx::query(
                    "INSERT INTO trust_material (name, content, changed_at, changed_by) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (name) DO UPDATE SET content = excluded.content, \
                     changed_at = excluded.changed_at, changed_by = excluded.changed_by",
                )
                .bind(name.as_str())
                .bind(content.clone())
                .bind(now_ms())
                .bind(actor)
                .execute(conn)
                .await?;
                Ok(true)
            }
            Self::DeleteTrust(name) => {
                let sql = "DELETE FROM trust_material WHERE name = $1";
                Ok(sqlx::query(sql).bind(name.as_str()).execute(conn).await?.rows_affected() > 0)
            }
        }
    }
}

async fn remember(
    conn: &mut AnyConnection,
    name: &str,
    document: Option<&String>,
    actor: &str,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO policy_history (name, document, changed_at, changed_by) VALUES ($1, $2, $3, $4)",
    )
    .bind(name)
    .bind(document.cloned())
    .bind(now_ms())
    .bind(actor)
    .execute(conn)
    .await?;
    Ok(())
}

async fn version(conn: &mut AnyConnection) -> Result<i64, StorageError> {
    let row = sqlx::query("SELECT version FROM policies_version WHERE id = 1").fetch_one(conn).await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    async fn texts(store: &MetadataStore, name: &str) -> Vec<Option<String>> {
        let found = store.policy_history(name, 1000).await.unwrap();
        found.into_iter().map(|(text, _, _)| text).collect()
    }

    async fn make(store: &MetadataStore, change: TextChange, history: HistoryLimits) {
        let version = store.policies_version().await.unwrap();
        store
            .change_texts(change, version, history, AuditEvent::new("policy put", "allowed", "test"))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn earlier_texts_go_and_those_that_hold_stay() {
        let (_directory, store) = store().await;
        let few = HistoryLimits { versions: 3, since: 0 };
        make(&store, TextChange::PutPolicy("old".into(), "holds".into()), few).await;
        make(&store, TextChange::PutPolicy("gone".into(), "was".into()), few).await;
        make(&store, TextChange::DeletePolicy("gone".into()), few).await;
        for n in 1..=9 {
            make(&store, TextChange::PutPolicy("p".into(), n.to_string()), few).await;
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts(&store, "p").await, [text("9"), text("8"), text("7")]);
        assert_eq!(texts(&store, "gone").await, [None, text("was")]);
        store.forget_policy_history(HistoryLimits { versions: 3, since: i64::MAX }).await.unwrap();
        assert_eq!(texts(&store, "p").await, [text("9")]);
        assert_eq!(texts(&store, "old").await, [text("holds")]);
        assert!(texts(&store, "gone").await.is_empty());
    }
}
