//! Organisations and the roles of their members. What a role means is the business of `auth`; here it is text. Each change
//! goes into the audit trail in its own transaction.

use sqlx::{AnyConnection, Row as _};

use super::MetadataStore;
use super::audit::{AuditEvent, add};
use crate::db::now_ms;
use crate::error::StorageError;

/// A member of an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The organisation.
    pub organisation: String,
    /// The member's name; empty for an organisation without members.
    pub principal: String,
    /// The role's word; empty likewise.
    pub role: String,
}

impl MetadataStore {
    /// Makes `principal` a member, or changes its role; makes the organisation if need be.
    ///
    /// # Errors
    /// A database failure.
    pub async fn set_membership(
        &self,
        membership: Membership,
        audit: AuditEvent,
    ) -> Result<(), StorageError> {
        self.db
            .write(
                (membership, audit),
                |conn, (new, audit)| {
                    Box::pin(async move {
                        let id = ensure_organisation(conn, &new.organisation).await?;
                        if new.principal.is_empty() {
                            return add(conn, audit).await;
                        }
                        sqlx::query(
                            "INSERT INTO memberships (organisation_id, principal, role) VALUES ($1, $2, $3) \
                             ON CONFLICT (organisation_id, principal) DO UPDATE SET role = excluded.role",
                        )
                        .bind(id)
                        .bind(&new.principal)
                        .bind(&new.role)
                        .execute(&mut *conn)
                        .await?;
                        add(conn, audit).await
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Ends a membership; without a principal, the organisation and all its memberships. `false`: there is none.
    ///
    /// # Errors
    /// A database failure.
    pub async fn end_membership(
        &self,
        organisation: &str,
        principal: Option<&str>,
        audit: AuditEvent,
    ) -> Result<bool, StorageError> {
        self.db
            .write(
                (organisation.to_owned(), principal.map(str::to_owned), audit),
                |conn, (organisation, principal, audit)| {
                    Box::pin(async move {
                        let query = match principal {
                            Some(principal) => sqlx::query(
                                "DELETE FROM memberships WHERE principal = $2 AND organisation_id IN \
                                 (SELECT id FROM organisations WHERE name = $1)",
                            )
                            .bind(organisation)
                            .bind(principal),
                            None => {
                                sqlx::query("DELETE FROM organisations WHERE name = $1").bind(organisation)
                            }
                        };
                        let ended = query.execute(&mut *conn).await?.rows_affected() > 0;
                        if ended {
                            add(conn, audit).await?;
                        }
                        Ok(ended)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// Memberships, of one principal or all; with all, organisations without members too.
    ///
    /// # Errors
    /// A database failure.
    pub async fn memberships(&self, principal: Option<&str>) -> Result<Vec<Membership>, StorageError> {
        let query = match principal {
            Some(name) => sqlx::query(
                "SELECT o.name, m.principal, m.role FROM memberships m \
                 JOIN organisations o ON o.id = m.organisation_id WHERE m.principal = $1 ORDER BY o.name",
            )
            .bind(name.to_owned()),
            None => sqlx::query(
                "SELECT o.name, COALESCE(m.principal, ''), COALESCE(m.role, '') FROM organisations o \
                 LEFT JOIN memberships m ON m.organisation_id = o.id ORDER BY o.name, m.principal",
            ),
        };
        let rows = query.fetch_all(&mut *self.db.read().await?).await?;
        rows.iter()
            .map(|row| {
                let (organisation, principal) = (row.try_get(0)?, row.try_get(1)?);
                Ok(Membership { organisation, principal, role: row.try_get(2)? })
            })
            .collect()
    }
}

async fn ensure_organisation(conn: &mut AnyConnection, name: &str) -> Result<i64, StorageError> {
    sqlx::query("INSERT INTO organisations (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(now_ms())
        .execute(&mut *conn)
        .await?;
    let row = sqlx::query("SELECT id FROM organisations WHERE name = $1").bind(name).fetch_one(conn).await?;
    Ok(row.try_get(0)?)
}
