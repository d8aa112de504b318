//! The audit trail: who wrote, who logged in, who was refused. Rows are added and never changed. The row of a change is
//! written in the transaction of that change.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::MetadataStore;
use crate::db::now_ms;
use crate::error::StorageError;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Place in the trail; 0 before it is stored.
    pub id: i64,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// Who did it.
    pub actor: String,
    /// An operation's name, `login`, or what an administrator did.
    pub event: String,
    /// `allowed`, `denied` or `failed`.
    pub outcome: String,
    /// The rule that decided, or why it failed.
    pub rule: String,
    /// On which repository.
    pub repository: Option<String>,
    /// Tag, digest, or name of what was changed.
    pub target: Option<String>,
    /// Address of the client.
    pub address: Option<String>,
    /// The request's `X-Request-Id`.
    pub request_id: Option<String>,
}

impl AuditEvent {
    /// One that happens now.
    pub fn new(event: impl Into<String>, outcome: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            id: 0,
            at: now_ms(),
            actor: ANONYMOUS.to_owned(),
            event: event.into(),
            outcome: outcome.into(),
            rule: rule.into(),
            repository: None,
            target: None,
            address: None,
            request_id: None,
        }
    }
}

impl AuditEvent {
    /// Who did it, if they have said who they are.
    pub(super) fn author(&self) -> Option<&str> {
        Some(self.actor.as_str()).filter(|actor| *actor != ANONYMOUS)
    }
}

/// Actor of those who have not said who they are.
const ANONYMOUS: &str = "anonymous";

const COLUMNS: &str = "at, actor, event, outcome, rule, COALESCE(repository, ''), COALESCE(target, ''), \
     COALESCE(address, ''), COALESCE(request_id, '')";

impl MetadataStore {
    /// Adds events, all of them or none.
    ///
    /// # Errors
    /// A database failure.
    pub async fn audit(&self, events: Vec<AuditEvent>) -> Result<(), StorageError> {
        self.db
            .write(
                events,
                |conn, events| {
                    Box::pin(async move {
                        for event in events {
                            add(conn, event).await?;
                        }
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// At most `limit` events not before `since` (milliseconds since the Unix epoch), oldest first; where there is
    /// `after`, those that follow it.
    ///
    /// # Errors
    /// A database failure.
    pub async fn audit_events(
        &self,
        since: i64,
        after: Option<&AuditEvent>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, StorageError> {
        let text = format!(
            "SELECT id, {COLUMNS} FROM audit_events WHERE at >= $1 AND (at > $1 OR id > $2) ORDER BY at, id LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(after.map_or(since, |event| event.at))
            .bind(after.map_or(-1, |event| event.id))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        rows.iter().map(event_of).collect()
    }

    /// Deletes up to `limit` events from before `before` (milliseconds since the Unix epoch), the oldest first. Gives how
    /// many those were.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_audit(&self, before: i64, limit: u32) -> Result<u64, StorageError> {
        self.db
            .write(
                (before, limit),
                |conn, (before, limit)| {
                    Box::pin(async move {
                        let deleted = sqlx::query(
                            "DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events WHERE at < $1 \
                             ORDER BY at, id LIMIT $2)",
                        )
                        .bind(*before)
                        .bind(i64::from(*limit))
                        .execute(conn)
                        .await?;
                        Ok(deleted.rows_affected())
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// The last `limit` events, oldest first.
    ///
    /// # Errors
    /// A database failure.
    pub async fn last_audit_events(&self, limit: u32) -> Result<Vec<AuditEvent>, StorageError> {
        let text = format!("SELECT id, {COLUMNS} FROM audit_events ORDER BY id DESC LIMIT $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.db.read().await?)
            .await?;
        rows.iter().rev().map(event_of).collect()
    }
}

/// Adds the event of a change inside that change's transaction: both are there, or neither.
pub(super) async fn note(conn: &mut AnyConnection, event: Option<&AuditEvent>) -> Result<(), StorageError> {
    match event {
        Some(event) => add(conn, event).await,
        None => Ok(()),
    }
}

pub(super) async fn add(conn: &mut AnyConnection, event: &AuditEvent) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO audit_events (at, actor, event, outcome, rule, repository, target, address, request_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(event.at)
    .bind(&event.actor)
    .bind(&event.event)
    .bind(&event.outcome)
    .bind(&event.rule)
    .bind(&event.repository)
    .bind(&event.target)
    .bind(&event.address)
    .bind(&event.request_id)
    .execute(conn)
    .await?;
    Ok(())
}

fn event_of(row: &AnyRow) -> Result<AuditEvent, StorageError> {
    let optional = |column| -> Result<Option<String>, sqlx::Error> {
        row.try_get(column).map(|text: String| (!text.is_empty()).then_some(text))
    };
    Ok(AuditEvent {
        id: row.try_get(0)?,
        at: row.try_get(1)?,
        actor: row.try_get(2)?,
        event: row.try_get(3)?,
        outcome: row.try_get(4)?,
        rule: row.try_get(5)?,
        repository: optional(6)?,
        target: optional(7)?,
        address: optional(8)?,
        request_id: optional(9)?,
    })
}
